"""Runs a driver on an asyncio loop, with one thread for the WAL's syncs and one for snapshot files.

The WAL thread is its own rather than an executor's, which takes longer to hand a job over and back:
0.18 against 0.14 ms a sync, 0.07 inline (docs/evidence/speed-log.md). Jobs of one thread run in order.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import Callable
from typing import Final

from holdfast_raft.runner import Done, Job

TIMER_STEP_S: Final = 0.001
"""uvloop's timers count whole milliseconds, to the nearest; less than a half is the loop's next pass, so that
waiting for what is due then would be turn after turn until it is."""


class _Worker:
    """A thread that runs jobs in order and reports each back to the loop."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done) -> None:
        self._jobs.put((job, done))

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            error: BaseException | None = None
            try:
                job()
            except BaseException as raised:  # noqa: BLE001 - reported to the owner, whatever it is
                error = raised
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(done, error)

    def close(self) -> None:
        """Ends the thread after the jobs it has."""
        self._jobs.put(None)
        self._thread.join()


class AsyncioRunner:
    """Runner on the running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wal = _Worker("holdfast-wal", loop)
        self._files = _Worker("holdfast-files", loop)

    def soon(self, act: Callable[[], None]) -> None:
        self._loop.call_soon(act)

    def later(self, delay: float, act: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(math.ceil(delay / TIMER_STEP_S) * TIMER_STEP_S, act).cancel

    def on_wal_thread(self, job: Job, done: Done) -> None:
        self._wal.submit(job, done)

    def on_file_thread(self, job: Job, done: Done) -> None:
        self._files.submit(job, done)

    def close(self) -> None:
        """Waits for the jobs under way; call when the driver is closed."""
        self._wal.close()
        self._files.close()
