"""The real disk: that calls do what the contract says, or raise."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from holdfast_raft.file_disk import FileDisk


@pytest.fixture
def disk(tmp_path: Path) -> FileDisk:
    return FileDisk(tmp_path / "data")


def test_the_root_is_made_for_its_owner_only(tmp_path):
    """Missing parents are made; nobody else may read what clients store."""
    FileDisk(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_created_files_are_preallocated_zeros(disk):
    """A created file has its size and its blocks at once."""
    file = disk.create("x", 100_000)

    assert file.size() == 100_000
    assert file.read_at(0, 100_000) == bytes(100_000)
    assert (disk.root / "x").stat().st_blocks * 512 >= 100_000
    file.close()


def test_creating_what_exists_fails(disk):
    """create never touches an existing file."""
    disk.create("x", 10).close()

    with pytest.raises(FileExistsError):
        disk.create("x", 20)
    assert (disk.root / "x").stat().st_size == 10


def test_a_file_without_room_is_not_left_behind(disk, monkeypatch):
    """When preallocation fails, the name is free for the next try."""

    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(OSError, match="No space"):
        disk.create("x", 10)
    assert disk.names("") == []


@pytest.mark.parametrize(
    "pieces",
    [[b"one", b"", b"two"], [b"x"] * 5000, [bytes([n % 251]) * 3000 for n in range(1500)]],
    ids=["few", "many", "large"],
)
def test_pieces_are_written_one_after_the_other(disk, pieces):
    """However many pieces, they stand in a row from the offset on, and nothing before it changes."""
    file = disk.create("x", 20)
    file.write_at(7, pieces)
    file.sync()

    whole = b"".join(pieces)
    assert file.read_at(0, len(whole) + 100) == (bytes(7) + whole).ljust(20, b"\0")
    assert file.read_at(8, 2) == whole[1:3]
    file.close()


def test_a_short_write_goes_on(disk, monkeypatch):
    """When the system takes only a part, the rest is written too."""
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, at: real(fd, [b"".join(pieces)[:3]], at))
    file = disk.create("x", 0)
    file.write_at(0, [b"hello ", b"world"])

    assert file.read_at(0, 99) == b"hello world"
    file.close()


def test_a_write_that_takes_nothing_is_an_error(disk, monkeypatch):
    """No progress and no error from the system is an error of ours, not an endless loop."""
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    file = disk.create("x", 0)

    with pytest.raises(OSError, match="took nothing"):
        file.write_at(0, [b"hello"])
    file.close()


def test_names_are_sorted_and_renames_replace(disk):
    """names, rename, unlink and folders behave as the contract says."""
    disk.make_dir("folder/deeper")
    disk.make_dir("folder/deeper")
    for name in ("b", "a", "c"):
        file = disk.create(f"folder/{name}", 0)
        file.write_at(0, [name.encode()])
        file.close()
    disk.rename("folder/b", "folder/a")
    disk.unlink("folder/c")
    disk.sync_dir("folder")

    assert disk.names("folder") == ["a", "deeper"]
    file = disk.open("folder/a")
    assert file.read_at(0, 10) == b"b"
    file.close()
    file.close()


def test_opening_what_is_not_there_fails(disk):
    """open never creates."""
    with pytest.raises(FileNotFoundError):
        disk.open("nothing")


def test_free_bytes_are_the_file_systems(disk):
    """What is left is a number of bytes an unprivileged process may use."""
    assert disk.free_bytes() > 0
