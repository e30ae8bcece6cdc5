"""Leaderships over nodes by their weight: handed over where that will do, else with a replica that moves.

It ends: every step takes a leadership from a node that leads too many to one that leads fewer by two or
more, against their shares; a replica moves for that only while every node stays within what balance.py
leaves alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from holdfast_node.placement.balance import Share, byte_shares, shares, skew_limit
from holdfast_node.placement.cluster import Policy
from holdfast_node.placement.outlook import Outlook
from holdfast_node.placement.placing import crowding

TRANSFERS_MAX = 8
"""Leaderships handed over in one round."""


def even_leaders(outlook: Outlook) -> None:
    """Hands leaderships over until no node leads more than its share, or less."""
    policy = Policy.BALANCE
    for _ in range(TRANSFERS_MAX):
        leads, wanted = _leads(outlook)
        path = _path(outlook, leads, wanted)
        if not path:
            _move_one(outlook, leads, wanted)
            return
        for group, to_node in path:
            from_node = outlook.shards[group].leader
            why = f"node {from_node} leads {leads[from_node]} shards, node {to_node} leads {leads[to_node]}"
            outlook.transfer(policy, group, to_node, why)
    outlook.say_idle(policy, f"{TRANSFERS_MAX} leaderships at once are enough")


def _leads(outlook: Outlook) -> tuple[dict[int, int], dict[int, float]]:
    """How many shards each participant leads, and how many it should."""
    participants = outlook.participants()
    leads = {node.id: 0 for node in participants}
    hosts = dict.fromkeys(leads, 0)
    for standing in outlook.shards.values():
        for node in standing.replicas:
            if node in hosts:
                hosts[node] += 1
        if standing.leader in leads:
            leads[standing.leader] += 1
    wanted = shares(sum(leads.values()), [(node.weight, 0, hosts[node.id]) for node in participants])
    return leads, dict(zip(leads, wanted, strict=True))


def _path(outlook: Outlook, leads: Mapping[int, int], wanted: Mapping[int, float]) -> list[tuple[int, int]]:
    """The shortest chain of handovers from a node with too many to one with too few."""
    over, allowed = _over(outlook, leads, wanted)
    edges: dict[int, list[tuple[int, int]]] = {node: [] for node in leads}
    for standing in outlook.ordered():
        if standing.may_be_planned and standing.leader in edges:
            edges[standing.leader] += [
                (standing.row.group, n) for n in standing.replicas if n != standing.leader
            ]
    for start in sorted(over, key=lambda n: (-over[n], n)):
        if over[start] <= 0:
            break
        # A handover helps when it takes from who has more above than the other would have after it.
        ends = {n for n in over if over[start] - over[n] > 1 and _is_off(over, allowed, start, n)}
        found = _shortest(edges, start, ends)
        if found:
            return found
    return []


def _over(
    outlook: Outlook, leads: Mapping[int, int], wanted: Mapping[int, float]
) -> tuple[dict[int, float], dict[int, float]]:
    """By node: how many it leads above its share, and how many that may be."""
    allowed = {n: max(1.0, share * outlook.planning.skew_percent / 100) for n, share in wanted.items()}
    return {n: leads[n] - wanted[n] for n in leads}, allowed


def _move_one(outlook: Outlook, leads: Mapping[int, int], wanted: Mapping[int, float]) -> None:
    """No handover helps: a leading replica moves to a node that should lead more, where bytes allow it."""
    policy = Policy.BALANCE
    over, allowed = _over(outlook, leads, wanted)
    if all(abs(over[n]) < allowed[n] for n in over):
        outlook.say_idle(policy, "leaders are as their weights want")
        return
    held = {share.node: share for share in byte_shares(outlook)}
    for start in sorted(over, key=lambda n: (-over[n], n)):
        for end in sorted(over, key=lambda n: (over[n], n)):
            if over[start] - over[end] <= 1 or not _is_off(over, allowed, start, end):
                continue
            group = _movable(outlook, held, start, end)
            if not group:
                continue
            if outlook.is_full(policy):
                return
            replicas = [end if node == start else node for node in outlook.shards[group].replicas]
            why = f"node {start} leads {leads[start]} shards, node {end} leads {leads[end]}"
            outlook.move(policy, group, (end, *(n for n in replicas if n != end)), why)
            return
    outlook.say_idle(policy, "leaders are as near to their weights as bytes and zones allow now")


def _movable(outlook: Outlook, held: Mapping[int, Share], start: int, end: int) -> int:
    """The smallest shard that `start` leads and whose replica may go to `end`; 0: none."""
    limit, nodes = skew_limit(outlook), outlook.content.nodes
    if start not in held or end not in held or outlook.loads.node(end).disk_full:
        return 0
    for standing in sorted(outlook.ordered(), key=lambda s: (s.size, s.row.group)):
        size = standing.size
        stays_even = (
            held[start].over - size >= -limit * held[start].share
            and held[end].over + size <= limit * held[end].share
        )
        if not stays_even:
            return 0
        if standing.leader != start or end in standing.replicas or not standing.may_be_planned:
            continue
        swapped = [end if node == start else node for node in standing.replicas]
        better = crowding(nodes, swapped) <= crowding(nodes, standing.replicas)
        if better and outlook.may_take(end, size):
            return standing.row.group
    return 0


def _is_off(over: Mapping[int, float], allowed: Mapping[int, float], start: int, end: int) -> bool:
    return over[start] >= allowed[start] or -over[end] >= allowed[end]


def _shortest(
    edges: Mapping[int, Sequence[tuple[int, int]]], start: int, ends: set[int]
) -> list[tuple[int, int]]:
    """Handovers (group, to) from start to one of ends; a shard is handed over once."""
    came: dict[int, tuple[int, int]] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node in ends:
            path = []
            while node != start:
                group, before = came[node]
                path.append((group, node))
                node = before
            return path[::-1]
        for group, following in edges.get(node, ()):
            if following in edges and following != start and following not in came:
                came[following] = (group, node)
                queue.append(following)
    return []
