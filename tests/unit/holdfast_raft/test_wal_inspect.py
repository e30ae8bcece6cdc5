"""Looking at a WAL from outside: what dump shows and how verify judges."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest
from holdfast_raft.file_disk import FileDisk, ReadOnlyDisk
from holdfast_raft.wal import Born, Wal, WalOptions
from holdfast_raft.wal_inspect import Verdict, dump, verify

OPTIONS = WalOptions(segment_bytes=4096)


@pytest.fixture
def wal(tmp_path: Path):
    """A running node's WAL with one of each record."""
    wal = Wal.open(FileDisk(tmp_path), OPTIONS)
    wal.born(Born(1, (10, 11), 0, 0, 77, b"seven!!"))
    wal.hard_state(1, 3, 11)
    for index in (1, 2, 3):
        wal.entry(1, index, 3, b"data")
    wal.truncate(1, 3)
    wal.base(1, 1, 3, keep_suffix=True)
    wal.born(Born(2, (10,), 0, 0, 0))
    wal.retire(2)
    wal.copying(3, 1)
    sync(wal)
    yield wal
    wal.close()


def sync(wal: Wal) -> None:
    job = wal.begin_sync()
    job.run()
    wal.end_sync(job)


def segment(tmp_path: Path, number: int) -> Path:
    return tmp_path / "wal" / f"{number:010d}.wal"


def test_dump_shows_each_record_with_its_fields(wal, tmp_path):
    """Each record names segment, offset, LSN, kind, group and its own fields."""
    found = [(line.lsn, line.kind, line.group, dict(line.fields)) for line in dump(ReadOnlyDisk(tmp_path))]

    kinds = [kind for _, kind, _, _ in found]
    changes = ["born", "hard", "entry", "entry", "entry", "truncate", "base", "born", "retire", "copying"]
    assert kinds == ["header", "mark", "mark", *changes, "spare"]
    born = {"members": [10, 11], "base_index": 0, "base_term": 0, "snapshot_crc": 77, "about_bytes": 7}
    born |= {"term": 0, "vote": None}
    assert found[3] == (1, "born", 1, born)
    assert found[4] == (2, "hard", 1, {"term": 3, "vote": 11})
    assert found[5] == (3, "entry", 1, {"index": 1, "term": 3, "bytes": 4, "crc": crc32(b"data")})
    assert found[8] == (6, "truncate", 1, {"from_index": 3})
    assert found[9] == (7, "base", 1, {"index": 1, "term": 3, "keep_suffix": True})
    assert found[11] == (9, "retire", 2, {})
    assert found[12] == (10, "copying", 3, {"source": 1})


def test_dump_shows_the_opening_of_a_restarted_wal(wal, tmp_path):
    """After a restart the segment opens with the state of each group, tombstones included."""
    Wal.open(FileDisk(tmp_path), OPTIONS).close()

    states = {line.group: line.fields for line in dump(ReadOnlyDisk(tmp_path)) if line.kind == "state"}

    assert states[1] == {
        "term": 3,
        "vote": 11,
        "base_index": 1,
        "base_term": 3,
        "last": 2,
        "retired": False,
        "members": [10, 11],
        "born_term": 0,
        "born_index": 0,
        "about_bytes": 7,
        "copying": 0,
    }
    assert states[2]["retired"] is True
    assert states[3] == {
        "term": 0,
        "vote": None,
        "base_index": 0,
        "base_term": 0,
        "last": 0,
        "retired": False,
        "members": [],
        "born_term": 0,
        "born_index": 0,
        "about_bytes": 0,
        "copying": 1,
    }


def test_dump_goes_on_where_it_cannot_read(wal, tmp_path):
    """Damage is a line with its offset and reason; other segments are still shown."""
    entry = next(line for line in dump(ReadOnlyDisk(tmp_path)) if line.kind == "entry")
    content = bytearray(segment(tmp_path, 1).read_bytes())
    content[entry.offset + 45] ^= 1
    segment(tmp_path, 1).write_bytes(content)

    found = [(line.kind, line.offset) for line in dump(ReadOnlyDisk(tmp_path))]

    assert found[-2:] == [("unreadable", entry.offset), ("spare", 0)]


def test_verify_counts_what_a_start_would_find(wal, tmp_path):
    """A good WAL is ok, with its figures, and stays as it was."""
    before = {path.name: path.read_bytes() for path in (tmp_path / "wal").iterdir()}

    verdict = verify(ReadOnlyDisk(tmp_path))

    assert verdict == Verdict(segments=1, records=10, groups=2, last_lsn=10, synced_to=0)
    assert verdict.ok
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "wal").iterdir()}


def test_verify_tells_a_torn_tail_from_damage(wal, tmp_path):
    """Unreadable bytes above the mark leave the verdict ok and say where; below it they do not."""
    entry = next(line for line in dump(ReadOnlyDisk(tmp_path)) if line.kind == "entry")
    whole = segment(tmp_path, 1).read_bytes()
    content = bytearray(whole)
    content[entry.offset + 45] ^= 1
    segment(tmp_path, 1).write_bytes(content)

    torn = verify(ReadOnlyDisk(tmp_path))
    segment(tmp_path, 1).write_bytes(whole)
    wal.append_mark()
    sync(wal)
    content = bytearray(segment(tmp_path, 1).read_bytes())
    content[entry.offset + 45] ^= 1
    segment(tmp_path, 1).write_bytes(content)
    damaged = verify(ReadOnlyDisk(tmp_path))

    assert torn.ok
    assert torn.torn == f"0000000001.wal from offset {entry.offset} on"
    assert torn.last_lsn == 2
    assert not damaged.ok
    assert f"0000000001.wal is damaged at offset {entry.offset}" in damaged.damage


def test_an_empty_directory_is_ok(tmp_path):
    """A node that never started has nothing that could be damaged."""
    (tmp_path / "wal").mkdir()

    assert verify(ReadOnlyDisk(tmp_path)) == Verdict()


def test_inspection_cannot_write(tmp_path):
    """The disk that inspection is given refuses whatever would change a file."""
    disk = ReadOnlyDisk(tmp_path)

    for change in (
        lambda: disk.make_dir("a"),
        lambda: disk.create("a", 1),
        lambda: disk.rename("a", "b"),
        lambda: disk.unlink("a"),
    ):
        with pytest.raises(OSError, match="inspection only"):
            change()
