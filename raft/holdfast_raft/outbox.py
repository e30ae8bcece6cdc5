"""Messages and acts that wait until the WAL records they stand on are durable.

Invariant: what was queued leaves in that order, and nothing before the sync that covers its LSN
(protocols.md 5). What waits for a peer whose connection ended is void.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from holdfast_raft.messages import NodeMessage
from holdfast_raft.transport import Transport
from holdfast_raft.wal import Wal


class _Held(NamedTuple):
    """A message that waits for its record."""

    lsn: int
    peer: int
    message: NodeMessage
    bulk: bool


class Outbox:
    """See the module docstring."""

    def __init__(self, wal: Wal, transport: Transport) -> None:
        self._wal = wal
        self._transport = transport
        self._held: deque[_Held] = deque()
        self._waits: deque[tuple[int, Callable[[], None]]] = deque()

    def post(self, peer: int, message: NodeMessage, lsn: int, *, bulk: bool = False) -> bool:
        """Sends once `lsn` is durable. False: not connected."""
        if lsn <= self._wal.durable_lsn:
            return self._transport.send(peer, message, bulk=bulk)
        if not self._transport.is_connected(peer):
            return False
        self._held.append(_Held(lsn, peer, message, bulk))
        return True

    def when_durable(self, lsn: int, act: Callable[[], None]) -> None:
        """Runs `act` once everything up to `lsn` is on disk; at once if it is."""
        if lsn <= self._wal.durable_lsn:
            act()
        else:
            self._waits.append((lsn, act))

    def disconnected(self, peer: int) -> None:
        """What is held for it is void."""
        self._held = deque(held for held in self._held if held.peer != peer)

    def release(self, durable_lsn: int) -> None:
        """Messages, then acts, whose records are durable now."""
        held = self._held
        while held and held[0].lsn <= durable_lsn:
            _, peer, message, bulk = held.popleft()
            self._transport.send(peer, message, bulk=bulk)
        waits = self._waits
        while waits and waits[0][0] <= durable_lsn:
            waits.popleft()[1]()
