"""Gates: the TCP proxies that everybody reaches a node by, one in front of each node.

A node listens at one address and is known to all others, and to clients, by its gate's. Who connects is told
by `origins.py`; so each connection runs over two wires (`wires.py`), one for each direction, whoever dialled.
Invariants: bytes of a direction keep their order, and none is left out but at an end of the connection; ends
of connections travel over the wire too, so that a cut hides them; what is held is bounded, since a wire that
does not move stops reading from its sender.

Not looked into: TLS passes through. A gate stands at two ports, for gRPC and, above it, for peers; both lead
to the node's, over the same wires: a cut between two nodes is a cut whatever they speak.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from holdfast_chaos.cluster.lane import Lane
from holdfast_chaos.cluster.layout import PEERS_ABOVE
from holdfast_chaos.cluster.wires import Wire, Wires

_RESET: Final = struct.pack("ii", 1, 0)  # l_onoff, l_linger: close sends RST


class _End(asyncio.Protocol):
    """One socket of a connection."""

    def __init__(self, connection: Connection, lane: Lane) -> None:
        self._connection = connection
        self._lane = lane  # of what comes in here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        _without_delay(transport)
        self._lane.source = transport

    def data_received(self, data: bytes) -> None:
        self._lane.push(data)

    def eof_received(self) -> bool:
        self._lane.push(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended makes no difference
        self._lane.push(b"")
        self._connection.lost(self)


class Connection:
    """A client's connection and the one to the node behind the gate."""

    def __init__(self, gate: Gate, source: int, near: asyncio.Transport, above: int) -> None:
        self.source = source
        self._above = above
        self.target = gate.target
        self._gate = gate
        self.there = Lane(gate.wires(source, gate.target), gate.chance)
        self.back = Lane(gate.wires(gate.target, source), gate.chance)
        self.there.source = self.back.target = near
        self._ends_left = 2
        self._task = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        """A connection is made by packets both ways, so it waits while one of them is cut."""
        wires = self._gate.wires(self.source, self.target), self._gate.wires(self.target, self.source)
        while any(wire.is_cut for wire in wires):
            await _changed(wires)
        loop = asyncio.get_running_loop()
        host, port = self._gate.behind
        try:
            far, _ = await loop.create_connection(lambda: _End(self, self.back), host, port + self._above)
        except OSError:
            self.reset()
            return
        self.there.target = far
        self.there.move()

    def reset(self) -> None:
        """Both sides get an RST, now."""
        for transport in (self.there.source, self.there.target):
            if transport is not None:
                _reset(transport)
        self.over()

    def forget_far_end(self) -> None:
        """The node's side ends; who connected is not told."""
        self.there.is_deaf = self.back.is_deaf = True
        if self.there.target is not None:
            _reset(self.there.target)

    def lost(self, end: object) -> None:  # noqa: ARG002 - two of them, whichever
        self._ends_left -= 1
        if self._ends_left <= 0 or self.there.target is None:
            self.over()

    def over(self) -> None:
        """Nothing more happens here."""
        self._task.cancel()
        self.there.close()
        self.back.close()
        self._gate.connections.discard(self)


async def _changed(wires: tuple[Wire, Wire]) -> None:
    told = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not told.done():
            told.set_result(None)

    for wire in wires:
        wire.waiting.add(tell)
    try:
        await told
    finally:
        for wire in wires:
            wire.waiting.discard(tell)


class _Front(asyncio.Protocol):
    """The socket that somebody connected to, until it is known who."""

    def __init__(self, gate: Gate, above: int) -> None:
        self._gate = gate
        self._above = above
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        source = self._gate.who(transport.get_extra_info("peername")[1], self._gate.port + self._above)
        if source is None:
            transport.abort()
            return
        _without_delay(transport)
        self._connection = Connection(self._gate, source, transport, self._above)
        self._gate.connections.add(self._connection)
        self._gate.accepted += 1

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.there.push(data)

    def eof_received(self) -> bool:
        if self._connection is not None:
            self._connection.there.push(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol passes it
        if self._connection is not None:
            self._connection.there.push(b"")
            self._connection.lost(self)


class Gate:
    """The proxy in front of one node."""

    def __init__(
        self,
        target: int,
        port: int,
        behind: tuple[str, int],
        wires: Wires,
        who: Callable[[int, int], int | None],
        chance: random.Random,
    ) -> None:
        """A gate that is not open yet.

        Args:
            target: the node's number.
            port: where the gate listens, on 127.0.0.1; for peers above it.
            behind: where the node listens; for peers as far above it.
            wires: of the cluster.
            who: the party that connected from a port to a port.
            chance: for jitter.
        """
        self.target = target
        self.port = port
        self.behind = behind
        self.wires = wires
        self.who = who
        self.chance = chance
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Begins to listen."""
        for above in (0, PEERS_ABOVE):
            await self._listen(above)

    async def _listen(self, above: int) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Front(self, above), "127.0.0.1", self.port + above)
        self._servers.append(server)

    def reset(self, *, of: Callable[[Connection], bool] = lambda _: True) -> int:
        """RST on every such connection; how many."""
        found = [connection for connection in self.connections if of(connection)]
        for connection in found:
            connection.reset()
        return len(found)

    def forget_far_ends(self, *, of: Callable[[Connection], bool] = lambda _: True) -> int:
        """Leaves such connections half open; how many."""
        found = [connection for connection in self.connections if of(connection)]
        for connection in found:
            connection.forget_far_end()
        return len(found)

    async def close(self) -> None:
        """Ends every connection."""
        for server in self._servers:
            server.close()
        self.reset()
        await asyncio.sleep(0)

    def __repr__(self) -> str:
        return f"<Gate of node {self.target} at {self.port}, {len(self.connections)} connections>"


def _without_delay(transport: asyncio.Transport) -> None:
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reset(transport: asyncio.Transport) -> None:
    found = transport.get_extra_info("socket")
    if found is not None and not transport.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
