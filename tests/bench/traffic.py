"""Which call a load makes of its number or place, and the keys it fills first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import holdfast
from holdfast import Level
from holdfast.cli.zipf import Zipf

from tests.bench.load import Load

Call = Callable[[int], Awaitable[object]]
PLAN = 1 << 18
"""Draws of an open loop, gone through again and again; drawing while measuring would be load of its own."""
FILLERS = 384
FILL_BYTES = 1 << 22
FILL_ATTEMPTS = 20


def by_place(client: holdfast.Client, load: Load) -> Call:
    """The call of a closed loop at a place of the key space."""
    value = b"v" * load.value_bytes
    keys = [load.key(place) for place in range(load.keys)]

    async def batch(place: int) -> None:
        await client.put_many((keys[(place + n) % load.keys], value) for n in range(load.batch))

    calls: dict[str, Call] = {
        "put": lambda place: client.put(keys[place], value),
        "lget": lambda place: client.get(keys[place]),
        "sget": lambda place: client.get(keys[place], level=Level.SESSION),
        "batch": batch,
    }
    return calls[load.kind]


def by_number(client: holdfast.Client, load: Load) -> Call:
    """The call of an open loop: reads (half linearizable, half session) and puts, keys as `load` draws."""
    keys, kinds = drawn(load)
    value = b"v" * load.value_bytes
    get, put, session = client.get, client.put, Level.SESSION

    def call(number: int) -> Awaitable[object]:
        at = number % PLAN
        kind = kinds[at]
        if kind == "sget":
            return get(keys[at], level=session)
        return get(keys[at]) if kind == "lget" else put(keys[at], value)

    return call


def drawn(load: Load) -> tuple[list[bytes], list[str]]:
    """PLAN keys and kinds of requests, from the seed."""
    if load.zipf:
        law = Zipf(load.keys, load.zipf, random.Random(load.seed))
        places = [law.place() for _ in range(PLAN)]
    else:
        places = random.Random(load.seed).choices(range(load.keys), k=PLAN)
    rng = random.Random(load.seed + 1)
    kinds = rng.choices(("lget", "sget", "put"), (load.reads / 2, load.reads / 2, 1 - load.reads), k=PLAN)
    if load.hot:
        for at, kind in enumerate(kinds):
            if kind != "put" and rng.random() < load.hot:
                places[at] = 0
    return [load.key(place) for place in places], kinds


async def fill(client: holdfast.Client, load: Load) -> None:
    """Puts every key that is not there once; a refusal (a full queue, an election) is asked again."""
    value = b"v" * load.value_bytes
    left = iter(range(load.fill_from, load.keys))

    async def filler() -> None:
        for place in left:
            key = load.key(place)
            for attempt in range(FILL_ATTEMPTS):
                try:
                    await client.put(key, value)
                    break
                except holdfast.HoldfastError:
                    if attempt == FILL_ATTEMPTS - 1:
                        raise
                    await asyncio.sleep(0.1)

    at_once = max(4, min(FILLERS, FILL_BYTES // max(1, load.value_bytes)))
    await asyncio.gather(*(filler() for _ in range(at_once)))
