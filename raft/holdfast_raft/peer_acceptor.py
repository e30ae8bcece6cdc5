"""Listens for peers with lower ids: takes both lanes of a connection, or says why not.

Invariant: nothing is delivered before the hellos of both lanes are read and found good, and of the
connections of one peer only that of the newest epoch lives.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from holdfast_raft import peer_door
from holdfast_raft.peer_door import EPOCH_MAX, Door
from holdfast_raft.peer_greeting import (
    Goodbye,
    Hello,
    WireError,
    decode_greeting,
    encode_goodbye,
    encode_hello,
)
from holdfast_raft.peer_link import Link, NewLink
from holdfast_raft.peer_stream import PeerStream

log = logging.getLogger(__name__)

STRANGERS_MAX: Final = 256
"""Connections whose handshake is not over; of more the oldest is hung up on. Of 64 nodes each opens two."""


_CLOSING: Final = Goodbye("this node is shutting down", closing=True)


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

    def carried_by(self, link: Link) -> None:
        """It stands. When the link ends, only who it was is remembered."""
        self.link = link
        link.ended.add_done_callback(lambda _: self._over())

    def end_unless_it_stands(self) -> None:
        """The time for its handshake is over."""
        if self.link is None and not self.is_over:
            self.end(Goodbye("the handshake took too long: the other lane did not come"))

    def end(self, goodbye: Goodbye) -> None:
        """Ends it, however far it has come."""
        if self.link is not None:
            self.link.end(goodbye.why, closing=goodbye.closing)
        for stream in self.lanes.values():
            stream.close(encode_goodbye(goodbye))
        self._over()

    def _over(self) -> None:
        self.is_over = True
        self.lanes.clear()
        self.link = None


class Acceptor:
    """See the module docstring."""

    def __init__(self, door: Door, new_link: NewLink, stands: Callable[[Link], None]) -> None:
        self._door = door
        self._new_link = new_link
        self._stands = stands
        self._newest: dict[int, _Arrival] = {}
        self._strangers: dict[PeerStream, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        self._is_closed = False

    async def listen(self, host: str, port: int) -> int:
        """Begins to accept; the port, which for 0 the kernel chooses. Raises OSError.

        A name may stand for addresses that this machine does not have (localhost for ::1, where IPv6 is
        off): one that can be listened at is enough.
        """
        loop = asyncio.get_running_loop()
        found = await self._resolve(host, port)
        missing: OSError | None = None
        for address in dict.fromkeys(str(info[4][0]) for info in found):
            try:
                server = await loop.create_server(lambda: PeerStream(accepted=self._accepted), address, port)
            except OSError as problem:
                if problem.errno != errno.EADDRNOTAVAIL:
                    raise
                missing = problem
            else:
                self._servers.append(server)
        if not self._servers:
            raise missing or OSError(f"{host!r} has no address")
        return int(self._servers[0].sockets[0].getsockname()[1])

    @staticmethod
    async def _resolve(host: str, port: int) -> list[Any]:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)

    def close(self) -> None:
        """Ends what is here and takes no more."""
        self._is_closed = True
        for server in self._servers:
            server.close()
        for stream, task in self._strangers.items():
            stream.close(encode_goodbye(_CLOSING))
            task.cancel()
        for arrival in self._newest.values():
            arrival.end(_CLOSING)

    def _accepted(self, stream: PeerStream) -> None:
        if self._is_closed:
            stream.close(encode_goodbye(_CLOSING))
            return
        if len(self._strangers) >= STRANGERS_MAX:
            next(iter(self._strangers.values())).cancel()
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
            stream.close(encode_goodbye(Goodbye("too many are at the door")))
            raise
        except Exception:
            log.exception("peer.greeting_failed from %s", stream.peer)
            stream.close(encode_goodbye(Goodbye("a defect", lasting=True)))

    def _admit(self, stream: PeerStream, hello: Hello) -> None:
        """Raises _TurnedAwayError."""
        self._check(stream, hello)
        newest = self._newest.get(hello.node)
        if newest is None or hello.epoch > newest.hello.epoch:
            if newest is not None:
                newest.end(Goodbye("a newer connection took its place"))
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
        if control.is_hung_up or bulk.is_hung_up:
            # After a pause of this process its peers' attempts wait here by the dozen, long given up.
            arrival.end(Goodbye("it hung up within the handshake"))
            return
        answer = encode_hello(self._door.hello._replace(epoch=arrival.hello.epoch))
        # Before anything that the receiver says when it hears of the connection.
        control.write(answer)
        bulk.write(answer)
        link = self._new_link(arrival.hello, control, bulk)
        arrival.carried_by(link)
        self._stands(link)


def _hello_in(greeting: bytes) -> Hello:
    said = decode_greeting(greeting)
    if isinstance(said, Goodbye):
        raise WireError("it began with a goodbye")
    return said
