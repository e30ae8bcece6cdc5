"""A disk that does what it is told: slow, failing, full, ending at named points; and a skewed wall clock."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from holdfast_chaos.node.faulty_disk import FaultyDisk, Point, SkewedTime
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk
from holdfast_raft.file_disk import FileDisk


class EndedError(Exception):
    """The process would have ended here."""


def end() -> None:
    raise EndedError


def made(folder: Path, rests: list[float] | None = None) -> FaultyDisk:
    disk = FaultyDisk(FileDisk(folder), end, (rests if rests is not None else []).append)
    disk.make_dir("wal")
    return disk


def test_it_is_a_disk(tmp_path: Path) -> None:
    """Without orders everything goes to the disk beneath."""
    disk = made(tmp_path)
    file = disk.create("wal/a.new", 8)
    file.write_at(0, [b"ab", b"c"])
    file.sync()
    disk.rename("wal/a.new", "wal/a")
    disk.sync_dir("wal")

    assert disk.names("wal") == ["a"]
    assert disk.open("wal/a").read_at(0, 3) == b"abc"
    assert disk.free_bytes() > 0
    assert not disk.orders.struck


def test_a_sync_fails_once(tmp_path: Path) -> None:
    """The next one is good again: what becomes of the node is its own business."""
    disk = made(tmp_path)
    file = disk.create("wal/a", 8)
    disk.orders.errors["sync"] = errno.EIO

    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    assert disk.orders.struck == {"error": 1}


def test_a_full_disk_makes_no_files(tmp_path: Path) -> None:
    """What is there can still be written."""
    disk = made(tmp_path)
    file = disk.create("wal/a", 8)
    disk.orders.is_full = True

    with pytest.raises(OSError, match="No space"):
        disk.create("wal/b", 8)
    file.write_at(0, [b"x"])
    assert disk.free_bytes() == 0
    assert disk.orders.struck == {"full": 1}


def test_a_slow_disk_rests_at_each_sync(tmp_path: Path) -> None:
    """Only syncs, and each of them."""
    rests: list[float] = []
    disk = made(tmp_path, rests)
    file = disk.create("wal/a", 8)
    disk.orders.slow_s = 0.2
    file.write_at(0, [b"x"])
    file.sync()
    file.sync()

    assert rests == [0.2, 0.2]


@pytest.mark.parametrize(("at", "is_there"), [("before rename wal", False), ("after rename wal", True)])
def test_a_point_is_before_or_after_what_it_names(tmp_path: Path, at: str, is_there: bool) -> None:
    """The process ends there, once, with the operation not begun or done."""
    disk = made(tmp_path)
    disk.create("wal/a.new", 8)
    disk.orders.point = Point.named(at)

    with pytest.raises(EndedError):
        disk.rename("wal/a.new", "wal/a")
    assert ("a" in disk.names("wal")) == is_there
    assert disk.orders.point is None


def test_a_point_of_another_folder_is_passed(tmp_path: Path) -> None:
    """Snapshots are not the WAL."""
    disk = made(tmp_path)
    disk.orders.point = Point.named("before sync snapshots")
    disk.create("wal/a", 8).sync()

    assert disk.orders.point is not None


def test_a_point_may_stand_still_instead(tmp_path: Path) -> None:
    """With a time the process rests there and goes on."""
    rests: list[float] = []
    disk = made(tmp_path, rests)
    disk.orders.point, disk.orders.stall_s = Point.named("after write wal"), 1.5
    disk.create("wal/a", 8).write_at(0, [b"x"])

    assert rests == [1.5]


@pytest.mark.parametrize(
    "text", ["", "before sync", "during sync wal", "before think wal", "before sync home"]
)
def test_only_points_that_exist_can_be_named(text: str) -> None:
    """A typo must not be a point that is never passed."""
    with pytest.raises((ValueError, TypeError)):
        Point.named(text)


def test_over_a_disk_that_forgets_an_end_loses_what_was_not_synced(tmp_path: Path) -> None:
    """A point and a loss of power are one: the next boot finds what was synced."""
    disk = FaultyDisk(UnsyncedDisk(tmp_path), end)
    disk.make_dir("wal")
    file = disk.create("wal/a", 8)
    disk.sync_dir("wal")
    file.write_at(0, [b"kept"])
    file.sync()
    disk.orders.point = Point.named("before sync wal")
    file.write_at(0, [b"gone"])
    with pytest.raises(EndedError):
        file.sync()

    assert UnsyncedDisk(tmp_path).open("wal/a").read_at(0, 4) == b"kept"


def test_a_clock_jumps_and_drifts_and_is_put_right() -> None:
    """Jumps add up; a drift grows with time; right again it tells the real time."""
    now = [1_000_000_000]
    clock = SkewedTime(lambda: now[0])

    clock.change(jump_ms=500)
    assert clock.offset_ms == 500
    clock.change(drift=0.1)
    now[0] += 1_000_000_000
    assert clock.offset_ms == 600
    clock.change(jump_ms=-100)
    assert clock.offset_ms == 500
    clock.right()
    now[0] += 1_000_000_000
    assert clock() == now[0]
