"""A leader's hand-over to a chosen follower (D28): intake stops, it catches up, it is asked to stand.

Safe at any moment: until the follower wins an election nothing has changed, and at the deadline the
leader simply goes on.
"""

from __future__ import annotations

from holdfast_raft.errors import DeadlinePassed, RaftError
from holdfast_raft.proposals import answer
from holdfast_raft.readindex import Done


class Handover:
    """At most one at a time."""

    def __init__(self) -> None:
        self._done: Done | None = None
        self._deadline = 0.0
        self.target = 0
        self.asked = False  # the target was told to stand

    def __bool__(self) -> bool:
        return self.under_way

    @property
    def under_way(self) -> bool:
        """Whether proposals are to be refused."""
        return self._done is not None

    def begin(self, target: int, deadline: float, done: Done) -> None:
        """Stops the intake in favour of `target`; done(node) once another leads, or the error."""
        assert self._done is None, "one hand-over at a time"
        self.target, self._deadline, self._done, self.asked = target, deadline, done, False

    def end(self, outcome: int | RaftError) -> None:
        """It is over, one way or the other."""
        done, self._done = self._done, None
        if done is not None:
            answer(done, outcome)

    def expire(self, now: float) -> None:
        """The target did not take over in time: the intake goes on."""
        if self._done is not None and self._deadline <= now:
            self.end(DeadlinePassed("the follower did not take over in time"))
