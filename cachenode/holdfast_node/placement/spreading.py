"""As many replicas as a namespace wants, over distinct zones first and distinct hosts then. So the placement
group of a cluster that began on one node or two gets its three as soon as there are nodes for them.

It ends: every move lowers the pairs of replicas that would fail together, or brings their number nearer to
what is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast_node.placement.cluster import Node, Policy, ids
from holdfast_node.placement.outlook import Outlook, Standing
from holdfast_node.placement.placing import crowding, filled_up, replicas_wanted


def spread(outlook: Outlook) -> None:
    """As many replicas as the namespace wants, over distinct zones and hosts."""
    policy, held = Policy.BALANCE, outlook.held()
    able = {node.id for node in outlook.participants()}
    floor = _Floor(outlook)
    for standing in outlook.everything():
        if not standing.may_be_planned:
            continue
        wanted, why = _better(outlook, standing, able, held, floor)
        if wanted is None:
            continue
        if outlook.is_full(policy, standing):
            return
        outlook.move(policy, standing.row.group, wanted, why)
        for node in set(wanted) - set(standing.replicas):
            held[node] += standing.size


def _better(
    outlook: Outlook, standing: Standing, able: set[int], held: Mapping[int, int], floor: _Floor
) -> tuple[tuple[int, ...] | None, str]:
    """The replicas a shard should have instead, and why; None: those it has are good."""
    nodes, present = outlook.content.nodes, standing.replicas
    namespace = outlook.content.space_of(standing.row)
    count = replicas_wanted(namespace, len(present), len(able | set(present)))
    if count == len(present) and crowding(nodes, present) == floor.of(count):
        return None, ""
    takers = outlook.takers(standing)
    if count > len(present):
        return filled_up(nodes, present, takers, count, held), _count_why(standing, count)
    if count < len(present):
        others = [node for node in present if node != standing.leader]
        worst = min(others, key=lambda n: (_without(nodes, present, n), -held[n], n))
        return tuple(node for node in present if node != worst), _count_why(standing, count)
    free = [node.id for node in takers if node.id not in present]
    choices = [
        (crowding(nodes, swapped), held[new], new, old)
        for old in present
        for new in free
        if (swapped := [new if node == old else node for node in present])
    ]
    if not choices or min(choices)[0] >= crowding(nodes, present):
        return None, ""
    _, _, new, old = min(choices)
    why = f"nodes {ids(present)} share a zone or host"
    return tuple(new if node == old else node for node in present), why


def _count_why(standing: Standing, count: int) -> str:
    row, present = standing.row, len(standing.replicas)
    if row.is_placement:
        return f"the placement group has {present} replicas; {count} nodes can have one"
    return f"{present} replicas; namespace {row.namespace} has {count}"


def _without(nodes: Mapping[int, Node], replicas: Sequence[int], left_out: int) -> tuple[int, int]:
    """How crowded it is without one of them."""
    return crowding(nodes, [node for node in replicas if node != left_out])


class _Floor:
    """The least crowding that any choice among the participants can have: saves looking for a better one."""

    def __init__(self, outlook: Outlook) -> None:
        nodes = outlook.participants()
        self._zones = len({node.zone for node in nodes if node.zone}) + sum(not node.zone for node in nodes)
        self._hosts = len({node.host for node in nodes})

    def of(self, replicas: int) -> tuple[int, int]:
        return _pairs_min(replicas, self._zones), _pairs_min(replicas, self._hosts)


def _pairs_min(things: int, places: int) -> int:
    """Pairs in one place when things are spread as evenly as can be."""
    if not places:
        return 0
    each, more = divmod(things, places)
    return more * (each + 1) * each // 2 + (places - more) * each * (each - 1) // 2
