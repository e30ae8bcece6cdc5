"""Runs code that waits by a clock that is counted, not read: what a test says of a time holds on any machine.

Time stands still while anything can run and jumps to the next timer when nothing can. So only for code that
touches no socket and no thread: what comes from there would never be waited for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jumping(selectors.SelectSelector):
    """Counts the time it was asked to wait for, and does not wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits, and for nothing that will come"
        self.now += max(0.0, timeout)
        return super().select(0)


class _CountedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Like asyncio.run; the loop's time begins at 0."""
    with asyncio.Runner(loop_factory=_CountedLoop) as runner:
        return runner.run(work)
