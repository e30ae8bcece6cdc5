"""Replicas off nodes that are lost or draining, and plans given up that wait for such a node.

A node is lost when it is gone, or down for longer than `replace_after_ms` and not cordoned. Nothing is
held against a node of which nothing is known: a placement leader that has just begun listens first.
Not here: why a node is down (loads.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holdfast_node.placement.cluster import Policy, ids
from holdfast_node.placement.outlook import Outlook, Standing
from holdfast_node.placement.placing import filled_up
from holdfast_node.placement.plan import Kind, Phase


def lost_nodes(outlook: Outlook) -> dict[int, str]:
    """Nodes whose replicas are to be replaced, and why."""
    found = {}
    for node in outlook.content.nodes.values():
        down_ms = outlook.loads.node(node.id).down_ms
        if node.gone:
            found[node.id] = "has lost its data directory"
        elif (
            down_ms and down_ms >= outlook.planning.replace_after_ms and not node.is_cordoned(outlook.now_ms)
        ):
            found[node.id] = f"is down for {down_ms // 1000} s"
    return found


def replace(outlook: Outlook) -> None:
    """Replaces replicas of lost nodes."""
    policy, lost = Policy.REPLACE, lost_nodes(outlook)
    for node in outlook.content.members().values():
        if outlook.loads.node(node.id).down_ms and node.id not in lost:
            held = "it is cordoned" if node.is_cordoned(outlook.now_ms) else "not for long enough"
            outlook.say_idle(policy, f"node {node.id} is down; {held}")
    unknown = outlook.unknown()
    if unknown:
        outlook.say_idle(policy, f"nothing is known yet of nodes {ids(unknown)}")
    _empty(outlook, policy, lost, lambda standing: not standing.is_taken)


def drain(outlook: Outlook) -> None:
    """Moves replicas off draining nodes."""
    draining = {node.id: "is being drained" for node in outlook.content.members().values() if node.draining}
    _empty(outlook, Policy.DRAIN, draining, lambda s: not s.is_taken and not s.is_settling)


def _empty(
    outlook: Outlook, policy: Policy, leaving: dict[int, str], may_be_moved: Callable[[Standing], bool]
) -> None:
    """Wishes every replica on `leaving` elsewhere: the placement group's first, as it heals all others,
    then of what has the fewest replicas left.
    """
    held = outlook.held()
    hit = [s for s in outlook.everything() if may_be_moved(s) and not leaving.keys().isdisjoint(s.replicas)]
    hit.sort(key=lambda s: (not s.row.is_placement, sum(outlook.is_up(node) for node in s.replicas)))
    waiting: list[str] = []
    for standing in hit:
        group = standing.row.group
        if not standing.is_served:
            outlook.say_idle(policy, f"{standing.name} has no majority to move it: start its nodes")
            continue
        if outlook.is_full(policy, standing):
            return
        stays = [node for node in standing.replicas if node not in leaving]
        takers = outlook.takers(standing)
        wanted = filled_up(outlook.content.nodes, stays, takers, len(standing.replicas), held)
        if wanted is None:
            waiting.append(standing.name)
            continue
        node = next(node for node in standing.replicas if node in leaving)
        outlook.move(policy, group, wanted, f"node {node} {leaving[node]}")
        for newcomer in set(wanted) - set(standing.replicas):
            held[newcomer] += standing.size
    if waiting:
        outlook.say_idle(
            policy,
            f"{_some(waiting)} wait for a node that can take them: others are copying, full, or there"
            " already",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def hopeless(outlook: Outlook) -> Iterator[tuple[int, str]]:
    """Open plans that wait for a lost node, and why to take them back."""
    lost = lost_nodes(outlook)
    for plan in outlook.content.plans.values():
        if plan.phase not in (Phase.PREPARE, Phase.SEAL):
            continue
        if plan.kind is Kind.MERGE:
            needed = sorted({node for source in plan.sources for node in source.replicas})
        else:
            needed = sorted({node for node, _ in plan.newcomers()})
        for node in needed:
            if node in lost:
                yield plan.id, f"node {node} {lost[node]}"
                break
