"""Small, cold neighbours become one shard; when they are on different nodes, the smaller moves first.

Left alone: what was split less than ten minutes ago, and cuts that somebody asked for.
"""

from __future__ import annotations

import itertools

from holdfast_node.placement.cluster import Policy, ids
from holdfast_node.placement.outlook import Outlook, Standing

MERGE_REST_MS = 10 * 60 * 1000
COLD_OPS_PER_S = 50
"""Of both together: what a merge saves is less than what its pause costs a shard in use."""


def merge(outlook: Outlook) -> None:
    """Merges neighbours that are together below merge_bytes and cold."""
    policy = Policy.MERGE
    small = 0
    for namespace in sorted(outlook.content.namespaces):
        for left_row, right_row in itertools.pairwise(outlook.content.row(namespace)):
            left, right = outlook.shards[left_row.group], outlook.shards[right_row.group]
            if not _are_small(outlook, left, right):
                continue
            small += 1
            why_not = _why_not(outlook, left, right)
            if why_not:
                outlook.say_idle(
                    policy, f"shards {left_row.group} and {right_row.group} are small; {why_not}"
                )
            elif outlook.is_full(policy):
                return
            else:
                _wish(outlook, left, right)
    if not small:
        limit = outlook.planning.merge_bytes
        outlook.say_idle(policy, f"no cold neighbours are together below {limit} bytes")


def _are_small(outlook: Outlook, left: Standing, right: Standing) -> bool:
    return (
        left.load is not None
        and right.load is not None
        and left.load.bytes + right.load.bytes < outlook.planning.merge_bytes
        and left.load.ops_per_s + right.load.ops_per_s <= COLD_OPS_PER_S
    )


def _why_not(outlook: Outlook, left: Standing, right: Standing) -> str:
    if right.row.kept:
        return "the cut between them was asked for"
    if not (left.may_be_planned and right.may_be_planned):
        return "they wait for a leader, or for a plan that is under way"
    split_ms = max(left.row.split_ms, right.row.split_ms)
    if outlook.now_ms - split_ms < MERGE_REST_MS:
        return "they were split less than 10 minutes ago"
    down = [node for node in {*left.replicas, *right.replicas} if not outlook.is_up(node)]
    if down:
        return f"nodes {ids(sorted(down))} are not up"
    if set(left.replicas) != set(right.replicas) and not _who_moves(outlook, left, right):
        return "neither can be moved to the other's nodes now"
    return ""


def _wish(outlook: Outlook, left: Standing, right: Standing) -> None:
    together = sum(s.load.bytes for s in (left, right) if s.load is not None)
    why = f"shards {left.row.group} and {right.row.group} hold {together} bytes and are cold"
    if set(left.replicas) == set(right.replicas):
        outlook.merge(Policy.MERGE, left.row.group, right.row.group, why)
        return
    found = _who_moves(outlook, left, right)
    assert found is not None, "asked before"
    mover, stayer = found
    outlook.move(Policy.MERGE, mover.row.group, stayer.replicas, f"{why}: first to the same nodes")
    # The other one must still be where it is when they are merged.
    outlook.hold(stayer.row.group)


def _who_moves(outlook: Outlook, left: Standing, right: Standing) -> tuple[Standing, Standing] | None:
    """(who moves, who stays): the smaller rather, if the other's nodes can take it."""
    for mover, stayer in sorted(((left, right), (right, left)), key=lambda pair: pair[0].size):
        takers = {node.id for node in outlook.takers(mover)}
        if set(stayer.replicas) - set(mover.replicas) <= takers:
            return mover, stayer
    return None
