"""What nodes have said to each other and must stand by, over all their lives."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast_raft.messages import Addressed, Confirm, NodeMessage, Nonce, Vote, VoteReply
from holdfast_raft.wal import Born, RecoveredGroup

from tests.sim.violation import KEPT_VOTE, ONE_NONCE, ONE_VOTE, Violation


class Promises:
    """Watches all messages: one vote a term, kept through restarts; no barrier round's name twice."""

    def __init__(self) -> None:
        self._votes: dict[tuple[int, int, int], int] = {}  # (group, term, voter) -> candidate
        self._last_vote: dict[tuple[int, int], tuple[int, int]] = {}  # (voter, group) -> term, candidate
        self._births: dict[int, Born] = {}
        self._asked: set[tuple[int, int, Nonce]] = set()

    def observe(self, source: int, target: int, message: NodeMessage) -> None:
        """A message is put on its way. Raises Violation."""
        match message:
            case Addressed(body=VoteReply(granted=True)):
                self._note_vote(message.group, message.term, source, target)
            case Addressed(body=Vote()):
                self._note_vote(message.group, message.term, source, source)
            case Confirm():
                name = (source, target, message.nonce)
                if name in self._asked:
                    raise Violation(ONE_NONCE, f"node {source} asks node {target} twice as {message.nonce}")
                self._asked.add(name)

    def note_birth(self, node: int, born: Born) -> None:
        """A replica that goes on from others' state votes by its birth. Raises Violation."""
        if born.first_vote is not None:
            self._births[born.group] = born
            # It counts from its first word on; a birth that was lost before is done again.
            self._note_one(born.group, born.first_term, node, born.first_vote)

    def _note_one(self, group: int, term: int, voter: int, candidate: int) -> None:
        first = self._votes.setdefault((group, term, voter), candidate)
        if first != candidate:
            raise Violation(ONE_VOTE, f"node {voter} voted for {first} and {candidate} in term {term}")

    def _note_vote(self, group: int, term: int, voter: int, candidate: int) -> None:
        self._note_one(group, term, voter, candidate)
        self._last_vote[voter, group] = max((term, candidate), self._last_vote.get((voter, group), (0, 0)))

    def voted(self, group: int, term: int, voter: int) -> int | None:
        """Whom a node has told that it votes for it, or will vote for by being born."""
        born = self._births.get(group)
        if born is not None and term == born.first_term and voter in born.members:
            return born.first_vote
        return self._votes.get((group, term, voter))

    def check_restart(self, node: int, recovered: Mapping[int, RecoveredGroup]) -> None:
        """A node is back: it knows every vote that it gave away. Raises Violation."""
        for group, found in recovered.items():
            term, candidate = self._last_vote.get((node, group), (-1, 0))
            if (found.term, found.vote) != (term, candidate) and found.term <= term:
                raise Violation(
                    KEPT_VOTE,
                    f"node {node} comes back with ({found.term}, {found.vote}) in group {group};"
                    f" it has voted for {candidate} in term {term}",
                )
