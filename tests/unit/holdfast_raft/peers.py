"""Peers for tests of the transport: nodes in one process, and one spoken by hand, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from typing import Self

from holdfast_raft.clock import SystemClock
from holdfast_raft.messages import Addressed, Payload
from holdfast_raft.peer_greeting import Goodbye, Hello, decode_greeting, encode_hello
from holdfast_raft.peer_stream import PREAMBLES
from holdfast_raft.tcp_transport import TcpTransport


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


def say(number: int, size: int = 0) -> Addressed:
    return Addressed(7, 3, Payload(number.to_bytes(4, "big") + b"x" * size))


def number(message: Addressed) -> int:
    return int.from_bytes(message.body.data[:4], "big")


class Recorder:
    """A receiver that keeps what it is told, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.events: list[tuple] = []
        self.on_received = lambda peer, message: None
        self._news = asyncio.Event()

    def _note(self, *event) -> None:
        self.events.append(event)
        self._news.set()

    def connected(self, peer: int) -> None:
        self._note("connected", peer)

    def disconnected(self, peer: int, closed_by_peer: bool) -> None:
        self._note("disconnected", peer, closed_by_peer)

    def received(self, peer: int, message) -> None:
        self._note("received", peer, message)
        self.on_received(peer, message)

    def count(self, what: str) -> int:
        return sum(event[0] == what for event in self.events)

    def numbers(self) -> list[int]:
        return [number(event[2]) for event in self.events if event[0] == "received"]

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_told(self, what: str, times: int = 1) -> None:
        await self.until(lambda: self.count(what) >= times)


class Node:
    """A transport that listens."""

    def __init__(
        self, node: int, *, cluster: str = "blue", incarnation: int | None = None, port: int = 0, **more
    ):
        self.id = node
        self.seen = Recorder()
        self.port = port
        self._peers: dict[int, str] = {}
        options = {
            "admit": lambda node, incarnation: incarnation == node * 1000,
            "clock": SystemClock(),
            **more,
        }
        self.transport = TcpTransport(
            cluster,
            node,
            incarnation if incarnation is not None else node * 1000,
            {},
            http="127.0.0.1:8101",
            version="0.1.0",
            pid=4000 + node,
            zone="a",
            loop=asyncio.get_running_loop(),
            **options,
        )
        self.transport.attach(self.seen)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def listen(self) -> None:
        self.port = await self.transport.listen("127.0.0.1", self.port)

    def start(self, *peers: Node, addresses: dict[int, str] | None = None) -> None:
        self.transport.set_peers(addresses or {peer.id: peer.address for peer in peers})
        self.transport.start()

    async def stop(self) -> None:
        await self.transport.close()


@contextlib.asynccontextmanager
async def running(*nodes: Node, peers: tuple[Node, ...] = ()):
    for node in nodes:
        await node.listen()
    for node in nodes:
        node.start(*nodes, *peers)
    try:
        yield
    finally:
        for node in nodes:
            await node.stop()


@contextlib.asynccontextmanager
async def pair(**more):
    """Nodes 1 (dials) and 2 (accepts), connected."""
    one, two = Node(1, **more), Node(2, **more)
    async with running(one, two):
        await one.seen.until_told("connected")
        await two.seen.until_told("connected")
        yield one, two


@contextlib.asynccontextmanager
async def acceptor():
    """Node 2, which waits to be dialled by node 1."""
    two = Node(2)
    await two.listen()
    two.start(addresses={1: "127.0.0.1:1", 3: "127.0.0.1:1"})
    try:
        yield two
    finally:
        await two.stop()


class Lane:
    """One lane spoken by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, envelope: bytes) -> None:
        self._writer.write(len(envelope).to_bytes(4, "big") + envelope)

    async def read(self) -> bytes:
        """The next envelope that says anything. Raises IncompleteReadError at the end."""
        while True:
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if length:
                return await self._reader.readexactly(length)

    def write_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._writer.transport.abort()


class Caller:
    """A peer spoken by hand: both lanes, with any hello."""

    def __init__(self, port: int, epoch: int, **hello) -> None:
        self.hello = Hello("blue", 1, 1000, epoch, "", "", 1, "")._replace(**hello)
        self._port = port
        self.control: Lane
        self.bulk: Lane

    async def __aenter__(self) -> Self:
        self.control, self.bulk = [await self._open(lane) for lane in ("control", "bulk")]
        return self

    async def _open(self, lane: str) -> Lane:
        opened = Lane(*await asyncio.open_connection("127.0.0.1", self._port))
        opened.write_raw(PREAMBLES[lane])
        return opened

    async def __aexit__(self, *_) -> None:
        self.control.close()
        self.bulk.close()

    async def greet(self) -> None:
        for lane in (self.control, self.bulk):
            lane.write(encode_hello(self.hello))
        for lane in (self.control, self.bulk):
            assert decode_greeting(await lane.read()).node == 2

    async def refusal(self) -> Goodbye:
        """What the bulk lane ends with, whatever was said before. Fails if it ends without a word."""
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ValueError):
                    said = decode_greeting(await self.bulk.read())
                    if isinstance(said, Goodbye):
                        return said


@contextlib.asynccontextmanager
async def between(one: Node, two: Node):
    """Nodes 1 and 2, connected through a forwarder; gives its pumps by lane, to be cancelled."""
    pumps: dict[str, list[asyncio.Task]] = {}
    writers = []

    async def pump(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def forward(reader, writer):
        preamble = await reader.readexactly(24)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", two.port)
        far_writer.write(preamble)
        lane = next(lane for lane, known in PREAMBLES.items() if known == preamble)
        writers.extend((writer, far_writer))
        pumps[lane] = [
            asyncio.ensure_future(pump(reader, far_writer)),
            asyncio.ensure_future(pump(far_reader, writer)),
        ]

    await two.listen()
    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    one.start(addresses={2: f"127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    two.start(addresses={1: "127.0.0.1:1"})
    try:
        await one.seen.until_told("connected")
        await two.seen.until_told("connected")
        yield pumps
    finally:
        server.close()
        await one.stop()
        await two.stop()
        for task in itertools.chain(*pumps.values()):
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*itertools.chain(*pumps.values()), return_exceptions=True)
