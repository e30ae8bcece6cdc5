"""One connection to one peer: two lanes with bounded queues, and what ended it.

Invariant: a link ends once and for good. From then on it takes nothing to send and delivers nothing,
not even messages of an envelope already in hand; so a message in the middle is never missing.

Does not open streams, shake hands or reconnect: `grpc_transport` does, and hands in each lane's read
and write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from holdfast_raft.messages import NodeMessage
from holdfast_raft.peer_wire import Hello, WireError, decode

log = logging.getLogger(__name__)

ENVELOPE_BYTES_MAX = 16 << 20
"""gRPC's cap on a message, on both sides; refused before it is parsed."""

MESSAGE_BYTES_MAX = 15 << 20
"""Of one message. A driver cuts appends and snapshots far smaller; here it is a programmer's error."""

PACK_BYTES = 512 << 10
"""Messages are packed into one envelope up to about here, so that one envelope never holds a loop long."""

Read = Callable[[], Awaitable[bytes | None]]
"""The next envelope; None: the stream ended. Raises what the network raises."""

Write = Callable[[bytes], Awaitable[None]]


class Ending(NamedTuple):
    """Why a link is over.

    by_peer: the process on the other side closed it. is_malformed: it sent what makes no sense.
    """

    why: str
    by_peer: bool
    is_malformed: bool = False


Cause = Callable[[Exception], Ending]
"""What an exception of Read or Write means."""


class Lane:
    """A queue of encoded messages in front of one stream's write."""

    __slots__ = ("_ready", "_staged", "_wake", "bytes_max", "queued_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        # Staged, ready and in the hands of the network's write.
        self.queued_bytes = 0
        self._staged: list[bytes] = []
        self._ready: list[bytes] = []
        self._wake: asyncio.Future[None] | None = None

    def stage(self, encoded: bytes) -> bool:
        """Keeps a message for the next release; False when it does not fit."""
        if self.queued_bytes + len(encoded) > self.bytes_max:
            return False
        self._staged.append(encoded)
        self.queued_bytes += len(encoded)
        return True

    def release(self) -> None:
        """What was staged may leave."""
        self._ready += self._staged
        self._staged.clear()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self, write: Write) -> None:
        """Writes what is released, for ever; one write at a time, whatever came meanwhile in the next."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._ready:
                self._wake = loop.create_future()
                await self._wake
            envelope = self._pack()
            await write(envelope)
            self.queued_bytes -= len(envelope)

    def _pack(self) -> bytes:
        size = count = 0
        for encoded in self._ready:
            if count and size + len(encoded) > PACK_BYTES:
                break
            size += len(encoded)
            count += 1
        envelope = self._ready[0] if count == 1 else b"".join(self._ready[:count])
        del self._ready[:count]
        return envelope


class Link:
    """One connection to one peer.

    Attributes:
        is_open: both lanes stand and nothing has ended it.
        ended: resolves once, with the reason.
    """

    def __init__(
        self,
        hello: Hello,
        control_bytes_max: int,
        bulk_bytes_max: int,
        deliver: Callable[[int, NodeMessage, int], None],
    ) -> None:
        self.hello = hello
        self.peer = hello.node
        self.control = Lane(control_bytes_max)
        self.bulk = Lane(bulk_bytes_max)
        self.is_open = False
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._deliver = deliver

    def __repr__(self) -> str:
        state = self.ended.result().why if self.ended.done() else "open" if self.is_open else "opening"
        return (
            f"<Link to node {self.peer}, epoch {self.hello.epoch}: {state}, "
            f"queued {self.control.queued_bytes} + {self.bulk.queued_bytes} bytes>"
        )

    def end(self, why: str, *, by_peer: bool = False) -> None:
        """Over; later calls change nothing."""
        self._end(Ending(why, by_peer))

    def _end(self, ending: Ending) -> None:
        self.is_open = False
        if not self.ended.done():
            self.ended.set_result(ending)

    async def run(self, lane: Lane, read: Read, write: Write, cause: Cause) -> None:
        """Carries one lane until the link is over."""
        tasks = [
            asyncio.create_task(self._guard(self._receive, read, cause)),
            asyncio.create_task(self._guard(lane.run, write, cause)),
        ]
        try:
            # shield: a cancelled owner must not cancel what others wait for.
            await asyncio.shield(self.ended)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard(self, work: Callable[[Any], Awaitable[None]], stream: Any, cause: Cause) -> None:
        try:
            await work(stream)
        except WireError as error:
            log.error("peer.malformed node=%d: %s", self.peer, error)  # noqa: TRY400
            self._end(Ending(f"malformed: {error}", by_peer=False, is_malformed=True))
        except Exception as error:  # noqa: BLE001 - whatever gRPC raises, the link is over
            self._end(cause(error))

    async def _receive(self, read: Read) -> None:
        while (data := await read()) is not None:
            if len(data) > ENVELOPE_BYTES_MAX:
                raise WireError(f"an envelope of {len(data)} bytes")
            for message, size in decode(data):
                if not self.is_open:
                    return
                self._deliver(self.peer, message, size)
        self.end("the peer ended the stream", by_peer=True)
