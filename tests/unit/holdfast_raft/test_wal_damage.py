"""Damage: below the highest mark it is refused, above it is a torn tail (protocols.md 5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk
from holdfast_raft.wal import WalDamaged
from holdfast_raft.wal_records import mark_bytes

from tests.wals import append, data_of, flip, lines, reopened, settle, started, sync


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


@pytest.mark.parametrize("torn_bytes", [1, 50, 150])
def test_a_torn_tail_is_cut(disk, torn_bytes):
    """A batch of which only a part reached the disk is cut where it stops being whole."""
    wal = started(disk)
    append(wal, 1)
    sync(wal)
    append(wal, 3, first=7)
    job = wal.begin_sync()
    place = disk.root / "wal" / "0000000001.wal"
    before = place.read_bytes()
    job.run()
    after = place.read_bytes()
    end = len(after.rstrip(b"\0"))
    place.write_bytes(after[: end - torn_bytes] + before[end - torn_bytes :])

    found = data_of(reopened(disk))

    assert found == ["1/6/2", "1/7/2", "1/8/2", "1/9/2"][: len(found)]
    assert 1 <= len(found) < 4


def test_damage_below_the_mark_is_refused_with_the_ways_on(disk):
    """A flipped bit under the highest mark stops the start, naming segment, offset and two ways on."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    settle(wal)
    entry = lines(disk, "entry")[1]
    flip(disk, entry.segment, entry.offset + 60)

    with pytest.raises(WalDamaged) as caught:
        reopened(disk)

    assert (caught.value.segment, caught.value.offset) == (entry.segment, entry.offset)
    assert "restore the file" in str(caught.value)
    assert "holdfast node reset" in str(caught.value)


def test_damage_above_the_mark_is_a_torn_tail(disk):
    """The same flip before an idle mark was written costs the batch, not the start."""
    wal = started(disk)
    append(wal, 1)
    sync(wal)
    append(wal, 2, first=7)
    sync(wal)
    entry = lines(disk, "entry")[2]
    flip(disk, entry.segment, entry.offset + 60)

    assert data_of(reopened(disk)) == ["1/6/2", "1/7/2"]


def test_a_lost_block_below_the_mark_is_refused(disk):
    """Zeros where a later mark says there were records are damage, not the end of the WAL."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    settle(wal)
    first, mark = lines(disk, "entry")[0], lines(disk, "mark")[-1]
    path = disk.root / "wal" / first.segment
    content = bytearray(path.read_bytes())
    content[first.offset : mark.offset] = bytes(mark.offset - first.offset)
    path.write_bytes(content)

    with pytest.raises(WalDamaged):
        reopened(disk)


def test_a_mark_counts_only_where_it_stands(disk):
    """A mark inside a value is not taken for one, even if a client knew the WAL's id."""
    wal = started(disk)
    header = lines(disk, "header")[0].fields
    forged = mark_bytes(bytes.fromhex(header["wal_id"]), header["segment"], 4711, 1 << 40)
    wal.entry(1, 6, 2, forged)
    sync(wal)
    entry = lines(disk, "entry")[0]
    flip(disk, entry.segment, entry.offset)

    assert reopened(disk).recovered[1].entries == []


def test_a_record_is_valid_only_in_its_place(disk):
    """A record copied over another, or from another segment, does not pass its CRC."""
    wal = started(disk)
    append(wal, 2)
    sync(wal)
    settle(wal)
    one, two = lines(disk, "entry")
    path = disk.root / "wal" / one.segment
    content = bytearray(path.read_bytes())
    size = two.offset - one.offset
    content[two.offset : two.offset + size] = content[one.offset : two.offset]
    path.write_bytes(content)

    with pytest.raises(WalDamaged) as caught:
        reopened(disk)
    assert caught.value.offset == two.offset


def test_damage_in_an_older_segment_is_refused(disk):
    """A segment that others follow must be whole: the error names the place, not its consequences."""
    wal = started(disk)
    append(wal, 100)
    sync(wal)
    entry = lines(disk, "entry")[5]
    flip(disk, entry.segment, entry.offset + 60)

    with pytest.raises(WalDamaged) as caught:
        reopened(disk)

    assert (caught.value.segment, caught.value.offset) == (entry.segment, entry.offset)


def test_a_damaged_header_is_refused(disk):
    """Marks in a segment whose header is unreadable still say that records are missing."""
    wal = started(disk)
    append(wal, 40)
    sync(wal)
    append(wal, 1, first=46)
    sync(wal)
    last = lines(disk, "header")[-1].segment
    flip(disk, last, 30)

    with pytest.raises(WalDamaged) as caught:
        reopened(disk)

    assert (caught.value.segment, caught.value.offset) == (last, 0)


@pytest.mark.parametrize(
    ("which", "what"), [(0, "stands in no segment"), (1, "the file is missing"), (2, "the file is missing")]
)
def test_a_missing_segment_is_refused(disk, which, what):
    """A segment that someone removed is noticed, also the oldest, of which no other speaks."""
    wal = started(disk)
    append(wal, 100)
    sync(wal)
    (disk.root / "wal" / disk.names("wal")[which]).unlink()

    with pytest.raises(WalDamaged, match=what):
        reopened(disk)


def test_a_wal_of_another_node_among_the_segments_is_refused(disk, tmp_path):
    """Segments carry the WAL's id: one of another WAL does not join the chain."""
    wal = started(disk)
    append(wal, 60)
    sync(wal)
    other = UnsyncedDisk(tmp_path / "other")
    stranger = started(other)
    append(stranger, 60)
    sync(stranger)
    names = [name for name in disk.names("wal") if name in other.names("wal")]
    target = disk.root / "wal" / names[1]
    target.write_bytes((other.root / "wal" / names[1]).read_bytes())

    with pytest.raises(WalDamaged, match="another WAL"):
        reopened(disk)
