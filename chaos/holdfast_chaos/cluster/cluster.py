"""A whole cluster: its nodes, the gates in front of them, the wires between, and the eyes on it.

    async with Cluster(home, nodes=3) as cluster:
        await cluster.start(init=True)
        cluster.wires.cut(between({1}, {2, 3}))

Invariant: what was started is ended when the cluster is left, whatever happened in between.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast_chaos.cluster import layout
from holdfast_chaos.cluster.admin import Admin
from holdfast_chaos.cluster.gates import Gate
from holdfast_chaos.cluster.node_process import NodeProcess
from holdfast_chaos.cluster.origins import Origins
from holdfast_chaos.cluster.wires import CLIENTS, Wires

STOCK: Final = ("-m", "holdfast_node")
"""A node as users run it."""
FIRST_GROUP: Final = 2


class Cluster:
    """See the module docstring."""

    def __init__(
        self,
        home: Path,
        *,
        nodes: int = 3,
        splits: Sequence[str] = (),
        program: tuple[str, ...] = STOCK,
        settings: str = "",
        environment: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        """Nothing is started yet.

        Args:
            home: a folder for the nodes' directories.
            nodes: how many.
            splits: keys at which the namespace is cut into shards.
            program: what of Python runs a node.
            settings: further lines of their configuration, top level.
            environment: further variables of the processes.
            seed: for the jitter of wires.
        """
        self.home = home
        self.frozen: list[int] = []
        self.wires = Wires()
        self.places = layout.places(home, nodes)
        self._settings = settings
        self._origins = Origins()
        chance = random.Random(seed)
        self.nodes: dict[int, NodeProcess] = {}
        self.gates: dict[int, Gate] = {}
        for place in self.places:
            place.folder.mkdir(parents=True)
            place.config.write_text(layout.born_with(place, self.places, splits, settings))
            self.nodes[place.number] = NodeProcess(place, program, environment or {})
            behind = ("127.0.0.1", place.port)
            self.gates[place.number] = Gate(place.number, place.gate, behind, self.wires, self._who, chance)
        self.admin = Admin(self._addresses)

    def _who(self, port: int, other_port: int) -> int | None:
        pids = {number: node.pid for number, node in self.nodes.items() if node.is_running}
        return self._origins(port, other_port, pids, CLIENTS)

    def _addresses(self) -> dict[int, str]:
        """Of the nodes that can answer."""
        return {
            number: node.place.address
            for number, node in self.nodes.items()
            if node.is_running and not node.is_paused
        }

    @property
    def endpoints(self) -> str:
        """For clients: every gate."""
        return ",".join(place.known_as for place in self.places)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the nodes."""
        return tuple(self.nodes)

    def number_of(self, node_id: int) -> int:
        """The number of the node that has an id now; 0: none."""
        return next((node.number for node in self.nodes.values() if node.id == node_id), 0)

    # ---- life ----

    async def start(self, *, init: bool = False) -> None:
        """Opens the gates and starts the nodes that do not run; all are ready when this returns."""
        for gate in self.gates.values():
            await gate.open()
        for node in self.nodes.values():
            if not node.is_running:
                node.start(init=init)
        await self.all_ready()

    async def all_ready(self, within_s: float = 60.0) -> None:
        """Waits until every node is ready."""
        await asyncio.gather(*(node.ready(within_s) for node in self.nodes.values()))

    async def leader(self, group: int = FIRST_GROUP, within_s: float = 10.0) -> int:
        """The number of the node that leads a shard. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while True:
            found = self.number_of((await self.admin.leaders()).get(group, 0))
            if found:
                return found
            if loop.time() > end:
                raise TimeoutError(f"group {group} has no leader")
            await asyncio.sleep(0.02)

    async def most_leading(self) -> int:
        """The number of the node that leads most shards; so faults meet a leader of some shard."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 10.0
        while True:
            leaders = await self.admin.leaders(of_shards=True)
            leading = [self.number_of(node) for node in leaders.values()]
            leading = [number for number in leading if number]
            if leading:
                return max(sorted(set(leading)), key=leading.count)
            if loop.time() > end:
                raise TimeoutError("no group has a leader")
            await asyncio.sleep(0.02)

    async def rejoin(self, number: int) -> None:
        """Starts a node whose directory is gone as a new one of the cluster, as an operator would."""
        node = self.nodes[number]
        by = next(other.place for other in self.nodes.values() if other is not node and other.is_running)
        node.place.config.write_text(layout.joining(node.place, by, self._settings))
        node.start()
        await node.ready()
        # Ids only grow, and the old ones of this address are still listed.
        node.id = max(await self.admin.ids_at(node.place.known_as))

    async def close(self) -> None:
        """Ends every process and every connection."""
        for node in self.nodes.values():
            with suppress(ProcessLookupError):
                node.kill()
        for gate in self.gates.values():
            await gate.close()
        await self.admin.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Cluster {list(self.nodes.values())}>"
