"""The contract between the driver and what surrounds it: an event loop, a WAL thread, a file thread.

A runner promises:
- whatever it calls, acts and `done`s, it calls on the loop's thread, one at a time, and never within the
  call that asked for it;
- the jobs of a thread run one after another, in the order given; `done` comes after its job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Job = Callable[[], object]
Done = Callable[[BaseException | None], None]
"""Is told what the job raised, or None."""


class Runner(Protocol):
    """Decides when the driver's next turn comes, and runs elsewhere what would block it."""

    def soon(self, act: Callable[[], None]) -> None:
        """Runs `act` in the next pass of the loop."""
        ...

    def later(self, delay: float, act: Callable[[], None]) -> Callable[[], None]:
        """Runs `act` after that many seconds; returns how to cancel it."""
        ...

    def on_wal_thread(self, job: Job, done: Done) -> None:
        """Runs a sync of the log, or what must stay in order with it."""
        ...

    def on_file_thread(self, job: Job, done: Done) -> None:
        """Runs what may take long: snapshots, the removal of files."""
        ...
