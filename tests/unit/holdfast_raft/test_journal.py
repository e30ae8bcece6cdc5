"""A group's log in memory: what it holds, and what of it is durable."""

from __future__ import annotations

import pytest
from holdfast_raft.journal import Journal
from holdfast_raft.wal import RecoveredGroup

from tests.unit.holdfast_raft.memory_wal import MemoryWal, journal_of


def open_journal() -> tuple[Journal, MemoryWal]:
    wal = MemoryWal()
    return Journal(wal, RecoveredGroup(group=2, base=(1, 0))), wal


def test_an_index_is_durable_only_by_the_record_that_wrote_it_last() -> None:
    """A sync that began before a truncation says nothing about what stands there now (LSN, not index)."""
    journal, wal = open_journal()
    for index in range(2, 7):
        journal.add(b"\0a", index, 1)
    sync_in_flight = wal.lsn
    journal.deleteEntriesFrom(3)
    for index in range(4, 7):
        journal.add(b"\0b", index, 2)

    journal.synced(sync_in_flight)
    assert journal.durable_index == 3

    journal.synced(wal.lsn)
    assert journal.durable_index == 6


def test_entries_are_appended_without_gaps() -> None:
    """A hole would shift every index behind it."""
    journal, _ = open_journal()

    with pytest.raises(AssertionError, match="without gaps"):
        journal.add(b"\0", 5, 1)


def test_a_snapshot_inside_the_log_keeps_what_follows_it() -> None:
    """The WAL lets go of what the snapshot covers; memory lets go when told."""
    journal = journal_of(1, 1, 2, 2)

    journal.snapshot_stands(3, 1)
    journal.forget_below(3)

    assert (journal.base_index, journal.last_index, journal.term_at(3), journal.term_at(2)) == (3, 5, 1, None)


def test_a_snapshot_the_log_does_not_hold_replaces_it() -> None:
    """Nothing of a log that contradicts a snapshot stays."""
    journal = journal_of(1, 1, 2, 2)

    journal.snapshot_stands(3, 7)

    assert (journal.base_index, journal.last_index, journal.last_term, journal.durable_index) == (3, 3, 7, 3)


def test_the_term_never_goes_back_and_an_unchanged_one_is_not_written_again() -> None:
    """Each change of (term, vote) is one record; votes wait for its LSN."""
    journal, wal = open_journal()
    journal.setCurrentTerm(4, None)
    journal.setCurrentTerm(4, 3)
    journal.setCurrentTerm(4, 3)

    assert wal.records == [("hard_state", 4, None), ("hard_state", 4, 3)]
    assert journal.hard_state_lsn == 2
    with pytest.raises(AssertionError, match="never goes back"):
        journal.setCurrentTerm(3, None)


def test_a_batch_is_bounded_but_never_empty() -> None:
    """from_index gives at least one entry, else as many as fit."""
    journal, _ = open_journal()
    for index in range(2, 8):
        journal.add(b"\0" * 100, index, 1)

    assert [e[1] for e in journal.from_index(3, bytes_max=10, count_max=9)] == [3]
    assert [e[1] for e in journal.from_index(3, bytes_max=250, count_max=9)] == [3, 4]
    assert [e[1] for e in journal.from_index(3, bytes_max=9999, count_max=3)] == [3, 4, 5]


def test_held_bytes_follow_every_change() -> None:
    """The memory a log takes is counted as it grows, is cut and is trimmed."""
    journal, _ = open_journal()
    for index in range(2, 8):
        journal.add(b"\0" * 100, index, 1)
    journal.deleteEntriesFrom(4)
    journal.forget_below(3)

    assert journal.held_bytes == sum(len(entry[0]) for entry in journal[0:])


def test_pysyncobjs_own_compaction_is_refused() -> None:
    """D4, D6: clear and deleteEntriesTo never run."""
    journal, _ = open_journal()

    with pytest.raises(AssertionError):
        journal.clear()
    with pytest.raises(AssertionError):
        journal.deleteEntriesTo(1)
