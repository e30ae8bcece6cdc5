"""Large files go away a piece at a time, from a name that nobody reads any more."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest
from holdfast_raft import file_removal
from holdfast_raft.file_disk import GONE, FileDisk
from holdfast_raft.file_removal import LARGE_BYTES, STEP_BYTES


@pytest.fixture
def steps(monkeypatch) -> queue.SimpleQueue[tuple[str, list[int]]]:
    """What was removed, and in which steps, as it happens."""
    seen: queue.SimpleQueue[tuple[str, list[int]]] = queue.SimpleQueue()
    shrink = file_removal._shrink
    sizes: list[int] = []
    monkeypatch.setattr(file_removal.time, "sleep", lambda _: sizes.append(_size_of_the_only_one()))
    watched: list[Path] = []

    def _size_of_the_only_one() -> int:
        return watched[-1].stat().st_size

    def spy(path: Path) -> None:
        watched.append(path)
        shrink(path)
        seen.put((path.name, list(sizes)))
        sizes.clear()

    monkeypatch.setattr(file_removal, "_shrink", spy)
    return seen


def large(disk: FileDisk, name: str, size: int = LARGE_BYTES + STEP_BYTES) -> None:
    disk.create(name, size).close()


def test_a_large_file_leaves_its_name_at_once_and_its_blocks_step_by_step(tmp_path, steps):
    """So that no sync on the same file system waits for all of them together."""
    disk = FileDisk(tmp_path)
    large(disk, "x")

    disk.unlink("x")

    assert "x" not in disk.names("")
    _, sizes = steps.get(timeout=30)
    assert sizes == list(range(LARGE_BYTES, 0, -STEP_BYTES))
    assert disk.names(GONE) == []


def test_a_name_is_free_again_while_its_old_file_is_removed(tmp_path, steps):
    """A snapshot of the same place may be written anew; two removed files of one name do not meet."""
    disk = FileDisk(tmp_path)
    for _ in range(3):
        large(disk, "x")
        disk.unlink("x")

    assert len({steps.get(timeout=30)[0] for _ in range(3)}) == 3


def test_a_small_file_is_removed_at_once(tmp_path):
    """Nothing waits for its few blocks."""
    disk = FileDisk(tmp_path)
    large(disk, "x", LARGE_BYTES)

    disk.unlink("x")

    assert disk.names("") == []


def test_what_an_earlier_process_left_is_removed(tmp_path, steps):
    """Its end came between two steps."""
    (tmp_path / GONE).mkdir()
    (tmp_path / GONE / "left").write_bytes(bytes(2 * STEP_BYTES))

    disk = FileDisk(tmp_path)

    assert steps.get(timeout=30) == ("left", [STEP_BYTES])
    assert disk.names(GONE) == []


def test_removing_what_is_not_there_fails(tmp_path):
    """As it does for a small one: the caller's books are wrong."""
    with pytest.raises(FileNotFoundError):
        FileDisk(tmp_path).unlink("x")
