"""Gates: real sockets on loopback; what passes, what is held, what is broken, in each direction by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from holdfast_chaos.cluster.gates import Gate
from holdfast_chaos.cluster.layout import PEERS_ABOVE, free_ports
from holdfast_chaos.cluster.wires import Wires

CALLER, NODE = 2, 1
SOON_S = 0.15
"""Time in which what must not happen would."""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what it waits for are sockets
            await asyncio.sleep(0.001)


class Line(NamedTuple):
    """A gate in front of a server that says back what it hears, and one caller."""

    gate: Gate
    wires: Wires
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[bytes]

    async def told(self, count: int) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readexactly(count)

    async def is_silent(self) -> bool:
        try:
            async with asyncio.timeout(SOON_S):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def line(source: int | None = CALLER) -> AsyncIterator[Line]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                heard.append(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            heard.append(b"RST")
        finally:
            writer.close()

    behind, front = free_ports(2)
    server = await asyncio.start_server(serve, "127.0.0.1", behind)
    wires = Wires()
    gate = Gate(NODE, front, ("127.0.0.1", behind), wires, lambda *_: source, random.Random(1))
    await gate.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", front)
    try:
        yield Line(gate, wires, reader, writer, heard)
    finally:
        writer.close()
        await gate.close()
        server.close()
        await asyncio.sleep(0.01)


def under(act: Callable[[Line], Awaitable[None]], source: int | None = CALLER) -> None:
    async def run() -> None:
        async with line(source) as opened:
            await act(opened)

    asyncio.run(run())


def test_bytes_pass_both_ways_and_are_counted():
    """A plain wire is only a wire."""

    async def act(line: Line) -> None:
        line.writer.write(b"hello")

        assert await line.told(5) == b"hello"
        assert line.wires(CALLER, NODE).passed == line.wires(NODE, CALLER).passed == 5

    under(act)


@pytest.mark.parametrize("cut", [(CALLER, NODE), (NODE, CALLER)])
def test_one_direction_is_cut_and_what_was_held_comes_when_it_is_healed(cut):
    """A cut of one direction leaves the other alone; no byte is lost and none comes twice."""

    async def act(line: Line) -> None:
        line.writer.write(b"one")
        assert await line.told(3) == b"one"
        line.wires.cut([cut])
        line.writer.write(b"two")
        await until(lambda: line.wires.held == 3)

        assert await line.is_silent()
        assert (b"two" in line.heard) == (cut == (NODE, CALLER))
        line.wires.heal()
        assert await line.told(3) == b"two"

    under(act)


def test_nobody_connects_through_a_cut():
    """A connection needs packets both ways: it stands only once the cut is healed."""

    async def act(line: Line) -> None:
        line.wires.cut([(NODE, CALLER)])
        reader, writer = await asyncio.open_connection("127.0.0.1", line.gate.port)
        writer.write(b"new")
        await asyncio.sleep(SOON_S)

        assert b"new" not in line.heard
        line.wires.heal()
        async with asyncio.timeout(5):
            assert await reader.readexactly(3) == b"new"
        writer.close()

    under(act)


def test_a_cut_hides_that_the_other_side_is_gone():
    """The end of a connection travels over the wire as its bytes do."""

    async def act(line: Line) -> None:
        line.writer.write(b"one")
        await line.told(3)
        line.wires.cut([(CALLER, NODE)])
        line.writer.close()
        await asyncio.sleep(SOON_S)

        assert len(line.gate.connections) == 1
        line.wires.heal()
        await until(lambda: not line.gate.connections)

    under(act)


def test_a_delay_keeps_the_order():
    """Pieces come in the order in which they were sent, whatever their jitter; how late is the lane's."""

    async def act(line: Line) -> None:
        line.writer.write(b"x")
        await line.told(1)
        line.wires(CALLER, NODE).change(delay_s=0.1, jitter_s=0.1)
        for letter in b"abcdef":
            line.writer.write(bytes([letter]))
            await asyncio.sleep(0.005)

        assert await line.told(6) == b"abcdef"

    under(act)


def test_a_reset_is_seen_as_one():
    """Both sides get an RST, not an orderly end."""

    async def act(line: Line) -> None:
        line.writer.write(b"one")
        await line.told(3)

        assert line.gate.reset() == 1
        with pytest.raises(ConnectionResetError):
            await line.told(1)
        assert not line.gate.connections

    under(act)


def test_a_half_open_connection_is_silent():
    """The node's side is gone and who connected is not told; what it sends leads nowhere."""

    async def act(line: Line) -> None:
        line.writer.write(b"one")
        await line.told(3)

        assert line.gate.forget_far_ends() == 1
        line.writer.write(b"two")
        assert await line.is_silent()
        assert b"two" not in line.heard

    under(act)


def test_a_sender_is_held_up_when_too_much_waits():
    """What a cut wire holds is bounded: the gate stops reading."""

    async def act(line: Line) -> None:
        line.writer.write(b"one")
        await line.told(3)
        line.wires.cut([(CALLER, NODE)])
        line.writer.write(bytes(64 << 20))
        await until(lambda: line.wires.held >= 4 << 20)
        await asyncio.sleep(SOON_S)

        assert line.wires.held < 6 << 20
        line.wires.heal()
        await until(lambda: line.wires(CALLER, NODE).passed > 6 << 20)

    under(act)


def test_who_has_hung_up_already_is_let_go():
    """A connection whose owner the kernel does not know any more is none."""

    async def act(line: Line) -> None:
        async with asyncio.timeout(5):
            assert await line.reader.read() == b""
        assert not line.gate.connections

    under(act, source=None)


def test_peers_reach_the_port_above_over_the_same_wires():
    """A cut between two nodes is a cut whatever they speak."""

    async def act(line: Line) -> None:
        heard: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read(1 << 16))
            writer.close()

        host, behind = line.gate.behind
        server = await asyncio.start_server(serve, host, behind + PEERS_ABOVE)
        _, writer = await asyncio.open_connection(host, line.gate.port + PEERS_ABOVE)
        await until(lambda: len(line.gate.connections) == 2)
        line.wires.cut([(CALLER, NODE)])
        writer.write(b"append")
        await until(lambda: line.wires(CALLER, NODE).held == 6)
        await asyncio.sleep(SOON_S)

        assert heard == []
        line.wires.heal()
        await until(lambda: heard == [b"append"])
        assert len(line.heard) == 0
        writer.close()
        server.close()

    under(act)
