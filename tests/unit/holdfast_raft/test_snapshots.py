"""Snapshot files: whole or not there, and never believed without their CRCs."""

from __future__ import annotations

from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import Fault, UnsyncedDisk
from holdfast_raft.snapshots import SnapshotDamaged, SnapshotInfo, SnapshotStore

from tests.wals import append, reopened, started, sync

CHUNKS = [b"first", b"x" * 5000, b"\0", b"last"]


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


def write(
    store: SnapshotStore, group: int = 1, index: int = 10, term: int = 2, chunks=CHUNKS
) -> SnapshotInfo:
    writer = store.begin(group, index, term)
    for chunk in chunks:
        writer.add(chunk)
        writer.write_job()()
    return writer.finish()


def read(store: SnapshotStore, info: SnapshotInfo) -> list[bytes]:
    reader = store.open(info)
    try:
        return list(reader.chunks())
    finally:
        reader.close()


def boot(disk: UnsyncedDisk, *, torn: bool = False) -> UnsyncedDisk:
    disk.power_off(torn=torn)
    return UnsyncedDisk(disk.root)


def flip(disk: UnsyncedDisk, path: str, at: int) -> None:
    content = bytearray((disk.root / path).read_bytes())
    content[at] ^= 1
    (disk.root / path).write_bytes(content)


def test_a_finished_snapshot_survives_power_loss(disk):
    """finish returns only when file, name and directory are durable."""
    info = write(SnapshotStore(disk))

    store = SnapshotStore(boot(disk))

    assert store.latest(1) == info
    assert (info.group, info.index, info.term, info.chunk_count) == (1, 10, 2, 4)
    assert info.path == "snapshots/1/10-2.snap"
    assert info.bytes == sum(map(len, CHUNKS))
    assert read(store, info) == CHUNKS


def test_nothing_is_written_by_add(disk):
    """The loop thread's part does no I/O: all of it is in the jobs."""
    store = SnapshotStore(disk)
    writer = store.begin(1, 10, 2)
    writer.add(b"chunk")

    assert disk.names("snapshots") == []
    writer.write_job()()
    assert len(disk.names("snapshots/1")) == 1
    writer.abort()


def test_chunks_added_since_the_last_job_are_in_the_file(disk):
    """finish writes what is still buffered, also when no job ran before it."""
    store = SnapshotStore(disk)
    writer = store.begin(1, 10, 2)
    writer.add(b"one")
    writer.add(b"two")

    assert read(store, writer.finish()) == [b"one", b"two"]


def test_an_empty_state_has_a_snapshot_too(disk):
    """A snapshot without chunks is a valid one, not a missing one."""
    info = write(SnapshotStore(disk), chunks=[])
    store = SnapshotStore(boot(disk))

    assert store.latest(1) == info
    assert read(store, info) == []


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_dir"])
def test_a_snapshot_that_could_not_be_made_durable_does_not_count(disk, operation):
    """Whatever step fails, finish raises, the older snapshot stands, and no leftover remains."""
    older = write(SnapshotStore(disk), index=5)
    disk = boot(disk)
    store = SnapshotStore(disk)
    writer = store.begin(1, 10, 2)
    writer.add(b"chunk")
    disk.fail(Fault(operation))
    with pytest.raises(OSError, match="Input/output"):
        writer.finish()
    assert store.latest(1) == older

    store = SnapshotStore(boot(disk))

    assert store.latest(1) == older
    assert disk.root.joinpath("snapshots/1").is_dir()
    assert [path.name for path in (disk.root / "snapshots/1").iterdir()] == ["5-2.snap"]


def test_a_failed_write_job_dooms_the_snapshot(disk):
    """A file with a hole never gets its name, even if later writes would succeed."""
    store = SnapshotStore(disk)
    writer = store.begin(1, 10, 2)
    writer.add(b"one")
    disk.fail(Fault("write"))
    with pytest.raises(OSError, match="Input/output"):
        writer.write_job()()

    writer.add(b"two")
    with pytest.raises(OSError, match="given up"):
        writer.write_job()()
    with pytest.raises(OSError, match="given up"):
        writer.finish()
    writer.abort()
    assert store.latest(1) is None
    assert disk.names("snapshots/1") == []


def test_an_aborted_snapshot_leaves_nothing(disk):
    """abort removes the file, at any time and any number of times; after finish it does nothing."""
    store = SnapshotStore(disk)
    store.begin(1, 4, 1).abort()
    writer = store.begin(1, 5, 1)
    writer.add(b"chunk")
    writer.write_job()()
    writer.abort()
    writer.abort()
    assert disk.names("snapshots/1") == []

    writer = store.begin(1, 6, 1)
    info = writer.finish()
    writer.abort()

    assert store.latest(1) == info


def test_leftovers_of_a_crash_are_removed_at_open(disk):
    """An unfinished file is gone after the next start, a finished one is not."""
    store = SnapshotStore(disk)
    info = write(store)
    writer = store.begin(1, 20, 2)
    writer.add(b"chunk")
    writer.write_job()()
    disk.sync_dir("snapshots/1")
    disk = boot(disk)

    store = SnapshotStore(disk)

    assert disk.names("snapshots/1") == ["10-2.snap"]
    assert store.latest(1) == info


def test_a_name_that_a_start_believes_survives_power_loss(disk):
    """Killed before its sync_dir, a name may stand in the page cache only; yet the log is cut to it."""
    store = SnapshotStore(disk)
    disk.fail(Fault("sync_dir", path="snapshots/1"))
    with pytest.raises(OSError, match="Input/output"):
        write(store)
    info = SnapshotStore(disk).latest(1)  # the same disk: a process restart without power loss
    wal = started(disk)
    append(wal, 5)
    wal.base(1, info.index, info.term, keep_suffix=True)
    sync(wal)

    disk = boot(disk)

    assert reopened(disk).recovered[1].base == (10, 2)
    assert SnapshotStore(disk).latest(1) == info


def test_the_latest_is_the_one_with_the_highest_index(disk):
    """Indexes are compared as numbers, and groups apart."""
    store = SnapshotStore(disk)
    write(store, index=9)
    info = write(store, index=10)
    write(store, group=2, index=30)

    assert store.latest(1) == info
    assert SnapshotStore(boot(disk)).latest(1) == info
    assert store.latest(3) is None


def test_older_snapshots_are_removed_on_request_only(disk):
    """remove_older keeps the named index and newer ones; the removal is durable."""
    store = SnapshotStore(disk)
    for index in (5, 10, 15):
        write(store, index=index)
    assert len(disk.names("snapshots/1")) == 3

    store.remove_older(1, 10)

    disk = boot(disk)
    assert disk.names("snapshots/1") == ["10-2.snap", "15-2.snap"]


def test_a_groups_snapshots_go_with_it(disk):
    """remove_group leaves none of its own, and all of the others'."""
    store = SnapshotStore(disk)
    write(store)
    other = write(store, group=2)

    store.remove_group(1)

    assert store.latest(1) is None
    store = SnapshotStore(boot(disk))
    assert store.latest(1) is None
    assert store.latest(2) == other


def test_a_snapshot_being_read_stays_readable_when_removed(disk):
    """A slow follower gets the whole of the snapshot that was begun."""
    store = SnapshotStore(disk)
    reader = store.open(write(store))
    store.remove_group(1)

    assert list(reader.chunks()) == CHUNKS
    reader.close()


def test_chunks_can_be_read_in_any_order(disk):
    """chunk(n) gives the same bytes whatever was read before."""
    store = SnapshotStore(disk)
    reader = store.open(write(store))

    assert [reader.chunk(n) for n in (2, 0, 3, 1, 1)] == [CHUNKS[n] for n in (2, 0, 3, 1, 1)]
    reader.close()


def test_the_same_chunks_have_the_same_crc_everywhere(disk):
    """Two nodes can compare snapshots by CRC: group, index and term do not enter it, order does."""
    store = SnapshotStore(disk)

    one = write(store)
    same = write(store, group=2, index=99, term=7)
    swapped = write(store, group=3, chunks=CHUNKS[::-1])

    assert one.crc == same.crc != swapped.crc


def test_every_flipped_byte_is_noticed(disk):
    """Wherever one byte of the file flips, latest or the reader raises SnapshotDamaged."""
    info = write(SnapshotStore(disk), chunks=[b"abc", b"defgh"])
    disk = boot(disk)

    for at in range((disk.root / info.path).stat().st_size):
        flip(disk, info.path, at)
        store = SnapshotStore(UnsyncedDisk(disk.root))
        with pytest.raises(SnapshotDamaged) as caught:
            read(store, store.latest(1))
        assert caught.value.file == info.path
        assert f"{info.path} is damaged at offset {caught.value.offset}" in str(caught.value)
        flip(disk, info.path, at)


def test_chunks_and_footer_must_belong_together(disk):
    """Whole pieces of two snapshots of the same size do not make a third."""
    store = SnapshotStore(disk)
    one = write(store, chunks=[b"abc"])
    two = write(store, group=2, chunks=[b"xyz"])
    disk = boot(disk)
    first, second = ((disk.root / info.path).read_bytes() for info in (one, two))
    (disk.root / one.path).write_bytes(first[:-24] + second[-24:])

    store = SnapshotStore(UnsyncedDisk(disk.root))
    with pytest.raises(SnapshotDamaged, match="the one the footer names"):
        read(store, store.latest(1))


def test_a_shortened_file_is_noticed(disk):
    """A snapshot cut anywhere is damaged, never a smaller state."""
    info = write(SnapshotStore(disk), chunks=[b"abc", b"defgh"])
    disk = boot(disk)
    path = disk.root / info.path
    whole = path.read_bytes()

    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        store = SnapshotStore(UnsyncedDisk(disk.root))
        with pytest.raises(SnapshotDamaged):
            read(store, store.latest(1))


def test_a_snapshot_under_anothers_name_is_noticed(disk):
    """The header names group, index and term: a file moved by hand does not pass for another."""
    info = write(SnapshotStore(disk))
    disk = boot(disk)
    (disk.root / info.path).rename(disk.root / "snapshots/1/11-2.snap")

    with pytest.raises(SnapshotDamaged, match="the header is that of group 1 at 10"):
        SnapshotStore(UnsyncedDisk(disk.root)).latest(1)


def test_a_large_snapshot_is_synced_as_it_grows(disk):
    """No single sync has more than a few MiB to write, so that the WAL's syncs are not held up."""
    store = SnapshotStore(disk)
    before = disk.syncs

    info = write(store, chunks=[bytes([n]) * (1 << 20) for n in range(9)])

    assert disk.syncs - before >= 3
    assert sum(map(len, read(store, info))) == 9 << 20
