"""How a connection to a peer comes about over gRPC: dialling, accepting, both hellos, and refusals.

The node with the lower id dials. It opens both lanes and says the same epoch on each; the acceptor
answers once it has both, and the connection stands. The acceptor keeps the newest epoch of each peer:
a newer one ends what stands, an older one is refused (and the dialler told the newest, so that a wall
clock set back between two starts locks nobody out).

Invariant: neither side delivers a message before both hellos of both lanes are read and found good.

Does not carry messages (`peer_link` does) and keeps no table of connections (`grpc_transport` does).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs have forgotten it

from holdfast_raft.clock import Clock
from holdfast_raft.peer_link import ENVELOPE_BYTES_MAX, Ending, Link
from holdfast_raft.peer_wire import Hello, WireError, decode_hello, encode_hello

log = logging.getLogger(__name__)

SERVICE = "holdfast_raft.v1.Peer"

HELLO_BYTES_MAX = 4096
"""The first envelope of a stream, from whoever it is."""

HANDSHAKE_SECONDS = 3.0
"""For connecting and both hellos."""

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Between attempts, doubling, times 0.5 to 1. After a refusal at least the maximum."""

STEADY_SECONDS = 2.0
"""A connection that stood this long lets the next backoff begin at the minimum."""

EPOCH_MAX = 1 << 63
"""No clock gives such an epoch; one sent nevertheless would lock its sender out for ever."""

NEWEST_EPOCH = "holdfast-newest-epoch"
"""Trailing metadata of a refusal because of an old epoch."""

_PEER_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", ENVELOPE_BYTES_MAX),
    ("grpc.max_send_message_length", ENVELOPE_BYTES_MAX),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    *_PEER_OPTIONS,
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # Channels do not share connections: each lane has its own.
    ("grpc.use_local_subchannel_pool", 1),
]

SERVER_OPTIONS: list[tuple[str, Any]] = [
    *_PEER_OPTIONS,
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    # Otherwise the peers' keepalive is answered with "too many pings" and the connection closed.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
]
"""What the server that carries the peer service must be made with."""


class RefusedError(Exception):
    """The other side is not who it should be, or will not have us."""


class Door:
    """Says who may come in, and why not."""

    def __init__(
        self, hello: Hello, peers: Mapping[int, str], admit: Callable[[int, int], bool], clock: Clock
    ) -> None:
        self.hello = hello
        self._peers = peers
        self._admit = admit
        self._clock = clock
        self._complaints: dict[str, str] = {}

    def objection(self, hello: Hello) -> str:
        """Why we will not speak with who says this hello; empty: we will."""
        if hello.cluster_id != self.hello.cluster_id:
            return f"node {hello.node} is of cluster {hello.cluster_id!r}, not of {self.hello.cluster_id!r}"
        if hello.node not in self._peers:
            return f"node {hello.node} is not a peer of node {self.hello.node}"
        if not self._admit(hello.node, hello.incarnation):
            return f"incarnation {hello.incarnation:016x} of node {hello.node} is not admitted"
        return ""

    def complain(self, about: str, why: str) -> None:
        """Logs a refusal: each reason once, not at every attempt."""
        if self._complaints.get(about) != why:
            self._complaints[about] = why
            log.warning("peer.refused %s: %s", about, why)

    def forgive(self, about: str) -> None:
        """It went well: the next refusal is news again."""
        self._complaints.pop(about, None)

    def epoch_after(self, last: int) -> int:
        """A new epoch: above `last`, and above those of earlier starts of this node."""
        return max(last + 1, self._clock.wall_ms() << 20)


class Backoff:
    """How long to wait before the next attempt."""

    def __init__(self) -> None:
        self._ceiling = BACKOFF_SECONDS_MIN

    def pause(self, stood_seconds: float, *, refused: bool, jitter: float) -> float:
        """Seconds to wait after an attempt that ended; jitter is from 0 to 1."""
        if stood_seconds >= STEADY_SECONDS:
            self._ceiling = BACKOFF_SECONDS_MIN
        seconds = self._ceiling * (0.5 + jitter / 2)
        self._ceiling = min(self._ceiling * 2, BACKOFF_SECONDS_MAX)
        return max(seconds, BACKOFF_SECONDS_MAX) if refused else seconds


# --- dialling ---------------------------------------------------------------------------------------


class Dialer:
    """Keeps a connection to one peer with a higher id."""

    def __init__(
        self,
        door: Door,
        peer: int,
        address: str,
        new_link: Callable[[Hello], Link],
        stands: Callable[[Link], None],
    ) -> None:
        self._door = door
        self._peer = peer
        self._address = address
        self._new_link = new_link
        self._stands = stands
        self._epoch = 0

    async def run(self) -> None:
        """Dials for ever; ends only by being cancelled."""
        loop = asyncio.get_running_loop()
        about = f"node {self._peer} at {self._address}"
        backoff = Backoff()
        while True:
            began = loop.time()
            refused = False
            try:
                await self._connect_once()
            except (RefusedError, WireError) as error:
                self._door.complain(about, str(error))
                refused = True
            except Exception as error:  # noqa: BLE001 - whatever gRPC raises: try again
                log.debug("peer.unreachable %s: %s", about, describe(error).why)
            stood = loop.time() - began
            await asyncio.sleep(backoff.pause(stood, refused=refused, jitter=random.random()))

    async def _connect_once(self) -> None:
        self._epoch = self._door.epoch_after(self._epoch)
        async with self._channel() as control_channel, self._channel() as bulk_channel:
            control = _open(control_channel, "Control")
            bulk = _open(bulk_channel, "Bulk")
            try:
                link = await self._shake_hands(control, bulk)
                try:
                    await asyncio.gather(
                        link.run(link.control, reader(control), control.write, describe),
                        link.run(link.bulk, reader(bulk), bulk.write, describe),
                    )
                finally:
                    link.end("this node stopped dialling")
            finally:
                control.cancel()
                bulk.cancel()
        if link.ended.result().is_malformed:
            raise RefusedError(link.ended.result().why)

    def _channel(self) -> Any:
        return grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)

    async def _shake_hands(self, control: Any, bulk: Any) -> Link:
        """Says hello on both lanes and reads both answers."""
        hello = encode_hello(self._door.hello._replace(epoch=self._epoch))
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await asyncio.gather(control.write(hello), bulk.write(hello))
                answers = await asyncio.gather(read_hello(control), read_hello(bulk))
        except grpc.aio.AioRpcError as error:
            self._heed(error)
            raise
        if answers[0] != answers[1] or answers[0].node != self._peer or answers[0].epoch != self._epoch:
            raise RefusedError(f"answered as {answers[0]} on control and {answers[1]} on bulk")
        objection = self._door.objection(answers[0])
        if objection:
            raise RefusedError(objection)
        self._door.forgive(f"node {self._peer} at {self._address}")
        link = self._new_link(answers[0])
        self._stands(link)
        return link

    def _heed(self, error: grpc.aio.AioRpcError) -> None:
        """Takes what a refusal tells: raises RefusedError for one that a quick new attempt cannot mend."""
        if error.code() == grpc.StatusCode.PERMISSION_DENIED:
            raise RefusedError(f"it refuses us: {error.details()}") from None
        trailing: Any = error.trailing_metadata()
        for key, value in trailing or ():
            if key == NEWEST_EPOCH and int(value) < EPOCH_MAX:
                self._epoch = max(self._epoch, int(value))


def _open(channel: Any, lane: str) -> Any:
    """A stream of bytes; the stubs of grpc know only streams of messages."""
    return channel.stream_stream(f"/{SERVICE}/{lane}")()


def reader(stream: Any) -> Callable[[], Any]:
    """A stream's read that gives None at its end."""
    read = stream.read

    async def envelope() -> bytes | None:
        data = await read()
        return None if data is EOF else data

    return envelope


async def read_hello(stream: Any) -> Hello:
    """The first envelope of a stream."""
    data = await stream.read()
    if data is EOF:
        raise WireError("the stream ended before a hello")
    if len(data) > HELLO_BYTES_MAX:
        raise WireError(f"a hello of {len(data)} bytes")
    return decode_hello(data)


def describe(error: Exception) -> Ending:
    """What an error of a dialled stream means.

    A process that dies or closes shows as UNAVAILABLE; so does a network that swallows everything,
    but then gRPC speaks of a timeout. A write that fails because the stream is over hides its status
    behind an internal error: that counts as closed by the peer, as it mostly is. A wrong guess costs
    a pre-vote that the others refuse; a missed one costs an election timeout.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        # InvalidStateError: a write after the stream was over.
        return Ending(f"{type(error).__name__}: {error}", isinstance(error, asyncio.InvalidStateError))
    details = error.details() or ""
    if error.code() == grpc.StatusCode.INTERNAL:
        by_peer = details == "Internal error from Core"
    else:
        silent = any(word in details.lower() for word in ("timeout", "timed out", "unreachable"))
        by_peer = error.code() == grpc.StatusCode.UNAVAILABLE and not silent
    return Ending(f"{error.code().name}: {details}", by_peer)


# --- accepting --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Arriving:
    """A connection on its way, with the lanes that have said hello so far."""

    link: Link
    lanes: set[str] = field(default_factory=set)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


def _complete_at_end(arriving: _Arriving) -> None:
    """A lane that waits for the other must not outwait the link."""
    arriving.link.ended.add_done_callback(lambda _: arriving.complete.set())


class Acceptor:
    """The Peer service: takes connections of peers with lower ids."""

    def __init__(
        self,
        door: Door,
        new_link: Callable[[Hello], Link],
        stands: Callable[[Link], None],
    ) -> None:
        self._door = door
        self._new_link = new_link
        self._stands = stands
        self._newest: dict[int, _Arriving] = {}
        self._closed = False

    def close(self) -> None:
        """Ends what is here and takes no more."""
        self._closed = True
        for arriving in self._newest.values():
            arriving.link.end("this node is shutting down")

    async def serve(self, lane: str, context: Any) -> None:
        """One lane of one connection, from its hello to its end."""
        arriving = await self._greet(lane, context)
        link = arriving.link
        queue = link.control if lane == "control" else link.bulk
        try:
            await context.write(encode_hello(self._door.hello._replace(epoch=link.hello.epoch)))
            await link.run(queue, reader(context), context.write, _gone)
        except asyncio.CancelledError:
            # Only gRPC cancels a handler: the peer went away, or our server is being stopped.
            link.end("the peer closed the connection", by_peer=True)
            raise
        except Exception as error:  # noqa: BLE001 - writing to a stream that is over
            link.end(_gone(error).why, by_peer=True)
        ending = link.ended.result()
        code = grpc.StatusCode.UNAVAILABLE if self._closed else grpc.StatusCode.ABORTED
        await context.abort(code, f"node {self._door.hello.node}: {ending.why}")

    async def _greet(self, lane: str, context: Any) -> _Arriving:
        """Reads the hello, and waits until both lanes have said it."""
        if self._closed:
            await self._turn_away(context, grpc.StatusCode.UNAVAILABLE, "shutting down")
        arriving: _Arriving | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                hello = await read_hello(context)
                arriving = await self._admit(lane, hello, context)
                await self._complete(arriving)
        except WireError as error:
            self._door.complain(context.peer().rpartition(":")[0], str(error))
            await self._turn_away(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TimeoutError:
            if arriving is not None:
                arriving.link.end("the other lane did not come")
            await self._turn_away(context, grpc.StatusCode.DEADLINE_EXCEEDED, "the handshake took too long")
        except asyncio.CancelledError:
            if arriving is not None:
                arriving.link.end("the peer closed the connection", by_peer=True)
            raise
        assert arriving is not None
        if arriving.link.ended.done():
            why = arriving.link.ended.result().why
            await self._turn_away(context, grpc.StatusCode.ABORTED, why)
        return arriving

    async def _admit(self, lane: str, hello: Hello, context: Any) -> _Arriving:
        objection = self._door.objection(hello)
        if not objection and hello.node > self._door.hello.node:
            objection = f"node {hello.node} waits to be dialled by node {self._door.hello.node}"
        if not objection and hello.epoch >= EPOCH_MAX:
            objection = f"epoch {hello.epoch} is out of range"
        if objection:
            self._door.complain(f"node {hello.node} from {context.peer().rpartition(':')[0]}", objection)
            await self._turn_away(context, grpc.StatusCode.PERMISSION_DENIED, objection)
        newest = self._newest.get(hello.node)
        if newest is None or hello.epoch > newest.link.hello.epoch:
            if newest is not None:
                newest.link.end("a newer connection took its place")
            newest = self._newest[hello.node] = _Arriving(self._new_link(hello))
            _complete_at_end(newest)
        elif hello != newest.link.hello or lane in newest.lanes or newest.link.ended.done():
            context.set_trailing_metadata(((NEWEST_EPOCH, str(newest.link.hello.epoch)),))
            why = f"epoch {hello.epoch} is not newer than {newest.link.hello.epoch}"
            await self._turn_away(context, grpc.StatusCode.FAILED_PRECONDITION, why)
        newest.lanes.add(lane)
        return newest

    async def _complete(self, arriving: _Arriving) -> None:
        """Returns when both lanes have come, or the link is over."""
        if len(arriving.lanes) == 2 and not arriving.link.ended.done():
            self._stands(arriving.link)
            arriving.complete.set()
        await arriving.complete.wait()

    async def _turn_away(self, context: Any, code: grpc.StatusCode, why: str) -> NoReturn:
        await context.abort(code, why)
        raise AssertionError("abort raises")


def _gone(error: Exception) -> Ending:
    """An accepted stream fails only when the call is over, and only its peer ends it."""
    return Ending(f"the peer closed the connection ({type(error).__name__})", by_peer=True)
