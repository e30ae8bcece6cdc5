"""The simulator's network: connections between processes, and all the ways in which they go wrong.

Model:
- A connection joins two processes and has lanes, two in each direction. A message takes a random delay
  but never overtakes another of its lane. What is under way when the connection breaks is lost.
- An end believes in its connection until it is told, perhaps late, but always before the next one stands.
  What it sends meanwhile is lost.
- cut: nothing passes, the connection breaks at once. reset: it breaks once and comes back by itself.
- stall: as TCP sees a hole in one direction. What is sent waits, and arrives in order once the hole is
  gone; if it stays longer than the keepalive time, the connection breaks and what waited is lost.
- Messages may arrive several at once (`coalesce`), large ones take longer (`split`).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from holdfast_raft.messages import (
    Addressed,
    Append,
    CopyChunk,
    CopyEntries,
    NodeMessage,
    Payload,
    SnapshotChunk,
    Told,
)
from holdfast_raft.sim_world import QUICK, Span, World
from holdfast_raft.transport import Receiver

SPLIT_ABOVE_BYTES = 1024


class _Lane:
    """One lane in one direction. batch: what arrives at `arrival`, the last put on its way."""

    __slots__ = ("arrival", "batch")

    def __init__(self) -> None:
        self.arrival = 0.0
        self.batch: list[NodeMessage] | None = None  # None: it has arrived


class _Connection:
    """A connection between two processes; never up again once it broke."""

    __slots__ = ("ends", "lanes", "number", "under_way", "up")

    def __init__(self, number: int, ends: tuple[SimTransport, SimTransport]) -> None:
        self.number = number
        self.ends = {end.node: end for end in ends}
        self.lanes: defaultdict[tuple[int, bool], _Lane] = defaultdict(_Lane)  # (target, bulk)
        self.under_way = 0
        self.up = True


class _Stall:
    """A hole in one direction. waiting: messages with their lane, in the order sent."""

    __slots__ = ("breaks_at", "cancel", "waiting")

    def __init__(self, breaks_at: float, cancel: Callable[[], None]) -> None:
        self.breaks_at = breaks_at
        self.cancel = cancel
        self.waiting: list[tuple[NodeMessage, bool]] = []


class SimNetwork:
    """All links between the nodes of a world.

    Attributes:
        link_seconds: (source, target) -> its own delay instead of `delay_seconds`.
        notice_seconds: after which an end hears that its connection is gone.
        keepalive_seconds: how long a connection outlives a stall.
        reconnect_seconds: after which a reset connection is up again.
        coalesce: probability that a message arrives in one event with the one before it in its lane,
            where that does not make it faster than its link.
        split: probability that a message above SPLIT_ABOVE_BYTES takes its delay twice.
        tamper: may change a message put on its way, or lose it (None).
        observe: sees every message put on its way, as sent.
        delivered, lost, coalesced, splits: messages that had this fate.
    """

    def __init__(self, world: World, delay_seconds: Span = QUICK) -> None:
        self.world = world
        self.delay_seconds = delay_seconds
        self.link_seconds: dict[tuple[int, int], Span] = {}
        self.notice_seconds: Span = (0.0, 0.0)
        self.keepalive_seconds: Span = (0.5, 2.0)
        self.reconnect_seconds: Span = (0.0005, 0.02)
        self.coalesce = 0.0
        self.split = 0.0
        self.tamper: Callable[[int, int, NodeMessage], NodeMessage | None] | None = None
        self.observe: Callable[[int, int, NodeMessage], None] | None = None
        self.delivered = self.lost = self.coalesced = self.splits = 0
        self.ends: dict[int, SimTransport] = {}
        self._rng = world.rng_of("network")
        self._cut: set[tuple[int, int]] = set()
        self._stalls: dict[tuple[int, int], _Stall] = {}  # by (source, target)
        self._connections: dict[tuple[int, int], _Connection] = {}  # by ordered pair; only those up
        self._numbers = itertools.count(1)
        self._notices: defaultdict[tuple[int, int], list[tuple[int, Callable[[], None]]]] = defaultdict(list)

    # ---- what happens to links -----------------------------------------------------------------------

    def pair(self, a: int, b: int) -> tuple[int, int]:
        return (a, b) if a < b else (b, a)

    def connection(self, a: int, b: int) -> int:
        """Number of the connection between two nodes; 0: none."""
        connection = self._connections.get(self.pair(a, b))
        return 0 if connection is None else connection.number

    def join(self, end: SimTransport) -> None:
        """A node's process is up: it connects to whom it can reach."""
        self.ends[end.node] = end
        for other in list(self.ends):
            self._try_connect(end.node, other)

    def leave(self, node: int) -> None:
        """A node's process is gone: its peers see their connections closed."""
        self.ends.pop(node, None)
        for pair in [p for p in self._connections if node in p]:
            self._disconnect(pair, closed_by=node)

    def cut(self, a: int, b: int) -> None:
        """No message passes between a and b; the connection ends."""
        self._cut.add(self.pair(a, b))
        self._disconnect(self.pair(a, b))

    def heal(self, a: int, b: int) -> None:
        """Ends a cut; a stall stays."""
        self._cut.discard(self.pair(a, b))
        self._try_connect(a, b)

    def reset(self, a: int, b: int) -> None:
        """The connection breaks at once; a new one comes up soon if nothing is in its way then."""
        self._disconnect(self.pair(a, b))
        again = self.world.now + self._rng.uniform(*self.reconnect_seconds)
        self.world.at(again, lambda: self._try_connect(a, b))

    def stall(self, source: int, target: int) -> None:
        """Opens a hole for what is sent from now on; what is under way passes."""
        if (source, target) not in self._stalls:
            breaks_at = self.world.now + self._rng.uniform(*self.keepalive_seconds)
            pair = self.pair(source, target)
            cancel = self.world.at(breaks_at, lambda: self._disconnect(pair))
            self._stalls[(source, target)] = _Stall(breaks_at, cancel)

    def unstall(self, source: int, target: int) -> None:
        """The hole is gone: what waited goes on its way, or the pair connects again."""
        stall = self._stalls.pop((source, target), None)
        if stall is None:
            return
        stall.cancel()
        connection = self._connections.get(self.pair(source, target))
        if connection is None:
            self._try_connect(source, target)
            return
        for message, bulk in stall.waiting:
            self._send_off(connection, source, target, message, bulk)

    def _try_connect(self, a: int, b: int) -> None:
        pair = self.pair(a, b)
        if a == b or a not in self.ends or b not in self.ends or pair in self._cut:
            return
        if pair in self._connections or (a, b) in self._stalls or (b, a) in self._stalls:
            return
        now = self.world.now
        for me, notice in self._notices.pop(pair, ()):
            self.world.at(now, notice, me)
        connection = _Connection(next(self._numbers), (self.ends[a], self.ends[b]))
        self._connections[pair] = connection
        for me, peer in ((a, b), (b, a)):
            self.world.at(now, partial(self.ends[me].take_up, peer, connection), me)

    def _disconnect(self, pair: tuple[int, int], closed_by: int | None = None) -> None:
        connection = self._connections.pop(pair, None)
        if connection is None:
            return
        connection.up = False
        self.lost += connection.under_way
        for me, peer in (pair, pair[::-1]):
            by_peer = peer == closed_by
            told_at = self.world.now + self._rng.uniform(*self.notice_seconds)
            stall = self._stalls.get((peer, me))
            if stall is not None:
                stall.waiting.clear()
                if by_peer:  # its last word is lost too
                    by_peer, told_at = False, max(told_at, stall.breaks_at)
            if me in self.ends:
                notice = partial(self.ends[me].let_go, peer, connection, by_peer)
                self._notices[pair].append((me, notice))
                self.world.at(told_at, notice, me)

    # ---- what happens to messages --------------------------------------------------------------------

    def carry(self, source: int, target: int, message: NodeMessage, *, bulk: bool) -> None:
        """Puts a message on its way."""
        if self.observe is not None:
            self.observe(source, target, message)
        end = self.ends.get(source)
        connection = None if end is None else end.up.get(target)
        if connection is None or not connection.up:
            self.lost += 1
            return
        if self.tamper is not None:
            changed = self.tamper(source, target, message)
            if changed is None:
                self.lost += 1
                return
            message = changed
        connection.under_way += 1
        if self._stalls and (stall := self._stalls.get((source, target))) is not None:
            stall.waiting.append((message, bulk))
        else:
            self._send_off(connection, source, target, message, bulk)

    def _send_off(
        self, connection: _Connection, source: int, target: int, message: NodeMessage, bulk: bool
    ) -> None:
        now, rng = self.world.now, self._rng
        low, high = self.link_seconds.get((source, target), self.delay_seconds)
        lane = connection.lanes[(target, bulk)]
        if (
            self.coalesce
            and lane.batch is not None
            and lane.arrival >= now + low
            and rng.random() < self.coalesce
        ):
            lane.batch.append(message)
            self.coalesced += 1
            return
        delay = low + (high - low) * rng.random()
        if self.split and payload_bytes(message) > SPLIT_ABOVE_BYTES and rng.random() < self.split:
            delay += rng.uniform(low, high)
            self.splits += 1
        lane.arrival = max(lane.arrival, now + delay)
        lane.batch = batch = [message]

        def arrive() -> None:
            if lane.batch is batch:
                lane.batch = None
            if connection.up:
                connection.under_way -= len(batch)
                self.delivered += len(batch)
                receiver = connection.ends[target].receiver
                for one in batch:
                    receiver.received(source, one)

        self.world.at(lane.arrival, arrive, target)

    def waiting_bytes(self, source: int, target: int) -> int:
        """What of the bulk lane a stall holds back."""
        stall = self._stalls.get((source, target))
        return 0 if stall is None else sum(payload_bytes(message) for message, bulk in stall.waiting if bulk)


class SimTransport:
    """transport.Transport of one node's process."""

    def __init__(self, network: SimNetwork, node: int) -> None:
        self.node = node
        self.receiver: Receiver
        self.up: dict[int, _Connection] = {}  # by peer: the connections it knows of, broken ones included
        self._network = network
        self._queued: list[tuple[int, NodeMessage, bool]] = []
        self._queued_bytes: defaultdict[int, int] = defaultdict(int)  # peer -> on the bulk lane

    def attach(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def is_connected(self, peer: int) -> bool:
        return peer in self.up

    def send(self, peer: int, message: NodeMessage, *, bulk: bool = False) -> bool:
        if peer not in self.up:
            return False
        self._queued.append((peer, message, bulk))
        if bulk:
            self._queued_bytes[peer] += payload_bytes(message)
        return True

    def flush(self) -> None:
        if not self._queued:
            return
        queued, self._queued = self._queued, []
        self._queued_bytes.clear()
        carry, me = self._network.carry, self.node
        for peer, message, bulk in queued:
            carry(me, peer, message, bulk=bulk)

    def queued_bytes(self, peer: int) -> int:
        return self._queued_bytes[peer] + self._network.waiting_bytes(self.node, peer)

    def take_up(self, peer: int, connection: _Connection) -> None:
        """Tells the process of a new connection, unless it is over already."""
        if connection.up:
            self.up[peer] = connection
            self.receiver.connected(peer)

    def let_go(self, peer: int, connection: _Connection, closed_by_peer: bool) -> None:
        """Tells the process once that a connection is over, if it was told of it and is still there."""
        if self.up.get(peer) is connection and self._network.ends.get(self.node) is self:
            del self.up[peer]
            self.receiver.disconnected(peer, closed_by_peer)


def payload_bytes(message: NodeMessage) -> int:
    """What a message carries for others, without its own few bytes."""
    if isinstance(message, Addressed):
        body = message.body
        if isinstance(body, Append | CopyEntries):
            return sum(len(entry[1]) for entry in body.entries)
        if isinstance(body, SnapshotChunk | Payload | CopyChunk):
            return len(body.data)
    return len(message.data) if isinstance(message, Told) else 0
