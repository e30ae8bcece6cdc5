"""What the placement group's log holds: commands, encoded and decoded.

Container: 1 byte kind | 1 byte version | payload.
Invariant: opening is total. Whatever the bytes are, the outcome is a command or an UnknownEntryError.
Not here: what commands do (state.py), and whether they are any good: a command that can be read may say
anything.
Source: proto/holdfast_node/v1/placement.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError as WireError

from holdfast_node.cache.commands import UnknownEntryError, seal_message, seal_of
from holdfast_node.cache.policy import Eviction
from holdfast_node.cache.seal import Abort, Seal
from holdfast_node.placement.cluster import Namespace, Node, Planning, Policy, ShardRow
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.stored import (
    Labels,
    label_messages,
    namespace_message,
    node_message,
    part_message,
    planning_message,
    read_labels,
    read_namespace,
    read_node,
    read_part,
    read_planning,
    read_shard,
    shard_message,
)
from holdfast_node.v1 import placement_pb2 as pb

VERSION = 1
_HEAD_BYTES = 2


class Bootstrap(NamedTuple):
    """The first map, from configuration; ignored when there is one. replicas: of the placement group."""

    nodes: tuple[Node, ...]
    namespaces: tuple[Namespace, ...]
    shards: tuple[ShardRow, ...]
    replicas: tuple[int, ...]


class JoinNode(NamedTuple):
    """A node says that it is there. node: the id it has; 0: it wants one. weight 0: the usual."""

    address: str
    incarnation: int
    node: int = 0
    http: str = ""
    zone: str = ""
    labels: Labels = ()
    weight: int = 0


class AddNode(NamedTuple):
    """A node is going to join from this address, with these settings. weight 0: the usual."""

    address: str
    zone: str = ""
    labels: Labels = ()
    weight: int = 0


class SetNode(NamedTuple):
    """Changes what is not None. cordoned_until_ms 0: ends a cordon."""

    node: int
    cordoned_until_ms: int | None = None
    draining: bool | None = None
    weight: int | None = None
    zone: str | None = None
    set_labels: Labels = ()
    drop_labels: tuple[str, ...] = ()


class RemoveNode(NamedTuple):
    """Forgets a node that holds nothing."""

    node: int


class CreateNamespace(NamedTuple):
    """A new namespace; its shards in key order."""

    namespace: Namespace
    shards: tuple[Part, ...]


class SetNamespace(NamedTuple):
    """Changes what is not None."""

    name: str
    budget_bytes: int | None = None
    eviction: Eviction | None = None
    strict_ttl: bool | None = None
    replicas: int | None = None


class DeleteNamespace(NamedTuple):
    """Drops a namespace with every key in it."""

    name: str


class StartPlan(NamedTuple):
    """A shape becomes a plan; ids are given when it is applied. by_hand: a person asked for it."""

    shape: Shape
    reason: str
    when_ms: int
    by_hand: bool = False


class Advance(NamedTuple):
    """A plan goes from one phase to another; nothing happens when it is not in the first."""

    plan: int
    from_phase: Phase
    to_phase: Phase
    when_ms: int
    why: str = ""


class CancelPlan(NamedTuple):
    """Somebody wants a plan taken back."""

    plan: int
    why: str
    when_ms: int


class SetPlanning(NamedTuple):
    """Pauses and resumes policies; what is not 0 in `limits` is set, its `paused` is not read."""

    pause: tuple[Policy, ...] = ()
    resume: tuple[Policy, ...] = ()
    limits: Planning = Planning(frozenset(), 0, 0, 0, 0, 0, 0, 0, 0)


Command = (
    Bootstrap | JoinNode | AddNode | SetNode | RemoveNode | CreateNamespace | SetNamespace | DeleteNamespace
    | StartPlan | Advance | CancelPlan | SetPlanning | Seal | Abort
)  # fmt: skip


def encode(command: Command) -> bytes:
    """An entry. The same command gives the same bytes."""
    kind, message = _KINDS[type(command)]
    payload: bytes = message(command).SerializeToString()
    return bytes((kind, VERSION)) + payload


def decode(data: bytes) -> Command:
    """Opens an entry. Raises UnknownEntryError."""
    reader = _READERS.get(data[0]) if len(data) >= _HEAD_BYTES else None
    if reader is None or data[1] != VERSION:
        raise UnknownEntryError(f"entry that begins with {data[:_HEAD_BYTES]!r}: not from this program")
    try:
        return reader(data[_HEAD_BYTES:])
    except (WireError, ValueError) as problem:
        raise UnknownEntryError(
            f"payload of an entry of kind {data[0]} cannot be read: {problem}"
        ) from problem


# ---- each kind ---------------------------------------------------------------------------------------


def _present(message: Any, *names: str) -> dict[str, Any]:
    """The optional fields that are set."""
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def _bootstrap(c: Bootstrap) -> pb.PlacementBootstrap:
    return pb.PlacementBootstrap(
        nodes=map(node_message, c.nodes),
        namespaces=map(namespace_message, c.namespaces),
        shards=map(shard_message, c.shards),
        replicas=c.replicas,
    )


def _read_bootstrap(data: bytes) -> Bootstrap:
    m = pb.PlacementBootstrap.FromString(data)
    return Bootstrap(
        tuple(map(read_node, m.nodes)),
        tuple(map(read_namespace, m.namespaces)),
        tuple(map(read_shard, m.shards)),
        tuple(m.replicas),
    )


def _join(c: JoinNode) -> pb.PlacementJoinNode:
    return pb.PlacementJoinNode(**c._asdict() | {"labels": label_messages(c.labels)})


def _read_join(data: bytes) -> JoinNode:
    m = pb.PlacementJoinNode.FromString(data)
    return JoinNode(m.address, m.incarnation, m.node, m.http, m.zone, read_labels(m.labels), m.weight)


def _add(c: AddNode) -> pb.PlacementAddNode:
    return pb.PlacementAddNode(**c._asdict() | {"labels": label_messages(c.labels)})


def _read_add(data: bytes) -> AddNode:
    m = pb.PlacementAddNode.FromString(data)
    return AddNode(m.address, m.zone, read_labels(m.labels), m.weight)


def _set_node(c: SetNode) -> pb.PlacementSetNode:
    return pb.PlacementSetNode(**c._asdict() | {"set_labels": label_messages(c.set_labels)})


def _read_set_node(data: bytes) -> SetNode:
    m = pb.PlacementSetNode.FromString(data)
    return SetNode(
        m.node,
        set_labels=read_labels(m.set_labels),
        drop_labels=tuple(m.drop_labels),
        **_present(m, "cordoned_until_ms", "draining", "weight", "zone"),
    )


def _remove(c: RemoveNode) -> pb.PlacementRemoveNode:
    return pb.PlacementRemoveNode(node=c.node)


def _read_remove(data: bytes) -> RemoveNode:
    return RemoveNode(pb.PlacementRemoveNode.FromString(data).node)


def _create(c: CreateNamespace) -> pb.PlacementCreateNamespace:
    return pb.PlacementCreateNamespace(
        namespace=namespace_message(c.namespace), shards=map(part_message, c.shards)
    )


def _read_create(data: bytes) -> CreateNamespace:
    m = pb.PlacementCreateNamespace.FromString(data)
    return CreateNamespace(read_namespace(m.namespace), tuple(map(read_part, m.shards)))


def _set_namespace(c: SetNamespace) -> pb.PlacementSetNamespace:
    return pb.PlacementSetNamespace(**c._asdict())


def _read_set_namespace(data: bytes) -> SetNamespace:
    m = pb.PlacementSetNamespace.FromString(data)
    changes = _present(m, "budget_bytes", "eviction", "strict_ttl", "replicas")
    if "eviction" in changes:
        changes["eviction"] = Eviction(changes["eviction"])
    return SetNamespace(m.name, **changes)


def _delete(c: DeleteNamespace) -> pb.PlacementDeleteNamespace:
    return pb.PlacementDeleteNamespace(name=c.name)


def _read_delete(data: bytes) -> DeleteNamespace:
    return DeleteNamespace(pb.PlacementDeleteNamespace.FromString(data).name)


def _start(c: StartPlan) -> pb.PlacementStartPlan:
    return pb.PlacementStartPlan(
        kind=c.shape.kind,
        epoch=c.shape.epoch,
        sources=c.shape.sources,
        targets=map(part_message, c.shape.targets),
        reason=c.reason,
        when_ms=c.when_ms,
        by_hand=c.by_hand,
    )


def _read_start(data: bytes) -> StartPlan:
    m = pb.PlacementStartPlan.FromString(data)
    shape = Shape(Kind(m.kind), tuple(m.sources), tuple(map(read_part, m.targets)), m.epoch)
    return StartPlan(shape, m.reason, m.when_ms, m.by_hand)


def _advance(c: Advance) -> pb.PlacementAdvance:
    return pb.PlacementAdvance(**c._asdict())


def _read_advance(data: bytes) -> Advance:
    m = pb.PlacementAdvance.FromString(data)
    return Advance(m.plan, Phase(m.from_phase), Phase(m.to_phase), m.when_ms, m.why)


def _cancel(c: CancelPlan) -> pb.PlacementCancelPlan:
    return pb.PlacementCancelPlan(**c._asdict())


def _read_cancel(data: bytes) -> CancelPlan:
    m = pb.PlacementCancelPlan.FromString(data)
    return CancelPlan(m.plan, m.why, m.when_ms)


def _set_planning(c: SetPlanning) -> pb.PlacementSetPlanning:
    return pb.PlacementSetPlanning(pause=c.pause, resume=c.resume, limits=planning_message(c.limits))


def _read_set_planning(data: bytes) -> SetPlanning:
    m = pb.PlacementSetPlanning.FromString(data)
    return SetPlanning(tuple(map(Policy, m.pause)), tuple(map(Policy, m.resume)), read_planning(m.limits))


def _seal(c: Seal) -> pb.PlacementSeal:
    problem = c.problem()
    if problem:  # applied, it would stop every replica
        raise ValueError(problem)
    return pb.PlacementSeal(seal=seal_message(c))


def _read_seal(data: bytes) -> Seal:
    return seal_of(pb.PlacementSeal.FromString(data).seal)


def _abort(c: Abort) -> pb.PlacementAbort:
    return pb.PlacementAbort(plan=c.plan)


def _read_abort(data: bytes) -> Abort:
    return Abort(pb.PlacementAbort.FromString(data).plan)


# Numbers are never used again.
_KINDS: dict[type, tuple[int, Callable[[Any], Any]]] = {
    Bootstrap: (1, _bootstrap),
    JoinNode: (2, _join),
    AddNode: (3, _add),
    SetNode: (4, _set_node),
    RemoveNode: (5, _remove),
    CreateNamespace: (6, _create),
    SetNamespace: (7, _set_namespace),
    DeleteNamespace: (8, _delete),
    StartPlan: (9, _start),
    Advance: (10, _advance),
    CancelPlan: (11, _cancel),
    SetPlanning: (12, _set_planning),
    Seal: (13, _seal),
    Abort: (14, _abort),
}
_READERS: dict[int, Callable[[bytes], Command]] = {
    1: _read_bootstrap,
    2: _read_join,
    3: _read_add,
    4: _read_set_node,
    5: _read_remove,
    6: _read_create,
    7: _read_set_namespace,
    8: _read_delete,
    9: _read_start,
    10: _read_advance,
    11: _read_cancel,
    12: _read_set_planning,
    13: _read_seal,
    14: _read_abort,
}
