"""What the nodes of a cluster say to each other beside Raft, as plain values, and their bytes.

Reports go from every node to the replicas of the placement group, orders and map news from the leader of
that group to the nodes. Nothing here is a promise: what is lost is said again.

Invariant: `read` raises `Unreadable` for bytes that are none of these, whatever they are; a newer
program's word is one of them.
Source: proto/holdfast_node/v1/talk.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.units import Units
from holdfast.v1 import cache_pb2, types_pb2

from holdfast_node.cache.commands import units_message, units_of
from holdfast_node.cache.seal import OtherSource, Target
from holdfast_node.v1 import talk_pb2 as pb


class Unreadable(ValueError):
    """Not a word this program knows."""


class ReplicaReport(NamedTuple):
    """One replica, by its node; see talk.proto."""

    group: int
    leads: bool = False
    applied: int = 0
    sealed: int = 0
    seal_index: int = 0
    seal_term: int = 0
    floor: int = 0
    stands: bool = False
    staleness_ms: int = -1
    has_quorum: bool = False
    keys: int = 0
    size_bytes: int = 0
    operations_per_s: int = 0
    middle: bytes = b""
    middle_by_load: bytes = b""
    hot_key: bytes = b""


class CopyReport(NamedTuple):
    """One copy under way, by its node; see talk.proto."""

    target: int
    durable: bool = False
    behind_bytes: int = 0
    copied_bytes: int = 0
    problem: str = ""
    begun: bool = True


class Report(NamedTuple):
    """What a node holds; see talk.proto."""

    incarnation: int
    epoch: int
    replicas: tuple[ReplicaReport, ...]
    copies: tuple[CopyReport, ...] = ()
    busy_percent: int = 0
    disk_full: bool = False


class SealOrder(NamedTuple):
    """Propose the Seal of `group`."""

    plan: int
    group: int
    decides: bool
    targets: tuple[Target, ...]
    others: tuple[OtherSource, ...]


class AbortOrder(NamedTuple):
    """Propose the Abort of `plan` in `group`."""

    plan: int
    group: int


class UnsealOrder(NamedTuple):
    """Propose the Unseal of `plan` in `group`."""

    plan: int
    group: int


class CopyOrder(NamedTuple):
    """Copy `source` from one of `from_nodes` under the target's id."""

    plan: int
    namespace: str
    target: Target
    source: int
    from_nodes: tuple[int, ...]
    bytes_per_s: int
    units: Units | None = None


class SnapshotOrder(NamedTuple):
    """Make a snapshot of `group`, so that its replica stands on its own."""

    group: int


class RetireOrder(NamedTuple):
    """End the replica of `group`: neither the map nor a plan needs it."""

    group: int


class DropCopyOrder(NamedTuple):
    """End the copy under the id `group`: its plan is no more."""

    group: int


class TransferOrder(NamedTuple):
    """Hand the leadership of `group` to `to_node`."""

    group: int
    to_node: int


class CreateOrder(NamedTuple):
    """Make a replica of a new, empty shard."""

    namespace: str
    target: Target
    units: Units | None = None


class NodeNews(NamedTuple):
    """A node of the cluster."""

    id: int
    address: str
    http: str
    zone: str


class NamespaceNews(NamedTuple):
    """A namespace and what its shards' policy is to be. eviction: as in cache.policy."""

    name: str
    budget_bytes: int
    eviction: int
    strict_ttl: bool


class MapNews(NamedTuple):
    """The map, the nodes, which of them have the placement group and its id, and the namespaces."""

    map: ShardMap
    nodes: tuple[NodeNews, ...]
    placement: tuple[int, ...]
    namespaces: tuple[NamespaceNews, ...] = ()
    placement_group: int = 0


Order = (
    SealOrder
    | AbortOrder
    | UnsealOrder
    | CopyOrder
    | SnapshotOrder
    | RetireOrder
    | DropCopyOrder
    | TransferOrder
    | CreateOrder
)
Word = Report | Order | MapNews


class About(NamedTuple):
    """What the birth record of a replica says of it; see ReplicaAbout in talk.proto."""

    namespace: str
    start: bytes
    end: bytes
    replicas: tuple[int, ...]
    plan: int = 0
    sources: tuple[OtherSource, ...] = ()
    units: Units | None = None  # of a hashed namespace


# ---- to bytes ------------------------------------------------------------------------------------------


def write(word: Word) -> bytes:
    """The bytes of a word."""
    return _talk(word).SerializeToString()


def write_about(about: About) -> bytes:
    """The bytes that go into a Born record."""
    message = pb.ReplicaAbout(
        namespace=about.namespace, start=about.start, end=about.end, replicas=about.replicas, plan=about.plan,
        sources=map(_source, about.sources), units=_units(about.units),
    )  # fmt: skip
    return message.SerializeToString()


def _talk(word: Word) -> pb.Talk:
    if isinstance(word, Report):
        report = pb.Report(
            incarnation=word.incarnation,
            epoch=word.epoch,
            replicas=(pb.ReplicaReport(**replica._asdict()) for replica in word.replicas),
            copies=(pb.CopyReport(**copy._asdict()) for copy in word.copies),
            busy_percent=word.busy_percent,
            disk_full=word.disk_full,
        )
        return pb.Talk(report=report)
    if isinstance(word, MapNews):
        shards = map(_shard, word.map.shards)
        news = pb.MapNews(
            map=cache_pb2.ShardMap(epoch=word.map.epoch, shards=shards),
            nodes=(pb.NodeNews(**node._asdict()) for node in word.nodes),
            placement=word.placement,
            namespaces=(pb.NamespaceNews(**space._asdict()) for space in word.namespaces),
            placement_group=word.placement_group,
        )
        return pb.Talk(map_news=news)
    return pb.Talk(order=_order(word))


def _order(order: Order) -> pb.Order:  # noqa: PLR0911 - one case an order
    if isinstance(order, SealOrder):
        seal = pb.SealOrder(
            group=order.group, decides=order.decides, targets=map(_target, order.targets),
            others=map(_source, order.others),
        )  # fmt: skip
        return pb.Order(plan=order.plan, seal=seal)
    if isinstance(order, AbortOrder):
        return pb.Order(plan=order.plan, abort=order.group)
    if isinstance(order, UnsealOrder):
        return pb.Order(plan=order.plan, unseal=order.group)
    if isinstance(order, CopyOrder):
        copy = pb.CopyOrder(
            namespace=order.namespace, target=_target(order.target), source=order.source,
            from_nodes=order.from_nodes, bytes_per_s=order.bytes_per_s, units=_units(order.units),
        )  # fmt: skip
        return pb.Order(plan=order.plan, copy=copy)
    if isinstance(order, TransferOrder):
        return pb.Order(transfer=pb.TransferOrder(**order._asdict()))
    if isinstance(order, CreateOrder):
        create = pb.CreateOrder(
            namespace=order.namespace, target=_target(order.target), units=_units(order.units)
        )
        return pb.Order(create=create)
    fields: dict[str, Any] = {_GROUP_ORDERS[type(order)]: order.group}
    return pb.Order(**fields)


def _target(target: Target) -> pb.TargetReplica:
    return pb.TargetReplica(group=target.group, start=target.start, end=target.end, replicas=target.replicas)


def _source(source: OtherSource) -> pb.SealedSource:
    return pb.SealedSource(group=source.group, index=source.index, term=source.term)


def _units(units: Units | None) -> types_pb2.Units | None:
    return None if units is None else units_message(units)


def _shard(shard: Shard) -> types_pb2.Shard:
    return types_pb2.Shard(
        namespace=shard.namespace, start=shard.range.start, end=shard.range.end, group=shard.group,
        epoch=shard.epoch, leader=shard.leader, units=_units(shard.units),
        replicas=(types_pb2.Replica(node=r.node, address=r.address) for r in shard.replicas),
    )  # fmt: skip


# ---- from bytes ----------------------------------------------------------------------------------------


def read(data: bytes) -> Word:
    """The word of some bytes. Raises Unreadable."""
    try:
        talk = pb.Talk.FromString(data)
        word = talk.WhichOneof("word")
        if word == "report":
            return _read_report(talk.report)
        if word == "order":
            return _read_order(talk.order)
        if word == "map_news":
            return _read_news(talk.map_news)
    except (WireError, ValueError) as problem:
        raise Unreadable(f"a node's word cannot be read: {problem}") from None
    raise Unreadable("a node said a word this program does not know")


def read_about(data: bytes) -> About:
    """What a Born record says. Raises Unreadable."""
    try:
        message = pb.ReplicaAbout.FromString(data)
        units = _read_units(message)
    except (WireError, ValueError) as problem:
        raise Unreadable(f"a birth record cannot be read: {problem}") from None
    return About(
        message.namespace, message.start, message.end, tuple(message.replicas), message.plan,
        _read_sources(message.sources), units,
    )  # fmt: skip


T = TypeVar("T", bound=Any)


_FIELDS: dict[Any, attrgetter[tuple[Any, ...]]] = {
    kind: attrgetter(*kind._fields)
    for kind in (ReplicaReport, CopyReport, TransferOrder, NodeNews, NamespaceNews)
}
"""What takes all fields out of a message in one call: a report has hundreds of them."""


def _same(kind: type[T], message: Message) -> T:
    """A flat value whose fields are called as the message's."""
    made: T = kind._make(_FIELDS[kind](message))
    return made


def _read_report(message: pb.Report) -> Report:
    return Report(
        message.incarnation,
        message.epoch,
        tuple(_same(ReplicaReport, replica) for replica in message.replicas),
        tuple(_same(CopyReport, copy) for copy in message.copies),
        message.busy_percent,
        message.disk_full,
    )


def _read_order(message: pb.Order) -> Order:  # noqa: PLR0911 - one case an order
    act = message.WhichOneof("act")
    if act == "seal":
        seal = message.seal
        targets = tuple(map(_read_target, seal.targets))
        return SealOrder(message.plan, seal.group, seal.decides, targets, _read_sources(seal.others))
    if act == "abort":
        return AbortOrder(message.plan, message.abort)
    if act == "unseal":
        return UnsealOrder(message.plan, message.unseal)
    if act == "copy":
        copy = message.copy
        target = _read_target(copy.target)
        nodes = tuple(copy.from_nodes)
        return CopyOrder(
            message.plan, copy.namespace, target, copy.source, nodes, copy.bytes_per_s, _read_units(copy)
        )
    if act == "transfer":
        return _same(TransferOrder, message.transfer)
    if act == "create":
        create = message.create
        return CreateOrder(create.namespace, _read_target(create.target), _read_units(create))
    for kind, name in _GROUP_ORDERS.items():
        if act == name:
            made: Order = kind(getattr(message, name))
            return made
    raise ValueError("an unknown order")


_GROUP_ORDERS: dict[type[Any], str] = {
    SnapshotOrder: "snapshot",
    RetireOrder: "retire",
    DropCopyOrder: "drop_copy",
}


def _read_target(message: pb.TargetReplica) -> Target:
    return Target(message.group, message.start, message.end, tuple(message.replicas))


def _read_units(
    message: types_pb2.Shard | pb.ReplicaAbout | pb.CopyOrder | pb.CreateOrder,
) -> Units | None:
    return units_of(message.units) if message.HasField("units") else None


def _read_sources(messages: Iterable[pb.SealedSource]) -> tuple[OtherSource, ...]:
    return tuple(OtherSource(source.group, source.index, source.term) for source in messages)


def _read_news(message: pb.MapNews) -> MapNews:
    shards = (
        Shard(
            shard.namespace, KeyRange(shard.start, shard.end), shard.group, shard.epoch,
            tuple(Replica(r.node, r.address) for r in shard.replicas), shard.leader, _read_units(shard),
        )
        for shard in message.map.shards
    )  # fmt: skip
    nodes = tuple(_same(NodeNews, node) for node in message.nodes)
    spaces = tuple(_same(NamespaceNews, space) for space in message.namespaces)
    map_ = ShardMap(message.map.epoch, shards)
    return MapNews(map_, nodes, tuple(message.placement), spaces, message.placement_group)
