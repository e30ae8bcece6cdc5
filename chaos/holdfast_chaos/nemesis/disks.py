"""Disks that are slow, fail, fill up or forget; named points; wall clocks: of nodes that take commands.

Each is commanded over the node's control (`node/control.py`) and proved by what the node says it obeyed, or
by how its process ended.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import Any, Final

from holdfast_chaos.cluster.control import NoControlError, command
from holdfast_chaos.cluster.node_process import NodeProcess
from holdfast_chaos.nemesis import ballast
from holdfast_chaos.nemesis.killing import POINT_STRUCK, brought_back, ready
from holdfast_chaos.nemesis.stage import Stage

DISK_FAILED: Final = 74
"""Exit status of a node whose disk failed."""
LOOK_S: Final = 0.05
ENDS_WITHIN_S: Final = 20.0
FULL_WRITES_MAX: Final = 20
"""Of some MiB each; the WAL of the harness's nodes has segments of 8."""
JUMPS_MS: Final = (-3_600_000.0, -5_000.0, 5_000.0, 60_000.0, 3_600_000.0)
POINTS: Final = (
    "before write wal",
    "after write wal",
    "before sync wal",
    "after sync wal",
    "before create snapshots",
    "before sync snapshots",
    "after sync snapshots",
    "before rename snapshots",
    "after rename snapshots",
    "after sync_dir snapshots",
)
"""Those of the WAL are passed all the time; of a snapshot only when one is due."""
WAL_AGAIN_S: Final = 0.3
"""In which the WAL is certainly written."""


async def _tell(node: NodeProcess, do: str, **facts: Any) -> dict[str, Any]:
    return await command(node.place.port, do, **facts)


async def _healed(node: NodeProcess) -> None:
    """Its disk is good again, and it runs and is ready."""
    if not node.is_running:
        node.start()
        await ready(node)
        return
    await _tell_who_runs(node, "healed")


async def _struck(node: NodeProcess, name: str) -> int:
    try:
        return int((await _tell(node, "facts"))["struck"].get(name, 0))
    except NoControlError:
        return 0


async def slow(stage: Stage) -> None:
    """Every sync of one node's disk takes up to 0.3 s longer."""
    node = stage.cluster.nodes[stage.some(1)[0]]
    before = await _struck(node, "slow")
    await _tell(node, "slow", seconds=stage.chance.uniform(0.02, 0.3))
    try:
        await stage.over()
        count = await _struck(node, "slow") - before
        if count > 0:
            stage.proof(f"{count} syncs of node {node.number} were slow")
    finally:
        await _healed(node)


async def all_slow(stage: Stage) -> None:
    """Every sync of every disk takes longer, each by its own time: what is written is long not durable."""
    nodes = [stage.cluster.nodes[number] for number in stage.healthy()]
    before = [await _struck(node, "slow") for node in nodes]
    try:
        for node in nodes:
            await _tell_who_runs(node, "slow", seconds=stage.chance.uniform(0.02, 0.2))
        while not stage.proofs and stage.left_s > 0:
            await asyncio.sleep(LOOK_S)  # one that starts again beside this counts anew, and is fast
            slow_ones = [
                node.number
                for node, was in zip(nodes, before, strict=True)
                if await _struck(node, "slow") > was
            ]
            if slow_ones:
                stage.proof(f"syncs of nodes {slow_ones} were slow")
        await stage.over()
    finally:
        await asyncio.gather(*(_tell_who_runs(node, "healed") for node in nodes))


async def _tell_who_runs(node: NodeProcess, do: str, **facts: Any) -> None:
    """A node that has ended meanwhile is another fault's."""
    with suppress(NoControlError):
        await _tell(node, do, **facts)


async def fsync_error(stage: Stage) -> None:
    """The next sync of one node fails: it must end at once; it is started again at the end."""
    node = stage.cluster.nodes[stage.some(1)[0]]
    await _tell(node, "error", operation="sync", errno=errno.EIO)
    try:
        await _ended(stage, node, {DISK_FAILED: "a failed sync"})
        await stage.over()
    finally:
        await _healed(node)


async def full(stage: Stage) -> None:
    """Nothing can be created on one node's disk, while enough is written that it has to."""
    node = stage.cluster.nodes[await ballast.bearer(stage)]
    before = await _struck(node, "full")
    await _tell(node, "full", **{"is": True})
    try:
        for _ in range(FULL_WRITES_MAX):  # as long as it takes: a segment has room for some
            if await _struck(node, "full") > before or not node.is_running:
                break
            await ballast.write(stage.cluster)
        count = await _struck(node, "full") - before
        if count > 0:
            stage.proof(f"{count} files of node {node.number} could not be made")
        await stage.over()
    finally:
        await _healed(node)


async def power_loss(stage: Stage) -> None:
    """One, some or all nodes lose power at one moment: what was not synced is gone; half the time torn."""
    count = stage.chance.choice([1, stage.majority, len(stage.cluster.nodes)])
    nodes = [stage.cluster.nodes[number] for number in stage.some(count)]
    torn = stage.chance.random() < 0.5
    async with brought_back(nodes):
        await asyncio.gather(*(_off(node, torn=torn) for node in nodes))
        for node in nodes:
            await _ended(stage, node, {POINT_STRUCK: f"a loss of power{', torn' if torn else ''}"})
        await stage.over()


async def _off(node: NodeProcess, *, torn: bool) -> None:
    """Says so until it has ended: one that has just started does not listen yet, a busy one is late."""
    loop = asyncio.get_running_loop()
    end = loop.time() + ENDS_WITHIN_S
    while node.is_running and loop.time() < end:
        await _tell_who_runs(node, "power_off", torn=torn)
        await asyncio.sleep(LOOK_S)


async def failpoint(stage: Stage) -> None:
    """A node ends, or stands still for a moment, at a named point of what it does with its disk."""
    node = stage.cluster.nodes[await ballast.bearer(stage)]
    point = stage.chance.choice(POINTS)
    if stage.chance.random() < 0.25:
        await _stalled(stage, node, point)
        return
    await _tell(node, "point", at=point)
    try:
        while stage.left_s > 0 and node.is_running:
            if "snapshots" in point:
                await ballast.write(stage.cluster)  # which makes one due
            await asyncio.sleep(LOOK_S)
        if not node.is_running:
            await _ended(stage, node, {POINT_STRUCK: point})
        elif "snapshots" in point:
            # None was due. The fault is to have happened all the same, so that the run says something.
            point = "before sync wal"
            await _tell(node, "point", at=point)
            await _ended(stage, node, {POINT_STRUCK: point})
    finally:
        await _healed(node)


async def _stalled(stage: Stage, node: NodeProcess, point: str) -> None:
    before = await _struck(node, "point")
    stall_s = min(stage.left_s, stage.chance.uniform(0.2, 2.0))
    await _tell(node, "point", at=point, stall_s=stall_s)
    try:
        if "snapshots" in point:
            while stage.left_s > WAL_AGAIN_S and await _struck(node, "point") == before:
                await ballast.write(stage.cluster)  # which makes one due
            if await _struck(node, "point") == before:
                await _tell(node, "point", at="after write wal", stall_s=stall_s)
        await stage.over()
        if await _struck(node, "point") > before:
            stage.proof(f"node {node.number} stood still")
    finally:
        await _healed(node)


async def clock_jump(stage: Stage) -> None:
    """One node's wall clock jumps by seconds, a minute or an hour, either way; and back at the end."""
    node = stage.cluster.nodes[stage.some(1)[0]]
    await _clock(stage, node, jump_ms=stage.chance.choice(JUMPS_MS))


async def clock_drift(stage: Stage) -> None:
    """One node's wall clock runs up to a tenth too fast or too slow."""
    node = stage.cluster.nodes[stage.some(1)[0]]
    await _clock(stage, node, drift=stage.chance.choice((-1, 1)) * stage.chance.uniform(0.01, 0.1))


async def _clock(stage: Stage, node: NodeProcess, **facts: float) -> None:
    await _tell(node, "clock", **facts)
    try:
        await stage.over()
        off = (await _tell(node, "facts"))["clock_offset_ms"]
        if off:
            stage.proof(f"the clock of node {node.number} was {off:.0f} ms off")
    finally:
        await _healed(node)


async def _ended(
    stage: Stage, node: NodeProcess, proofs: dict[int, str], within_s: float = ENDS_WITHIN_S
) -> None:
    """Waits for the process to end by itself; its status is the proof."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    # Another process's state: one can only look again.
    while node.is_running and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    if node.status in proofs:
        stage.proof(f"node {node.number} ended with status {node.status}: {proofs[node.status]}")
