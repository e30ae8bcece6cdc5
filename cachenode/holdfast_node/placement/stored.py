"""What the placement group keeps, as messages and back.

Invariant: equal values give equal bytes: lists are ordered, there are no protobuf maps.
Reading raises ValueError for what no program of this version writes.
Source: proto/holdfast_node/v1/placement.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast_node.cache.policy import Eviction
from holdfast_node.cache.seal import Target
from holdfast_node.placement.cluster import Namespace, Node, Planning, Policy, ShardRow
from holdfast_node.placement.plan import Kind, Phase, Plan, Source
from holdfast_node.placement.shape import Part
from holdfast_node.v1 import placement_pb2 as pb

Labels = tuple[tuple[str, str], ...]


def labels_of(labels: Mapping[str, str]) -> Labels:
    """Labels in the order in which they are kept."""
    return tuple(sorted(labels.items()))


def label_messages(labels: Labels) -> list[pb.PlacementLabel]:
    return [pb.PlacementLabel(name=name, value=value) for name, value in labels]


def read_labels(messages: Iterable[pb.PlacementLabel]) -> Labels:
    return labels_of({message.name: message.value for message in messages})


def node_message(node: Node) -> pb.PlacementNode:
    fields = node._asdict()
    fields["labels"] = label_messages(node.labels)
    return pb.PlacementNode(**fields)


def read_node(m: pb.PlacementNode) -> Node:
    return Node(
        m.id, m.address, m.http, m.zone, read_labels(m.labels), m.weight, m.incarnation,
        m.cordoned_until_ms, m.draining, m.expected, m.gone,
    )  # fmt: skip


def namespace_message(namespace: Namespace) -> pb.PlacementNamespace:
    return pb.PlacementNamespace(**namespace._asdict())


def read_namespace(m: pb.PlacementNamespace) -> Namespace:
    return Namespace(
        m.name, m.budget_bytes, Eviction(m.eviction), m.strict_ttl, m.replicas,
        m.unit_parts, m.unit_separator, m.hashed,
    )  # fmt: skip


def shard_message(row: ShardRow) -> pb.PlacementShard:
    return pb.PlacementShard(**row._asdict())


def read_shard(m: pb.PlacementShard) -> ShardRow:
    return ShardRow(
        m.group, m.namespace, m.start, m.end, tuple(m.replicas), m.epoch, m.plan, m.split_ms, m.kept
    )


def part_message(part: Part) -> pb.PlacementPart:
    """A target whose group is not given yet."""
    return pb.PlacementPart(start=part.start, end=part.end, replicas=part.replicas)


def read_part(m: pb.PlacementPart) -> Part:
    return Part(m.start, m.end, tuple(m.replicas))


def plan_message(plan: Plan, *, by_hand: bool) -> pb.PlacementPlan:
    message = pb.PlacementPlan(
        id=plan.id,
        kind=plan.kind,
        namespace=plan.namespace,
        phase=plan.phase,
        reason=plan.reason,
        created_ms=plan.created_ms,
        ended_ms=plan.ended_ms,
        why_cancelled=plan.why_cancelled,
        by_hand=by_hand,
    )
    for messages, parts in ((message.sources, plan.sources), (message.targets, plan.targets)):
        for part in parts:
            messages.add(group=part.group, start=part.start, end=part.end, replicas=part.replicas)
    return message


def read_plan(m: pb.PlacementPlan) -> Plan:
    return Plan(
        id=m.id,
        kind=Kind(m.kind),
        namespace=m.namespace,
        sources=tuple(Source(p.group, p.start, p.end, tuple(p.replicas)) for p in m.sources),
        targets=tuple(
            Target(group=p.group, start=p.start, end=p.end, replicas=tuple(p.replicas)) for p in m.targets
        ),
        phase=Phase(m.phase),
        reason=m.reason,
        created_ms=m.created_ms,
        ended_ms=m.ended_ms,
        why_cancelled=m.why_cancelled,
    )


def planning_message(planning: Planning) -> pb.PlacementPlanning:
    fields = planning._asdict()
    fields["paused"] = sorted(planning.paused)
    return pb.PlacementPlanning(**fields)


def read_planning(m: pb.PlacementPlanning) -> Planning:
    return Planning(
        frozenset(Policy(policy) for policy in m.paused), m.split_bytes, m.merge_bytes, m.plans_max,
        m.copy_bytes_per_s, m.replace_after_ms, m.busy_percent, m.idle_percent, m.skew_percent,
    )  # fmt: skip
