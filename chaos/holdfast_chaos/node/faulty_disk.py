"""A disk that is slow, fails, is full or ends its process at a named point, on command.

Stands before another disk (the operating system's, or one that forgets) and decides call by call. A point is
`before` or `after` an operation on a folder: `before sync wal`, `after rename snapshots`. Commands come from
another thread than the disk's calls; each call looks once at what is asked for.

Not modelled: a lying sync (`unsynced_disk.py` is told to), bit rot (bytes are changed in the files).
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from holdfast_raft.disk import Disk, File

OPERATIONS: Final = ("create", "write", "sync", "rename", "unlink", "sync_dir")
MOMENTS: Final = ("before", "after")
FOLDERS: Final = ("wal", "snapshots")
STRUCK: Final = 137
"""Exit status of a process that ended at a point: that of a kill -9."""


class Point(NamedTuple):
    """Where it ends or stands still, the next time it comes by."""

    moment: str
    operation: str
    folder: str

    @classmethod
    def named(cls, text: str) -> Point:
        """`before sync wal`. Raises ValueError."""
        point = cls(*text.split())
        known = (MOMENTS, OPERATIONS, FOLDERS)
        if any(word not in words for word, words in zip(point, known, strict=True)):
            raise ValueError(f"no point: {text!r}")
        return point


@dataclass
class Orders:
    """What is asked of the disk now.

    Attributes:
        slow_s: each sync takes so much longer.
        errors: operation -> errno of its next call.
        is_full: nothing can be created.
        point: None: none.
        stall_s: at the point: so long; 0: the process ends there.
        struck: how often each order was obeyed, by its name.
    """

    slow_s: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    is_full: bool = False
    point: Point | None = None
    stall_s: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)


class FaultyDisk:
    """See the module docstring."""

    def __init__(
        self,
        under: Disk,
        end: Callable[[], None] = lambda: os._exit(STRUCK),
        rest: Callable[[float], object] | None = None,
    ) -> None:
        """under: where bytes go; end: ends the process; rest: stands still for seconds."""
        self.under = under
        self.orders = Orders()
        self._end = end
        self._rest = rest or threading.Event().wait

    def __repr__(self) -> str:
        return f"<FaultyDisk over {self.under!r}, {self.orders}>"

    # ---- the contract ----

    def make_dir(self, path: str) -> None:
        self.under.make_dir(path)

    def names(self, folder: str) -> list[str]:
        return self.under.names(folder)

    def create(self, path: str, size: int) -> FaultyFile:
        if self.orders.is_full:
            self.orders.struck["full"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.before("create", path)
        file = FaultyFile(self, self.under.create(path, size), path)
        self.after("create", path)
        return file

    def open(self, path: str) -> FaultyFile:
        return FaultyFile(self, self.under.open(path), path)

    def rename(self, old: str, new: str) -> None:
        self.before("rename", new)
        self.under.rename(old, new)
        self.after("rename", new)

    def unlink(self, path: str) -> None:
        self.before("unlink", path)
        self.under.unlink(path)
        self.after("unlink", path)

    def sync_dir(self, folder: str) -> None:
        self.before("sync_dir", folder)
        self.under.sync_dir(folder)
        self.after("sync_dir", folder)

    def free_bytes(self) -> int:
        return 0 if self.orders.is_full else self.under.free_bytes()

    # ---- what is asked for ----

    def before(self, operation: str, path: str) -> None:
        """Raises OSError when the operation is to fail."""
        orders = self.orders
        self._at("before", operation, path)
        if operation == "sync" and orders.slow_s:
            orders.struck["slow"] += 1
            self._rest(orders.slow_s)
        error = orders.errors.pop(operation, None)
        if error is not None:
            orders.struck["error"] += 1
            raise OSError(error, os.strerror(error), path)

    def after(self, operation: str, path: str) -> None:
        """Called once it is done."""
        self._at("after", operation, path)

    def _at(self, moment: str, operation: str, path: str) -> None:
        orders = self.orders
        wanted = orders.point
        if wanted is None or (moment, operation) != wanted[:2] or not path.startswith(wanted.folder):
            return
        orders.point = None
        orders.struck["point"] += 1
        if orders.stall_s:
            self._rest(orders.stall_s)
        else:
            self._end()


class FaultyFile:
    """An open file of it."""

    def __init__(self, disk: FaultyDisk, under: File, path: str) -> None:
        self._disk = disk
        self._under = under
        self._path = path

    def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        self._disk.before("write", self._path)
        self._under.write_at(offset, pieces)
        self._disk.after("write", self._path)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._under.read_at(offset, size)

    def size(self) -> int:
        return self._under.size()

    def sync(self) -> None:
        self._disk.before("sync", self._path)
        self._under.sync()
        self._disk.after("sync", self._path)

    def close(self) -> None:
        self._under.close()

    def __repr__(self) -> str:
        return f"<FaultyFile {self._path}>"


class SkewedTime:
    """The operating system's wall clock, ahead or behind, and drifting. Stands in for `time.time_ns`."""

    def __init__(self, real: Callable[[], int] = time.time_ns) -> None:
        self._real = real
        self._offset_ns = 0.0
        self._drift = 0.0
        self._since_ns = real()

    def __call__(self) -> int:
        """Ns since 1970, as this machine is to believe."""
        now = self._real()
        return int(now + self._off_ns(now))

    def _off_ns(self, now: int) -> float:
        return self._offset_ns + (now - self._since_ns) * self._drift

    def change(self, *, jump_ms: float = 0.0, drift: float = 0.0) -> None:
        """From now on it is further off by jump_ms and gains `drift` s a second."""
        now = self._real()
        self._offset_ns = self._off_ns(now) + jump_ms * 1e6
        self._drift = drift
        self._since_ns = now

    def right(self) -> None:
        """It tells the time again: a jump."""
        self._offset_ns = self._drift = 0.0
        self._since_ns = self._real()

    @property
    def offset_ms(self) -> float:
        """How far off it is now."""
        return self._off_ns(self._real()) / 1e6
