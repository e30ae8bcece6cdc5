"""What a bench shows on stderr while it runs: a table that moves on a terminal, else a line each second."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from holdfast.cli.bench_plan import Plan
from holdfast.cli.bench_summary import errors_text, kinds, ms_text, second_text
from holdfast.cli.bench_tally import Tally
from holdfast.cli.latencies import Latencies
from holdfast.cli.verbs import note

# The rest of a second in the end says nothing by itself.
SHORT_S = 0.5


class Screen:
    """Shows one bench; a context manager, after which the terminal is as it was."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._second = 0
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def filled(self, written: int) -> None:
        """So many keys are written."""
        self._say(f"writing keys: {written:,} of {self._plan.keys:,}")

    def begins(self) -> None:
        """The load begins."""
        if self._plan.warmup_s:
            self._say(f"warming up for {self._plan.warmup_s:g} s")

    def second(self, tally: Tally, whole: Tally) -> None:
        """A second is over."""
        if tally.seconds < SHORT_S:
            return
        self._second += 1
        if self._live is None:
            note(second_text(self._second, tally))
        else:
            self._live.update(table_of(self._title(whole), tally, whole), refresh=True)

    def _title(self, whole: Tally) -> str:
        until = "" if self._plan.seconds is None else f" of {self._plan.seconds:g}"
        return f"{self._second}{until} s; {errors_text(whole)}"

    def _say(self, text: str) -> None:
        if self._live is None:
            note(text)
        else:
            self._live.update(text, refresh=True)

    def __repr__(self) -> str:
        return f"<Screen, {self._second} s>"


def table_of(title: str, second: Tally, whole: Tally) -> Table:
    """The last second by kind of operation, and the errors and the greatest latency so far."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("LAST SECOND", "PER S", "P50 MS", "P99 MS", "MAX SO FAR", "ERRORS SO FAR"):
        table.add_column(column, justify="left" if column == "LAST SECOND" else "right")
    for kind in kinds(whole):
        now, ever = second.latencies.get(kind, Latencies()), whole.latencies.get(kind, Latencies())
        errors = sum(count for failed, count in whole.failed.items() if failed.operation == kind)
        rate = now.count / second.seconds if second.seconds else 0
        table.add_row(
            kind, f"{rate:,.0f}", ms_text(now.percentile(50)), ms_text(now.percentile(99)),
            ms_text(ever.max_us if ever.count else None), f"{errors:,}",
        )  # fmt: skip
    return table
