"""Gates: the TCP proxies that everybody reaches a node by, one in front of each node.

A node listens at one address and is known to all others, and to clients, by its gate's. Who connects is told
by `origins.py`; so each connection runs over two wires (`wires.py`), one for each direction, whoever dialled.
Invariants: bytes of a direction keep their order, and none is left out but at an end of the connection; ends
of connections travel over the wire too, so that a cut hides them; what is held is bounded, since a wire that
does not move stops reading from its sender.

Not looked into: TLS passes through.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from holdfast_chaos.cluster.wires import Wire, Wires

HELD_BYTES_MAX: Final = 4 << 20
_RESET: Final = struct.pack("ii", 1, 0)  # l_onoff, l_linger: close sends RST


class _Lane:
    """One direction of a connection: pieces that wait for their time, in order. b"": the end."""

    def __init__(self, wire: Wire, chance: random.Random) -> None:
        self._wire = wire
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.is_deaf = False  # takes everything and delivers nothing
        wire.waiting.add(self.move)

    def push(self, data: bytes) -> None:
        if self.is_deaf:
            return
        wire = self._wire
        if not self._pieces and wire.is_plain and self.target is not None and data:
            wire.passed += len(data)
            self.target.write(data)
            return
        if wire.is_cut:
            wire.held += len(data)
        due = self._loop.time() + wire.late_s(len(data), self._chance)
        last = self._pieces[-1][0] if self._pieces else 0.0
        self._pieces.append((max(due, last), data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > HELD_BYTES_MAX and self.source is not None and not self._is_paused:
            self._is_paused = True
            self.source.pause_reading()
        self.move()

    def move(self) -> None:
        """Lets go what is due."""
        if self.target is None or self._wire.is_cut:
            return
        now = self._loop.time()
        while self._pieces:
            due, data = self._pieces[0]
            if due > now and not self._wire.is_plain:
                if self._timer is None:
                    self._timer = self._loop.call_at(due, self._due)
                return
            self._pieces.popleft()
            if not data:
                self.is_deaf = True
                self.target.close()
                return
            self._waiting_bytes -= len(data)
            self._wire.passed += len(data)
            self.target.write(data)
        if self._is_paused and self.source is not None and not self.source.is_closing():
            self._is_paused = False
            self.source.resume_reading()

    def _due(self) -> None:
        self._timer = None
        self.move()

    def close(self) -> None:
        self._wire.waiting.discard(self.move)
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()


class _End(asyncio.Protocol):
    """One socket of a connection."""

    def __init__(self, connection: Connection, lane: _Lane) -> None:
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

    def __init__(self, gate: Gate, source: int, near: asyncio.Transport) -> None:
        self.source = source
        self.target = gate.target
        self._gate = gate
        self.there = _Lane(gate.wires(source, gate.target), gate.chance)
        self.back = _Lane(gate.wires(gate.target, source), gate.chance)
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
            far, _ = await loop.create_connection(lambda: _End(self, self.back), host, port)
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

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        source = self._gate.who(transport.get_extra_info("peername")[1], self._gate.port)
        if source is None:
            transport.abort()
            return
        _without_delay(transport)
        self._connection = Connection(self._gate, source, transport)
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
            port: where the gate listens, on 127.0.0.1.
            behind: where the node listens.
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
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begins to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Front(self), "127.0.0.1", self.port)

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
        if self._server is not None:
            self._server.close()
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
