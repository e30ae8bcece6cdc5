"""An operator at work while faults go on: sets labels of a node, and reads them, one call after the other.

The placement group keeps them, so this shows whether it forgets what it has acknowledged, or tells what is no
more. Each call is one try at one node: what is not answered may come about later, and the next try has
another value. Notes as `labels.py` wants them.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final

from holdfast_chaos.cluster.admin import Refused
from holdfast_chaos.cluster.cluster import Cluster
from holdfast_chaos.labels import FOUND, SET
from holdfast_chaos.record import Type
from holdfast_chaos.workloads.recorder import Recorder

NAMES: Final = tuple(f"chaos-{number}" for number in range(6))
EVERY_S: Final = 0.05
WITHIN_S: Final = 0.5
READ_AT_LAST_S: Final = 20.0


class Labeller:
    """See the module docstring. node: the id of whose labels it sets."""

    def __init__(self, cluster: Cluster, recorder: Recorder, node: int, chance: random.Random) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._node = node
        self._chance = chance
        self._tries = 0

    async def run(self) -> None:
        """Sets and reads until it is cancelled."""
        while True:
            await self._set()
            await asyncio.sleep(EVERY_S)
            await self._read()

    async def read_finally(self) -> None:
        """Reads once more, as soon as somebody can answer."""
        loop = asyncio.get_running_loop()
        end = loop.time() + READ_AT_LAST_S
        while self._is_there and not await self._read():
            if loop.time() > end:
                self._recorder.note(FOUND, {"found": None})
                break
            await asyncio.sleep(EVERY_S)

    @property
    def _is_there(self) -> bool:
        """Whether the node is of the cluster still: one that lost its disk is another."""
        return self._cluster.number_of(self._node) != 0

    async def _set(self) -> None:
        number = self._somebody()
        if number is None or not self._is_there:
            return
        self._tries += 1
        name, value = NAMES[self._tries % len(NAMES)], str(self._tries)
        told = Type.INFO
        try:
            with suppress(*Refused):
                await self._cluster.admin.label(number, self._node, name, value, WITHIN_S)
                told = Type.OK
        finally:  # also when it is cancelled with a try under way
            self._recorder.note(SET, {"name": name, "value": value, "told": told})

    async def _read(self) -> bool:
        number = self._somebody()
        if number is None:
            return False
        found = None
        with suppress(*Refused):
            found = await self._cluster.admin.labels(number, self._node, WITHIN_S)
        if found is not None:
            self._recorder.note(FOUND, {"found": found})
        return found is not None

    def _somebody(self) -> int | None:
        """A node that may answer."""
        numbers = [node.number for node in self._cluster.nodes.values() if node.is_running]
        return self._chance.choice(numbers) if numbers else None
