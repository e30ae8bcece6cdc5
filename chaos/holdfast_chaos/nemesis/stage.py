"""What one fault may touch, how long it lasts, and where it says that it fired."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from holdfast_chaos.cluster.cluster import Cluster

IN_VAIN_S: Final = 30.0
"""So long after its time a fault that has come to nothing goes on: its run would say nothing otherwise."""


class ServedDamageError(Exception):
    """A node has served from a disk that was damaged."""


class Crashing(Protocol):
    """A client that can be ended where it stands."""

    async def crash(self) -> bool:
        """Ends it, and lets another take over. True: an operation was in flight."""
        ...


class Stage:
    """One fault under way.

    Attributes:
        cluster: under test.
        chance: of this fault alone, so that a plan can be carried out again.
        clients: of the workload.
        proofs: what showed that it fired.
    """

    def __init__(
        self,
        cluster: Cluster,
        chance: random.Random,
        clients: list[Crashing],
        seconds: float,
        tell: Callable[[str], None],
        note: Callable[[str, Any], object] = lambda _name, _value: None,
    ) -> None:
        """seconds: it is to last; tell: takes each proof; note: writes down what the judge is to know."""
        self.cluster = cluster
        self.chance = chance
        self.clients = clients
        self.proofs: list[str] = []
        self.note = note
        self._tell = tell
        self._end = self._now() + seconds

    def proof(self, text: str) -> None:
        """It fired, and this shows it."""
        self.proofs.append(text)
        self._tell(text)

    @property
    def left_s(self) -> float:
        """Until it is to end."""
        return max(0.0, self._end - self._now())

    @property
    def goes_on(self) -> bool:
        """Until it is to end, and for IN_VAIN_S longer while nothing shows that it fired."""
        return self.left_s > 0 or (not self.proofs and self._now() < self._end + IN_VAIN_S)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def over(self) -> None:
        """Waits for its end."""
        await asyncio.sleep(self.left_s)

    def healthy(self) -> list[int]:
        """Nodes that run and are not paused."""
        nodes = self.cluster.nodes.values()
        return [node.number for node in nodes if node.is_running and not node.is_paused]

    def some(self, count: int) -> list[int]:
        """So many healthy nodes, at most."""
        healthy = self.healthy()
        return sorted(self.chance.sample(healthy, min(count, len(healthy))))

    @property
    def majority(self) -> int:
        """Of the nodes."""
        return len(self.cluster.nodes) // 2 + 1

    async def leader(self) -> int:
        """A node that leads."""
        return await self.cluster.most_leading()

    async def follower(self) -> int:
        """A healthy node that does not lead most groups."""
        leader = await self.leader()
        return self.chance.choice([number for number in self.healthy() if number != leader] or [leader])


Nemesis = Callable[[Stage], Awaitable[None]]
"""Begins a fault, proves it, waits for `Stage.over`, heals it; healed also when it is cancelled."""
