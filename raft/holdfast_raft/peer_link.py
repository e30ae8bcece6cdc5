"""One connection to one peer: two lanes, what they hold back until they are flushed, and what ended it.

Invariant: a link ends once and for good. From then on it takes nothing to send and delivers nothing,
not even messages of an envelope already in hand; so a message in the middle is never missing.

Does not shake hands or reconnect: `peer_dialer` and `peer_acceptor` do, and hand in streams that stand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from holdfast_raft.messages import NodeMessage
from holdfast_raft.peer_greeting import Goodbye, Hello, WireError, encode_goodbye, goodbye_in
from holdfast_raft.peer_stream import PeerStream
from holdfast_raft.peer_wire import decode

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX: Final = 15 << 20
"""Of one message. A driver cuts appends and snapshots far smaller; here it is a programmer's error."""

PACK_BYTES: Final = 512 << 10
"""Messages are packed into one envelope up to about here, so that one envelope never holds a loop long."""

LOOKS_MAX: Final = 4
"""A lane on which nothing comes for so many looks leads nowhere, or its peer is stopped."""

LAST_WORD_SECONDS: Final = 0.05
"""When one lane breaks: for a goodbye on the other, which tells a process that lives from one that died."""


class Ending(NamedTuple):
    """Why a link is over.

    by_peer: the process on the other side is gone. lasting: trying again soon is of no use.
    """

    why: str
    by_peer: bool
    lasting: bool = False


class Lane:
    """What is said on one stream. Messages wait, encoded, until they are released."""

    __slots__ = ("_staged", "_staged_bytes", "_was_used", "bytes_max", "silent_looks", "stream")

    def __init__(self, stream: PeerStream, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.stream = stream
        self.silent_looks = 0  # since something came
        self._was_used = False  # since the last look
        self._staged: list[bytes] = []
        self._staged_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Staged, or not yet taken by the network."""
        return self._staged_bytes + self.stream.unsent_bytes

    def stage(self, encoded: bytes) -> bool:
        """Keeps a message for the next release; False when it does not fit."""
        if self.queued_bytes + len(encoded) > self.bytes_max:
            return False
        self._staged.append(encoded)
        self._staged_bytes += len(encoded)
        return True

    def release(self) -> None:
        """Sends what was staged, in as few envelopes as are of a decent size."""
        staged, self._staged, self._staged_bytes = self._staged, [], 0
        self._was_used = True
        if len(staged) == 1:
            self.stream.write(staged[0])
            return
        pack: list[bytes] = []
        size = 0
        for encoded in staged:
            if pack and size + len(encoded) > PACK_BYTES:
                self.stream.write(b"".join(pack))
                pack, size = [], 0
            pack.append(encoded)
            size += len(encoded)
        self.stream.write(b"".join(pack))

    def look(self) -> bool:
        """Says that we live, if nothing else did since the last look; False: nothing comes any more."""
        self.silent_looks += 1
        if not self._was_used:
            self.stream.write(b"")
        self._was_used = False
        return self.silent_looks <= LOOKS_MAX

    def close(self, last: bytes) -> None:
        """Says a last word and ends; what was staged is gone."""
        self._staged, self._staged_bytes = [], 0
        self.stream.close(last)


class Link:
    """One connection to one peer.

    Attributes:
        is_open: both lanes stand and nothing has ended it.
        ended: resolves once, with the reason.
    """

    def __init__(
        self,
        hello: Hello,
        control: tuple[PeerStream, int],
        bulk: tuple[PeerStream, int],
        deliver: Callable[[int, NodeMessage], None],
    ) -> None:
        """control, bulk: streams whose hellos were read, and the most bytes that may wait on them."""
        self.hello = hello
        self.peer = hello.node
        self.control = Lane(*control)
        self.bulk = Lane(*bulk)
        self.is_open = False
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._lanes = (self.control, self.bulk)
        self._deliver = deliver
        for lane in self._lanes:
            lane.stream.lost.add_done_callback(self._lost)

    def __repr__(self) -> str:
        state = self.ended.result().why if self.ended.done() else "open" if self.is_open else "opening"
        return (
            f"<Link to node {self.peer}, epoch {self.hello.epoch}: {state}, "
            f"queued {self.control.queued_bytes} + {self.bulk.queued_bytes} bytes>"
        )

    def carry(self) -> None:
        """Begins to deliver what the peer says."""
        for lane in self._lanes:
            lane.stream.carry(partial(self._receive, lane))

    def look(self) -> None:
        """At regular times: says that we live, and ends the link when on one of its lanes nothing comes."""
        for lane in self._lanes:
            if not lane.look():
                self.end(f"nothing comes from node {self.peer} on the {lane.stream.lane} lane")
                return

    def end(self, why: str, *, closing: bool = False) -> None:
        """Over, by us; later calls change nothing. closing: our process is going away."""
        if not self.ended.done():
            self._end(Ending(why, by_peer=False), Goodbye(why, closing))

    def _end(self, ending: Ending, goodbye: Goodbye | None = None) -> None:
        if self.ended.done():
            return
        self.is_open = False
        self.ended.set_result(ending)
        last = encode_goodbye(goodbye) if goodbye is not None else b""
        for lane in self._lanes:
            lane.close(last)

    def _lost(self, lost: asyncio.Future[Exception | None]) -> None:
        error = lost.result()
        if isinstance(error, WireError):
            log.error("peer.malformed node=%d: %s", self.peer, error)
            why = f"malformed: {error}"
            self._end(Ending(why, by_peer=False, lasting=True), Goodbye(why, lasting=True))
        elif all(lane.stream.lost.done() for lane in self._lanes):
            self._end(ending_of(error))
        else:
            self.is_open = False  # nothing is missing in the middle: what comes now is not delivered
            asyncio.get_running_loop().call_later(LAST_WORD_SECONDS, self._end, ending_of(error))

    def _receive(self, lane: Lane, envelope: bytes) -> None:
        """Raises WireError, which ends the stream, and with it the link."""
        lane.silent_looks = 0
        if not envelope:
            return
        goodbye = goodbye_in(envelope)
        if goodbye is not None:
            self._end(Ending(f"node {self.peer}: {goodbye.why}", goodbye.closing, goodbye.lasting))
            return
        for message in decode(envelope):
            if not self.is_open:
                return
            self._deliver(self.peer, message)


NewLink = Callable[[Hello, PeerStream, PeerStream], Link]
"""Makes a link of a peer's hello and its control and bulk streams."""


def ending_of(error: Exception | None) -> Ending:
    """What the end of a connection without a word means.

    A process that dies shows as an end or a reset; a network that swallows everything as a timeout. A wrong
    guess costs a pre-vote that the others refuse; a missed one costs an election timeout.
    """
    if error is None:
        return Ending("the peer closed the connection", by_peer=True)
    silent = isinstance(error, TimeoutError) or not isinstance(error, ConnectionError)
    return Ending(f"the connection broke: {error or type(error).__name__}", by_peer=not silent)
