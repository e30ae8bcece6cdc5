"""One process's share of a bench: callers over one client, and what each second of them brought.

Closed loop: a caller asks again as soon as it is answered. Open loop: operations are due at a pace, a free
caller begins each when it is due, and its latency counts from then: what waits behind a slow answer is not
left out (no coordinated omission). Operations still due in the end that nobody was free to begin are told.

Invariant: an error of an operation is counted and ends nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from holdfast.cli.bench_plan import DELETE, GET, INCREMENT, PUT, Pace, Plan
from holdfast.cli.bench_tally import Failed, Tally
from holdfast.cli.bench_turns import Turns
from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast.types import Level

FILLED_AT_ONCE: Final = 256
SECOND_S: Final = 1.0

clock: Final = time.perf_counter


class Generator:
    """Makes the load of a plan. `say` gets the tally of each second, the last one shorter."""

    def __init__(self, client: Client, plan: Plan, say: Callable[[Tally], None]) -> None:
        self._client = client
        self._plan = plan
        self._say = say
        dice = random.Random(plan.own_seed())
        self._value = dice.randbytes(plan.value_bytes)
        self._operations = plan.operations(dice)
        self._acts = self._make_acts()
        self._tally = Tally()
        self._told_at = 0.0
        self._begin = self._end = 0.0  # of what is measured
        self._begun = 0
        self._turns: Turns | None = None
        self._is_stopped = False

    def stop(self) -> None:
        """Begins nothing more; what is under way is answered and counted."""
        self._is_stopped = True
        self._end = min(self._end, clock())
        if self._turns is not None:
            self._turns.stop(self._end)

    async def fill(self, say: Callable[[int], None]) -> None:
        """Writes the share's keys; tells now and then how many. Raises HoldfastError."""
        keys = self._plan.to_fill()
        written, said_at = 0, clock()

        async def write() -> None:
            nonlocal written, said_at
            for key in keys:
                if self._is_stopped:
                    return
                await self._acts[PUT](key)
                written += 1
                if (now := clock()) - said_at >= SECOND_S:
                    said_at = now
                    say(written)

        writers = [asyncio.ensure_future(write()) for _ in range(FILLED_AT_ONCE)]
        try:
            await asyncio.gather(*writers)
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

    async def run(self) -> None:
        """Warms up, measures, and returns when everything begun is answered."""
        plan, start = self._plan, clock()
        self._begin = self._told_at = start + plan.warmup_s
        if not self._is_stopped:
            self._end = float("inf") if plan.seconds is None else self._begin + plan.seconds
        if plan.rate is None:
            callers = [self._ask_again() for _ in range(plan.callers)]
        else:
            pace = Pace(start, plan.rate, plan.share / plan.shares)
            last = None if plan.total is None else pace.due_before(self._begin) + plan.total
            loop = asyncio.get_running_loop()
            self._turns = turns = Turns(pace, self._end, last, loop, clock)
            callers = [self._ask_when_due(turns) for _ in range(plan.callers)]
            loop.call_later(plan.warmup_s, turns.drop, self._begin)
        telling = asyncio.ensure_future(self._tell_seconds())
        try:
            await asyncio.gather(*callers)
        finally:
            telling.cancel()
        if self._turns is not None:
            self._tally.not_begun = self._turns.left()
        self._tell()

    # ---- callers ----

    async def _ask_again(self) -> None:
        while (now := clock()) < self._end:
            if is_counted := now >= self._begin:
                if self._begun == self._plan.total:
                    return
                self._begun += 1
            await self._ask(now, is_counted)

    async def _ask_when_due(self, turns: Turns) -> None:
        while (turn := turns.overdue() or await turns.wait()) is not None:
            await self._ask(turn.counts_from, turn.due >= self._begin)

    async def _ask(self, counts_from: float, is_counted: bool) -> None:
        kind, key = next(self._operations)
        try:
            result = await self._acts[kind](key)
        except HoldfastError as problem:
            if is_counted:
                outcome = "done" if problem.outcome is None else problem.outcome.name.lower()
                self._tally.failed[Failed(kind, problem.reason.name, outcome)] += 1
            return
        if is_counted:
            tally = self._tally
            tally.latencies[kind].add(int((clock() - counts_from) * 1e6))
            if kind == GET:
                served = result.served
                tally.served[served.node, int(served.level)] += 1
                tally.found += result.revision != 0

    def _make_acts(self) -> dict[str, Callable[[bytes], Awaitable[Any]]]:
        client, plan = self._client, self._plan
        get = client.get
        if plan.level is not None or plan.bound_ms is not None:
            get = partial(
                client.get,
                level=None if plan.level is None else Level[plan.level],
                bound_ms=plan.bound_ms,
                or_linearizable=plan.or_linearizable,
            )
        return {
            PUT: partial(client.put, value=self._value, ttl_ms=plan.ttl_ms),
            GET: get,
            DELETE: client.delete,
            INCREMENT: partial(client.increment, ttl_ms=plan.ttl_ms),
        }

    # ---- telling ----

    async def _tell_seconds(self) -> None:
        while True:
            await asyncio.sleep(self._told_at + SECOND_S - clock())
            self._tell()

    def _tell(self) -> None:
        now = clock()
        if now <= self._told_at:  # it ended while it warmed up
            return
        told, self._tally = self._tally, Tally()
        told.seconds, self._told_at = now - self._told_at, now
        self._say(told)
