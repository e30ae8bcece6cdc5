"""Who may connect to us, and how often we try ourselves: the decisions of a handshake that need no socket.

The node with the lower id dials. It opens both lanes and says the same epoch on each; the acceptor answers
once it has both, and the connection stands. The acceptor keeps the newest epoch of each peer: a newer one
ends what stands, an older one is refused (and the dialler told the newest, so that a wall clock set back
between two starts locks nobody out).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from holdfast_raft.clock import Clock
from holdfast_raft.peer_greeting import Hello

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 3.0
"""For connecting and both hellos."""

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Between attempts, doubling, times 0.5 to 1. After a refusal at least the maximum."""

STEADY_SECONDS = 2.0
"""A connection that stood this long lets the next backoff begin at the minimum."""

COMPLAINTS_MAX = 256
COMPLAINT_CHARS_MAX = 300
"""Of refusals that are remembered: what strangers say may be long, and they may be many."""

EPOCH_MAX = 1 << 63
"""No clock gives such an epoch; one sent nevertheless would lock its sender out for ever."""


class RefusedError(Exception):
    """The other side is not who it should be, or will not have us."""


class Door:
    """Says who may come in, and why not."""

    def __init__(
        self, hello: Hello, peers: Mapping[int, str], admit: Callable[[int, int], bool], clock: Clock
    ) -> None:
        self.hello = hello
        self._peers = peers
        self._admit = admit
        self._clock = clock
        self._complaints: dict[str, str] = {}

    def objection(self, hello: Hello) -> str:
        """Why we will not speak with who says this hello; empty: we will."""
        if hello.cluster_id != self.hello.cluster_id:
            return f"node {hello.node} is of cluster {hello.cluster_id!r}, not of {self.hello.cluster_id!r}"
        if hello.node not in self._peers:
            return f"node {hello.node} is not a peer of node {self.hello.node}"
        if not self._admit(hello.node, hello.incarnation):
            return f"incarnation {hello.incarnation:016x} of node {hello.node} is not admitted"
        return ""

    def complain(self, about: str, why: str) -> None:
        """Logs a refusal: each reason once, not at every attempt."""
        why = why[:COMPLAINT_CHARS_MAX]
        if self._complaints.get(about) != why:
            if len(self._complaints) >= COMPLAINTS_MAX:
                self._complaints.pop(next(iter(self._complaints)))
            self._complaints[about] = why
            log.warning("peer.refused %s: %s", about, why)

    def forgive(self, about: str) -> None:
        """It went well: the next refusal is news again."""
        self._complaints.pop(about, None)

    def epoch_after(self, last: int) -> int:
        """A new epoch: above `last`, and above those of earlier starts of this node."""
        return max(last + 1, self._clock.wall_ms() << 20)


class Backoff:
    """How long to wait before the next attempt."""

    def __init__(self) -> None:
        self._ceiling = BACKOFF_SECONDS_MIN

    def pause(self, stood_seconds: float, *, refused: bool, jitter: float) -> float:
        """Seconds to wait after an attempt that ended; jitter is from 0 to 1."""
        if stood_seconds >= STEADY_SECONDS:
            self._ceiling = BACKOFF_SECONDS_MIN
        seconds = self._ceiling * (0.5 + jitter / 2)
        self._ceiling = min(self._ceiling * 2, BACKOFF_SECONDS_MAX)
        return max(seconds, BACKOFF_SECONDS_MAX) if refused else seconds
