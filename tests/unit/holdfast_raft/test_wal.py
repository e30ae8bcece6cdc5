"""The WAL: what comes back, and when it counts (protocols.md 5), on a disk that forgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import Fault, UnsyncedDisk
from holdfast_raft.wal import Born, Wal

from tests.wals import BORN, OPTIONS, append, boot, data_of, lines, reopened, started, sync


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


def test_a_fresh_directory_holds_no_group(disk):
    """A node that never ran recovers nothing."""
    assert Wal.open(disk, OPTIONS).recovered == {}


def test_everything_appended_and_synced_comes_back(disk):
    """Born record, hard state, base and entries of every group survive power loss once synced."""
    wal = started(disk)
    wal.born(Born(7, (10, 11), 0, 0, 0))
    wal.hard_state(1, 4, 11)
    append(wal, 3)
    append(wal, 1, group=7, first=1, term=0)
    sync(wal)

    wal = Wal.open(boot(disk), OPTIONS)
    one, seven = wal.recovered[1], wal.recovered[7]

    assert one.born == BORN
    assert (one.term, one.vote, one.base, one.retired) == (4, 11, (5, 2), False)
    assert [(index, term) for _, index, term in one.entries] == [(6, 2), (7, 2), (8, 2)]
    assert data_of(wal) == ["1/6/2", "1/7/2", "1/8/2"]
    assert (seven.term, seven.vote, data_of(wal, 7)) == (0, None, ["7/1/0"])


def test_what_was_not_synced_is_gone_after_power_loss(disk):
    """Appending alone, or writing without a finished sync, promises nothing."""
    wal = started(disk)
    append(wal, 2)

    assert Wal.open(boot(disk), OPTIONS).recovered[1].entries == []


def test_a_vote_of_a_lower_term_or_a_second_vote_is_an_error(disk):
    """Nothing makes a term go back or a vote of a term change."""
    wal = started(disk)
    wal.hard_state(1, 4, None)
    wal.hard_state(1, 4, 11)

    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(1, 3, 11)
    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(1, 4, 12)
    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(1, 4, None)


def test_an_unchanged_hard_state_depends_on_the_record_that_set_it(disk):
    """Saying the same again writes nothing and returns the LSN to wait for."""
    wal = started(disk)
    lsn = wal.hard_state(1, 4, 11)

    assert wal.hard_state(1, 4, 11) == lsn == wal.appended_lsn


def test_truncated_entries_stay_truncated(disk):
    """A conflict's truncation is a record: what it cut does not come back, what follows does."""
    wal = started(disk)
    append(wal, 4)
    wal.truncate(1, 8)
    append(wal, 1, first=8, term=3)
    sync(wal)

    assert data_of(Wal.open(boot(disk), OPTIONS)) == ["1/6/2", "1/7/2", "1/8/3"]


def test_nothing_clears_term_and_vote(disk):
    """Truncation, base and a dropped log leave the hard state as it was."""
    wal = started(disk)
    wal.hard_state(1, 9, 12)
    append(wal, 3)
    wal.truncate(1, 7)
    wal.base(1, 6, 2, keep_suffix=True)
    wal.base(1, 50, 9, keep_suffix=False)
    sync(wal)

    found = Wal.open(boot(disk), OPTIONS).recovered[1]

    assert (found.term, found.vote, found.base, found.entries) == (9, 12, (50, 9), [])


def test_a_base_keeps_what_follows_only_when_told(disk):
    """keep_suffix keeps entries after the base; without it the whole log goes."""
    wal = started(disk)
    append(wal, 4)
    wal.base(1, 7, 2, keep_suffix=True)
    sync(wal)
    wal = Wal.open(boot(disk), OPTIONS)
    assert data_of(wal) == ["1/8/2", "1/9/2"]

    wal.base(1, 8, 3, keep_suffix=False)
    append(wal, 1, first=9, term=3)
    job = wal.begin_sync()
    job.run()

    assert data_of(reopened(disk)) == ["1/9/3"]


def test_entries_must_follow_one_another(disk):
    """A gap, a repeat, an unborn or a retired group is a programmer's error, and writes nothing."""
    wal = started(disk)
    before = wal.appended_lsn

    for index in (5, 7):
        with pytest.raises(ValueError, match="follows"):
            wal.entry(1, index, 2, b"x")
    with pytest.raises(KeyError):
        wal.entry(2, 1, 1, b"x")
    with pytest.raises(ValueError, match="not born"):
        wal.hard_state(2, 1, None)
    with pytest.raises(ValueError, match="outside"):
        wal.truncate(1, 6)
    with pytest.raises(ValueError, match="base goes back"):
        wal.base(1, 4, 2, keep_suffix=True)
    with pytest.raises(ValueError, match="born here before"):
        wal.born(BORN)
    assert wal.appended_lsn == before


def test_a_record_that_would_not_fit_a_segment_is_refused(disk):
    """A record takes at most a quarter of a segment, so that a fresh one always has room."""
    wal = started(disk)

    with pytest.raises(ValueError, match="does not fit"):
        wal.entry(1, 6, 2, bytes(OPTIONS.segment_bytes // 4))


def test_a_retired_group_leaves_a_tombstone_for_ever(disk):
    """Retirement survives segments and restarts, and the group's id is never born again."""
    wal = started(disk)
    append(wal, 3)
    wal.retire(1)
    sync(wal)

    for _ in range(3):
        disk = boot(disk)
        wal = Wal.open(disk, OPTIONS)

    assert wal.recovered[1].retired
    assert wal.recovered[1].entries == []
    with pytest.raises(ValueError, match="born here before"):
        wal.born(BORN)
    with pytest.raises(ValueError, match="retired"):
        wal.hard_state(1, 99, None)


def test_a_retired_group_takes_nothing_more(disk):
    """From the tombstone on, not only from the next start."""
    wal = started(disk)
    wal.retire(1)

    with pytest.raises(ValueError, match="follows"):
        wal.entry(1, 6, 2, b"x")
    with pytest.raises(ValueError, match="retired"):
        wal.truncate(1, 6)


def test_a_sync_covers_what_was_appended_when_it_began(disk):
    """Records appended while a sync is under way are not durable when it ends."""
    wal = started(disk)
    first = append(wal, 1)
    job = wal.begin_sync()
    second = append(wal, 1, first=7)
    job.run()

    assert wal.end_sync(job) == wal.durable_lsn == first < second == wal.appended_lsn


def test_one_sync_at_a_time(disk):
    """While a sync is under way, or after one failed, no other begins."""
    wal = started(disk)
    assert wal.begin_sync() is None

    append(wal, 1)
    job = wal.begin_sync()
    append(wal, 1, first=7)
    assert wal.begin_sync() is None

    disk.fail(Fault("sync"))
    with pytest.raises(OSError, match="Input/output"):
        job.run()
    assert wal.begin_sync() is None
    assert wal.durable_lsn < wal.appended_lsn


def test_each_batch_opens_with_a_mark_that_says_what_was_synced(disk):
    """The mark of a batch names the LSN of the batch before, which its sync had finished."""
    wal = started(disk)
    first = append(wal, 2)
    sync(wal)
    append(wal, 2, first=8)
    sync(wal)

    assert lines(disk, "mark")[-1].fields == {"synced_to": first}


def test_a_batch_has_one_mark(disk):
    """Asking for a mark where one opened the batch already appends nothing."""
    wal = started(disk)
    before = len(lines(disk, "mark"))
    lsn = append(wal, 1)
    wal.append_mark()
    append(wal, 1, first=7)
    sync(wal)

    assert len(lines(disk, "mark")) == before + 1
    assert lines(disk, "mark")[-1].fields == {"synced_to": lsn - 1}


def test_an_idle_node_marks_its_last_sync(disk):
    """needs_mark holds after a sync until a mark for it was written, then no longer."""
    wal = started(disk)
    assert not wal.needs_mark

    lsn = append(wal, 1)
    assert not wal.needs_mark
    sync(wal)
    assert wal.needs_mark
    wal.append_mark()
    assert not wal.needs_mark
    sync(wal)

    assert not wal.needs_mark
    assert lines(disk, "mark")[-1].fields == {"synced_to": lsn}


def test_a_wal_keeps_its_id_and_another_has_another(disk, tmp_path):
    """Who keeps it elsewhere can tell that a WAL is the one it knew."""
    first = Wal.open(disk, OPTIONS)
    again = Wal.open(boot(disk), OPTIONS)

    assert again.wal_id == first.wal_id != Wal.open(UnsyncedDisk(tmp_path / "other"), OPTIONS).wal_id
