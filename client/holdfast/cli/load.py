"""`holdfast load`: writes the rows of a file, many at once, and says by line what went wrong.

A window of writes is under way at any time; the SDK packs them into frames. A row that fails does not stop
the others. Loading the same file again is safe: every row is a plain put.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from holdfast.cli.output import print_json
from holdfast.cli.rows import FORMATS, BadRow, Row
from holdfast.cli.session import in_namespace, open_client
from holdfast.cli.verbs import (
    EXIT_ERROR,
    EXIT_REFUSED,
    EXIT_UNKNOWN,
    Call,
    FailedError,
    explain,
    note,
    run,
    verb,
)
from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast.types import Outcome

EXAMPLES = """
# Settings from a file, one JSON object a line: {"key": "device/17/mode", "value": "eco", "ttl": "1h"}
$ holdfast load fleet.jsonl

# From CSV with the columns key, value, ttl
$ holdfast load fleet.csv

# A generated fleet
$ holdfast sample-settings --devices 1000 | holdfast load -
"""

WINDOW = 512
COMPLAINTS_SHOWN = 20


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "load", EXAMPLES)(load)


class Tally:
    """What became of the rows."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._shown = 0

    def __repr__(self) -> str:
        return f"<Tally {dict(self.counts)}>"

    def complain(self, kind: str, line: int, problem: str) -> None:
        """Counts a row that failed; the first ones are told."""
        self.counts[kind] += 1
        self._shown += 1
        if self._shown <= COMPLAINTS_SHOWN:
            note(f"line {line}: {problem}")
        elif self._shown == COMPLAINTS_SHOWN + 1:
            note("... more of the same is only counted")

    def exit_code(self) -> int:
        """The gravest of what happened."""
        for kind, code in (("unknown", EXIT_UNKNOWN), ("refused", EXIT_REFUSED), ("bad", EXIT_ERROR)):
            if self.counts[kind]:
                return code
        return 0


class Meter:
    """A progress bar on stderr when that is a terminal; nothing otherwise."""

    def __init__(self, source: IO[str]) -> None:
        try:
            self._total: int | None = os.fstat(source.fileno()).st_size or None
        except (OSError, ValueError):
            self._total = None
        self.bytes_read = 0
        self._bar = Progress(
            TextColumn("loading"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]} rows"),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._bar.add_task("load", total=self._total, rows=0)

    def __repr__(self) -> str:
        return f"<Meter {self.bytes_read} of {self._total} bytes>"

    def lines(self, source: IO[str]) -> Iterator[str]:
        """The lines, counted as they are taken."""
        for line in source:
            self.bytes_read += len(line.encode())
            yield line

    def show(self, rows: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=self.bytes_read, rows=rows)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


async def load_rows(client: Client, rows: Iterator[Row | BadRow], tally: Tally, meter: Meter) -> None:
    """Writes the rows, WINDOW at a time, in the order of their lines (writes under way are concurrent)."""
    queue: asyncio.Queue[Row | BadRow | None] = asyncio.Queue(2 * WINDOW)

    async def read() -> None:
        # In a thread: a slow pipe must not stop the loop that keeps the connection.
        while batch := await asyncio.to_thread(lambda: list(islice(rows, WINDOW))):
            for row in batch:
                await queue.put(row)
        for _ in range(WINDOW):
            await queue.put(None)

    async def take() -> None:
        while (row := await queue.get()) is not None:
            await _load_row(client, row, tally)
            if not tally.counts["loaded"] % 256:
                meter.show(tally.counts["loaded"])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        for _ in range(WINDOW):
            tasks.create_task(take())


async def _load_row(client: Client, row: Row | BadRow, tally: Tally) -> None:
    if isinstance(row, BadRow):
        tally.complain("bad", row.line, row.problem)
        return
    try:
        await client.put(row.key, row.value, ttl_ms=row.ttl_ms)
        tally.counts["loaded"] += 1
    except HoldfastError as problem:
        kind = "refused" if problem.outcome is Outcome.REFUSED else "unknown"
        tally.complain(kind, row.line, explain(problem))


@click.argument("source", metavar="FILE", type=click.File("r", encoding="utf-8"))
@click.option(
    "--format", "form", type=click.Choice(sorted(FORMATS)),
    help="What FILE is. Default: csv when its name ends in .csv, else jsonl.",
)  # fmt: skip
@in_namespace
@click.pass_obj
def load(call: Call, source: IO[str], form: str | None, namespace: str, session_file: Path | None) -> None:
    """Writes key, value and ttl of every row of FILE (-: stdin).

    JSON Lines: {"key", "value", "ttl"}, key_b64 and value_b64 for bytes that are no text, a value that is
    no text is stored as its JSON. CSV: the columns key, value, ttl, or as a first row names them. ttl is
    seconds or text such as 10m. Rows that fail are told by line; the others are loaded. Exit code: 4 when
    the outcome of some row is unknown, else 3 when some were refused, else 1 when some could not be read.
    """
    chosen = form or ("csv" if source.name.endswith(".csv") else "jsonl")
    tally = Tally()
    began = time.monotonic()

    async def work() -> None:
        with Meter(source) as meter:
            async with open_client(call, namespace, session_file) as client:
                await load_rows(client, FORMATS[chosen](meter.lines(source)), tally, meter)

    unreadable: BaseException | None = None
    try:
        run(work(), writes=True)
    except* UnicodeDecodeError as problems:
        unreadable = problems.exceptions[0]
    if unreadable is not None:
        raise FailedError(
            f"{source.name} is not UTF-8: {unreadable}; {tally.counts['loaded']} keys were loaded"
        )
    took = time.monotonic() - began
    counts = tally.counts
    if call.is_json:
        named = {kind: counts[kind] for kind in ("loaded", "refused", "unknown", "bad")}
        print_json({**named, "seconds": round(took, 3)})
    else:
        rate = counts["loaded"] / took if took > 0 else 0
        note(f"loaded {counts['loaded']} keys in {took:.1f} s ({rate:,.0f}/s)")
        for kind, words in (
            ("refused", "refused"),
            ("unknown", "with unknown outcome"),
            ("bad", "not readable"),
        ):
            if counts[kind]:
                note(f"  {counts[kind]} {words}")
    if tally.exit_code():
        click.get_current_context().exit(tally.exit_code())
