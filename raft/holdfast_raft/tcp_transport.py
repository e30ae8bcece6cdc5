"""The transport over TCP: for each pair of nodes a control and a bulk connection, for all groups.

`peer_dialer` and `peer_acceptor` bring connections about, `peer_link` carries one, `peer_wire` makes the
bytes; here is the table of the connections that stand, and the contract.

Invariant: what `transport.Transport` promises. A full queue, a broken stream or bytes that make no sense
end the connection; nothing in the middle is ever left out.

Does not decide whether a peer lives (the driver's heartbeats do; here a connection over which nothing comes
any more is ended), and does not encrypt: a node binds loopback unless told otherwise.

Source: raft-on-pysyncobj A.3 (transport contract), PySyncObj PR #194 (two live sockets for one node).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast_raft.clock import Clock
from holdfast_raft.messages import NodeMessage
from holdfast_raft.peer_acceptor import Acceptor
from holdfast_raft.peer_dialer import Dialer
from holdfast_raft.peer_door import Door
from holdfast_raft.peer_greeting import Hello
from holdfast_raft.peer_link import MESSAGE_BYTES_MAX, Lane, Link
from holdfast_raft.peer_stream import PeerStream
from holdfast_raft.peer_wire import encode
from holdfast_raft.transport import Receiver

log = logging.getLogger(__name__)

CONTROL_BYTES_MAX = 8 << 20
"""Queued on a control lane before the connection is given up: some seconds of small messages."""

BULK_BYTES_MAX = 64 << 20
"""Queued on a bulk lane; flow control asks `queued_bytes` and stays well below."""

LOOK_SECONDS = 1.0
"""Between two looks at whether a connection's peer still says something."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a peer said of itself in its last hello."""

    node: int
    incarnation: int
    http: str
    version: str
    pid: int
    zone: str
    connected: bool


class TcpTransport:
    """Carries messages to the other nodes of the cluster; see `transport.Transport`."""

    def __init__(
        self,
        cluster_id: str,
        node: int,
        incarnation: int,
        peers: Mapping[int, str],
        *,
        http: str,
        version: str,
        pid: int,
        zone: str,
        admit: Callable[[int, int], bool],
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        control_bytes_max: int = CONTROL_BYTES_MAX,
        bulk_bytes_max: int = BULK_BYTES_MAX,
    ) -> None:
        """Connects nothing yet.

        Args:
            cluster_id: of the cluster; peers of another are refused.
            node: our id.
            incarnation: ours, from the data directory.
            peers: HOST:PORT of the peer port, by node id; our own id among them is ignored.
            http: our HTTP address, for people; so are version, pid and zone.
            version: see http.
            pid: see http.
            zone: see http.
            admit: whether this (node, incarnation) belongs to the cluster.
            loop: the loop everything happens on.
            clock: its wall clock seeds the epoch.
            control_bytes_max: bound of a control lane's queue.
            bulk_bytes_max: bound of a bulk lane's queue.
        """
        self._hello = Hello(cluster_id, node, incarnation, 0, http, version, pid, zone)
        self._peers = {peer: address for peer, address in peers.items() if peer != node}
        self._door = Door(self._hello, self._peers, admit, clock)
        self._acceptor = Acceptor(self._door, self._new_link, self._stands)
        self._loop = loop
        self._bounds = (control_bytes_max, bulk_bytes_max)
        self._receiver: Receiver = _Nobody()
        self._links: dict[int, Link] = {}
        self._hellos: dict[int, Hello] = {}
        self._staged: dict[Lane, None] = {}
        self._last_encoded: tuple[NodeMessage | None, bytes] = (None, b"")
        self._dialers: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()  # dialers of peers that are none any more
        self._dials = False
        self._looking: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<TcpTransport of node {self._hello.node}: {list(self._links.values())}>"

    # --- the contract -------------------------------------------------------------------------------

    def attach(self, receiver: Receiver) -> None:
        assert isinstance(self._receiver, _Nobody), "one receiver, once"
        self._receiver = receiver

    def is_connected(self, peer: int) -> bool:
        link = self._links.get(peer)
        return link is not None and link.is_open

    def send(self, peer: int, message: NodeMessage, *, bulk: bool = False) -> bool:
        link = self._links.get(peer)
        if link is None or not link.is_open:
            return False
        encoded = self._encode(message)
        lane = link.bulk if bulk else link.control
        if not lane.stage(encoded):
            link.is_open = False
            # Not now: the receiver is in the middle of its turn.
            name = "bulk" if bulk else "control"
            self._loop.call_soon(self._end, link, f"{lane.queued_bytes} bytes wait on the {name} lane")
            return False
        self._staged[lane] = None
        return True

    def flush(self) -> None:
        for lane in self._staged:
            lane.release()
        self._staged.clear()
        self._last_encoded = (None, b"")

    def queued_bytes(self, peer: int) -> int:
        link = self._links.get(peer)
        return 0 if link is None else link.bulk.queued_bytes

    def _encode(self, message: NodeMessage) -> bytes:
        """Encodes; once for the peers that get the same object one after the other."""
        last, encoded = self._last_encoded
        if message is not last:
            encoded = encode(message)
            assert len(encoded) <= MESSAGE_BYTES_MAX, f"a message of {len(encoded)} bytes"
            self._last_encoded = (message, encoded)
        return encoded

    # --- for the node -------------------------------------------------------------------------------

    def peer_info(self, peer: int) -> PeerInfo | None:
        """What the peer said of itself; None: never connected since this process started."""
        hello = self._hellos.get(peer)
        if hello is None:
            return None
        return PeerInfo(
            hello.node,
            hello.incarnation,
            hello.http,
            hello.version,
            hello.pid,
            hello.zone,
            self.is_connected(peer),
        )

    async def listen(self, host: str, port: int) -> int:
        """Begins to accept peers with lower ids; the port, which for 0 the kernel chooses. Raises OSError."""
        return await self._acceptor.listen(host, port)

    def start(self) -> None:
        """Begins to dial the peers with higher ids. Call on the loop, after `attach`."""
        assert not isinstance(self._receiver, _Nobody), "attach a receiver first"
        self._dials = True
        for peer in self._peers:
            self._dial(peer)
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look)

    def set_peers(self, peers: Mapping[int, str]) -> None:
        """Who belongs to the cluster from now on, and where: addresses by node id, ours is ignored.

        A connection to a peer that is none any more, or that we dialled at another address, ends now.
        """
        mine = self._hello.node
        before = dict(self._peers)
        self._peers.clear()
        self._peers.update((peer, address) for peer, address in peers.items() if peer != mine)
        for peer, address in before.items():
            if peer not in self._peers:
                self._let_go(peer, "it is no longer a peer")
            elif peer > mine and self._peers[peer] != address:
                self._let_go(peer, "its address has changed")
        for peer in self._peers:
            self._dial(peer)

    def _dial(self, peer: int) -> None:
        if self._dials and peer > self._hello.node and peer not in self._dialers:
            dialer = Dialer(self._door, peer, self._peers[peer], self._new_link, self._stands)
            self._dialers[peer] = self._loop.create_task(dialer.run(), name=f"dial node {peer}")

    def _let_go(self, peer: int, why: str) -> None:
        dialer = self._dialers.pop(peer, None)
        if dialer is not None:
            dialer.cancel()
            self._leaving.add(dialer)
            dialer.add_done_callback(self._leaving.discard)
        link = self._links.get(peer)
        if link is not None:
            self._end(link, why)

    def _look(self) -> None:
        # Looks are counted, not seconds: after a stall of our own what the peer said is read first.
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        for link in list(self._links.values()):
            link.look()

    async def close(self) -> None:
        """Ends every connection; the peers are told that this process is going away."""
        self._dials = False
        if self._looking is not None:
            self._looking.cancel()
        self._acceptor.close()
        dialers = [*self._dialers.values(), *self._leaving]
        for dialer in dialers:
            dialer.cancel()
        for link in list(self._links.values()):
            self._end(link, "this node is shutting down", closing=True)
        await asyncio.gather(*dialers, return_exceptions=True)

    # --- a connection's life ------------------------------------------------------------------------

    def _stands(self, link: Link) -> None:
        old = self._links.get(link.peer)
        if old is not None:
            self._end(old, "a newer connection took its place")
        if link.peer not in self._peers:  # it was one when the handshake began
            link.end("it is no longer a peer")
        if link.ended.done():
            return
        link.is_open = True
        self._links[link.peer] = link
        self._hellos[link.peer] = link.hello
        log.info("peer.connected node=%d epoch=%d pid=%d", link.peer, link.hello.epoch, link.hello.pid)
        try:
            self._receiver.connected(link.peer)
        except Exception:
            log.exception("peer.receiver_failed in connected, node=%d", link.peer)
        link.carry()

    def _end(self, link: Link, why: str, *, closing: bool = False) -> None:
        """Ends the link if nothing has yet, and tells the receiver, once, that it is over."""
        link.end(why, closing=closing)
        if self._links.get(link.peer) is not link:
            return
        del self._links[link.peer]
        self._staged.pop(link.control, None)
        self._staged.pop(link.bulk, None)
        ending = link.ended.result()
        log.info("peer.disconnected node=%d by_peer=%s: %s", link.peer, ending.by_peer, ending.why)
        try:
            self._receiver.disconnected(link.peer, ending.by_peer)
        except Exception:
            log.exception("peer.receiver_failed in disconnected, node=%d", link.peer)

    def _new_link(self, hello: Hello, control: PeerStream, bulk: PeerStream) -> Link:
        control_bytes_max, bulk_bytes_max = self._bounds
        link = Link(hello, (control, control_bytes_max), (bulk, bulk_bytes_max), self._deliver)
        link.ended.add_done_callback(lambda ended: self._end(link, ended.result().why))
        return link

    def _deliver(self, peer: int, message: NodeMessage) -> None:
        try:
            self._receiver.received(peer, message)
        except Exception:
            # The receiver's mistake, not the connection's: the stream goes on.
            log.exception("peer.receiver_failed in received, node=%d", peer)


class _Nobody:
    """Stands in until a receiver is attached."""

    def connected(self, peer: int) -> None:
        raise AssertionError(f"node {peer} connected before a receiver was attached")

    def disconnected(self, peer: int, closed_by_peer: bool) -> None:
        raise AssertionError(f"node {peer} disconnected ({closed_by_peer=}) before a receiver was attached")

    def received(self, peer: int, message: NodeMessage) -> None:
        raise AssertionError(f"node {peer} spoke before a receiver was attached: {message!r}")
