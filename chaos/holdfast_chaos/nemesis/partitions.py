"""Networks that are cut, by the wires between nodes: each kind is a set of directions.

Which directions a kind cuts is pure, and tested so; the proof is of the wires: bytes that had to wait.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from holdfast_chaos.cluster.admin import looks
from holdfast_chaos.cluster.wires import CLIENTS, between
from holdfast_chaos.nemesis.stage import Stage

Pairs = set[tuple[int, int]]
FLAP_S: Final = (0.1, 1.0)


def isolated(node: int, nodes: Collection[int]) -> Pairs:
    """One node from the others, both ways."""
    return between({node}, set(nodes) - {node})


def halves(nodes: Sequence[int], chance: random.Random) -> Pairs:
    """A minority from a majority."""
    small = set(chance.sample(list(nodes), max(1, (len(nodes) - 1) // 2)))
    return between(small, set(nodes) - small)


def ring(nodes: Sequence[int]) -> Pairs:
    """Each node hears only the one before it (three nodes), or its two neighbours (more)."""
    count = len(nodes)
    heard: Pairs = set()
    for at, node in enumerate(nodes):
        heard.add((node, nodes[(at + 1) % count]))
        if count > 3:
            heard.add((nodes[(at + 1) % count], node))
    return {(a, b) for a in nodes for b in nodes if a != b} - heard


def bridge(nodes: Sequence[int], chance: random.Random) -> Pairs:
    """Two sides that see each other only through one node in the middle."""
    middle = chance.choice(list(nodes))
    others = [node for node in nodes if node != middle]
    chance.shuffle(others)
    return between(others[: len(others) // 2], others[len(others) // 2 :])


def one_way(node: int, nodes: Collection[int], *, deaf: bool) -> Pairs:
    """A node that is not heard, or that does not hear."""
    others = set(nodes) - {node}
    return {(other, node) for other in others} if deaf else {(node, other) for other in others}


async def cut(stage: Stage, pairs: Pairs) -> None:
    """Cuts these directions until the end, and sees that bytes had to wait on them."""
    wires = stage.cluster.wires
    before = wires.held
    wires.cut(pairs)
    try:
        await stage.over()
        held = wires.held - before
        if held:
            stage.proof(f"{held} bytes had to wait, on {_shown(pairs)}")
    finally:
        wires.mend(pairs)


def _shown(pairs: Pairs) -> str:
    return ", ".join(f"{source}>{target}" for source, target in sorted(pairs))


async def isolate_leader(stage: Stage) -> None:
    """The leader from its peers; half the time from clients too."""
    node = await stage.leader()
    pairs = isolated(node, stage.cluster.numbers)
    if stage.chance.random() < 0.5:
        pairs |= between({node}, {CLIENTS})
    await cut(stage, pairs)


async def until_another_leads(stage: Stage) -> None:
    """The leader from its peers, until one of them leads: it is back when the first entries of that come."""
    node = await stage.leader()
    wires, admin = stage.cluster.wires, stage.cluster.admin
    led = {replica.group: replica.term for replica in await admin.replicas(node) if replica.is_leader}
    peers = [number for number in stage.healthy() if number != node]
    pairs, before = isolated(node, stage.cluster.numbers), wires.held
    if not peers:
        return
    looking = [asyncio.ensure_future(_overtaken(stage, number, led)) for number in peers]
    wires.cut(pairs)
    try:
        await asyncio.wait(looking, timeout=stage.left_s, return_when=asyncio.FIRST_COMPLETED)
        if wires.held > before:
            stage.proof(f"{wires.held - before} bytes to and from node {node} had to wait")
    finally:
        wires.mend(pairs)
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    await stage.over()


async def _overtaken(stage: Stage, number: int, led: Mapping[int, int]) -> None:
    """Returns once a node leads a later term of one of these groups (group -> term)."""
    async for replicas in looks(stage.cluster.admin, number):
        if any(r.is_leader and r.term > led.get(r.group, r.term) for r in replicas):
            return


async def in_halves(stage: Stage) -> None:
    """Clients reach both sides."""
    await cut(stage, halves(stage.cluster.numbers, stage.chance))


async def in_a_ring(stage: Stage) -> None:
    """No node hears all others."""
    await cut(stage, ring(stage.some(len(stage.cluster.numbers)) or stage.cluster.numbers))


async def by_a_bridge(stage: Stage) -> None:
    """One node is seen by everybody; the others only by their side."""
    await cut(stage, bridge(stage.cluster.numbers, stage.chance))


async def in_one_direction(stage: Stage) -> None:
    """The leader speaks and does not hear, or hears and is not heard."""
    node = await stage.leader()
    await cut(stage, one_way(node, stage.cluster.numbers, deaf=stage.chance.random() < 0.5))


async def from_clients(stage: Stage) -> None:
    """The leader's peers hear it and its clients do not: what these ask lies on the way until the end."""
    await cut(stage, between({await stage.leader()}, {CLIENTS}))


async def flapping(stage: Stage) -> None:
    """The leader of the moment is cut off and let back, again and again."""
    wires = stage.cluster.wires
    while stage.left_s > 0:
        node, before = await stage.leader(), wires.held
        pairs = isolated(node, stage.cluster.numbers)
        wires.cut(pairs)
        try:
            await asyncio.sleep(min(stage.chance.uniform(*FLAP_S), stage.left_s))
        finally:
            wires.mend(pairs)
        if wires.held > before:
            stage.proof(f"{wires.held - before} bytes to and from node {node} had to wait")
        await asyncio.sleep(min(stage.chance.uniform(*FLAP_S), stage.left_s))
