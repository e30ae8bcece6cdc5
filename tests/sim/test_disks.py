"""The forgetful disk itself: tests that rely on it must know what it forgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import Fault, UnsyncedDisk


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


def content(root: Path, name: str) -> bytes | None:
    path = root / name
    return path.read_bytes() if path.exists() else None


def test_unsynced_bytes_are_seen_but_not_on_the_directory(disk):
    """Until sync, a write lives in memory only: a SIGKILL loses it like a power cut."""
    file = disk.create("x", 8)
    file.sync()
    disk.sync_dir("")
    file.write_at(2, [b"ab"])

    assert file.read_at(0, 8) == b"\0\0ab\0\0\0\0"
    assert content(disk.root, "x") == bytes(8)
    file.sync()
    assert content(disk.root, "x") == b"\0\0ab\0\0\0\0"


def test_names_need_a_directory_sync(disk):
    """A created, renamed or unlinked name is as before after power loss, unless its folder was synced."""
    disk.create("old", 1).sync()
    disk.create("gone", 1).sync()
    disk.sync_dir("")
    disk.rename("old", "new")
    disk.unlink("gone")
    disk.create("fresh", 1).sync()
    assert disk.names("") == [".unnamed", "fresh", "new"]

    disk.power_off()
    assert UnsyncedDisk(disk.root).names("") == [".unnamed", "gone", "old"]


def test_a_failed_sync_marks_pages_clean(disk):
    """After EIO the bytes are still read, a later sync succeeds without them, power loss takes them."""
    file = disk.create("x", 4)
    file.sync()
    disk.sync_dir("")
    file.write_at(0, [b"lost"])
    disk.fail(Fault("sync"))
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.write_at(3, [b"K"])
    file.sync()

    assert file.read_at(0, 4) == b"losK"
    assert content(disk.root, "x") == b"\0\0\0K"


def test_nothing_works_without_power(disk):
    """After power_off the old process can do no more: every call raises."""
    file = disk.create("x", 4)
    disk.power_off()

    for call in (file.sync, file.size, lambda: disk.names(""), lambda: file.write_at(0, [b"x"])):
        with pytest.raises(OSError, match="power is off"):
            call()


def test_a_torn_write_leaves_some_sectors(tmp_path):
    """With torn, each sector of an unsynced write is there or not, over seeds both."""
    outcomes = set()
    for seed in range(20):
        disk = UnsyncedDisk(tmp_path / str(seed), seed=seed)
        file = disk.create("x", 2048)
        file.sync()
        disk.sync_dir("")
        file.write_at(0, [b"x" * 2048])
        disk.power_off(torn=True)
        found = content(disk.root, "x")
        outcomes.add(tuple(found[at] for at in range(0, 2048, 512)))
        assert all(len(set(found[at : at + 512])) == 1 for at in range(0, 2048, 512))

    assert len(outcomes) > 4


def test_faults_strike_the_named_call(disk):
    """after counts calls that match, times says how many fail, path narrows it."""
    disk.fail(Fault("write", after=1, times=2, path="x"))
    x, y = disk.create("x", 4), disk.create("y", 4)
    x.write_at(0, [b"1"])
    y.write_at(0, [b"1"])
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            x.write_at(0, [b"2"])

    x.write_at(0, [b"3"])
    assert x.read_at(0, 1) == b"3"


def test_space_runs_out_and_comes_back(tmp_path):
    """New files take room, unlinked ones give it back."""
    disk = UnsyncedDisk(tmp_path, space_bytes=10)
    disk.create("x", 8)
    with pytest.raises(OSError, match="No space"):
        disk.create("y", 8)
    disk.unlink("x")

    assert disk.create("y", 8).size() == 8


def test_an_unlinked_file_is_still_read_by_its_opener(disk):
    """As on POSIX, also when the unlink is durable."""
    file = disk.create("x", 0)
    file.write_at(0, [b"data"])
    file.sync()
    disk.sync_dir("")
    disk.unlink("x")
    disk.sync_dir("")

    assert file.read_at(0, 4) == b"data"
    assert content(disk.root, "x") is None
