"""The disk, as an object that can be handed in.

The WAL and the snapshot store do every byte of their I/O through this contract, so that the simulator
and the power-loss tests put in a disk that forgets what was not synced, fails or fills up.

All calls may block and may raise OSError. Paths are relative to the disk's root, with '/'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class File(Protocol):
    """An open file."""

    def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        """Writes all pieces one after the other from `offset`; raises OSError on a short write."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; shorter only at the end of the file."""
        ...

    def size(self) -> int: ...

    def sync(self) -> None:
        """fdatasync: what was written survives power loss once this returns."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A directory tree."""

    def make_dir(self, path: str) -> None:
        """Makes the directory, durably, if it is not there."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names in the folder, sorted."""
        ...

    def create(self, path: str, size: int) -> File:
        """A new file of `size` zero bytes, preallocated (ENOSPC now, not later). Fails if it exists."""
        ...

    def open(self, path: str) -> File:
        """An existing file, for reading and writing."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomic; replaces `new`. Durable after sync_dir."""
        ...

    def unlink(self, path: str) -> None: ...

    def sync_dir(self, folder: str) -> None:
        """Syncs the folder: its names survive power loss once this returns."""
        ...

    def free_bytes(self) -> int: ...
