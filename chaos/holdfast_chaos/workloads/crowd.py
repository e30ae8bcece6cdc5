"""All clients of a run: their pace, and what they read when all is over.

The rate is of all together; a hand whose operation takes long asks less, it does not catch up, so that a
fault is not followed by a flood that hides how the cluster recovers. Each hand of a client keeps to one part
of the key space, so that a shard which does not answer stalls its own hands only.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Final

import holdfast

from holdfast_chaos.asks import Ask, Generator
from holdfast_chaos.keyspace import PARTS
from holdfast_chaos.workloads.process import Connect, Process
from holdfast_chaos.workloads.recorder import Recorder

FINAL_ATTEMPTS: Final = 20
FINAL_PAUSE_S: Final = 0.25


class Crowd:
    """See the module docstring."""

    def __init__(
        self,
        endpoints: str,
        recorder: Recorder,
        generator: Generator,
        *,
        clients: int,
        hands: int,
        rate: float,
        groups_stand: bool,
        chance: random.Random,
        connect: Connect = holdfast.connect,
    ) -> None:
        """hands: of each client; rate: operations a second, of all; groups_stand: see `sdk_calls.Calls`."""
        self._recorder = recorder
        self._generator = generator
        self._interval_s = clients * hands / rate
        self._chance = chance
        numbers = itertools.count(clients + 1)
        self.processes = [
            Process(
                slot,
                endpoints,
                recorder,
                generator,
                groups_stand=groups_stand,
                fresh_number=lambda: next(numbers),
                hands=hands,
                connect=connect,
            )
            for slot in range(1, clients + 1)
        ]

    async def open(self) -> None:
        """Connects every client."""
        await asyncio.gather(*(process.open() for process in self.processes))

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Asks until it is over."""
        await asyncio.gather(*(self._keep_asking(process, hand, is_over) for process, hand in self._hands))

    @property
    def _hands(self) -> list[tuple[Process, int]]:
        """Every hand of every client."""
        return [(process, hand) for process in self.processes for hand in range(len(process.numbers))]

    async def _keep_asking(self, process: Process, hand: int, is_over: Callable[[], bool]) -> None:
        part = (process.slot + hand) % PARTS
        due = self._recorder.now_s + self._chance.random() * self._interval_s
        while not is_over():
            now = self._recorder.now_s
            if now < due:
                await asyncio.sleep(due - now)
                continue
            ask = self._generator.next(process.slot, part)
            if ask.f == "token":
                self._hand_over(ask)
                continue
            await process.ask(ask, hand)
            if not ask.in_burst:
                due = max(due, self._recorder.now_s - self._interval_s) + self._interval_s

    def _hand_over(self, ask: Ask) -> None:
        source, target = (self.processes[ask.value[end] - 1] for end in ("from", "to"))
        if source is not target:
            target.take_token(source)

    async def read_finally(self) -> None:
        """Reads every object once all is healed; each until it is answered, by all clients in turn."""
        asks = list(self._generator.final())
        hands = self._hands
        await asyncio.gather(
            *(self._read(process, hand, asks[at :: len(hands)]) for at, (process, hand) in enumerate(hands))
        )

    async def _read(self, process: Process, hand: int, asks: list[Ask]) -> None:
        for ask in asks:
            for _ in range(FINAL_ATTEMPTS):
                if await process.ask(ask, hand):
                    break
                await asyncio.sleep(FINAL_PAUSE_S)

    async def close(self) -> None:
        """Hangs up."""
        await asyncio.gather(*(process.close() for process in self.processes), return_exceptions=True)

    @property
    def clients(self) -> list[holdfast.Client]:
        """The SDK's, of every process."""
        return [process.client for process in self.processes]

    def __repr__(self) -> str:
        return f"<Crowd of {len(self.processes)}, one asks every {self._interval_s:.3f} s>"
