"""What a replica's callers wait for: their proposals' outcomes, and indexes to be applied.

Every `done` is called exactly once; an exception in one is logged and harms nobody (D16).
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from holdfast_raft.errors import DeadlinePassed, RaftError, Superseded

logger = logging.getLogger(__name__)


class Applied(NamedTuple):
    """A proposal's success: where it stands and what the state machine answered."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    term: int
    result: object


ProposalDone = Callable[[Applied | RaftError], None]
AppliedDone = Callable[[RaftError | None], None]


class Proposal(NamedTuple):
    """An entry of ours on its way."""

    term: int
    size_bytes: int
    context: object
    deadline: float
    done: ProposalDone


class Proposals:
    """Entries this leader proposed and has not applied, by index."""

    def __init__(self) -> None:
        self._by_index: dict[int, Proposal] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._by_index)

    def add(self, index: int, proposal: Proposal) -> None:
        self._by_index[index] = proposal
        self.size_bytes += proposal.size_bytes

    def take(self, index: int, term: int) -> Proposal | None:
        """The proposal that became the entry (index, term); one that lost its place to it is ended."""
        proposal = self._by_index.pop(index, None)
        if proposal is None:
            return None
        self.size_bytes -= proposal.size_bytes
        if proposal.term != term:
            answer(proposal.done, Superseded("another leader's entry took its place"))
            return None
        return proposal

    def fail_all(self, error: RaftError) -> None:
        """Ends every proposal with the same error."""
        taken, self._by_index, self.size_bytes = self._by_index, {}, 0
        for proposal in taken.values():
            answer(proposal.done, error)

    def expire(self, now: float) -> None:
        """Ends those whose deadline has passed; their entries may still commit."""
        for index in [i for i, proposal in self._by_index.items() if proposal.deadline <= now]:
            proposal = self._by_index.pop(index)
            self.size_bytes -= proposal.size_bytes
            answer(proposal.done, DeadlinePassed("the deadline passed before the entry was applied"))


class AppliedWaits:
    """Callers that wait for an index to be applied."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, float, AppliedDone]] = []
        self._order: Iterator[int] = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, index: int, deadline: float, done: AppliedDone) -> None:
        heapq.heappush(self._heap, (index, next(self._order), deadline, done))

    def reached(self, applied_index: int) -> None:
        """Answers everyone who waited for `applied_index` or less."""
        heap = self._heap
        while heap and heap[0][0] <= applied_index:
            answer(heapq.heappop(heap)[3], None)

    def expire(self, now: float) -> None:
        """Ends those whose deadline has passed."""
        late = [wait for wait in self._heap if wait[2] <= now]
        if late:
            self._heap = [wait for wait in self._heap if wait[2] > now]
            heapq.heapify(self._heap)
            for wait in late:
                answer(wait[3], DeadlinePassed("the deadline passed before the index was applied"))

    def fail_all(self, error: RaftError) -> None:
        taken, self._heap = self._heap, []
        for wait in taken:
            answer(wait[3], error)


def answer(done: Callable[[Any], None], outcome: object) -> None:
    """Calls `done`; an exception in it is its owner's defect and stays there."""
    try:
        done(outcome)
    except Exception:
        logger.exception("a caller's callback failed")
