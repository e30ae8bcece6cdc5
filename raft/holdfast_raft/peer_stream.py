"""One TCP connection between two nodes, cut into frames: one lane of a link.

    24 bytes, by who dialled: protocol, version and lane
    then, each way:           length (4 bytes, big endian) · an envelope of that length; of length 0: "I live"

The first envelope of each side is its hello, and is asked for (`greeting`). Nothing after it is read from the
socket until `carry` says who takes it, so what comes early waits in the kernel.

Invariant: envelopes are handed over whole, in order, none twice; after `close`, none.

Does not know what envelopes hold (`peer_link` does), nor who may connect (`peer_door`).
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from holdfast_raft.peer_greeting import WireError

ENVELOPE_BYTES_MAX: Final = 16 << 20
"""Cap on an envelope; refused by its length, before it is read."""

HELLO_BYTES_MAX: Final = 4096
"""The first envelope of a stream, from whoever it is."""

PREAMBLES: Final = {
    "control": b"holdfast peer 1 control\n",
    "bulk": b"holdfast peer 1 bulk   \n",
}
_LANES: Final = {preamble: lane for lane, preamble in PREAMBLES.items()}
_PREAMBLE_BYTES: Final = 24
_LENGTH: Final = struct.Struct(">I")
_HEADER_BYTES: Final = _LENGTH.size
TURN_BYTES: Final = 256 << 10
"""Taken from one connection in one turn of the loop. libuv reads on for as long as there is something, so a
snapshot would hold up the heartbeats beside it."""

LINGER_BYTES: Final = 64 << 10
"""So much may still be on its way when a connection is closed."""

UNANSWERED_MS: Final = 4000
"""The kernel gives up a connection whose bytes nobody acknowledges for so long."""


class PeerStream(asyncio.Protocol):
    """See the module docstring. Made by who dials (`lane`), or by a server that accepts (`accepted`).

    Attributes:
        lane: "control" or "bulk"; of one that was accepted, known once its greeting is read.
        lost: resolves when the connection is over: the error, or None where the peer closed it.
    """

    def __init__(self, lane: str = "", accepted: Callable[[PeerStream], None] | None = None) -> None:
        """lane: of a stream that we dial; accepted: told of one that was dialled by a peer."""
        loop = self._loop = asyncio.get_running_loop()
        self.lane = lane
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self._accepted = accepted
        self._preamble_missing = accepted is not None
        self._greeting: asyncio.Future[bytes] = loop.create_future()
        self._take: Callable[[bytes], None] | None = None
        self._buffer = bytearray()
        self._taken_bytes = 0  # in this turn of the loop
        self._is_waiting = False  # for the next one
        self._is_deaf = False  # nothing more is handed over
        self._is_closed = False
        self._transport: asyncio.Transport

    def __repr__(self) -> str:
        return f"<PeerStream {self.lane or '?'} from {self.peer}>"

    @property
    def peer(self) -> str:
        """The host at the other end."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else "?"

    @property
    def unsent_bytes(self) -> int:
        """Not yet taken by the kernel; of a connection that is ending, nothing."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    # ---- by who owns it ----

    async def greeting(self) -> bytes:
        """The first envelope. Raises WireError, or OSError if the connection ended before it."""
        return await asyncio.shield(self._greeting)

    def carry(self, take: Callable[[bytes], None]) -> None:
        """From here on envelopes are handed over, those of no length too. `take` may raise WireError."""
        if self._is_closed:
            return
        self._take = take
        self._transport.resume_reading()
        if self._buffer:
            self._hand_over()

    def write(self, envelope: bytes) -> None:
        """Sends it after all that was sent; nothing over a connection that is ending."""
        if self._transport.is_closing():
            return  # who owns us will hear of it
        self._transport.write(_LENGTH.pack(len(envelope)) + envelope)

    @property
    def is_hung_up(self) -> bool:
        """Whether the other side has ended it, also while nothing is read from it."""
        if self._is_closed or self._transport.is_closing():
            return True
        if not hasattr(select, "POLLRDHUP"):  # only Linux tells; elsewhere it is seen once it is read from
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self, last: bytes = b"") -> None:
        """Ends it, after one more envelope; at once where much waits that the other side does not take."""
        if self._is_closed:
            return
        self._is_closed = self._is_deaf = True
        if self._transport.is_closing() or self.unsent_bytes > LINGER_BYTES:
            self._transport.abort()
            return
        if last:
            self.write(last)
        self._transport.close()

    # ---- by the loop ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        _tune(transport.get_extra_info("socket"))
        if self._accepted is None:
            self._transport.write(PREAMBLES[self.lane])
        else:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._hand_over()
        if not self._taken_bytes:
            self._loop.call_soon(self._next_turn)
        self._taken_bytes += len(data)
        if self._taken_bytes > TURN_BYTES and self._take is not None and not self._is_deaf:
            self._is_waiting = True
            self._transport.pause_reading()

    def _next_turn(self) -> None:
        self._taken_bytes = 0
        if self._is_waiting:
            self._is_waiting = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = self._is_deaf = True
        self._buffer.clear()
        if not self._greeting.done():
            self._fail_greeting(exc or ConnectionError("the connection ended before a hello"))
        if not self.lost.done():
            self.lost.set_result(exc)

    def _hand_over(self) -> None:
        buffer, at = self._buffer, 0
        try:
            if self._preamble_missing:
                if not self._read_preamble():
                    return
                at = _PREAMBLE_BYTES
            while not self._is_deaf and len(buffer) - at >= _HEADER_BYTES:
                (length,) = _LENGTH.unpack_from(buffer, at)
                end = at + _HEADER_BYTES + length
                self._check(length)
                if len(buffer) < end:
                    break
                envelope = bytes(memoryview(buffer)[at + _HEADER_BYTES : end])
                at = end
                if self._take is not None:
                    self._take(envelope)
                else:
                    self._transport.pause_reading()
                    self._greeting.set_result(envelope)
                    break
        except WireError as error:
            self._is_deaf = True
            if not self._greeting.done():
                self._fail_greeting(error)
            if not self.lost.done():
                self.lost.set_result(error)
        finally:
            del buffer[:at]

    def _read_preamble(self) -> bool:
        """False: some of it is still to come. Raises WireError for what is none."""
        found = bytes(self._buffer[:_PREAMBLE_BYTES])
        if not any(preamble.startswith(found) for preamble in _LANES):
            raise WireError(f"it does not speak the protocol of peers: it began with {found!r}")
        if len(found) < _PREAMBLE_BYTES:
            return False
        self.lane = _LANES[found]
        self._preamble_missing = False
        return True

    def _check(self, length: int) -> None:
        bound, what = (
            (ENVELOPE_BYTES_MAX, "an envelope") if self._take is not None else (HELLO_BYTES_MAX, "a hello")
        )
        if length > bound:
            raise WireError(f"{what} of {length} bytes")

    def _fail_greeting(self, error: Exception) -> None:
        self._greeting.set_exception(error)
        self._greeting.exception()  # read: nobody may be asking any more


def _tune(peer: socket.socket) -> None:
    """No waiting for more bytes to send; and a host that has gone is noticed, as far as the kernel can."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)
