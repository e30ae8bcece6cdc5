"""Logs that are let go: so much is written that the WAL is over its budget, and groups take snapshots."""

from __future__ import annotations

from typing import Final

from holdfast_chaos.nemesis import ballast
from holdfast_chaos.nemesis.stage import Stage

WRITES_MAX: Final = 40
"""Of some MiB each; a WAL of the harness's nodes holds 32."""


async def compaction(stage: Stage) -> None:
    """Ballast until some replica has taken a further snapshot, at least once."""
    before = await _standing(stage)
    for _ in range(WRITES_MAX):
        await ballast.write(stage.cluster)
        taken = {
            place: index for place, index in (await _standing(stage)).items() if index > before.get(place, 0)
        }
        if taken:
            told = ", ".join(f"group {g} of node {n} at {index}" for (n, g), index in sorted(taken.items()))
            stage.proof(f"snapshots: {told}")
            if stage.left_s <= 0:
                break
            before |= taken


async def _standing(stage: Stage) -> dict[tuple[int, int], int]:
    """Where each snapshot of a shard's replica stands, by node and group."""
    replicas = await stage.cluster.admin.all_replicas()
    return {(r.node, r.group): r.snapshot_index for r in replicas if not r.is_placement}
