"""Keeps a connection to one peer with a higher id: dials, shakes hands, waits for its end, dials again.

Invariant: nothing is delivered before the hellos of both lanes are read and found good.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from holdfast_raft import peer_door
from holdfast_raft.peer_door import EPOCH_MAX, Backoff, Door, RefusedError
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


class Dialer:
    """See the module docstring."""

    def __init__(
        self, door: Door, peer: int, address: str, new_link: NewLink, stands: Callable[[Link], None]
    ) -> None:
        """address: HOST:PORT of the peer's peer port."""
        self._door = door
        self._peer = peer
        self._address = address
        self._new_link = new_link
        self._stands = stands
        self._epoch = 0

    async def run(self) -> None:
        """Dials for ever; ends only by being cancelled."""
        about = f"node {self._peer} at {self._address}"
        backoff = Backoff()
        while True:
            stood, refused = 0.0, False
            try:
                stood, refused = await self._connect_once()
            except (RefusedError, WireError) as error:
                self._door.complain(about, str(error))
                refused = True
            except OSError as error:  # TimeoutError too
                log.debug("peer.unreachable %s: %s", about, error)
            except Exception:
                # A defect, and a lasting one perhaps; a peer is never given up for it.
                log.exception("peer.dialling_failed %s", about)
                refused = True
            await asyncio.sleep(backoff.pause(stood, refused=refused, jitter=random.random()))

    async def _connect_once(self) -> tuple[float, bool]:
        """How many seconds the connection stood, and whether trying again soon is of no use."""
        self._epoch = self._door.epoch_after(self._epoch)
        streams: list[PeerStream] = []
        last = Goodbye(f"node {self._door.hello.node} gave up the handshake")
        try:
            link = await self._shake_hands(streams)
            began = asyncio.get_running_loop().time()
            try:
                # shield: whoever stops the dialling must not cancel what others wait for.
                ending = await asyncio.shield(link.ended)
            finally:
                link.end("this node stopped dialling")
        except (RefusedError, WireError) as error:
            last = Goodbye(str(error), lasting=True)
            raise
        finally:
            for stream in streams:
                stream.close(encode_goodbye(last))
        return asyncio.get_running_loop().time() - began, ending.lasting

    async def _shake_hands(self, streams: list[PeerStream]) -> Link:
        """Says hello on both lanes and reads both answers. streams: gets those that were opened."""
        hello = encode_hello(self._door.hello._replace(epoch=self._epoch))
        async with asyncio.timeout(peer_door.HANDSHAKE_SECONDS):
            for lane in ("control", "bulk"):
                streams.append(await self._open(lane))
                streams[-1].write(hello)
            answers = [self._hello_in(await stream.greeting()) for stream in streams]
        if answers[0] != answers[1] or answers[0].node != self._peer or answers[0].epoch != self._epoch:
            raise RefusedError(f"answered as {answers[0]} on control and {answers[1]} on bulk")
        objection = self._door.objection(answers[0])
        if objection:
            raise RefusedError(objection)
        self._door.forgive(f"node {self._peer} at {self._address}")
        link = self._new_link(answers[0], streams[0], streams[1])
        self._stands(link)
        return link

    async def _open(self, lane: str) -> PeerStream:
        host, _, port = self._address.rpartition(":")
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: PeerStream(lane), host.strip("[]"), int(port)
        )
        return stream

    def _hello_in(self, answer: bytes) -> Hello:
        """Raises RefusedError for a refusal that a quick new attempt cannot mend, OSError for others."""
        said = decode_greeting(answer)
        if isinstance(said, Hello):
            return said
        self._heed(said)
        if said.lasting:
            raise RefusedError(f"it refuses us: {said.why}")
        raise ConnectionError(said.why)

    def _heed(self, said: Goodbye) -> None:
        if said.newest_epoch < EPOCH_MAX:
            self._epoch = max(self._epoch, said.newest_epoch)
