"""Ballast: bytes through the log in a key that no workload uses, so that segments, snapshots become due."""

from __future__ import annotations

import asyncio
from typing import Final

import holdfast

from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.nemesis.stage import Stage

KEY: Final = "~ballast"
"""Behind every other key, so it lies in the last shard."""
PIECE_BYTES: Final = 256 << 10
PIECES: Final = 8
PAUSE_S: Final = 0.05


async def write(cluster: Cluster) -> None:
    """A few MiB; what is refused is left."""
    try:
        async with holdfast.connect(cluster.endpoints, timeout_s=2.0) as client:
            for _ in range(PIECES):
                await client.put(KEY, bytes(PIECE_BYTES))
    except holdfast.HoldfastError:
        await asyncio.sleep(PAUSE_S)


async def bearer(stage: Stage) -> int:
    """A healthy node that has a replica of the ballast's shard."""
    last = (await stage.cluster.admin.shards())[-1]
    bearers = {stage.cluster.number_of(replica.node) for replica in last.replicas}
    return stage.chance.choice(sorted(bearers.intersection(stage.healthy())) or stage.healthy())
