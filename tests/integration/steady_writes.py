"""A steady rate of writes through one SDK client, and what was promised for each of them.

Every write goes to a key of its own, every tenth adds one to a counter, so that afterwards loss, an effect
of something refused, and an effect that happened twice all show. Open loop: the rate does not slow down
with the cluster. Pacing is not synchronisation: no verdict depends on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import holdfast
from holdfast.errors import HoldfastError
from holdfast.types import Outcome

PER_SECOND = 500
TICK_S = 0.004
COUNTER = "counter"


class Write(NamedTuple):
    """One write as its caller saw it; times are monotonic. outcome: None = acknowledged."""

    key: str
    began: float
    ended: float
    outcome: Outcome | None
    error: HoldfastError | None = None


class SteadyWrites:
    """Run it with `under_way`; ask `missing`, `wrong` afterwards."""

    def __init__(self, client: holdfast.Client, prefix: str = "w/") -> None:
        self.writes: list[Write] = []
        self.added: list[Write] = []
        self._client = client
        self._prefix = prefix
        self._next = 0
        self._open: set[asyncio.Task[None]] = set()
        self._acknowledged = asyncio.Condition()

    async def run(self) -> None:
        """Writes until cancelled."""
        began = asyncio.get_running_loop().time()
        issued = 0
        while True:
            due = int((asyncio.get_running_loop().time() - began) * PER_SECOND)
            for _ in range(min(due - issued, 200)):  # after a stall of this process: no burst of thousands
                task = asyncio.create_task(self._one(self._next))
                self._next += 1
                self._open.add(task)
                task.add_done_callback(self._open.discard)
            issued = due
            await asyncio.sleep(TICK_S)

    async def drained(self) -> None:
        """Until every write has ended."""
        while self._open:
            await asyncio.gather(*self._open)

    async def _one(self, number: int) -> None:
        is_addition = number % 10 == 9
        key = self._prefix + (COUNTER if is_addition else str(number))
        record = self.added if is_addition else self.writes
        began = time.monotonic()
        outcome, error = None, None
        try:
            if is_addition:
                await self._client.increment(key)
            else:
                await self._client.put(key, key)
        except HoldfastError as problem:
            outcome, error = problem.outcome, problem
        record.append(Write(key, began, time.monotonic(), outcome, error))
        if outcome is None:
            async with self._acknowledged:
                self._acknowledged.notify_all()

    async def acknowledged_after(self, moment: float, within: float = 30.0, count: int = 1) -> float:
        """Waits until `count` writes begun after `moment` are acknowledged; when the first of them was."""
        seen: list[float] = []
        async with asyncio.timeout(within), self._acknowledged:
            while len(seen) < count:
                await self._acknowledged.wait()
                seen = sorted(w.ended for w in self.writes if w.began > moment and w.outcome is None)
        return seen[0]

    # ---- the verdict -----------------------------------------------------------------------------

    @property
    def all(self) -> list[Write]:
        return [*self.writes, *self.added]

    def unknown(self) -> list[Write]:
        return [write for write in self.all if write.outcome is Outcome.UNKNOWN]

    def refused(self) -> list[Write]:
        return [write for write in self.all if write.outcome is Outcome.REFUSED]

    def acknowledged(self) -> list[Write]:
        return [write for write in self.all if write.outcome is None]

    async def problems(self, client: holdfast.Client) -> list[str]:
        """What the cluster holds against what was promised, by linearizable reads; empty: all kept."""
        # Not the counter: its value is judged below.
        held = {item.key.decode(): item.value.decode() async for item in client.scan(prefix=self._prefix)}
        counter = int(held.pop(self._prefix + COUNTER, "0"))
        found = []
        for write in self.writes:
            value = held.get(write.key)
            if write.outcome is None and value is None:
                found.append(f"{write.key} was acknowledged and is missing")
            if write.outcome is Outcome.REFUSED and value is not None:
                found.append(f"{write.key} was refused ({write.error}) and is there")
            if value not in (None, write.key):
                found.append(f"{write.key} holds {value!r}")
        sure = sum(write.outcome is None for write in self.added)
        perhaps = sum(write.outcome is Outcome.UNKNOWN for write in self.added)
        if not sure <= counter <= sure + perhaps:
            found.append(f"{sure} additions acknowledged, {perhaps} unknown, and the counter says {counter}")
        return found


@asynccontextmanager
async def under_way(client: holdfast.Client, prefix: str = "w/") -> AsyncIterator[SteadyWrites]:
    """Writes go on inside the block; behind it every one of them has its outcome."""
    writes = SteadyWrites(client, prefix)
    running = asyncio.create_task(writes.run())
    try:
        yield writes
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await writes.drained()
