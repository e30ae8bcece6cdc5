"""Listens for peers with lower ids: takes both lanes of a connection, or says why not.

Invariant: nothing is delivered before the hellos of both lanes are read and found good, and of the
connections of one peer only that of the newest epoch lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from holdfast_raft import peer_door
from holdfast_raft.peer_dialer import NewLink
from holdfast_raft.peer_door import EPOCH_MAX, Door
from holdfast_raft.peer_greeting import (
    Goodbye,
    Hello,
    WireError,
    decode_greeting,
    encode_goodbye,
    encode_hello,
)
from holdfast_raft.peer_link import Link
from holdfast_raft.peer_stream import PeerStream

STRANGERS_MAX: Final = 256
"""Connections whose handshake is not over; more are hung up on. Of 64 nodes each opens two."""


class _TurnedAwayError(Exception):
    """Not this one; what it is told."""

    def __init__(self, goodbye: Goodbye) -> None:
        super().__init__(goodbye.why)
        self.goodbye = goodbye


class _Arrival:
    """A connection of one epoch: the lanes that have said hello so far, and the link once both have."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.lanes: dict[str, PeerStream] = {}
        self.link: Link | None = None
        self.is_over = False

    def end_unless_it_stands(self) -> None:
        """The time for its handshake is over."""
        if self.link is None:
            self.end("the handshake took too long: the other lane did not come")

    def end(self, why: str, *, closing: bool = False) -> None:
        """Ends it, however far it has come."""
        self.is_over = True
        if self.link is not None:
            self.link.end(why, closing=closing)
        for stream in self.lanes.values():
            stream.close(encode_goodbye(Goodbye(why, closing)))


class Acceptor:
    """See the module docstring."""

    def __init__(self, door: Door, new_link: NewLink, stands: Callable[[Link], None]) -> None:
        self._door = door
        self._new_link = new_link
        self._stands = stands
        self._newest: dict[int, _Arrival] = {}
        self._strangers: dict[PeerStream, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._is_closed = False

    async def listen(self, host: str, port: int) -> int:
        """Begins to accept; the port, which for 0 the kernel chooses. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: PeerStream(accepted=self._accepted), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Ends what is here and takes no more."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        for task in self._strangers.values():
            task.cancel()
        for arrival in self._newest.values():
            arrival.end("this node is shutting down", closing=True)

    def _accepted(self, stream: PeerStream) -> None:
        if self._is_closed or len(self._strangers) >= STRANGERS_MAX:
            stream.close()
            return
        task = asyncio.get_running_loop().create_task(self._greet(stream))
        self._strangers[stream] = task
        task.add_done_callback(lambda _: self._strangers.pop(stream))

    async def _greet(self, stream: PeerStream) -> None:
        """Reads the hello of one lane; with that of the second the connection stands."""
        try:
            async with asyncio.timeout(peer_door.HANDSHAKE_SECONDS):
                greeting = await stream.greeting()
            self._admit(stream, _hello_in(greeting))
        except _TurnedAwayError as refusal:
            stream.close(encode_goodbye(refusal.goodbye))
        except WireError as error:
            self._door.complain(stream.peer, str(error))
            stream.close(encode_goodbye(Goodbye(str(error), lasting=True)))
        except TimeoutError:
            stream.close(encode_goodbye(Goodbye("the handshake took too long")))
        except OSError:
            stream.close()  # it hung up before it said who it is
        except asyncio.CancelledError:
            stream.close(encode_goodbye(Goodbye("this node is shutting down", closing=True)))
            raise

    def _admit(self, stream: PeerStream, hello: Hello) -> None:
        """Raises _TurnedAwayError."""
        self._check(stream, hello)
        newest = self._newest.get(hello.node)
        if newest is None or hello.epoch > newest.hello.epoch:
            if newest is not None:
                newest.end("a newer connection took its place")
            newest = self._newest[hello.node] = _Arrival(hello)
        elif hello != newest.hello or stream.lane in newest.lanes or newest.is_over:
            why = f"epoch {hello.epoch} is not newer than {newest.hello.epoch}"
            raise _TurnedAwayError(Goodbye(why, newest_epoch=newest.hello.epoch))
        newest.lanes[stream.lane] = stream
        if len(newest.lanes) == 2:
            self._complete(newest)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(peer_door.HANDSHAKE_SECONDS, newest.end_unless_it_stands)

    def _check(self, stream: PeerStream, hello: Hello) -> None:
        objection = self._door.objection(hello)
        if not objection and hello.node > self._door.hello.node:
            objection = f"node {hello.node} waits to be dialled by node {self._door.hello.node}"
        if not objection and hello.epoch >= EPOCH_MAX:
            objection = f"epoch {hello.epoch} is out of range"
        if objection:
            self._door.complain(f"node {hello.node} from {stream.peer}", objection)
            raise _TurnedAwayError(Goodbye(objection, lasting=True))

    def _complete(self, arrival: _Arrival) -> None:
        control, bulk = arrival.lanes["control"], arrival.lanes["bulk"]
        answer = encode_hello(self._door.hello._replace(epoch=arrival.hello.epoch))
        # Before anything that the receiver says when it hears of the connection.
        control.write(answer)
        bulk.write(answer)
        arrival.link = self._new_link(arrival.hello, control, bulk)
        self._stands(arrival.link)


def _hello_in(greeting: bytes) -> Hello:
    said = decode_greeting(greeting)
    if isinstance(said, Goodbye):
        raise WireError("it began with a goodbye")
    return said
