"""The simulator's disk: it keeps for sure what was synced, and of the rest whatever chance leaves.

Model:
- A file has contents as written (the page cache, which outlives a process) and as synced. Power loss
  decides for each unsynced write by itself: it stays, goes, or leaves a first piece.
- Names are journaled: of what was done in a folder since its last sync_dir, power loss keeps some first
  part. A name may so outlive the bytes of its file, which are zeros up to the size it was created with.
- A sync that fails has written some of it and takes the rest for written: no later sync writes it
  (Rebello et al., ATC 2020).
- It has so much space, any call may be made to fail, and without power no call returns.
"""

from __future__ import annotations

import errno
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

from holdfast_raft.sim_world import MachineGone


class _SimFile:
    """Contents as written and as synced; zeros up to the size are not stored."""

    __slots__ = ("size", "synced", "synced_size", "unsynced", "written")

    def __init__(self, size: int) -> None:
        self.size = self.synced_size = size
        self.written = bytearray()
        self.synced = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: bytes) -> None:
        _put(self.written, offset, data)
        self.unsynced.append((offset, data))
        self.size = max(self.size, len(self.written))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _put(self.synced, offset, data)
        self.unsynced.clear()
        self.synced_size = self.size

    def sync_some(self, rng: random.Random) -> None:
        """Each unsynced write stays, goes, or stays up to somewhere; none of them is unsynced any more."""
        for offset, data in self.unsynced:
            fate = rng.randrange(3)
            if fate:
                _put(self.synced, offset, data if fate == 1 else data[: rng.randrange(len(data) + 1)])
        self.unsynced.clear()
        self.synced_size = max(self.synced_size, len(self.synced))

    def lose_power(self, rng: random.Random) -> None:
        if self.unsynced:
            self.sync_some(rng)
        self.written = bytearray(self.synced)
        self.size = self.synced_size


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


class SimDisk:
    """disk.Disk in memory.

    Attributes:
        fail: called with (what, path) before each call takes effect; may raise OSError or MachineGone.
        after: called with (what, path) after each call that changed something; may raise MachineGone.
        powered: False: every call raises MachineGone, but for `close`.
        space: bytes that all files together may take.
        refusals: calls that found no room.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files: dict[str, _SimFile] = {}  # as the process sees them
        self._durable: dict[str, _SimFile] = {}  # names as of the last sync_dir of their folder
        # By folder, since then: name and what it stands for now (None: nothing), one list for each call.
        self._unsynced: defaultdict[str, list[list[tuple[str, _SimFile | None]]]] = defaultdict(list)
        self.fail: Callable[[str, str], None] | None = None
        self.after: Callable[[str, str], None] | None = None
        self.powered = True
        self.space = 1 << 40
        self.refusals = 0

    # ---- what a test does with it --------------------------------------------------------------------

    def used(self) -> int:
        return sum(file.size for file in self._files.values())

    def damage(self, suffix: str, offset: int) -> None:
        """Turns one bit of each file so named: bit rot."""
        for path, file in self._files.items():
            if path.endswith(suffix):
                file.written[offset] ^= 1
                if offset < len(file.synced):
                    file.synced[offset] ^= 1

    def durable_contains(self, folder_prefix: str, data: bytes) -> bool:
        """Whether these bytes are sure to survive power loss in a file whose name begins so, and does too."""
        return any(
            data in file.synced for name, file in self._durable.items() if name.startswith(folder_prefix)
        )

    def durable_names(self, prefix: str) -> list[str]:
        """Names that are sure to survive power loss and begin so."""
        return sorted(name for name in self._durable if name.startswith(prefix))

    def lose_power(self) -> None:
        """Decides what was on its way to the disk; see the module docstring."""
        for calls in self._unsynced.values():
            self._make_durable(calls[: self._rng.randint(0, len(calls))])
        self._unsynced.clear()
        self._files = dict(self._durable)
        for file in self._files.values():
            file.lose_power(self._rng)

    def power_on(self) -> None:
        self.powered = True

    # ---- disk.Disk -----------------------------------------------------------------------------------

    def make_dir(self, path: str) -> None:
        self.need_power(path)

    def names(self, folder: str) -> list[str]:
        self.need_power(folder)
        prefix = folder.rstrip("/") + "/" if folder not in ("", ".") else ""
        found = {name[len(prefix) :].split("/")[0] for name in self._files if name.startswith(prefix)}
        return sorted(found)

    def create(self, path: str, size: int) -> SimOpenFile:
        self.begin("create", path)
        if path in self._files:
            raise FileExistsError(path)
        self.take(size, path)
        file = _SimFile(size)
        self._change("create", path, (path, file))
        return SimOpenFile(self, path, file)

    def open(self, path: str) -> SimOpenFile:
        self.begin("open", path)
        if path not in self._files:
            raise FileNotFoundError(path)
        return SimOpenFile(self, path, self._files[path])

    def rename(self, old: str, new: str) -> None:
        self.begin("rename", new)
        if old not in self._files:
            raise FileNotFoundError(old)
        assert _folder_of(old) == _folder_of(new), "a file that moves to another folder is not modelled"
        self._change("rename", new, (new, self._files[old]), (old, None))

    def unlink(self, path: str) -> None:
        self.begin("unlink", path)
        if path not in self._files:
            raise FileNotFoundError(path)
        self._change("unlink", path, (path, None))

    def sync_dir(self, folder: str) -> None:
        self.begin("sync_dir", folder)
        self._make_durable(self._unsynced.pop("" if folder == "." else folder.rstrip("/"), []))
        self.done("sync_dir", folder)

    def free_bytes(self) -> int:
        self.need_power("")
        return self.space - self.used()

    # ---- inside --------------------------------------------------------------------------------------

    def begin(self, what: str, path: str) -> None:
        """Before any call takes effect."""
        if not self.powered:
            raise MachineGone(what, path)
        if self.fail is not None:
            self.fail(what, path)

    def done(self, what: str, path: str) -> None:
        """After a call took effect."""
        if self.after is not None:
            self.after(what, path)

    def take(self, more: int, path: str) -> None:
        """Room for so many bytes more."""
        if more > 0 and more > self.free_bytes():
            self.refusals += 1
            raise OSError(errno.ENOSPC, "No space left on device", path)

    def sync(self, path: str, file: _SimFile) -> None:
        try:
            self.begin("sync", path)
        except OSError:
            file.sync_some(self._rng)
            raise
        file.sync()
        self.done("sync", path)

    def need_power(self, path: str) -> None:
        """All that a call needs which cannot fail otherwise."""
        if not self.powered:
            raise MachineGone(path)

    def _change(self, what: str, path: str, *names: tuple[str, _SimFile | None]) -> None:
        _apply(self._files, names)
        self._unsynced[_folder_of(path)].append(list(names))
        self.done(what, path)

    def _make_durable(self, calls: list[list[tuple[str, _SimFile | None]]]) -> None:
        for names in calls:
            _apply(self._durable, names)


def _apply(files: dict[str, _SimFile], names: Sequence[tuple[str, _SimFile | None]]) -> None:
    for name, file in names:
        if file is None:
            files.pop(name, None)
        else:
            files[name] = file


class SimOpenFile:
    """disk.File over a _SimFile."""

    def __init__(self, disk: SimDisk, path: str, file: _SimFile) -> None:
        self._disk = disk
        self._path = path
        self._file = file

    def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        self._disk.begin("write", self._path)
        data = b"".join(pieces)
        self._disk.take(offset + len(data) - self._file.size, self._path)
        self._file.write(offset, data)
        self._disk.done("write", self._path)

    def read_at(self, offset: int, size: int) -> bytes:
        self._disk.begin("read", self._path)
        end = min(offset + size, self._file.size)
        found = bytes(memoryview(self._file.written)[offset:end])
        missing = end - offset - len(found)
        return found + bytes(missing) if missing > 0 else found

    def size(self) -> int:
        self._disk.need_power(self._path)
        return self._file.size

    def sync(self) -> None:
        self._disk.sync(self._path, self._file)

    def close(self) -> None: ...
