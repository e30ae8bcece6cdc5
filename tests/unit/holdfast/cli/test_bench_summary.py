"""holdfast.cli.bench_summary: the same facts for a program and for a person."""

from __future__ import annotations

import json

from holdfast.cli import bench_summary
from holdfast.cli.bench_course import Course
from holdfast.types import Level

from tests.unit.holdfast.cli.benches import BUSY, LOST, plan, tally


def course() -> Course:
    made = Course(1)
    first = tally(1.0, put=[1000] * 99 + [50_000], get=[500] * 100)
    first.served[(1, int(Level.SESSION))] += 75
    first.served[(3, int(Level.LINEARIZABLE))] += 25
    first.found = 90
    second = tally(1.0, put=[2000])
    second.failed.update({BUSY: 2, LOST: 1})
    for told in (first, second):
        made.tell(0, told)
    return made


def test_fields_have_their_units_in_their_names() -> None:
    """Rates per second, latencies in ms, by kind of operation and together."""
    fields = bench_summary.summary_fields(course())

    assert (fields["seconds"], fields["operations"], fields["operations_per_s"]) == (2.0, 201, 100.5)
    assert (fields["errors"], fields["error_percent"], fields["not_begun"]) == (3, 1.471, 0)
    put, get = fields["by_operation"]
    assert (put["operation"], put["operations"], put["errors"], put["max_ms"]) == ("put", 101, 3, 50.0)
    assert (get["operation"], get["operations"], get["errors"]) == ("get", 100, 0)
    assert 1.0 <= put["p50_ms"] <= 1.008
    assert {name for name in fields if name.endswith("_ms")} == {
        "mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms",
    }  # fmt: skip
    json.dumps(fields)


def test_errors_and_nodes_are_told_apart() -> None:
    """Errors by operation, reason and outcome; reads by node and level; what was found."""
    fields = bench_summary.summary_fields(course())

    assert fields["errors_by_reason"] == [
        {"operation": "put", "reason": "BUSY", "outcome": "refused", "count": 2},
        {"operation": "put", "reason": "DEADLINE", "outcome": "unknown", "count": 1},
    ]
    assert fields["reads_by_node"] == [
        {"node": 1, "level": "SESSION", "count": 75},
        {"node": 3, "level": "LINEARIZABLE", "count": 25},
    ]
    assert fields["reads_found"] == 90
    assert [(row["second"], row["operations"], row["errors"]) for row in fields["by_second"]] == [
        (1, 200, 0), (2, 1, 3),
    ]  # fmt: skip


def test_a_person_sees_a_row_for_each_kind_and_one_for_all() -> None:
    """Then errors and nodes, when there are any; a single kind needs no sum."""
    operations, errors, served = bench_summary.tables(course().whole)

    assert [row[0] for row in operations.rows] == ["put", "get", "all"]
    assert all(len(row) == len(operations.columns) for row in operations.rows)
    assert errors.rows[0] == ("put", "BUSY", "refused", 2)
    assert served.rows == [
        ("node 1", "SESSION", "75", "75.0 %"), ("node 3", "LINEARIZABLE", "25", "25.0 %"),
    ]  # fmt: skip
    (single,) = bench_summary.tables(tally(put=[1]))
    assert [row[0] for row in single.rows] == ["put"]


def test_only_errors_make_a_row_too() -> None:
    """A kind of which nothing was answered is told, without latencies."""
    made = tally()
    made.failed[LOST] = 4
    (row,) = next(iter(bench_summary.tables(made))).rows

    assert (row[0], row[1], row[4], row[-1]) == ("put", "0", "-", "4")


def test_what_was_never_begun_counts_as_missed() -> None:
    """Errors are of what was begun; missed is also what was due and not begun."""
    made = tally(put=[1] * 6)
    made.failed[BUSY] = 2
    made.not_begun = 2

    assert (bench_summary.error_percent(made), bench_summary.missed_percent(made)) == (25.0, 40.0)
    assert bench_summary.missed_percent(tally()) == 0


def test_remarks_say_what_to_mind() -> None:
    """Reads that found nothing, and a rate that was not kept; nothing when all is well."""
    made = course().whole
    made.not_begun = 1234

    missing, behind = bench_summary.remarks(plan(rate=100.0), made)

    assert "10 of 100 reads found no key" in missing
    assert "1,234 operations were due and never begun" in behind
    assert list(bench_summary.remarks(plan(), tally(put=[1]))) == []


def test_a_second_is_one_line() -> None:
    """Rate, percentiles, errors by reason."""
    made = tally(put=[1000] * 2000)
    assert bench_summary.second_text(3, made) == "3 s: 2,000/s, p50 1.00, p99 1.00 ms"
    made.failed.update({BUSY: 2, LOST: 1})
    assert bench_summary.second_text(3, made).endswith(", errors: BUSY 2 DEADLINE 1")
    assert bench_summary.second_text(4, tally()) == "4 s: 0/s, p50 -, p99 - ms"


def test_settings_say_what_was_measured() -> None:
    """The level that counted, and what draws the same operations again."""
    fields = bench_summary.setting_fields(plan(bound_ms=500, seed=9), 2, "uvloop")

    assert (fields["level"], fields["bound_ms"], fields["seed"], fields["processes"]) == (
        "BOUNDED",
        500,
        9,
        2,
    )
    assert bench_summary.setting_fields(plan(), 1, "")["level"] == "LINEARIZABLE"
    assert bench_summary.setting_fields(plan(weights={"put": 1}), 1, "")["level"] is None
