"""Barriers that wait on this replica: a follower's questions to its leader, and a new leader's reads.

A follower asks its leader for an index; a leader whose term's no-op is not applied yet holds the reads
until it is. Every `done` is called exactly once.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast_raft.errors import DeadlinePassed, RaftError
from holdfast_raft.proposals import answer
from holdfast_raft.readindex import Done


class Waiting(NamedTuple):
    """Someone who wants a barrier by `deadline`."""

    deadline: float
    done: Done


class IndexRequests:
    """See the module docstring."""

    def __init__(self) -> None:
        self._asked: dict[int, Waiting] = {}
        self._early: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._asked) + len(self._early)

    def ask(self, request: int, waiting: Waiting) -> None:
        """A question with this number is on its way to the leader."""
        self._asked[request] = waiting

    def answered(self, request: int, outcome: int | RaftError) -> None:
        """The leader's answer; one that nobody waits for any more says nothing."""
        waiting = self._asked.pop(request, None)
        if waiting is not None:
            answer(waiting.done, outcome)

    def hold(self, waiting: Waiting) -> None:
        """A read came before this leadership could serve it."""
        self._early.append(waiting)

    def release(self) -> list[Waiting]:
        """The held reads: the leadership serves now."""
        held, self._early = self._early, []
        return held

    def fail_asked(self, error: RaftError) -> None:
        """Another leads than who was asked."""
        asked, self._asked = self._asked, {}
        for waiting in asked.values():
            answer(waiting.done, error)

    def fail_all(self, error: RaftError) -> None:
        """Leader or role changed: everyone asks anew."""
        held = self.release()
        self.fail_asked(error)
        for waiting in held:
            answer(waiting.done, error)

    def expire(self, now: float) -> None:
        """Ends those whose deadline has passed."""
        late = [waiting for waiting in [*self._asked.values(), *self._early] if waiting.deadline <= now]
        self._asked = {number: w for number, w in self._asked.items() if w.deadline > now}
        self._early = [w for w in self._early if w.deadline > now]
        for waiting in late:
            answer(waiting.done, DeadlinePassed("the deadline passed before the read could be confirmed"))
