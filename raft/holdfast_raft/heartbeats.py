"""Heartbeats of all groups between two nodes in one message, and what is learned from them.

A leader's word (term, commit index, how long ago a majority confirmed it) goes out; the answer names the
groups that follow, and tells the term of those that do not. On the way both sides learn each other's wall
clock, and each follower gets its own send time echoed (contact.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from holdfast_raft.clock import Clock
from holdfast_raft.group import Group
from holdfast_raft.messages import Heartbeat, HeartbeatReplies, Heartbeats, NodeMessage

WALL_AGING = 0.05
"""What is known of a peer's wall clock grows less certain by this, seconds a second."""

Post = Callable[[int, NodeMessage, int], bool]
"""(node, message, LSN it depends on)."""


class _Wall(NamedTuple):
    """A peer's wall clock.

    Attributes:
        ahead_ms: of our monotonic clock: our own wall clock may jump at any moment, and would take along
            what it was compared with.
        heard_at: monotonic seconds.
        waited: how long the peer's word may have been on its way, seconds.
    """

    ahead_ms: float
    heard_at: float
    waited: float


class HeartbeatExchange:
    """One node's heartbeats with all its peers."""

    def __init__(self, groups: Mapping[int, Group], clock: Clock, post: Post) -> None:
        """groups: the node's replicas, as they are at each moment."""
        self._groups = groups
        self._clock = clock
        self._post = post
        self._since_ns = int(clock.monotonic() * 1e9) or 1
        self._last_reply_ns: dict[int, int] = {}  # peer -> its own send time of its last reply
        self._walls: dict[int, _Wall] = {}

    def send(self, now: float) -> None:
        """Speaks for every group led here."""
        beats: dict[int, list[Heartbeat]] = {}
        for group in self._groups.values():
            beat = group.heartbeat(now)
            if beat is not None:
                for peer in group.others():
                    beats.setdefault(peer, []).append(beat)
        now_ns = int(now * 1e9)
        for peer, told in beats.items():
            echo_ns = self._last_reply_ns.get(peer, 0)
            self._post(peer, Heartbeats(now_ns, echo_ns, self._clock.wall_ms(), tuple(told)), 0)

    def take(self, peer: int, message: Heartbeats) -> None:
        """A peer speaks for the groups it leads."""
        # Only what this process sent counts: a clock that began anew would make an old echo look fresh.
        now = self._clock.monotonic()
        mine = self._since_ns <= message.echo_ns <= int(now * 1e9)
        echoed_at = message.echo_ns / 1e9 if mine else None
        self._hear_clock(peer, message.wall_ms, now, echoed_at)
        accepted: list[int] = []
        others: list[tuple[int, int]] = []
        lsn = 0
        for beat in message.groups:
            group = self._groups.get(beat.group)
            term = 0 if group is None else group.hear_heartbeat(peer, beat, echoed_at, now)
            if term is None and group is not None:
                accepted.append(beat.group)
                lsn = max(lsn, group.journal.hard_state_lsn)
            else:
                others.append((beat.group, term or 0))
        now_ns = int(self._clock.monotonic() * 1e9)
        wall_ms = self._clock.wall_ms()
        self._post(
            peer, HeartbeatReplies(message.sent_at_ns, now_ns, wall_ms, tuple(accepted), tuple(others)), lsn
        )

    def take_replies(self, peer: int, message: HeartbeatReplies) -> None:
        """A peer's answer to what was sent."""
        self._last_reply_ns[peer] = message.sent_at_ns
        sent_at = message.echo_ns / 1e9
        self._hear_clock(peer, message.wall_ms, self._clock.monotonic(), sent_at)
        for number in message.accepted:
            group = self._groups.get(number)
            if group is not None:
                group.heartbeat_accepted(peer, sent_at)
        for number, term in message.others:
            group = self._groups.get(number)
            if group is not None:
                group.hear_term(peer, term)

    def walls_ms(self) -> dict[int, int]:
        """Each peer's wall clock now, going by the most certain that it said."""
        now_ms = self._clock.monotonic() * 1000
        return {peer: int(wall.ahead_ms + now_ms) for peer, wall in self._walls.items()}

    def disconnected(self, peer: int) -> None:
        """Its clocks may be others next time."""
        self._last_reply_ns.pop(peer, None)
        self._walls.pop(peer, None)

    def _hear_clock(self, peer: int, wall_ms: int, now: float, said_after: float | None) -> None:
        """said_after: our own time that the peer's word came after; None: not known.

        A word that lay in a socket while this process was stopped makes the peer's clock look late: the one
        that may have waited least counts, until it is too old to be more certain.
        """
        waited = float("inf") if said_after is None else now - said_after
        known = self._walls.get(peer)
        if known is None or waited <= known.waited + WALL_AGING * (now - known.heard_at):
            self._walls[peer] = _Wall(wall_ms - now * 1000, now, waited)
