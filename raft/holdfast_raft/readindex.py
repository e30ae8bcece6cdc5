"""Barrier rounds: the proof that a read may be served linearizably (ReadIndex, Raft thesis 6.4).

One round asks as few peers as make a majority, about all groups with waiting reads at once: one nonce, a
list of (group, term). Those that completed the round before are asked first; the others only when an answer
is late (LATE_AFTER), by a nonce of their own, since each question and answer costs both sides, and a sleeping
core some 0.1 ms to wake. It is one node's book of rounds; the driver carries the messages.

Rules (protocols.md 4; etcd issues 20418 and 21399 are what happens otherwise):
- A read joins the *next* round, never one that has started.
- A nonce is never used twice.
- The commit index and the set of reads are fixed when the round starts.
- A peer counts for a group once, and only for the term asked about.
- At the end the group must still lead in that term.

A group has at most one round under way; its next starts at once when it ends, together with those of
other groups that wait. A group whose round does not complete within its patience (more than a round trip,
or it never would) joins the next one, and holds up nobody else meanwhile. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from holdfast_raft.errors import RaftError
from holdfast_raft.messages import Confirm, ConfirmReply, Nonce

Done = Callable[[int | RaftError], None]

LATE_AFTER = 0.01
"""Seconds after which those are asked too who were not at first."""
_NEVER = float("inf")


class Leadership(Protocol):
    """What a round needs to know of a group."""

    id: int

    def barrier_point(self) -> tuple[int, int] | RaftError:
        """(term, commit index) if this replica leads and has applied its term's no-op, else why not."""
        ...

    def others(self) -> tuple[int, ...]:
        """The other members' nodes."""
        ...

    def confirmed(self, sent_at: float) -> None:
        """A majority confirmed the leadership after `sent_at`."""
        ...


class _Waiting(NamedTuple):
    deadline: float
    done: Done


class _Asked:
    """One group's part of the round under way."""

    __slots__ = (
        "commit_index", "counters", "leadership", "needed", "reads", "spared", "started_at", "term", "voters",
    )  # fmt: skip

    def __init__(
        self, leadership: Leadership, term: int, commit_index: int, reads: list[_Waiting], counter: int,
        started_at: float,
    ) -> None:  # fmt: skip
        self.counters = {counter}  # of the nonces it was asked by
        self.started_at = started_at
        self.leadership = leadership
        self.term = term
        self.commit_index = commit_index
        self.reads = reads
        self.voters: set[int] = set()
        self.needed = (len(leadership.others()) + 1) // 2  # besides ourselves
        self.spared: list[int] = []  # peers that were not asked yet


class BarrierRounds:
    """The rounds of one node."""

    def __init__(self, boot: int, patience: float) -> None:
        """boot: random for each start of the process. patience: seconds a round waits."""
        self._boot = boot
        self._counter = 0
        self._patience = patience
        self._next: dict[int, tuple[Leadership, list[_Waiting]]] = {}
        self._asked: dict[int, _Asked] = {}
        self._quick: set[int] = set()  # who completed the last round
        self.look_at = _NEVER  # when a round may be late: a turn should come then
        self.rounds = 0

    def join(self, leadership: Leadership, deadline: float, done: Done) -> None:
        """Adds a read to the next round."""
        found = self._next.get(leadership.id)
        if found is None:
            self._next[leadership.id] = (leadership, [_Waiting(deadline, done)])
        else:
            found[1].append(_Waiting(deadline, done))

    def questions(self, now: float, is_connected: Callable[[int], bool]) -> list[tuple[int, Confirm]]:
        """What to send to which peer: of a new round, if none is under way and reads are waiting; and of
        late rounds, to those that were not asked at first.
        """
        late = self._late_questions(now) if now >= self.look_at else []
        if not self._next:  # the common turn
            return late
        waiting = {group: reads for group, reads in self._next.items() if group not in self._asked}
        if not waiting:
            return late
        self._next = {group: reads for group, reads in self._next.items() if group in self._asked}
        self._counter += 1
        self.rounds += 1
        by_peer: dict[int, list[tuple[int, int]]] = {}
        for group, (leadership, reads) in waiting.items():
            point = leadership.barrier_point()
            if isinstance(point, RaftError):
                _finish(reads, point)
                continue
            asked = _Asked(leadership, *point, reads, self._counter, now)
            if asked.needed == 0:
                _finish(reads, asked.commit_index)
                leadership.confirmed(now)
                continue
            self._asked[group] = asked
            others = sorted(leadership.others(), key=lambda p: (not is_connected(p), p not in self._quick))
            asked.spared = others[asked.needed :]
            if asked.spared:
                self.look_at = min(self.look_at, now + LATE_AFTER)
            for peer in others[: asked.needed]:
                by_peer.setdefault(peer, []).append((group, asked.term))
        nonce = Nonce(self._boot, self._counter)
        return [*late, *((peer, Confirm(nonce, tuple(groups))) for peer, groups in by_peer.items())]

    def _late_questions(self, now: float) -> list[tuple[int, Confirm]]:
        self.look_at = _NEVER
        by_peer: dict[int, list[tuple[int, int]]] = {}
        for group, asked in self._asked.items():
            late_at = asked.started_at + LATE_AFTER
            if not asked.spared:
                continue
            if late_at > now:
                self.look_at = min(self.look_at, late_at)
                continue
            for peer in asked.spared:
                by_peer.setdefault(peer, []).append((group, asked.term))
            asked.spared = []
            asked.counters.add(self._counter + 1)
        if not by_peer:
            return []
        self._counter += 1
        nonce = Nonce(self._boot, self._counter)
        return [(peer, Confirm(nonce, tuple(groups))) for peer, groups in by_peer.items()]

    def replied(self, peer: int, reply: ConfirmReply) -> None:
        """Takes a peer's answer to the round under way; others are stale and say nothing."""
        boot, counter = reply.nonce
        if boot != self._boot:
            return
        for group in reply.confirmed:
            asked = self._asked.get(group)
            if asked is None or counter not in asked.counters or peer not in asked.leadership.others():
                continue
            asked.voters.add(peer)
            if len(asked.voters) >= asked.needed:
                del self._asked[group]
                self._quick = asked.voters
                self._complete(asked)

    def _complete(self, asked: _Asked) -> None:
        point = asked.leadership.barrier_point()
        if isinstance(point, RaftError):
            _finish(asked.reads, point)
        elif point[0] != asked.term:
            self._requeue(asked)
        else:
            asked.leadership.confirmed(asked.started_at)
            _finish(asked.reads, asked.commit_index)

    def tick(self, now: float, timed_out: Callable[[], RaftError]) -> None:
        """Ends a round that ran out of patience and reads whose deadline passed."""
        for group, asked in list(self._asked.items()):
            if now - asked.started_at > self._patience:
                del self._asked[group]
                self._requeue(asked)
        for group, (leadership, reads) in list(self._next.items()):
            late = [read for read in reads if read.deadline <= now]
            if not late:
                continue
            kept = [read for read in reads if read.deadline > now]
            if kept:
                self._next[group] = (leadership, kept)
            else:
                del self._next[group]
            _finish(late, timed_out())

    def drop(self, group: int, error: RaftError) -> None:
        """The group no longer leads here: its reads end."""
        asked = self._asked.pop(group, None)
        waiting = self._next.pop(group, None)
        if asked is not None:
            _finish(asked.reads, error)
        if waiting is not None:
            _finish(waiting[1], error)

    def _requeue(self, asked: _Asked) -> None:
        leadership, reads = asked.leadership, asked.reads
        found = self._next.get(leadership.id)
        self._next[leadership.id] = (leadership, reads + (found[1] if found else []))

    @property
    def has_waiting(self) -> bool:
        """Whether a round should start."""
        return bool(self._next) and any(group not in self._asked for group in self._next)


def _finish(reads: list[_Waiting], outcome: int | RaftError) -> None:
    for read in reads:
        read.done(outcome)
