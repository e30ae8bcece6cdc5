"""The guard's rules on their own."""

from __future__ import annotations

import pytest
from holdfast_raft.guard import (
    Ballot,
    Broken,
    Extend,
    Mismatch,
    Present,
    committed_index,
    follower_commit,
    judge_append,
    next_after_reply,
    snapshot_is_obsolete,
)
from holdfast_raft.messages import Append, AppendReply
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.holdfast_raft.memory_wal import journal_of


def entries(*terms: int) -> tuple[tuple[int, bytes], ...]:
    return tuple((term, b"x") for term in terms)


def test_an_append_behind_the_log_asks_to_go_back_to_its_end() -> None:
    """A gap is answered with the last index held."""
    assert judge_append(journal_of(1, 1), 1, 1, Append(9, 1, 1, entries(1))) == Mismatch(3)


def test_a_conflicting_term_is_skipped_as_a_whole_but_not_below_the_commit() -> None:
    """The hint goes before the conflicting run, and never under what is committed."""
    log = journal_of(1, 2, 2, 2)

    assert judge_append(log, 1, 3, Append(5, 3, 1, ())) == Mismatch(2)
    assert judge_append(log, 4, 3, Append(5, 3, 1, ())) == Mismatch(4)


def test_a_mismatch_hint_always_lies_before_the_append() -> None:
    """Every answer lowers where the leader tries next, so several in flight cannot undo each other (D14)."""
    log = journal_of(1, 1, 2, 2)
    for prev_index in range(2, 12):
        verdict = judge_append(log, 1, 3, Append(prev_index, 3, 1, ()))
        assert isinstance(verdict, Mismatch)
        assert verdict.resume_after < prev_index


def test_entries_below_the_base_count_as_present() -> None:
    """What a snapshot covers is committed, so it is the same in every leader's log."""
    log = journal_of(3, base=(10, 2))

    assert judge_append(log, 10, 3, Append(5, 1, 1, entries(1, 2))) == Present(10)
    assert judge_append(log, 10, 3, Append(8, 1, 1, entries(2, 2, 3))) == Present(11)
    assert judge_append(log, 10, 3, Append(8, 1, 1, entries(2, 2, 3, 3))) == Extend(11, 3, entries(3))


def test_what_lies_wholly_below_the_base_confirms_the_commit_and_not_what_begins_at_it() -> None:
    """Of a compacted prefix all that is committed is known to agree; from the base on only what was sent."""
    log = journal_of(3, base=(10, 2))

    assert judge_append(log, 11, 3, Append(5, 1, 1, entries(1, 2))) == Present(11)
    assert judge_append(log, 11, 3, Append(8, 1, 1, entries(2, 2))) == Present(11)
    assert judge_append(log, 11, 3, Append(10, 2, 1, ())) == Present(10)


def test_a_conflict_at_or_below_the_commit_index_breaks() -> None:
    """A committed entry is never rewritten: the replica must stop."""
    assert isinstance(judge_append(journal_of(1, 1), 3, 2, Append(1, 0, 1, entries(1, 2))), Broken)


def test_an_append_that_follows_the_end_of_the_log_goes_to_the_core_as_it_is() -> None:
    """The common case: nothing stands after its predecessor, so all of it is new."""
    log = journal_of(1, 2)

    assert judge_append(log, 1, 3, Append(3, 2, 1, entries(2, 3))) == Extend(3, 2, entries(2, 3))
    assert judge_append(log, 1, 3, Append(3, 2, 1, ())) == Present(3)


def test_a_tail_above_the_commit_gives_way_from_the_first_entry_that_differs() -> None:
    """What agrees stays, also where the very first entry sent is the one that conflicts."""
    log = journal_of(1, 1, 1)

    assert judge_append(log, 1, 2, Append(1, 0, 1, entries(2, 2))) == Extend(1, 0, entries(2, 2))
    assert judge_append(log, 2, 2, Append(1, 0, 1, entries(1, 2))) == Extend(2, 1, entries(2))


def test_a_repeat_of_older_entries_keeps_the_tail_behind_them() -> None:
    """D1: a message sent before an acknowledged one, and repeated after it, cuts nothing."""
    assert judge_append(journal_of(1, 1, 1), 1, 1, Append(1, 0, 1, entries(1, 1))) == Present(3)


@given(
    own=st.lists(st.integers(1, 3), max_size=8).map(sorted),
    theirs=st.lists(st.integers(1, 3), max_size=8).map(sorted),
    start=st.integers(0, 8),
    count=st.integers(0, 8),
)
def test_whatever_the_verdict_the_log_ends_as_raft_says(
    own: list[int], theirs: list[int], start: int, count: int
) -> None:
    """Applying the verdict gives exactly what Raft's AppendEntries rule gives on plain lists."""
    start = min(start, len(theirs))
    sent = theirs[start : start + count]
    prev_term = ([0, *theirs])[start]
    log = journal_of(*own)

    verdict = judge_append(log, 1, 3, Append(1 + start, prev_term, 1, entries(*sent)))

    matches = start <= len(own) and ([0, *own])[start] == prev_term
    if not matches:
        assert isinstance(verdict, Mismatch)
        return
    conflict = next((i for i, t in enumerate(sent) if own[start + i : start + i + 1] != [t]), None)
    expected = own if conflict is None else own[: start + conflict] + sent[conflict:]
    if isinstance(verdict, Present):
        got = own
        assert verdict.index == 1 + start + len(sent)
    else:
        assert isinstance(verdict, Extend)
        got = own[: verdict.prev_index - 1] + [t for t, _ in verdict.entries]
    assert expected == got


def test_a_follower_commits_no_further_than_verified_and_never_back() -> None:
    """D3, D13."""
    assert follower_commit(5, 9, 7) == 7
    assert follower_commit(5, 9, 3) == 5
    assert follower_commit(5, 4, 9) == 5


def test_match_and_next_keep_their_order_whatever_is_answered() -> None:
    """D2: match never falls, next stays above it, a success never pulls next back."""
    assert next_after_reply(5, 20, AppendReply(True, 9)) == (9, 20)
    assert next_after_reply(5, 20, AppendReply(True, 3)) == (5, 20)
    assert next_after_reply(5, 6, AppendReply(True, 9)) == (9, 10)
    assert next_after_reply(5, 20, AppendReply(False, 12)) == (5, 13)
    assert next_after_reply(5, 20, AppendReply(False, 2)) == (5, 6)
    assert next_after_reply(5, 8, AppendReply(False, 30)) == (5, 8)


@pytest.mark.parametrize(
    ("durable", "committed"), [([7], 7), ([7, 5], 5), ([7, 5, 3], 5), ([9, 1, 1, 8, 7], 7), ([4, 4, 0, 0], 0)]
)
def test_the_commit_index_is_what_a_majority_holds_durably(durable: list[int], committed: int) -> None:
    """The k-th largest of the voters' durable indexes."""
    assert committed_index(durable) == committed


def test_a_snapshot_is_obsolete_when_committed_here_or_a_prefix_of_the_log() -> None:
    """D6."""
    log = journal_of(1, 2, 2)

    assert snapshot_is_obsolete(log, 2, 2, 9)
    assert snapshot_is_obsolete(log, 1, 3, 2)
    assert not snapshot_is_obsolete(log, 1, 3, 3)
    assert not snapshot_is_obsolete(log, 1, 9, 2)


def test_a_ballot_counts_each_member_once_in_its_term() -> None:
    """D8."""
    ballot = Ballot(4, frozenset({1, 2, 3}))

    assert ballot.grant(4, 1)
    assert not ballot.grant(4, 1)
    assert not ballot.grant(3, 2)
    assert not ballot.grant(4, 9)
    assert not ballot.has_majority()
    assert ballot.grant(4, 2)
    assert ballot.has_majority()
