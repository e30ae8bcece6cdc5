"""What is measured, and when it may become evidence."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import ALL, SINGLE, attempted, bench_of, is_complete, options_of
from tests.bench.million_rows import ROWS as MILLION
from tests.bench.result import RowResult
from tests.bench.targets import ROWS


def shown(rows):
    return [RowResult(row, []) for row in rows]


def test_every_row_can_be_measured():
    """Each name that a target stands behind, by its own program or with the other of its cluster."""
    assert set(ROWS) <= set(ALL)
    assert set(ALL) == set(SINGLE) | set(MILLION)


def test_only_a_whole_run_is_evidence():
    """All rows, each beside its peer, nothing made smaller."""
    whole = options_of([])
    absent = [*shown(ROWS[:-1]), RowResult(ROWS[-1], [], skipped="etcd is not installed")]

    assert is_complete(whole, shown(ROWS))
    assert not is_complete(whole, shown(ROWS[1:]))
    assert not is_complete(whole, absent)
    assert not is_complete(options_of(["--scale", "0.5"]), shown(ROWS))
    assert not is_complete(options_of(["--mixed-seconds", "5"]), shown(ROWS))
    assert not is_complete(options_of(["--smoke"]), shown(ROWS))


def test_a_smoke_run_cannot_be_asked_to_be_evidence():
    """Its figures mean nothing."""
    with pytest.raises(SystemExit):
        options_of(["--smoke", "--evidence"])


def test_a_row_that_does_not_exist_is_refused():
    """A typo must not run nothing and look well."""
    with pytest.raises(SystemExit):
        options_of(["--rows", "put-257"])


def test_a_row_that_fails_is_told_and_costs_nobody_the_others(tmp_path, monkeypatch):
    """A quarter of an hour is not lost to one row."""

    def fails(_):
        raise RuntimeError("no leader")

    monkeypatch.setitem(SINGLE, "put-1", fails)

    (result,) = attempted(bench_of(options_of([]), tmp_path), ["put-1"])

    assert result.verdict == "NOT SHOWN: it failed: no leader"
