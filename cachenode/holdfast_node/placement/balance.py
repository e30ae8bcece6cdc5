"""Bytes over nodes by their weight, by moves of single replicas.

It ends: a move goes from a node above its share to one below it, overshoots by at most half of what parted
them, and crowds no zone; nothing is begun while every node is within the limit.
Every byte that moves goes downhill, so what is copied is near the least that will do.
Shares are those that can be reached: no node holds a shard twice, and zones hold as many copies as the
spread over zones lets them.
Not here: leaders (leading.py), zones and hosts (spreading.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from holdfast_node.placement.cluster import Node, Policy, ids
from holdfast_node.placement.outlook import Outlook, Standing
from holdfast_node.placement.placing import crowding

EXTREMES = 8
"""Nodes looked at from either end in search of a move: a bound for large clusters."""


class Share(NamedTuple):
    """What a node holds against what it should. over: positive when it holds too much."""

    node: int
    share: float
    over: float

    @property
    def skew(self) -> float:
        return self.over / self.share


def even_bytes(outlook: Outlook) -> None:
    """Moves single replicas from nodes above their share to nodes below it."""
    policy, limit = Policy.BALANCE, skew_limit(outlook)
    silent = [s.row.group for s in outlook.ordered() if s.load is None]
    if silent or outlook.unknown():
        outlook.say_idle(policy, f"figures are missing: shards {ids(silent)}, nodes {ids(outlook.unknown())}")
        return
    while True:
        standing = byte_shares(outlook)
        worst = max(standing, key=lambda s: (abs(s.skew), s.node), default=None)
        if worst is None or abs(worst.skew) <= limit:
            said = "no node takes replicas" if worst is None else f"at most {abs(worst.skew):.0%} off"
            outlook.say_idle(policy, f"bytes are as their weights want: {said}")
            return
        found = _best_move(outlook, standing, limit)
        if found is None:
            outlook.say_idle(
                policy,
                f"node {worst.node} is {worst.skew:+.0%} off its share of bytes, and no move helps now",
            )
            return
        if outlook.is_full(policy):
            return
        group, donor, taker = found
        replicas = tuple(taker if node == donor else node for node in outlook.shards[group].replicas)
        why = f"node {worst.node} is {worst.skew:+.0%} off its share of bytes"
        outlook.move(policy, group, replicas, f"{why}: from node {donor} to node {taker}")


def skew_limit(outlook: Outlook) -> float:
    """What a node may be off its share before something moves.

    Half of what is allowed, so that figures which drift a little begin nothing anew.
    """
    return outlook.planning.skew_percent / 200


def byte_shares(outlook: Outlook) -> list[Share]:
    """Each participant against its share, by what will be held."""
    participants = {node.id: node for node in outlook.participants() if node.weight}
    held = dict.fromkeys(participants, 0)
    for standing in outlook.shards.values():
        for node in standing.replicas:
            if node in held:
                held[node] += standing.size
    wanted = _reachable(outlook, participants)
    return [Share(n, wanted[n], held[n] - wanted[n]) for n in participants if wanted[n] > 0]


def _reachable(outlook: Outlook, participants: Mapping[int, Node]) -> dict[int, float]:
    """What each node should hold: by weight, first among zones, then inside each."""
    zones: dict[str, list[Node]] = {}
    for node in participants.values():
        # A node without zone fails alone, as far as is known.
        zones.setdefault(node.zone or f"\0{node.id}", []).append(node)
    by_copies: dict[int, int] = {}
    for standing in outlook.shards.values():
        copies = sum(node in participants for node in standing.replicas)
        by_copies[copies] = by_copies.get(copies, 0) + standing.size
    whole = sum(copies * size for copies, size in by_copies.items())
    once = sum(by_copies.values())
    least, most = dict.fromkeys(zones, 0), dict.fromkeys(zones, 0)
    for copies, size in by_copies.items():
        for zone, members in zones.items():
            least[zone] += min(copies // len(zones), len(members)) * size
            most[zone] += min(-(-copies // len(zones)), len(members)) * size
    named = sorted(zones)
    by_zone = shares(whole, [(sum(n.weight for n in zones[z]), least[z], most[z]) for z in named])
    wanted: dict[int, float] = {}
    for zone, part in zip(named, by_zone, strict=True):
        inside = shares(part, [(node.weight, 0, once) for node in zones[zone]])
        wanted.update((node.id, share) for node, share in zip(zones[zone], inside, strict=True))
    return wanted


def shares(whole: float, claims: Sequence[tuple[int, float, float]]) -> list[float]:
    """Divides `whole` by weight, each (weight, least, most) within its bounds."""
    if len(claims) == 1:
        return [min(max(whole, claims[0][1]), claims[0][2])]
    low, high = 0.0, whole + 1.0
    for _ in range(64):
        middle = (low + high) / 2
        if sum(min(max(middle * weight, least), most) for weight, least, most in claims) < whole:
            low = middle
        else:
            high = middle
    return [min(max(high * weight, least), most) for weight, least, most in claims]


def _best_move(outlook: Outlook, standing: Sequence[Share], limit: float) -> tuple[int, int, int] | None:
    """(group, from, to) of the move that evens most, between the most differing pair that has one."""
    by_skew = sorted(standing, key=lambda s: (s.skew, s.node))
    takers = [s for s in by_skew[:EXTREMES] if s.over < 0]
    donors = [s for s in reversed(by_skew[-EXTREMES:]) if s.over > 0]
    pairs = [(donor, taker) for donor in donors for taker in takers if max(donor.skew, -taker.skew) > limit]
    pairs.sort(key=lambda pair: (pair[1].skew - pair[0].skew, pair[0].node, pair[1].node))
    below = {s.node for s in standing if s.over < 0}
    for donor, taker in pairs:
        group = _best_between(outlook, donor, taker, below)
        if group:
            return group, donor.node, taker.node
    return None


def _best_between(outlook: Outlook, donor: Share, taker: Share, below: set[int]) -> int:
    """The shard whose move from one to the other evens most; 0: none does.

    Of those that do about as well, one that has no replica yet on a node below its share: so many shards
    come to such nodes rather than few wholly, and leaders can follow.
    """
    if outlook.loads.node(taker.node).disk_full:
        return 0
    apart = donor.skew - taker.skew
    slope = 1 / donor.share + 1 / taker.share
    found: list[tuple[float, int, int]] = []
    for standing in outlook.ordered():
        size = standing.size
        # Overshooting by more than half of what parts them would soon be moved back.
        if (
            size * slope > 1.5 * apart
            or donor.node not in standing.replicas
            or taker.node in standing.replicas
        ):
            continue
        if _may_swap(outlook, standing, donor.node, taker.node):
            gain = size * (2 * apart - size * slope)
            found.append((gain, sum(node in below for node in standing.replicas), standing.row.group))
    if not found:
        return 0
    enough = max(found)[0] / 2
    return min((there, -gain, group) for gain, there, group in found if gain >= enough)[2]


def _may_swap(outlook: Outlook, standing: Standing, donor: int, taker: int) -> bool:
    if not standing.may_be_planned or not outlook.may_take(taker, standing.size):
        return False
    swapped = [taker if node == donor else node for node in standing.replicas]
    nodes = outlook.content.nodes
    return crowding(nodes, swapped) <= crowding(nodes, standing.replicas)
