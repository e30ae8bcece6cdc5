"""Starts: what they make durable again, and that a failed one loses nothing (protocols.md 5)."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import Fault, UnsyncedDisk
from holdfast_raft.wal import Wal

from tests.wals import OPTIONS, append, boot, data_of, lines, settle, started, sync


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


def test_a_start_makes_the_tail_durable_before_anything_leaves(disk):
    """What a failed sync left in the page cache only is written again at open: see ATC 2020."""
    wal = started(disk)
    append(wal, 2)
    job = wal.begin_sync()
    disk.fail(Fault("sync"))
    with pytest.raises(OSError, match="Input/output"):
        job.run()

    again = Wal.open(disk, OPTIONS)
    assert data_of(again) == ["1/6/2", "1/7/2"]

    assert data_of(Wal.open(boot(disk), OPTIONS)) == ["1/6/2", "1/7/2"]


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_dir", "unlink"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_start_that_fails_loses_nothing(disk, operation, after):
    """Whatever step of opening fails, and power with it, the next start finds everything."""
    wal = started(disk)
    append(wal, 40)
    sync(wal)
    disk = boot(disk)
    disk.fail(Fault(operation, after=after))
    with contextlib.suppress(OSError):
        Wal.open(disk, OPTIONS)

    assert len(data_of(Wal.open(boot(disk, torn=True), OPTIONS))) == 40


def test_a_start_removes_what_an_unfinished_one_left(disk):
    """A segment that never got its name counts for nothing and takes no room for ever."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    (disk.root / "wal" / "0000000042.new").write_bytes(b"half a segment")

    disk = boot(disk)
    assert data_of(Wal.open(disk, OPTIONS)) == ["1/6/2", "1/7/2", "1/8/2"]

    assert [name for name in disk.names("wal") if name.endswith(".new")] == []


def test_entries_that_were_not_copied_at_a_start_keep_their_segments(disk):
    """What stood in a segment before the start pins it after, until a base lets it go."""
    wal = started(disk)
    append(wal, 60)
    sync(wal)
    settle(wal)
    disk = boot(disk)
    wal = Wal.open(disk, OPTIONS)
    oldest = [line for line in lines(disk, "entry") if line.segment == disk.names("wal")[0]]
    assert oldest
    assert wal.free_job() is None
    assert wal.pins() == {1: len(oldest) * 144}

    wal.base(1, 65, 2, keep_suffix=True)
    sync(wal)
    wal.free_job()()

    assert wal.segment_count == 1


def test_restarting_over_and_over_does_not_grow_the_wal(disk):
    """A last segment with little in it is replaced at a start, not kept beside the next."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    for _ in range(10):
        disk = boot(disk)
        wal = Wal.open(disk, OPTIONS)

    assert wal.segment_count == 1
    assert len(disk.names("wal")) == 2  # it and the spare
    assert data_of(wal) == ["1/6/2", "1/7/2", "1/8/2"]


def test_a_header_in_the_page_cache_only_is_not_relied_on(disk):
    """A segment begun by a batch whose sync failed is replaced at the start, large as the batch may be."""
    wal = started(disk)
    append(wal, 50)
    disk.fail(Fault("sync", after=1))
    with pytest.raises(OSError, match="Input/output"):
        wal.begin_sync().run()

    assert len(data_of(Wal.open(disk, OPTIONS))) == 50
    begun = disk.root / "wal" / lines(disk, "header")[-1].segment
    assert begun.stat().st_size >= OPTIONS.segment_bytes + 25 * 144  # made longer for the copies
    assert len(data_of(Wal.open(boot(disk), OPTIONS))) == 50


def test_a_start_is_durable_and_marked_and_what_follows_writes_over_none_of_it(disk):
    """Copies count as durable at once, and the mark that says so stays where it is."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    disk = boot(disk)
    wal = Wal.open(disk, OPTIONS)
    assert wal.durable_lsn == wal.appended_lsn
    assert not wal.needs_mark
    marks = lines(disk, "mark")
    assert marks[-1].fields == {"synced_to": wal.durable_lsn}

    append(wal, 1, first=9)
    sync(wal)

    assert lines(disk, "mark")[: len(marks)] == marks
    assert len(lines(disk, "mark")) == len(marks) + 1


def test_the_segment_of_a_start_has_its_name_before_records_follow(disk):
    """Also when no spare could be made, which would have synced the directory."""
    started(disk)
    disk = boot(disk)
    disk.fail(Fault("create", errno.ENOSPC, after=1, times=2))
    wal = Wal.open(disk, OPTIONS)
    append(wal, 1)
    sync(wal)

    assert data_of(Wal.open(boot(disk), OPTIONS)) == ["1/6/2"]
