"""A disk that forgets what was not synced, fails on request, and fills up.

UnsyncedDisk keeps unsynced bytes and unsynced names in memory over a real directory. The directory holds
what would survive power loss and nothing else, at every moment: a process on such a disk may be killed
with SIGKILL, and what the next process finds is what a power cut would have left. In one process,
`power_off` does the same, optionally with a torn last write; opening the directory again with a fresh
UnsyncedDisk is the next boot. Using the *same* object again after a crash of the code above it is a
process restart without power loss: the page cache is still there.

A failed sync behaves like Linux (Rebello et al., ATC 2020): the pages count as clean afterwards, later
syncs do not write them, reads go on seeing them, and the next power loss takes them.

Files without a synced name lie in `.unnamed/`. Not modelled: bit rot (flip bytes in the directory), and
directory entries that survive without a directory sync.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast_raft.file_disk import FileDisk

UNNAMED = ".unnamed"
SECTOR_BYTES = 512


@dataclass
class Fault:
    """The `after`-th next matching call fails (0 = the very next), and `times` calls from there on.

    operation: create, write, sync, sync_dir, rename or unlink. path: a part of the file's path.
    torn: a failing write takes a random part of its bytes first.
    """

    operation: str
    error: int = errno.EIO
    after: int = 0
    times: int = 1
    path: str = ""
    torn: bool = False


@dataclass
class Inode:
    """A file's content: what is durable lies in a real file, what is not in `pending` and `lost`."""

    number: int
    real: Path
    size: int
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    lost: list[tuple[int, bytes]] = field(default_factory=list)  # a sync failed: seen, never written


class UnsyncedFile:
    """An open file of an UnsyncedDisk."""

    def __init__(self, disk: UnsyncedDisk, inode: Inode, path: str) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path

    def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        fault = self._disk.strike("write", self._path)
        if fault is not None:
            if fault.torn:
                self._take(offset, data[: self._disk.rng.randrange(len(data) + 1)])
            raise OSError(fault.error, os.strerror(fault.error), self._path)
        self._take(offset, data)

    def _take(self, offset: int, data: bytes) -> None:
        self._inode.pending.append((offset, data))
        self._inode.size = max(self._inode.size, offset + len(data))

    def read_at(self, offset: int, size: int) -> bytes:
        self._disk.check()
        with self._inode.real.open("rb") as real:
            real.seek(offset)
            content = bytearray(real.read(max(0, min(size, self._inode.size - offset))))
        content.extend(bytes(max(0, min(size, self._inode.size - offset) - len(content))))
        for at, data in [*self._inode.lost, *self._inode.pending]:
            first, last = max(at, offset), min(at + len(data), offset + len(content))
            if first < last:
                content[first - offset : last - offset] = data[first - at : last - at]
        return bytes(content)

    def size(self) -> int:
        self._disk.check()
        return self._inode.size

    def sync(self) -> None:
        fault = self._disk.strike("sync", self._path)
        if fault is not None:
            self._inode.lost += self._inode.pending
            self._inode.pending.clear()
            raise OSError(fault.error, os.strerror(fault.error), self._path)
        self._disk.syncs += 1
        inode = self._inode
        written, inode.pending = inode.pending, []
        self._disk.persist(inode, written)
        if inode.lost:  # these lie over the bytes that were lost, and are durable
            inode.lost += written

    def close(self) -> None:
        """Nothing is held open."""


class UnsyncedDisk:
    """See the module docstring."""

    def __init__(self, root: Path, *, seed: int = 0, space_bytes: int | None = None) -> None:
        self.root = root
        self.rng = random.Random(seed)
        self.space_bytes = space_bytes  # room for new files; None = endless
        self.faults: list[Fault] = []
        self.syncs = 0
        self.off = False
        self.lies = False  # syncs say yes and keep nothing
        self._under = FileDisk(root)
        self._under.make_dir(UNNAMED)
        self._folders: dict[str, dict[str, Inode]] = {}
        self._changes: dict[str, list[tuple[str, Inode | None]]] = {}  # names not yet synced
        for name in self._under.names(UNNAMED):
            self._under.unlink(f"{UNNAMED}/{name}")
        self._inodes: dict[int, Inode] = {}  # all of this boot: an unlinked file may still be open
        self._numbers = itertools.count(1)

    # ---- the contract --------------------------------------------------------------------------------

    def make_dir(self, path: str) -> None:
        self.check()
        self._under.make_dir(path)

    def names(self, folder: str) -> list[str]:
        self.check()
        here = self._names_in(folder)
        real = self.root / folder
        return sorted({*here, *(path.name for path in real.iterdir() if path.is_dir())})

    def create(self, path: str, size: int) -> UnsyncedFile:
        self._fail_if_struck("create", path)
        folder, name = self._split(path)
        if name in self._names_in(folder):
            raise FileExistsError(errno.EEXIST, "it exists", path)
        if self.space_bytes is not None:
            if size > self.space_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self.space_bytes -= size
        inode = self._inode_of(self._hidden(), size)
        inode.real.touch()
        self._change(folder, name, inode)
        return UnsyncedFile(self, inode, path)

    def open(self, path: str) -> UnsyncedFile:
        self.check()
        return UnsyncedFile(self, self._inode(path), path)

    def rename(self, old: str, new: str) -> None:
        self._fail_if_struck("rename", new)
        inode = self._inode(old)
        self._change(*self._split(new), inode)
        self._change(*self._split(old), None)

    def unlink(self, path: str) -> None:
        self._fail_if_struck("unlink", path)
        inode = self._inode(path)
        self._change(*self._split(path), None)
        if self.space_bytes is not None:
            self.space_bytes += inode.size

    def sync_dir(self, folder: str) -> None:
        self._fail_if_struck("sync_dir", folder)
        for name, inode in self._changes.pop(folder, []):
            self._persist_name(folder, name, inode)

    def free_bytes(self) -> int:
        self.check()
        return 1 << 40 if self.space_bytes is None else self.space_bytes

    # ---- what tests do to it -------------------------------------------------------------------------

    def power_off(self, *, torn: bool = False) -> None:
        """Drops all that was not synced; torn: some sectors and names of it made it to the disk."""
        self.check()
        if torn:
            for inode in self._inodes.values():
                self.persist(inode, _some_sectors(self.rng, inode.pending))
            for folder, changes in self._changes.items():
                for name, changed in changes[: self.rng.randrange(len(changes) + 1)]:
                    self._persist_name(folder, name, changed)
        self.off = True

    def fail(self, fault: Fault) -> None:
        self.faults.append(fault)

    # ---- for its files -------------------------------------------------------------------------------

    def check(self) -> None:
        if self.off:
            raise OSError(errno.EIO, "the power is off")

    def strike(self, operation: str, path: str) -> Fault | None:
        """The fault that this call meets, if any."""
        self.check()
        for fault in self.faults:
            if fault.operation == operation and fault.path in path:
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def persist(self, inode: Inode, writes: Sequence[tuple[int, bytes]]) -> None:
        if self.lies:
            inode.lost += writes
            return
        with inode.real.open("r+b") as real:
            real.truncate(max(inode.size, inode.real.stat().st_size))
            for offset, data in writes:
                real.seek(offset)
                real.write(data)

    # ---- names ---------------------------------------------------------------------------------------

    def _fail_if_struck(self, operation: str, path: str) -> None:
        fault = self.strike(operation, path)
        if fault is not None:
            raise OSError(fault.error, os.strerror(fault.error), path)

    @staticmethod
    def _split(path: str) -> tuple[str, str]:
        folder, _, name = path.rpartition("/")
        return folder, name

    def _names_in(self, folder: str) -> dict[str, Inode]:
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = {}
            for path in (self.root / folder).iterdir():
                if path.is_file():
                    known[path.name] = self._inode_of(path, path.stat().st_size)
        return known

    def _inode(self, path: str) -> Inode:
        folder, name = self._split(path)
        found = self._names_in(folder).get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return found

    def _change(self, folder: str, name: str, inode: Inode | None) -> None:
        names = self._names_in(folder)
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode
        self._changes.setdefault(folder, []).append((name, inode))

    def _persist_name(self, folder: str, name: str, inode: Inode | None) -> None:
        target = self.root / folder / name
        if inode is not None and inode.real == target:
            return
        if target.exists():
            hidden = self._hidden()
            owner = next((i for i in list(self._inodes.values()) if i.real == target), None)
            target.rename(hidden)
            if owner is not None:  # whoever has it open still reads it
                owner.real = hidden
        if inode is not None:
            inode.real.rename(target)
            inode.real = target

    def _hidden(self) -> Path:
        return self.root / UNNAMED / str(next(self._numbers))

    def _inode_of(self, real: Path, size: int) -> Inode:
        number = next(self._numbers)
        inode = self._inodes[number] = Inode(number, real, size)
        return inode


def _some_sectors(rng: random.Random, writes: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """What a disk may have written of these when the power went: any set of whole sectors."""
    sectors: list[tuple[int, bytes]] = []
    for offset, data in writes:
        cuts = range(offset - offset % SECTOR_BYTES, offset + len(data), SECTOR_BYTES)
        for cut in cuts:
            first, last = max(cut, offset), min(cut + SECTOR_BYTES, offset + len(data))
            sectors.append((first, data[first - offset : last - offset]))
    style = rng.randrange(3)
    if style == 0:  # in order, up to somewhere
        return sectors[: rng.randrange(len(sectors) + 1)]
    if style == 1:  # any
        return [sector for sector in sectors if rng.random() < 0.5]
    return [sector for sector in sectors if rng.random() < 0.9]
