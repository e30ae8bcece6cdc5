"""Bytes changed on the disk of a stopped node, a torn tail, a disk that is gone: on a minority, one node.

A node that finds damage must refuse to start, or repair it; it must not serve from it. Which of the two it
did is the proof's text. One that refused is reset as an operator would (`holdfast node reset`), joins as a
new node, and gets the old one's replicas by moves.

A torn tail may take what was synced together with the WAL's marks of it, which a node cannot know by itself:
it serves what it has, and stops once the leader, to which it had confirmed more, tells it so. It is replaced
like one that refused.

That damage was not served is judged by all the other checkers: digests, values, linearizability.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.cluster.command_line import cli
from holdfast_chaos.cluster.node_process import NodeEndedError, NodeProcess
from holdfast_chaos.nemesis import ballast
from holdfast_chaos.nemesis.stage import Stage

LOOK_S: Final = 0.05
START_WITHIN_S: Final = 20.0
MOVE_WITHIN_S: Final = 30.0
BALLAST_MAX: Final = 30
"""Times that some MiB are written until a snapshot is due."""
REFUSED: Final = 1
"""Exit status of a node that does not start."""
FLIPS: Final = 3
TAIL_BYTES: Final = 4096
_WORDS: Final = {
    "refused": "refused to start",
    "repaired": "repaired it, or what was changed no longer counted",
    "lost": "came back with less than it had",
}


def wal_files(node: NodeProcess) -> list[Path]:
    """Segments, oldest first."""
    return _files(node, "wal")


def snapshot_files(node: NodeProcess) -> list[Path]:
    """Every snapshot's file."""
    return _files(node, "snapshots")


def _files(node: NodeProcess, folder: str) -> list[Path]:
    places = (node.place.disk / folder, node.place.data / folder)
    return sorted(path for place in places if place.is_dir() for path in place.rglob("*") if path.is_file())


def used_bytes(path: Path) -> int:
    """Where a preallocated file's zeros begin."""
    return len(path.read_bytes().rstrip(b"\0"))


def flip_bits(path: Path, chance: random.Random, count: int = FLIPS) -> list[int]:
    """Turns one bit over in each of some bytes that are in use; where."""
    data = bytearray(path.read_bytes())
    used = len(bytes(data).rstrip(b"\0"))
    places = sorted(chance.sample(range(used), min(count, used)))
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return places


def tear_tail(path: Path, chance: random.Random) -> int:
    """Cuts a WAL's last segment at any byte of its last few KiB: zeros from there on; how many bytes went.

    What is cut may have been synced: then the node must refuse, since it has promised it.
    """
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    at = chance.randrange(max(0, used - TAIL_BYTES), used)
    path.write_bytes(data[:at] + bytes(len(data) - at))
    return used - at


async def flip_wal(stage: Stage) -> None:
    """A few bits of one node's WAL, anywhere in it."""
    await _damaged(stage, "wal")


async def flip_snapshot(stage: Stage) -> None:
    """A few bits of one of its snapshots, which is made to exist first."""
    node = victim(stage)
    for _ in range(BALLAST_MAX):
        if await asyncio.to_thread(snapshot_files, node):
            break
        await ballast.write(stage.cluster)
    await _damaged(stage, "snapshots", node)


async def torn_tail(stage: Stage) -> None:
    """The end of one node's WAL is gone."""
    await _damaged(stage, "tail")


def victim(stage: Stage) -> NodeProcess:
    """A node whose disk may be lost."""
    return stage.cluster.nodes[stage.some(1)[0]]


async def wiped(stage: Stage) -> None:
    """One node's disk is gone; it comes back as a new node."""
    node = victim(stage)
    node.kill()
    stage.proof(f"node {node.number} lost {sum(p.stat().st_size for p in wal_files(node))} bytes of WAL")
    await stage.over()
    await replaced(stage, node)


async def _damaged(stage: Stage, what: str, node: NodeProcess | None = None) -> None:
    node = node or victim(stage)
    had = await _indices(stage.cluster, node)
    node.kill()
    said = await asyncio.to_thread(_damage, node, what, stage.chance)
    await stage.over()
    node.start()
    told = await _outcome(stage.cluster, node, had)
    stage.proof(f"{said}: node {node.number} {_WORDS[told]}")
    if told != "repaired":
        await replaced(stage, node)


async def _indices(cluster: Cluster, node: NodeProcess) -> dict[int, int]:
    """How far a node's replicas have applied their logs, by group."""
    return {replica.group: replica.applied_index for replica in await cluster.admin.replicas(node.number)}


def _damage(node: NodeProcess, what: str, chance: random.Random) -> str:
    segments = [path for path in wal_files(node) if used_bytes(path)]
    if what == "tail":
        return f"{tear_tail(segments[-1], chance)} bytes cut off {segments[-1].name}"
    snapshots = snapshot_files(node) if what == "snapshots" else []
    path = chance.choice(snapshots or segments)
    return f"bits at {flip_bits(path, chance)} of {path.parent.name}/{path.name} turned"


async def _outcome(cluster: Cluster, node: NodeProcess, had: dict[int, int]) -> str:
    """Waits until it has said what it makes of its disk: `refused`, `repaired`, or `lost` what it had."""
    loop = asyncio.get_running_loop()
    end = loop.time() + START_WITHIN_S
    while loop.time() < end:
        if not node.is_running:
            return "refused"
        has = await _indices(cluster, node)
        if await asyncio.to_thread(_is_ready, node) and all(
            has.get(g, 0) >= index for g, index in had.items()
        ):
            return "repaired"
        await asyncio.sleep(LOOK_S)
    if await cluster.admin.replicas(node.number):
        return "lost"
    raise TimeoutError(f"node {node.number} neither refuses nor serves")


def _is_ready(node: NodeProcess) -> bool:
    try:
        return node.is_ready()
    except NodeEndedError:  # it refused while it was asked
        return False


async def replaced(stage: Stage, node: NodeProcess) -> None:
    """What an operator does: resets it, lets it join anew, gives it the replicas, forgets the old id."""
    cluster, gone = stage.cluster, node.id
    node.kill()
    await _reset(node)
    await cluster.rejoin(node.number)
    for group in await cluster.admin.groups_on(gone):
        await _moved(cluster, group, gone, node.id)
    await cluster.admin.remove(gone, MOVE_WITHIN_S)
    stage.proof(f"node {gone} was given up, and node {node.id} has its replicas")


async def _reset(node: NodeProcess) -> None:
    """`holdfast node reset`, and the files our own disk keeps beside the data directory."""
    if node.place.disk.is_dir():
        node.place.disk.rename(node.place.disk.with_name(f"disk.reset-{node.starts}"))
    status, said = await cli("node", "reset", "--data", str(node.place.data), "--yes")
    if status != 0:
        raise RuntimeError(f"`holdfast node reset` of node {node.number} failed: {said.decode()}")


async def _moved(cluster: Cluster, group: int, source: int, target: int) -> None:
    """Once the placement leader has heard of the new node."""
    plan = (await cluster.admin.move(group, source, target, within_s=MOVE_WITHIN_S)).id
    ended = await cluster.admin.see_the_end(plan)
    if ended.phase != "done":
        raise TimeoutError(f"plan {plan} was taken back: {ended.why}")
