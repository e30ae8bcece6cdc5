"""holdfast.cli.bench_screen: lines where nobody looks at a terminal, a table where somebody does."""

from __future__ import annotations

import pytest
from holdfast.cli.bench_screen import Screen, table_of
from rich.console import Console

from tests.unit.holdfast.cli.benches import BUSY, plan, tally


def test_without_a_terminal_there_is_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, numbered; the rest of a second in the end is left to the summary."""
    whole = tally(put=[1000])
    with Screen(plan(warmup_s=1.0, keys=2000)) as screen:
        screen.filled(1500)
        screen.begins()
        screen.second(tally(put=[1000]), whole)
        screen.second(tally(0.01, put=[1000]), whole)

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "writing keys: 1,500 of 2,000",
        "warming up for 1 s",
        "1 s: 1/s, p50 1.00, p99 1.00 ms",
    ]


def test_the_table_has_a_row_for_each_kind() -> None:
    """Figures of the last second, errors and the greatest latency so far."""
    whole = tally(put=[1000, 90_000], get=[500])
    whole.failed[BUSY] = 12
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table_of("3 of 10 s", tally(put=[1000]), whole))

    lines = captured.get().splitlines()
    assert "3 of 10 s" in lines[0]
    assert lines[2].split() == ["put", "1", "1.00", "1.00", "90.00", "12"]
    assert lines[3].split() == ["get", "0", "-", "-", "0.50", "0"]
