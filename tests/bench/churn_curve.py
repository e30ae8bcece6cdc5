"""Half an hour of churn: keys come, change, expire and go, clients come and go; memory must not grow.

What is there stays about as much; everything that is written is of another size than before, so that what is
let go does not fit what is taken next.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import holdfast

from tests.bench import exposition
from tests.bench.bench import Bench
from tests.bench.load_curves import Points
from tests.bench.processes import rss_bytes

KEYS = 50_000
HANDS = 48
TURN_S = 0.02
"""Of one hand, at least: some 2 000 operations a second, well below what the nodes can take."""
VALUE_BYTES = (16, 4_096)
TTL_S = (2.0, 30.0)
MINUTE_S = 60.0


async def churn(endpoints: str, seconds: float, seed: int) -> int:
    """One client's churn; how many operations were done."""
    rng = random.Random(seed)
    done = 0
    end = time.monotonic() + seconds

    async def hand(client: holdfast.Client) -> None:
        nonlocal done
        while time.monotonic() < end:
            began = time.monotonic()
            key = b"churn/%d" % rng.randrange(KEYS)
            draw = rng.random()
            try:
                if draw < 0.6:
                    await client.put(key, rng.randbytes(rng.randint(*VALUE_BYTES)))
                elif draw < 0.8:
                    value = rng.randbytes(rng.randint(*VALUE_BYTES))
                    await client.put(b"short/%d" % rng.getrandbits(40), value, ttl=rng.uniform(*TTL_S))
                elif draw < 0.9:
                    await client.delete(key)
                else:
                    await client.get(key)
                done += 1
            except holdfast.HoldfastError:
                pass  # a split, say; what counts is what the memory does
            await asyncio.sleep(max(0.0, TURN_S - (time.monotonic() - began)))

    async with holdfast.connect(endpoints) as client:
        await asyncio.gather(*(hand(client) for _ in range(HANDS)))
    return done


def churned(bench: Bench, points: Sequence[float]) -> Points:
    """points: minutes; one cluster for all."""
    with bench.ours() as side:
        before, operations = 0.0, 0
        for minute in sorted(points):
            operations += asyncio.run(churn(side.endpoints, (minute - before) * MINUTE_S, int(minute)))
            before = minute
            figures = side.metrics()
            yield (
                minute,
                {
                    "rss_mb": max(rss_bytes(node.pid) for node in side.nodes) / 1e6,
                    "keys": max(exposition.total(each, "holdfast_shard_keys") for each in figures),
                    "operations": operations,
                },
            )
