"""The record as a file: appended to while a run goes on, read when it is judged.

Invariant: an invoke has left this process before its operation is sent, so whatever took effect is in the
file. Only the recorder's own death is guarded against, not the machine's: nothing is synced.

What a line says is `record.py`'s business; this only moves lines.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast_chaos.record import Event, Header, Record, Type, encode_event, encode_header, read


class RecordFile:
    """A record being written. Refuses to go on with a file that exists."""

    def __init__(self, path: Path, header: Header) -> None:
        """Raises FileExistsError."""
        self._file = path.open("x", encoding="utf-8", newline="\n")
        self._file.write(encode_header(header) + "\n")
        self._file.flush()
        self._last_ns = 0
        self.events = 0

    def append(self, event: Event) -> None:
        """Writes one line; an invoke is flushed, so send only after this returns."""
        assert event.time_ns >= self._last_ns, "the recorder's clock goes back"
        self._last_ns = event.time_ns
        self.events += 1
        self._file.write(encode_event(event) + "\n")
        if event.type is Type.INVOKE:
            self._file.flush()

    def close(self) -> None:
        """Flushes what is left."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RecordFile {self._file.name}, {self.events} events>"


def load(path: Path) -> Record:
    """Reads a saved record. Raises RecordError, and OSError when there is no such file."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        return read(lines)
