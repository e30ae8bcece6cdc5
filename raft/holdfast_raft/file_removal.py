"""Large files go away a piece at a time.

Removing some hundred MiB in one go holds up every sync on the same file system, 0.1 to 0.25 s where it was
measured (docs/evidence/speed-log.md): the blocks are given back in one transaction of the journal, and the
write-ahead log's sync waits for it. Truncated step by step the same file delays none by more than a few ms.
RocksDB limits the rate of its deletions for the same reason (delete_scheduler.cc).

Invariants: what is being removed has left the name under which anybody would read it; what a process leaves
behind at its end the next one removes.
Not here: making the removal of the name durable (the disk's sync_dir), and files that are small.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from pathlib import Path

logger = logging.getLogger(__name__)

LARGE_BYTES = 4 << 20
STEP_BYTES = 1 << 20
STEP_EVERY = 0.01
"""Seconds: 100 MiB a second, several times what a node's log grows by."""


class FileRemoval:
    """Files on their way out; a thread of its own works on them, one after the other."""

    def __init__(self, folder: Path) -> None:
        """folder: where they wait, on their file system; made when it is needed."""
        self._folder = folder
        self._numbers = 0
        self._waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        for left in sorted(folder.iterdir()) if folder.is_dir() else ():
            self._add(left)

    def take(self, path: Path) -> None:
        """Takes a file away from its name at once; its blocks follow."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._numbers += 1
        gone = self._folder / f"{time.time_ns()}-{os.getpid()}-{self._numbers}"
        path.replace(gone)
        self._add(gone)

    def _add(self, path: Path) -> None:
        self._waiting.put(path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="file-removal", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            path = self._waiting.get()
            try:
                _shrink(path)
            except OSError as problem:
                logger.warning("%s could not be removed, the next start tries again: %s", path, problem)

    def __repr__(self) -> str:
        return f"<FileRemoval {self._folder}, {self._waiting.qsize()} wait>"


def _shrink(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        for size in range(file.seek(0, os.SEEK_END) - STEP_BYTES, 0, -STEP_BYTES):
            file.truncate(size)
            time.sleep(STEP_EVERY)
    path.unlink()
