"""The disk contract on a real directory.

Invariant: a call returns only when the operating system said yes to all of it; a short write is an
OSError, never a shorter file.
It does not retry (after a failed fsync the kernel may have dropped the pages: Rebello et al., "Can
Applications Recover from fsync Failures?", ATC 2020) and it does not lock the directory: the node does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from holdfast_raft.file_removal import LARGE_BYTES, FileRemoval

GONE = "gone"
"""Folder of what is being removed."""
_JOIN_BYTES_MAX = 1 << 20  # below this one copy costs less than a vector of many small pieces
_VECTOR_PIECES_MAX = 512  # IOV_MAX is 1024 on Linux


class RealFile:
    """An open file descriptor."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def __repr__(self) -> str:
        state = "closed" if self._descriptor < 0 else f"fd {self._descriptor}"
        return f"<RealFile {self._path} {state}>"

    def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        total = sum(map(len, pieces))
        if total <= _JOIN_BYTES_MAX:
            self._write(offset, [b"".join(pieces)])
            return
        for start in range(0, len(pieces), _VECTOR_PIECES_MAX):
            vector = pieces[start : start + _VECTOR_PIECES_MAX]
            self._write(offset, vector)
            offset += sum(map(len, vector))

    def _write(self, offset: int, vector: Sequence[bytes]) -> None:
        size = sum(map(len, vector))
        written = os.pwritev(self._descriptor, vector, offset)
        if written == size:
            return
        # A full disk or a signal may cut a write short; going on tells which, by its own error.
        rest = memoryview(b"".join(vector))[written:]
        while rest:
            count = os.pwrite(self._descriptor, rest, offset + size - len(rest))
            if count == 0:
                raise OSError(errno.EIO, "write took nothing", str(self._path))
            rest = rest[count:]

    def read_at(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FileDisk:
    """A directory of the operating system, made (with its parents) if it is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        _make_durably(root)
        self._removal = FileRemoval(root / GONE)

    def __repr__(self) -> str:
        return f"<FileDisk {self.root}>"

    def make_dir(self, path: str) -> None:
        _make_durably(self.root / path)

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.root / folder).iterdir())

    def create(self, path: str, size: int) -> RealFile:
        full = self.root / path
        descriptor = os.open(full, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if size:
                os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.close(descriptor)
            full.unlink()
            raise
        return RealFile(descriptor, full)

    def open(self, path: str) -> RealFile:
        full = self.root / path
        return RealFile(os.open(full, os.O_RDWR | os.O_CLOEXEC), full)

    def rename(self, old: str, new: str) -> None:
        (self.root / old).replace(self.root / new)

    def unlink(self, path: str) -> None:
        full = self.root / path
        if full.stat().st_size > LARGE_BYTES:
            self._removal.take(full)
        else:
            full.unlink()

    def sync_dir(self, folder: str) -> None:
        _sync_folder(self.root / folder)

    def free_bytes(self) -> int:
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize


class ReadOnlyDisk(FileDisk):
    """The same directory for inspection: opens for reading only and changes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, path: str) -> RealFile:
        full = self.root / path
        return RealFile(os.open(full, os.O_RDONLY | os.O_CLOEXEC), full)

    def make_dir(self, path: str) -> None:
        raise OSError(errno.EROFS, "opened for inspection only", path)

    def create(self, path: str, size: int) -> RealFile:
        raise OSError(errno.EROFS, f"opened for inspection only, no file of {size} bytes", path)

    def rename(self, old: str, new: str) -> None:
        raise OSError(errno.EROFS, f"opened for inspection only, no renaming to {new}", old)

    def unlink(self, path: str) -> None:
        raise OSError(errno.EROFS, "opened for inspection only", path)


def _make_durably(path: Path) -> None:
    if path.is_dir():
        return
    _make_durably(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
