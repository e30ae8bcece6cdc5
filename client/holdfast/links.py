"""A session's streams to nodes: opened when needed, found by node, closed when the node has left the map.

Invariants: one stream for an address; who asks for a node gets the stream that reaches it, never one that
has ended. A stream to a node that no shard names is closed after `GRACE_S` idle, but not the last one. The
endpoints the user gave are asked again when no node of the map answers: all may have been replaced.

Does not know operations; when to dial is `session.py`'s choice, whom `router.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from holdfast.channels import Channels
from holdfast.router import Router
from holdfast.silence import SLACK_MAX
from holdfast.stream import NodeStream

GRACE_S: Final = 5.0  # a node that left the map may come back with the next one, and finishes what it has
FALL_BACK_S: Final = 0.25  # before the endpoints are asked, doubling up to the bound while nobody answers
FALL_BACK_S_MAX: Final = 2.0

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Links:
    """The streams of one session. `make` builds one for an address, `spawn` runs it."""

    def __init__(
        self, router: Router, channels: Channels, spawn: Spawn, make: Callable[[str], NodeStream]
    ) -> None:
        self.streams: dict[str, NodeStream] = {}  # by address
        self.by_node: dict[int, NodeStream] = {}
        self.endpoints: Sequence[str] = ()
        self._router = router
        self._channels = channels
        self._spawn = spawn
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._fallen_back = 0  # times in a row that nobody had answered
        self._fall_back_timer: asyncio.TimerHandle | None = None
        self._grace_timer: asyncio.TimerHandle | None = None

    def open(self, address: str, node: int = 0) -> NodeStream:
        """The stream to an address; connects when there is none. node: who is expected there."""
        stream = self.streams.get(address)
        if stream is None:
            stream = self._make(address)
            stream.silence.slack = min(2.0 ** min(self._router.strikes(node), 2), SLACK_MAX)
            self.streams[address] = stream
            if node:
                stream.node = node
                self.by_node[node] = stream
            self._spawn(stream.run())
        return stream

    def dial(self, nodes: dict[int, str]) -> None:
        """Connects to nodes (id and address) there is no stream to."""
        for node, address in nodes.items():
            if node not in self.by_node:
                self.open(address, node)

    def ready(self) -> list[NodeStream]:
        """Streams that were welcomed."""
        return [stream for stream in self.streams.values() if stream.ready]

    def welcomed(self, stream: NodeStream) -> None:
        """Notes whom the stream has reached: the node that was expected, or another at its address."""
        self._fallen_back = 0
        self._unname(stream, stream.node)
        known = self.by_node.get(stream.node)
        if known is None or not known.ready:
            self.by_node[stream.node] = stream
        elif known is not stream:
            stream.abandon("another stream to the node serves")
        self._router.welcomed(stream.node)

    def forget(self, stream: NodeStream) -> bool:
        """The stream serves no more. True: it was the one its node was reached by."""
        if self.streams.get(stream.address) is stream:
            del self.streams[stream.address]
        if stream.leads_nowhere:  # before a stream to the address is opened again
            self._spawn(self._channels.drop(stream.address))
        served = self._unname(stream, 0)
        if served and stream.leads_nowhere and stream.was_welcomed:
            # It may be the connection alone: found out beside, while nobody waits for it.
            self.open(stream.address, stream.node)
        return served

    def _unname(self, stream: NodeStream, but: int) -> bool:
        nodes = [node for node, known in self.by_node.items() if known is stream and node != but]
        for node in nodes:
            del self.by_node[node]
            self._router.lost(node, self._loop.time(), gave_no_sign=stream.leads_nowhere)
        return bool(nodes)

    # ---- nodes that left ----

    def see_off(self) -> None:
        """The map has changed: streams and channels to nodes it no longer names end after a grace."""
        if self._grace_timer is None and any(self._departed()):
            self._grace_timer = self._loop.call_later(GRACE_S, self._part)

    def _departed(self) -> tuple[list[NodeStream], set[str]]:
        nodes = self._router.nodes()
        streams = [s for s in self.streams.values() if s.ready and s.node not in nodes]
        if len(streams) == len(self.ready()):
            streams = streams[1:]
        kept = {*nodes.values(), *self.streams} - {stream.address for stream in streams}
        return streams, self._channels.addresses() - kept

    def _part(self) -> None:
        self._grace_timer = None
        streams, addresses = self._departed()
        for stream in streams:
            if stream.outstanding or stream.backlog:
                addresses.discard(stream.address)
            else:
                self.forget(stream)
                stream.abandon("no shard names the node any more")
        for address in addresses:
            self._spawn(self._channels.drop(address))
        self.see_off()

    # ---- when nobody answers ----

    def fall_back(self) -> None:
        """No node answers: asks the endpoints the user gave, after a pause that grows."""
        if self._fall_back_timer is None:
            pause = min(FALL_BACK_S_MAX, FALL_BACK_S * 2.0 ** min(self._fallen_back, 10))
            self._fall_back_timer = self._loop.call_later(pause, self._ask_endpoints)

    def _ask_endpoints(self) -> None:
        self._fall_back_timer = None
        if not self.ready():
            self._fallen_back += 1
            for address in self.endpoints:
                self.open(address)

    def clear(self) -> None:
        """Forgets all streams without a word to them, and what was to be done later."""
        for timer in (self._fall_back_timer, self._grace_timer):
            if timer is not None:
                timer.cancel()
        self._fall_back_timer = self._grace_timer = None
        self.streams, self.by_node = {}, {}

    def __repr__(self) -> str:
        return f"<Links {list(self.streams.values())}>"
