"""Between placement's words and protobuf, both ways; where its bad requests are refused.

Pure: no clock, network, files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.errors import HoldfastError, error
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica
from holdfast.shardmap import Shard as MapEntry
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import types_pb2

from holdfast_node import limits
from holdfast_node.cache.policy import Eviction
from holdfast_node.config import ConfigError, check_grpc_address
from holdfast_node.placement.by_hand import Desk
from holdfast_node.placement.cluster import PLANNING_BOUNDS, Namespace, Node, Planning, Policy, Refusal
from holdfast_node.placement.content import Content
from holdfast_node.placement.outlook import Wish
from holdfast_node.placement.plan import Plan
from holdfast_node.placement.plans import as_plan
from holdfast_node.placement.shape import Shape
from holdfast_node.rpc import convert

CORDON_MS_MAX = 30 * 24 * 3600 * 1000
LIMITS = tuple(PLANNING_BOUNDS)


def refusal(problem: Refusal) -> HoldfastError:
    """The error that a refusal is."""
    return error(problem.reason, problem.message, field=problem.field)


# ---- plans ---------------------------------------------------------------------------------------------


def shape_asked(
    desk: Desk, request: pb.SplitShardRequest | pb.MergeShardsRequest | pb.MoveShardRequest
) -> Shape:
    """The shape that somebody asks for. Raises HoldfastError."""
    if isinstance(request, pb.SplitShardRequest):
        shape = _split_asked(desk, request)
    elif isinstance(request, pb.MergeShardsRequest):
        shape = desk.merge(request.group, request.other)
    elif request.nodes and (request.from_node or request.to_node):
        raise convert.invalid("nodes", "or from_node and to_node: one of the two says where")
    elif request.nodes:
        shape = desk.move(request.group, tuple(request.nodes))
    elif request.from_node and request.to_node:
        shape = desk.move_one(request.group, request.from_node, request.to_node)
    else:
        raise convert.invalid("nodes", "is required, or from_node and to_node")
    if isinstance(shape, Refusal):
        raise refusal(shape)
    return shape


def _split_asked(desk: Desk, request: pb.SplitShardRequest) -> Shape | Refusal:
    where = request.WhichOneof("where")
    if where == "key":
        return desk.split_at(request.group, request.key)
    if where == "place":
        return desk.split_at_place(request.group, request.place)
    if where == "by_load" and request.by_load:
        return desk.split_by_load(request.group)
    if where == "middle" and request.middle:
        return desk.split_middle(request.group)
    raise convert.invalid("where", "is required: a key, a place, middle or by_load")


def plan_message(content: Content, plan: Plan, progress: str = "") -> pb.Plan:
    """A plan for people and programs."""
    return pb.Plan(
        id=plan.id,
        kind=pb.Plan.Kind.ValueType(plan.kind),
        phase=pb.Plan.Phase.ValueType(plan.phase),
        sources=(_shard(content, plan.namespace, s.group, s.start, s.end, s.replicas) for s in plan.sources),
        targets=(_shard(content, plan.namespace, t.group, t.start, t.end, t.replicas) for t in plan.targets),
        reason=plan.reason,
        progress=plan.why_cancelled or progress,
        created_ms=plan.created_ms,
        ended_ms=plan.ended_ms,
    )


def _shard(
    content: Content, namespace: str, group: int, start: bytes, end: bytes, replicas: Iterable[int]
) -> types_pb2.Shard:
    def address(node: int) -> str:
        known = content.nodes.get(node)
        return known.address if known is not None else ""

    row = content.shards.get(group)
    addressed = tuple(Replica(node, address(node)) for node in replicas)
    known = content.namespaces.get(namespace)
    entry = MapEntry(
        namespace, KeyRange(start, end), group, row.epoch if row is not None else 0, addressed, 0,
        known.hashed_by if known is not None else None,
    )  # fmt: skip
    return convert.shard_message(entry)


def wish_message(content: Content, wish: Wish, now_ms: int) -> pb.Proposal:
    """Something a policy would do."""
    message = pb.Proposal(
        policy=pb.Planning.Policy.ValueType(wish.policy),
        transfer_group=wish.transfer_group,
        transfer_to=wish.transfer_to,
        why=wish.why,
    )
    if wish.shape is not None:
        plan = as_plan(content, wish.shape, reason=wish.why, when_ms=now_ms)
        message.plan.CopyFrom(plan_message(content, plan))
    return message


# ---- nodes ---------------------------------------------------------------------------------------------


def node_fields(node: Node) -> dict[str, Any]:
    """What the placement group keeps of a node, as fields of pb.Node."""
    return {
        "id": node.id,
        "address": node.address,
        "http": node.http,
        "zone": node.zone,
        "incarnation": node.incarnation,
        "labels": dict(node.labels),
        "weight": node.weight,
        "cordoned_until_ms": node.cordoned_until_ms,
        "draining": node.draining,
        "expected": node.expected,
    }


def address_of(request: pb.AddNodeRequest | pb.JoinClusterRequest) -> str:
    """Where a node is to be reached. Raises HoldfastError."""
    try:
        check_grpc_address("address", request.address)
    except ConfigError as problem:
        raise convert.invalid("address", problem.message) from None
    return request.address


def cordon_until(request: pb.SetNodeRequest, now_ms: int) -> int | None:
    """Until when a node is to be cordoned; None: as it is. Raises HoldfastError."""
    if not request.HasField("cordon_ms"):
        return None
    if request.cordon_ms > CORDON_MS_MAX:
        raise convert.invalid("cordon_ms", f"may be {CORDON_MS_MAX}, is {request.cordon_ms}")
    return now_ms + request.cordon_ms if request.cordon_ms else 0


# ---- namespaces ----------------------------------------------------------------------------------------


def namespace_asked(message: pb.Namespace) -> Namespace:
    """The namespace that somebody asks for. Raises HoldfastError."""
    if len(message.unit_separator) > 1:
        raise convert.invalid("namespace.unit_separator", "is one byte, or empty for '/'")
    usual = Namespace(message.name)
    return Namespace(
        message.name,
        message.budget_bytes or usual.budget_bytes,
        eviction_asked(message.eviction, "namespace.eviction") or usual.eviction,
        message.strict_ttl,
        message.replicas or usual.replicas,
        message.unit_parts,
        message.unit_separator or usual.unit_separator,
        message.hashed,
    )


def eviction_asked(number: int, field: str) -> Eviction | None:
    """What a full shard is to do; None: as usual. Raises HoldfastError."""
    try:
        return Eviction(number) if number else None
    except ValueError:
        raise convert.invalid(field, f"is none this version knows: {number}") from None


def namespace_message(
    content: Content, namespace: Namespace, keys: int = 0, size_bytes: int = 0
) -> pb.Namespace:
    """A namespace with what its shards hold."""
    return pb.Namespace(
        name=namespace.name,
        budget_bytes=namespace.budget_bytes,
        eviction=pb.Namespace.Eviction.ValueType(namespace.eviction),
        strict_ttl=namespace.strict_ttl,
        replicas=namespace.replicas,
        unit_parts=namespace.unit_parts,
        unit_separator=namespace.unit_separator,
        hashed=namespace.hashed,
        shards=len(content.row(namespace.name)),
        keys=keys,
        bytes=size_bytes,
    )


# ---- planning ------------------------------------------------------------------------------------------


def planning_message(planning: Planning) -> pb.Planning:
    """What the planner goes by."""
    return pb.Planning(
        paused=(pb.Planning.Policy.ValueType(policy) for policy in sorted(planning.paused)),
        **{name: getattr(planning, name) for name in LIMITS},
    )


def policies(numbers: Iterable[int], field: str) -> tuple[Policy, ...]:
    """Policies by their numbers. Raises HoldfastError."""
    try:
        return tuple(Policy(number) for number in numbers)
    except ValueError:
        known = ", ".join(policy.name.lower() for policy in Policy)
        raise convert.invalid(field, f"names an unknown policy; there are {known}") from None


def limits_asked(message: pb.Planning) -> Planning:
    """Limits to be set; 0: as they are."""
    return Planning(frozenset(), *(getattr(message, name) for name in LIMITS))


def first_shards(request: pb.CreateNamespaceRequest) -> int:
    """How many shards a new namespace begins with. Raises HoldfastError."""
    count = request.shards or len(request.cuts) + 1
    if request.cuts and count != len(request.cuts) + 1:
        raise convert.invalid(
            "shards", f"says {count}, {len(request.cuts)} cuts make {len(request.cuts) + 1}"
        )
    if any(len(cut) > limits.KEY_BYTES_MAX for cut in request.cuts):
        raise convert.invalid("cuts", f"may be {limits.KEY_BYTES_MAX} bytes each")
    return count
