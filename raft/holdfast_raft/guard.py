"""Message rules: what of a peer's message may reach the consensus core, and in which form.

PySyncObj's core as shipped loses acknowledged writes when these rules are missing (each is named after
the deviation it closes; docs/decisions/0002). The guard is pure: it looks at facts and returns a verdict,
the engine carries it out. Comments cite etcd-io/raft where that code does the same.

What it does not do: elections' timing and stickiness (election.py), barrier rounds (readindex.py).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from holdfast_raft.messages import Append, AppendReply


class LogView(Protocol):
    """What a rule needs to see of a log."""

    @property
    def base_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    def term_at(self, index: int) -> int | None: ...


class Extend(NamedTuple):
    """Give the core this append: it follows (prev_index, prev_term), and its first entry is new here.

    Whatever stands after prev_index conflicts with it and must go.
    """

    prev_index: int
    prev_term: int
    entries: tuple[tuple[int, bytes], ...]


class Present(NamedTuple):
    """Everything is already here: confirm up to `index`, keep what stands after it."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs


class Mismatch(NamedTuple):
    """The append does not follow from this log: ask to begin again after `resume_after`."""

    resume_after: int


class Broken(NamedTuple):
    """The append contradicts a committed entry: this replica must stop."""

    why: str


AppendVerdict = Extend | Present | Mismatch | Broken


def judge_append(log: LogView, commit_index: int, term: int, append: Append) -> AppendVerdict:
    """Decides what an append of the present term means for this log.

    Args:
        log: this replica's log.
        commit_index: highest index known committed here (>= applied).
        term: term of the message, which is the present one.
        append: the message.
    """
    prev_index, prev_term, _, entries = append
    base = log.base_index
    if prev_index < base:
        # Begins in the compacted prefix, which is committed and so the same everywhere.
        if prev_index + len(entries) <= base:
            return Present(commit_index)
        entries = entries[base - prev_index :]
        prev_index, prev_term = base, log.term_at(base) or 0
    if log.term_at(prev_index) != prev_term:
        return _mismatch(log, commit_index, prev_index)
    new_from = _first_new(log, prev_index, entries)
    if new_from == len(entries):
        # D1: nothing new. The core would cut the tail behind these entries; an acknowledged one
        # may stand there, sent in a message that came before this repeat (etcd log.go maybeAppend).
        return Present(prev_index + len(entries))
    first_new_index = prev_index + new_from + 1
    if first_new_index <= commit_index:
        return Broken(f"the leader of term {term} contradicts the committed entry {first_new_index}")
    if new_from:
        prev_index, prev_term = prev_index + new_from, entries[new_from - 1][0]
        entries = entries[new_from:]
    return Extend(prev_index, prev_term, entries)


def _first_new(log: LogView, prev_index: int, entries: tuple[tuple[int, bytes], ...]) -> int:
    """Position of the first entry that is not in the log with the same term."""
    if prev_index == log.last_index:  # the common case: nothing after prev here
        return 0
    for position, (entry_term, _) in enumerate(entries):
        if log.term_at(prev_index + 1 + position) != entry_term:
            return position
    return len(entries)


def _mismatch(log: LogView, commit_index: int, prev_index: int) -> Mismatch:
    """Where the leader should try next; always before prev_index, so that every answer makes progress.

    D14: the leader only ever lowers `next` by these hints, so the answers to several pipelined messages
    cannot undo each other.
    """
    if prev_index > log.last_index:
        return Mismatch(log.last_index)
    # The whole run of the conflicting term is in doubt, down to what is committed
    # (etcd log.go findConflictByTerm).
    conflicting, index = log.term_at(prev_index), prev_index
    while index > commit_index and log.term_at(index) == conflicting:
        index -= 1
    return Mismatch(index)


def follower_commit(commit_index: int, leader_commit: int, verified_index: int) -> int:
    """The commit index after hearing the leader's (D3, D13: never over a tail the leader has not verified).

    Args:
        commit_index: the present one; it never goes back.
        leader_commit: what the leader says.
        verified_index: up to here this log was matched against this leader's in this term.
    """
    return max(commit_index, min(leader_commit, verified_index))


def next_after_reply(match_index: int, next_index: int, reply: AppendReply) -> tuple[int, int]:
    """(match, next) of a follower after its reply.

    D2: match never goes back, next never falls to or below it, and a success never moves next back over
    what is in flight (etcd tracker/progress.go MaybeUpdate, MaybeDecrTo).
    """
    if reply.matched:
        match_index = max(match_index, reply.index)
        return match_index, max(next_index, match_index + 1)
    return match_index, max(match_index + 1, min(next_index, reply.index + 1))


def committed_index(durable_indexes: list[int]) -> int:
    """The index durable on a majority: the k-th largest of the voters' durable indexes."""
    ordered = sorted(durable_indexes, reverse=True)
    return ordered[len(ordered) // 2]


def snapshot_is_obsolete(log: LogView, commit_index: int, index: int, term: int) -> bool:
    """D6: a snapshot of what is committed here, or of a prefix of this log, must not roll anything back."""
    return index <= commit_index or log.term_at(index) == term


class Ballot:
    """D8: counts voters, not votes, of one term."""

    __slots__ = ("_granted", "_members", "term")

    def __init__(self, term: int, members: frozenset[int]) -> None:
        self.term = term
        self._members = members
        self._granted: set[int] = set()

    def grant(self, term: int, voter: int) -> bool:
        """Takes a vote; whether it is new and counts."""
        if term != self.term or voter not in self._members or voter in self._granted:
            return False
        self._granted.add(voter)
        return True

    def has_majority(self) -> bool:
        """Whether more than half of the members granted."""
        return len(self._granted) > len(self._members) // 2
