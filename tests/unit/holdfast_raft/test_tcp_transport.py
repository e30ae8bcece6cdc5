"""tcp_transport: nodes in one process (or one killed in another) over real loopback sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
from typing import Self

import pytest
import uvloop
from holdfast_raft.clock import SystemClock
from holdfast_raft.messages import Addressed, Append, Heartbeats, Payload
from holdfast_raft.peer_greeting import Goodbye, Hello, decode_greeting, encode_hello
from holdfast_raft.peer_stream import ENVELOPE_BYTES_MAX, PREAMBLES
from holdfast_raft.peer_wire import decode, encode
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

    def received(self, peer: int, message, size_bytes: int) -> None:
        self._note("received", peer, message, size_bytes)
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


# --- the contract -----------------------------------------------------------------------------------


def test_messages_of_a_lane_arrive_in_the_order_sent_and_once():
    """Per lane and direction: all messages, in order, none twice, however they were coalesced."""

    async def run():
        async with pair() as (one, two):
            for i in range(3000):
                assert one.transport.send(2, say(i, size=i % 700))
                assert two.transport.send(1, say(i, size=i % 500), bulk=True)
                if i % 7 == 0:
                    one.transport.flush()
                if i % 90 == 0:
                    two.transport.flush()
                    await asyncio.sleep(0)
            one.transport.flush()
            two.transport.flush()
            await one.seen.until_told("received", 3000)
            await two.seen.until_told("received", 3000)
            assert one.seen.numbers() == two.seen.numbers() == list(range(3000))

    uvloop.run(run())


def test_connected_comes_before_anything_is_received():
    """A node that speaks in its very `connected` is heard only after the other's `connected`."""

    async def run():
        one, two = Node(1), Node(2)
        for here, there in ((one, 2), (two, 1)):
            here.seen.connected = lambda peer, here=here, there=there: (
                here.seen._note("connected", peer),
                here.transport.send(there, say(1)),
                here.transport.flush(),
            )
        async with running(one, two):
            await one.seen.until_told("received")
            await two.seen.until_told("received")
            assert [event[0] for event in one.seen.events] == ["connected", "received"]
            assert [event[0] for event in two.seen.events] == ["connected", "received"]

    uvloop.run(run())


def test_nothing_leaves_before_flush():
    """A queued acknowledgement waits for the sync that covers it: only flush lets it go."""

    async def run():
        async with pair() as (one, two):
            one.transport.send(2, say(1))
            one.transport.flush()
            one.transport.send(2, say(2))
            two.transport.send(1, say(9))
            await two.seen.until_told("received")
            two.transport.flush()
            await one.seen.until_told("received")
            assert two.seen.numbers() == [1]
            one.transport.flush()
            await two.seen.until_told("received", 2)

    uvloop.run(run())


def test_all_that_one_turn_says_to_a_peer_is_one_envelope():
    """Messages queued between two flushes travel together on their lane."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=5) as caller:
            await caller.greet()
            await two.seen.until_told("connected")
            beats = Heartbeats(1, 2, 3, ())
            for message in (say(1), beats, say(2)):
                two.transport.send(1, message)
            two.transport.flush()
            assert [message for message, _ in decode(await caller.control.read())] == [
                say(1),
                beats,
                say(2),
            ]

    uvloop.run(run())


def test_a_large_message_passes():
    """A snapshot chunk of 8 MiB passes whole, and queued_bytes falls to zero once it is taken."""

    async def run():
        async with pair() as (one, two):
            large = Addressed(1, 1, Append(0, 0, 0, ((1, b"s" * (8 << 20)),)))
            one.transport.send(2, large, bulk=True)
            assert one.transport.queued_bytes(2) > 8 << 20
            one.transport.flush()
            await two.seen.until_told("received")
            assert two.seen.events[-1][2] == large
            two.transport.send(1, say(1))
            two.transport.flush()
            await one.seen.until_told("received")
            assert one.transport.queued_bytes(2) == 0

    uvloop.run(run())


def test_an_exception_in_the_receiver_does_not_tear_the_stream(caplog):
    """The receiver's mistake is logged; the next message arrives on the same connection."""

    async def run():
        async with pair() as (one, two):
            two.seen.on_received = lambda peer, message: 1 // (number(message) - 1)
            for i in (1, 2):
                one.transport.send(2, say(i))
            one.transport.flush()
            await two.seen.until_told("received", 2)
            assert two.seen.count("disconnected") == 0

    uvloop.run(run())
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_sending_to_a_peer_that_is_not_connected_says_so():
    """False, and nothing is queued."""

    async def run():
        async with acceptor() as two:
            assert not two.transport.send(1, say(1))
            assert not two.transport.is_connected(1)
            assert two.transport.queued_bytes(1) == 0

    uvloop.run(run())


def test_the_hello_tells_who_a_peer_is():
    """peer_info gives the facts of the peer's hello, to the dialler and to the acceptor."""

    async def run():
        async with pair() as (one, two):
            seen = one.transport.peer_info(2)
            assert (seen.node, seen.incarnation, seen.pid, seen.connected) == (2, 2000, 4002, True)
            assert (seen.http, seen.version, seen.zone) == ("127.0.0.1:8101", "0.1.0", "a")
            assert two.transport.peer_info(1).pid == 4001
            assert two.transport.peer_info(3) is None

    uvloop.run(run())


# --- the end of a connection ------------------------------------------------------------------------


@pytest.mark.parametrize("bulk", [False, True], ids=["control", "bulk"])
@pytest.mark.parametrize("sender", [1, 2], ids=["dialler", "acceptor"])
def test_a_full_queue_ends_the_connection_and_a_new_one_follows(sender, bulk):
    """Overflow: send says False, both sides are told disconnected, what was queued is gone, a new epoch
    begins, and no message in the middle is missing from what did arrive."""

    async def run():
        async with pair(control_bytes_max=1 << 20, bulk_bytes_max=1 << 20) as (one, two):
            here, there = (one, two) if sender == 1 else (two, one)
            sent = 0
            while here.transport.send(there.id, say(sent, size=100_000), bulk=bulk):
                here.transport.flush()
                sent += 1
            assert not here.transport.is_connected(there.id)
            assert not here.transport.send(there.id, say(sent))
            assert here.seen.count("disconnected") == 0, "not within send"
            for node in (here, there):
                await node.seen.until_told("disconnected")
                await node.seen.until_told("connected", 2)
            assert ("disconnected", there.id, False) in here.seen.events
            got = there.seen.numbers()
            assert got == list(range(len(got)))
            here.transport.send(there.id, say(77), bulk=bulk)
            here.transport.flush()
            await there.seen.until_told("received", len(got) + 1)
            assert there.seen.numbers()[-1] == 77
            assert here.transport.queued_bytes(there.id) < 1000

    uvloop.run(run())


def test_once_a_connection_is_over_the_rest_of_an_envelope_is_dropped():
    """Messages already read are not delivered after the connection ended under them."""

    async def run():
        async with pair(control_bytes_max=100_000) as (one, two):

            def overflow(peer, message):
                assert not two.transport.send(1, say(0, size=200_000))

            two.seen.on_received = overflow
            for i in range(5):
                one.transport.send(2, say(i))
            one.transport.flush()
            await two.seen.until_told("disconnected")
            await two.seen.until_told("connected", 2)
            assert two.seen.numbers() == [0]

    uvloop.run(run())


def test_a_newer_epoch_ends_the_older_connection_and_silences_it():
    """Once the newer stands nothing of the older is delivered, and the older is told that it is over."""

    async def run():
        async with (
            acceptor() as two,
            Caller(two.port, epoch=10) as old,
            Caller(two.port, epoch=11) as new,
        ):
            await old.greet()
            old.control.write(encode(say(1)))
            await two.seen.until_told("received")
            await new.greet()
            old.control.write(encode(say(2)))
            new.control.write(encode(say(3)))
            await two.seen.until_told("received", 2)
            assert "newer connection" in (await old.refusal()).why
            what = [event[:1] + event[2:3] for event in two.seen.events]
            assert what == [
                ("connected",),
                ("received", say(1)),
                ("disconnected", False),
                ("connected",),
                ("received", say(3)),
            ]

    uvloop.run(run())


def test_the_first_hello_of_a_newer_epoch_ends_the_older_connection():
    """The old connection does not live on while the new one is half made."""

    async def run():
        async with (
            acceptor() as two,
            Caller(two.port, epoch=10) as old,
            Caller(two.port, epoch=11) as new,
        ):
            await old.greet()
            await two.seen.until_told("connected")
            new.control.write(encode_hello(new.hello))
            await two.seen.until_told("disconnected")
            assert "newer connection" in (await old.refusal()).why
            assert two.seen.events == [("connected", 1), ("disconnected", 1, False)]

    uvloop.run(run())


@pytest.mark.parametrize("epoch", [10, 11], ids=["older", "same"])
def test_an_epoch_that_is_not_newer_is_refused_and_told_the_newest(epoch):
    """A connection made earlier that comes late never takes the place of a newer one."""

    async def run():
        async with (
            acceptor() as two,
            Caller(two.port, epoch=11) as new,
            Caller(two.port, epoch=epoch) as late,
        ):
            await new.greet()
            late.bulk.write(encode_hello(late.hello))
            refusal = await late.refusal()
            assert (refusal.newest_epoch, refusal.lasting) == (11, False)
            assert two.seen.events == [("connected", 1)]

    uvloop.run(run())


def test_a_dialler_whose_wall_clock_was_set_back_gets_in_all_the_same():
    """Told the newest epoch, it goes above it: a restart with an old clock locks nobody out."""

    class Backward(SystemClock):
        def wall_ms(self) -> int:
            return 5

    async def run():
        one = Node(1, clock=Backward())
        async with acceptor() as two, Caller(two.port, epoch=1 << 50) as earlier:
            await earlier.greet()
            async with running(one, peers=(two,)):
                await one.seen.until_told("connected")

    uvloop.run(run())


def test_a_peer_that_shuts_down_is_seen_as_closed_by_itself():
    """Both ways: to the dialler and to the acceptor a shut down of the other is closed_by_peer."""

    async def run():
        async with pair() as (one, two):
            await two.transport.close()
            await one.seen.until_told("disconnected")
            assert one.seen.events[-1] == ("disconnected", 2, True)
        async with pair() as (one, two):
            await one.transport.close()
            await two.seen.until_told("disconnected")
            assert two.seen.events[-1] == ("disconnected", 1, True)

    uvloop.run(run())


PEER_PROCESS = """
import asyncio, sys, uvloop
sys.path.insert(0, sys.argv[4])
from test_tcp_transport import Node
async def main(node, port, other):
    me = Node(node, port=port)
    await me.listen()
    me.start(addresses={3 - node: f"127.0.0.1:{other}"})
    print(me.port, flush=True)
    await asyncio.Event().wait()
uvloop.run(main(*map(int, sys.argv[1:4])))
"""


@pytest.mark.parametrize("talking", [False, True], ids=["silent", "talking"])
@pytest.mark.parametrize("victim", [1, 2], ids=["dialler", "acceptor"])
def test_a_killed_peer_is_seen_at_once_as_closed_by_the_peer(victim, talking):
    """SIGKILL of the other process: the kernel closes its sockets, and that is all there is to see."""

    async def run():
        me = Node(3 - victim)
        await me.listen()
        folder = __file__.rpartition("/")[0]
        command = [sys.executable, "-c", PEER_PROCESS, str(victim), "0", str(me.port), folder]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            port = int(await process.stdout.readline())
            me.start(addresses={victim: f"127.0.0.1:{port}"})
            await me.seen.until_told("connected")
            process.send_signal(signal.SIGKILL)
            while talking and me.transport.send(victim, say(1)):
                me.transport.flush()
                await asyncio.sleep(0)
            await me.seen.until_told("disconnected")
            assert me.seen.events[-1] == ("disconnected", victim, True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
            await me.stop()

    uvloop.run(run())


def test_a_peer_that_comes_back_is_connected_again():
    """The dialler goes on until the address answers, and the new connection carries messages."""

    async def run():
        one, two = Node(1), Node(2)
        await two.listen()
        async with running(one, peers=(two,)):
            two.start(one)
            await one.seen.until_told("connected")
            await two.stop()
            await one.seen.until_told("disconnected")
            again = Node(2, port=two.port)
            async with running(again, peers=(one,)):
                await one.seen.until_told("connected", 2)
                await again.seen.until_told("connected")
                one.transport.send(2, say(5))
                one.transport.flush()
                await again.seen.until_told("received")
                assert again.seen.numbers() == [5]

    uvloop.run(run())


@pytest.mark.parametrize("node", [1, 2], ids=["dialler", "acceptor"])
def test_a_peer_that_says_nothing_any_more_is_given_up(node, monkeypatch):
    """A stopped process keeps its sockets: only its silence tells, and it is not closed by the peer."""
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 0.02)

    async def run():
        async with pair() as (one, two):
            here, there = (one, two) if node == 1 else (two, one)
            there.transport._looking.cancel()
            await here.seen.until_told("disconnected")
            assert here.seen.events[-1] == ("disconnected", there.id, False)

    uvloop.run(run())


def test_peers_that_have_nothing_to_say_stay_connected(monkeypatch):
    """Frames of no length tell that the other lives; the receiver hears nothing of them."""
    monkeypatch.setattr("holdfast_raft.tcp_transport.LOOK_SECONDS", 0.01)

    async def run():
        async with pair() as (one, two):
            looks = []
            look = one.transport._look
            one.transport._look = lambda: (looks.append(1), look())
            await until(lambda: len(looks) > 20)
            one.transport.send(2, say(1))
            one.transport.flush()
            await two.seen.until_told("received")
            for node, other in ((one, 2), (two, 1)):
                assert node.seen.events[0] == ("connected", other)
                assert node.seen.count("disconnected") == 0

    uvloop.run(run())


# --- who is let in ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ({"cluster_id": "green"}, "of cluster 'green', not of 'blue'"),
        ({"node": 9}, "node 9 is not a peer"),
        ({"incarnation": 1001}, "is not admitted"),
        ({"node": 3, "incarnation": 3000}, "waits to be dialled"),
        ({"epoch": 1 << 63}, "out of range"),
    ],
    ids=["other cluster", "unknown node", "other incarnation", "wrong direction", "absurd epoch"],
)
def test_a_stranger_is_refused_and_named_in_the_log(hello, why, caplog):
    """A bad hello is answered with the reason, and that it lasts; the receiver hears nothing of it."""

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, **{"epoch": 5, **hello}) as caller:
                caller.control.write(encode_hello(caller.hello))
                caller.bulk.write(encode_hello(caller.hello))
                refusal = await caller.refusal()
                assert refusal.lasting
                assert why in refusal.why
            async with Caller(two.port, epoch=5) as good:
                await good.greet()
            assert two.seen.events[0] == ("connected", 1)

    uvloop.run(run())
    assert why in caplog.text


def test_the_dialler_refuses_an_acceptor_that_is_not_admitted(caplog):
    """Identity is checked both ways: a node answering at a peer's address must be that peer."""

    async def run():
        one, two = Node(1), Node(2, incarnation=2001)
        async with running(one, two):
            await two.seen.until_told("disconnected")
            assert one.seen.events == []

    with caplog.at_level(logging.WARNING):
        uvloop.run(run())
    assert "incarnation 00000000000007d1 of node 2 is not admitted" in caplog.text


def test_a_refused_dialler_tries_again_and_gets_in_once_it_is_admitted(monkeypatch):
    """A refusal is not for ever: an operator's correction is enough, no restart."""
    monkeypatch.setattr("holdfast_raft.peer_door.BACKOFF_SECONDS_MAX", 0.05)

    async def run():
        asked = []

        def admit(node, incarnation):
            asked.append(node)
            return len(asked) > 4

        one, two = Node(1), Node(2, admit=admit)
        async with running(one, two):
            await two.seen.until_told("connected")
            assert len(asked) > 4

    uvloop.run(run())


@pytest.mark.parametrize(
    "first",
    [b"\xff\xff\xff", b"", encode(say(1)), encode_hello(Hello("blue" * 2000, 1, 1000, 1, "", "", 1, ""))],
    ids=["garbage", "empty", "message before hello", "huge hello"],
)
def test_a_stream_that_does_not_begin_with_a_hello_is_refused(first):
    """Nothing of a stream is looked at before a hello, and a hello is small."""

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, epoch=1) as caller:
                caller.bulk.write(first)
                assert (await caller.refusal()).lasting
            assert two.seen.events == []

    uvloop.run(run())


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ids=["http", "grpc"]
)
def test_who_does_not_speak_the_protocol_is_hung_up_on_and_named(first, caplog):
    """A browser or a client at the wrong port is a line in the log, with what it said."""

    async def run():
        async with acceptor() as two:
            reader, writer = await asyncio.open_connection("127.0.0.1", two.port)
            writer.write(first)
            assert b"does not speak the protocol of peers" in await reader.read()
            writer.close()
            assert two.seen.events == []

    uvloop.run(run())
    assert "does not speak the protocol of peers" in caplog.text


def test_a_frame_above_the_bound_ends_the_connection_before_it_is_read():
    """Its length is enough to tell; what it would hold is never kept."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=1) as caller:
            await caller.greet()
            caller.bulk.write_raw((ENVELOPE_BYTES_MAX + 1).to_bytes(4, "big"))
            assert f"an envelope of {ENVELOPE_BYTES_MAX + 1} bytes" in (await caller.refusal()).why
            assert two.seen.events[-1] == ("disconnected", 1, False)

    uvloop.run(run())


def test_who_connects_and_says_nothing_is_hung_up_on(monkeypatch):
    """Also who stops within the preamble or the hello: nobody holds a place at the door."""
    monkeypatch.setattr("holdfast_raft.peer_door.HANDSHAKE_SECONDS", 0.1)

    async def run():
        async with acceptor() as two:
            for beginning in (b"", PREAMBLES["bulk"][:7], PREAMBLES["bulk"] + b"\0\0\0\x20half"):
                reader, writer = await asyncio.open_connection("127.0.0.1", two.port)
                writer.write(beginning)
                assert b"the handshake took too long" in await reader.read()
                writer.close()
            await until(lambda: not two.transport._acceptor._strangers)

    uvloop.run(run())


def test_a_crowd_at_the_door_is_bounded(monkeypatch):
    """Above so many strangers the next is hung up on; peers get in once some have gone."""
    monkeypatch.setattr("holdfast_raft.peer_acceptor.STRANGERS_MAX", 3)

    async def run():
        async with acceptor() as two:
            strangers = [await asyncio.open_connection("127.0.0.1", two.port) for _ in range(3)]
            await until(lambda: len(two.transport._acceptor._strangers) == 3)
            reader, writer = await asyncio.open_connection("127.0.0.1", two.port)
            assert await reader.read() == b""
            for _, stranger in [*strangers, (reader, writer)]:
                stranger.close()
            await until(lambda: not two.transport._acceptor._strangers)
            async with Caller(two.port, epoch=1) as caller:
                await caller.greet()

    uvloop.run(run())


def test_malformed_bytes_end_the_connection_and_nothing_else():
    """What came before them is delivered, nothing after; the node goes on and takes a new connection."""

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, epoch=1) as caller:
                await caller.greet()
                for data in (encode(say(1)), b"\xff\xff\xff", encode(say(2))):
                    caller.control.write(data)
                assert "malformed" in (await caller.refusal()).why
            assert [event[0] for event in two.seen.events] == ["connected", "received", "disconnected"]
            assert two.seen.events[-1] == ("disconnected", 1, False)
            async with Caller(two.port, epoch=2) as caller:
                await caller.greet()
                caller.bulk.write(encode(say(3)))
                await two.seen.until_told("received", 2)
            assert two.seen.numbers() == [1, 3]

    uvloop.run(run())


def test_one_lane_alone_is_no_connection(monkeypatch):
    """Without the other lane the handshake is given up, and the receiver never hears of it."""
    monkeypatch.setattr("holdfast_raft.peer_door.HANDSHAKE_SECONDS", 0.2)

    async def run():
        async with acceptor() as two:
            async with Caller(two.port, epoch=1) as caller:
                caller.bulk.write(encode_hello(caller.hello))
                assert "took too long" in (await caller.refusal()).why
            assert two.seen.events == []
            async with Caller(two.port, epoch=2) as caller:
                await caller.greet()

    uvloop.run(run())


# --- peers that come, go and move -------------------------------------------------------------------


@pytest.mark.parametrize("dials", [True, False], ids=["we dial it", "it dials us"])
def test_a_peer_that_is_added_at_run_time_is_connected(dials):
    """Nobody restarts for a node that joins; a stranger is admitted once it is named."""

    async def run():
        here, there = (Node(1), Node(2)) if dials else (Node(2), Node(1))
        await here.listen()
        await there.listen()
        here.start(addresses={9: "127.0.0.1:1"})
        there.start(here)
        try:
            await asyncio.sleep(0.1)
            assert here.seen.events == []
            here.transport.set_peers({9: "127.0.0.1:1", there.id: there.address, here.id: "elsewhere"})
            await here.seen.until_told("connected")
            await there.seen.until(lambda: there.transport.is_connected(here.id))
            assert here.seen.events == [("connected", there.id)]
        finally:
            await here.stop()
            await there.stop()

    uvloop.run(run())


@pytest.mark.parametrize("node", [1, 2], ids=["dialler", "acceptor"])
def test_a_peer_that_is_removed_is_disconnected_and_stays_so(node, monkeypatch):
    """Its connection ends at once, nothing is sent to it, and it is neither dialled nor let in again."""
    monkeypatch.setattr("holdfast_raft.peer_door.BACKOFF_SECONDS_MAX", 0.05)

    async def run():
        async with pair() as (one, two):
            here, there = (one, two) if node == 1 else (two, one)
            here.transport.set_peers({})
            assert here.seen.events[-1] == ("disconnected", there.id, False)
            assert not here.transport.send(there.id, say(1))
            await there.seen.until_told("disconnected")
            await asyncio.sleep(0.3)
            assert here.seen.count("connected") == 1
            assert not there.transport.is_connected(here.id)
            here.transport.set_peers({there.id: there.address})
            await here.seen.until_told("connected", 2)

    uvloop.run(run())


def test_a_peer_that_moved_is_dialled_at_its_new_address():
    """The connection to the old one ends at once, also when something answers there still."""

    async def run():
        one, two, moved = Node(1), Node(2), Node(2)
        async with running(one, two), running(moved, peers=(one,)):
            await one.seen.until_told("connected")
            one.transport.set_peers({2: moved.address})
            assert one.seen.events[-1] == ("disconnected", 2, False)
            await moved.seen.until_told("connected")
            await one.seen.until_told("connected", 2)
            await two.seen.until_told("disconnected")

    uvloop.run(run())


def test_the_same_peers_once_more_change_nothing():
    """Maps are told over and over: connections that stand stay, also those of a peer that dials us."""

    async def run():
        async with pair() as (one, two):
            one.transport.set_peers({2: two.address})
            two.transport.set_peers({1: "127.0.0.1:1"})
            one.transport.send(2, say(1))
            one.transport.flush()
            await two.seen.until_told("received")
            assert [event[0] for event in one.seen.events] == ["connected"]

    uvloop.run(run())


def test_a_peer_removed_within_its_handshake_is_not_connected():
    """It was one when its first lane came in; when the second does, it is none."""

    async def run():
        async with acceptor() as two, Caller(two.port, epoch=5) as caller:
            caller.control.write(encode_hello(caller.hello))
            await asyncio.sleep(0.1)
            two.transport._door._admit = lambda node, incarnation: two.transport.set_peers({}) is None
            caller.bulk.write(encode_hello(caller.hello))
            assert "no longer a peer" in (await caller.refusal()).why
            assert two.seen.events == []

    uvloop.run(run())


def test_peers_named_after_the_end_are_not_dialled():
    """A transport that was closed stays so, whatever it is told."""

    async def run():
        one, two = Node(1), Node(2)
        await two.listen()
        two.start(one)
        one.start(addresses={9: "127.0.0.1:1"})
        await one.transport.close()
        one.transport.set_peers({2: two.address})
        await asyncio.sleep(0.1)
        assert two.seen.events == []
        await one.stop()
        await two.stop()

    uvloop.run(run())
