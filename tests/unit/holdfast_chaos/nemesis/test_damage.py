"""What is done to files: where bits turn, what is torn off."""

from __future__ import annotations

import random
from pathlib import Path

from holdfast_chaos.nemesis.damage import TAIL_BYTES, flip_bits, tear_tail, used_bytes


def preallocated(folder: Path, used: int, size: int) -> Path:
    path = folder / "segment"
    path.write_bytes(bytes([7]) * used + bytes(size - used))
    return path


def test_bits_turn_where_bytes_are_in_use(tmp_path: Path) -> None:
    """A preallocated file is mostly zeros, and a bit in those proves nothing."""
    path = preallocated(tmp_path, 100, 10_000)
    before = path.read_bytes()
    places = flip_bits(path, random.Random(1), 3)
    changed = [at for at, (a, b) in enumerate(zip(before, path.read_bytes(), strict=True)) if a != b]

    assert changed == places
    assert max(places) < 100
    assert all((before[at] ^ path.read_bytes()[at]).bit_count() == 1 for at in places)


def test_a_torn_tail_is_zeros_to_the_end(tmp_path: Path) -> None:
    """The file keeps its size, as a preallocated one does; only the end of what was written is gone."""
    path = preallocated(tmp_path, 9_000, 10_000)
    count = tear_tail(path, random.Random(1))

    assert 0 < count <= TAIL_BYTES
    assert used_bytes(path) == 9_000 - count
    assert path.stat().st_size == 10_000
