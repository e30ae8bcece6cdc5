"""The run's record while it is made: one clock, one file, and nothing sent before it is written.

Live figures are kept beside it, so that a run can be watched, and stopped when nothing works.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from holdfast_chaos.record import Event, Type
from holdfast_chaos.record_file import RecordFile

HARNESS = 0
"""The process of notes."""


class Recorder:
    """Writes events, stamped by the recorder's own clock."""

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self._begun_ns = time.monotonic_ns()
        self.counts: Counter[Type] = Counter()

    def now_ns(self) -> int:
        """Since the record began."""
        return time.monotonic_ns() - self._begun_ns

    @property
    def now_s(self) -> float:
        """Since the record began."""
        return self.now_ns() / 1e9

    def write(self, process: int, type_: Type, f: str, **facts: Any) -> Event:
        """One line, now; an invoke has left this process when this returns."""
        event = Event(process, type_, f, self.now_ns(), **facts)
        self._file.append(event)
        self.counts[type_] += 1
        return event

    def note(self, f: str, value: Any = None, **facts: Any) -> None:
        """Something beside the operations."""
        self.write(HARNESS, Type.NOTE, f, value=value, **facts)

    def __repr__(self) -> str:
        return f"<Recorder {dict(self.counts)}>"
