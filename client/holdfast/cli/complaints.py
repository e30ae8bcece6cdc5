"""What is wrong with a cluster, one sentence each. Judges what others have looked at; asks nobody.

Nothing said means: it serves, and can lose a minority of the nodes of any shard. `cluster health` says the
first of these (`complaints`), `cluster check` all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from holdfast.cli.output import age_text, range_text, size_text
from holdfast.cli.placement import NodeFacts, ReplicaFacts
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.survey import Survey, best_replica, is_cordoned
from holdfast.shardmap import Shard

# A follower this far behind is said to lag; a healthy one is behind by what is in flight.
LAG_ENTRIES_MAX = 10_000
CLOCK_OFFSET_MS_MAX = 500
# A reshape takes seconds, a large copy minutes.
OVERDUE_S = 600.0
# With fewer on a node one shard more or less is more than any percentage.
SKEW_FROM = 10


def complaints(survey: Survey) -> Iterable[str]:
    """What is wrong, one sentence each; nothing: the cluster serves and can lose a minority of nodes."""
    yield from of_nodes(survey.nodes)
    for shard in survey.groups:
        yield from of_shard(shard, survey.all_replicas)


def called(shard: Shard) -> str:
    """How a sentence names it; the placement group is in no namespace."""
    return f"{'shard' if shard.namespace else 'placement group'} {shard.group}"


def of_nodes(nodes: Iterable[NodeFacts]) -> Iterable[str]:
    """Nodes that are down, clocks that are off. A node that is only expected is neither."""
    for node in nodes:
        if node.state != "up" and not node.expected:
            yield f"node {node.id} ({node.address}) is down"
        if abs(node.clock_offset_ms) > CLOCK_OFFSET_MS_MAX:
            yield f"the clock of node {node.id} is {node.clock_offset_ms:+d} ms off the others'"


def of_shard(shard: Shard, replicas: list[ReplicaFacts]) -> Iterable[str]:
    """Of a shard or the placement group: who leads it, and replicas that stopped or lag."""
    best = best_replica(shard, replicas)
    name = called(shard) + (f" ({shard.namespace} {range_text(shard)})" if shard.namespace else "")
    if best is None or best.role != "leader":
        yield f"{name} has no leader" + ("" if shard.namespace else ": nothing is planned, no node can join")
        return
    if not best.has_quorum:
        yield f"the leader of {name}, node {best.node}, has no proven quorum"
    for entry in replicas:
        if entry.shard.group != shard.group:
            continue
        behind = best.commit_index - entry.applied_index
        if entry.stopped_because:
            yield f"the replica of {name} on node {entry.node} has stopped: {entry.stopped_because}"
        elif behind > LAG_ENTRIES_MAX:
            yield f"the replica of {name} on node {entry.node} is {behind} entries behind"


def of_placement(shard: Shard, nodes: list[NodeFacts]) -> Iterable[str]:
    """Replicas that could stand further apart: over zones, and over hosts."""
    standing = {node.id: node for node in nodes}
    holding = [standing[replica.node] for replica in shard.replicas if replica.node in standing]
    usable = [node for node in nodes if _takes_a_share(node)]
    for word, of in (("in {} zones", _zone), ("on {} hosts", _host)):
        could = min(len(shard.replicas), len({of(node) for node in usable} - {""}))
        does = len({of(node) for node in holding} - {""})
        if does < could:
            nodes_named = ",".join(str(replica.node) for replica in shard.replicas)
            stands = word.format(does)
            yield f"{called(shard)} is {stands} (nodes {nodes_named}); {could} would be possible"


def _zone(node: NodeFacts) -> str:
    return node.zone


def _host(node: NodeFacts) -> str:
    return node.address.rpartition(":")[0]


def of_plans(plans: Iterable[PlanFacts], now_ms: float) -> Iterable[str]:
    """Plans that take longer than any should."""
    for plan in plans:
        age_s = (now_ms - plan.created_ms) / 1000
        if plan.created_ms and not plan.has_ended and age_s > OVERDUE_S:
            doing = plan.phase + (f": {plan.progress}" if plan.progress else "")
            yield f"plan {plan.id} ({plan.kind}) is under way for {age_text(age_s)}: {doing}"


def of_skew(
    shards: list[Shard], nodes: list[NodeFacts], replicas: list[ReplicaFacts], skew_percent: int
) -> Iterable[str]:
    """Bytes and leaders that are further from a node's share than the planner allows.

    Only what a move could mend: one shard more or less is no skew.
    """
    sharing = [node for node in nodes if _takes_a_share(node)]
    weights = {node.id: node.weight for node in sharing}
    if len(weights) < 2:
        return
    leaders = Counter(dict.fromkeys(weights, 0))
    held = Counter(dict.fromkeys(weights, 0))
    largest = 1
    for shard in shards:
        best = best_replica(shard, replicas)
        largest = max(largest, best.bytes if best else 0)
        leaders.update([best.node] if best and best.role == "leader" and best.node in weights else [])
        for replica in shard.replicas:
            if replica.node in weights:
                held[replica.node] += best.bytes if best else 0
    if len(shards) >= SKEW_FROM * len(weights):
        for node, count, share in _skewed(leaders, weights, 1, skew_percent):
            yield f"node {node} leads {count} shards, its share is {share:.0f}"
    if sum(len(shard.replicas) for shard in shards) >= SKEW_FROM * len(weights):
        for node, count, share in _skewed(held, weights, largest, skew_percent):
            yield f"node {node} holds {size_text(count)}, its share is {size_text(round(share))}"


def _takes_a_share(node: NodeFacts) -> bool:
    hindered = node.state != "up" or node.expected or node.draining or is_cordoned(node)
    return not hindered and node.weight > 0


def _skewed(
    has: Mapping[int, int], weights: Mapping[int, int], least: int, skew_percent: int
) -> Iterable[tuple[int, int, float]]:
    """Nodes that are off their share by more than `skew_percent` and by more than `least`."""
    total, weight = sum(has.values()), sum(weights.values())
    for node in sorted(weights):
        share = total * weights[node] / weight
        if abs(has[node] - share) > max(least, share * skew_percent / 100):
            yield node, has[node], share
