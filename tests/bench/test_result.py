"""From rounds to a row: medians, ratios by pairs, verdicts, what is written."""

from __future__ import annotations

import json

import pytest

from tests.bench import spread
from tests.bench.result import HEADLINE, RowResult, cpu_medians, measure
from tests.bench.targets import ROWS, TARGETS, Target


def test_a_spread_is_the_median_with_least_and_greatest():
    """Not the mean: one disturbed round must not move the figure."""
    assert spread.of([10.0, 1.0, 3.0]) == (3.0, 1.0, 10.0)


def test_ratios_are_made_pair_by_pair():
    """A machine that halves its speed between two pairs changes both sides' figures, not the ratio."""
    assert spread.of_ratios([60.0, 30.0], [10.0, 5.0]) == (6.0, 6.0, 6.0)


def test_a_round_without_a_partner_makes_no_ratio():
    """A run that was ended early still has the pairs that were completed."""
    assert spread.of_ratios([60.0, 30.0], [10.0]) == (6.0, 6.0, 6.0)


def test_a_rate_meets_its_target_by_the_ratio():
    """put-256: six times etcd's."""
    assert measure("put-256", "rate", "operations/s", [60.0], [10.0], "etcd").met is True
    assert measure("put-256", "rate", "operations/s", [59.0], [10.0], "etcd").met is False


def test_a_latency_meets_its_target_from_above():
    """put-1: at most 1.2 times etcd's."""
    assert measure("put-1", "p50", "ms", [1.2], [1.0], "etcd").met is True
    assert measure("put-1", "p50", "ms", [1.3], [1.0], "etcd").met is False


def test_a_bound_of_our_own_needs_no_peer():
    """snapshot-stall: at most 20 ms."""
    assert measure("snapshot-stall", "longest stall", "ms", [20.0]).met is True
    assert measure("snapshot-stall", "longest stall", "ms", [20.1]).met is False


def test_a_measure_without_its_peer_is_not_judged():
    """A ratio that is not there is neither met nor missed."""
    assert measure("put-256", "rate", "operations/s", [60.0]).met is None


def row(*measures, skipped=""):
    return RowResult("put-256", list(measures), skipped=skipped)


GOOD = measure("put-256", "rate", "operations/s", [60.0], [10.0], "etcd")
BAD = measure("put-256", "p99 against its p50", "ms", [3.0], [1.0], "etcd")
UNJUDGED = measure("put-256", "p50", "ms", [3.0], [1.0], "etcd")


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (row(GOOD, UNJUDGED), "met"),
        (row(GOOD, BAD), "missed"),
        (row(GOOD, skipped="etcd is not installed"), "NOT SHOWN: etcd is not installed"),
        (row(UNJUDGED), "NOT SHOWN: nothing to judge"),
        (row(measure("put-256", "rate", "operations/s", [60.0])), "NOT SHOWN: nothing to judge"),
    ],
)
def test_a_row_is_met_when_all_its_targets_are(result, verdict):
    """And is not shown without its peer, however good our half looks."""
    assert result.verdict == verdict


def test_a_row_has_its_headline_flat_and_the_rest_under_also():
    """Readers of the JSON find row, ours, peer, ratio, unit, min, max in each object."""
    written = json.loads(json.dumps(row(GOOD, BAD).as_json(), allow_nan=False))

    names = ("row", "ours", "peer", "ratio", "unit", "min", "max")
    assert [written[name] for name in names] == ["put-256", 60.0, 10.0, 6.0, "operations/s", 60.0, 60.0]
    assert [each["what"] for each in written["also"]] == ["p99 against its p50"]


def test_a_row_that_could_not_run_has_the_same_fields_empty():
    """Nobody who reads the file meets a missing field."""
    written = RowResult("put-256", [], skipped="etcd is not installed").as_json()

    assert {name: written[name] for name in HEADLINE} == dict.fromkeys(HEADLINE)


def test_cpu_is_the_median_by_process():
    """A process that took part in some rounds only is told by those."""
    assert cpu_medians([{"leader": 1.0, "node 2": 5.0}, {"leader": 3.0, "node 3": 7.0}]) == {
        "leader": 2.0,
        "node 2": 5.0,
        "node 3": 7.0,
    }


def test_every_row_has_a_target():
    """And no target is of a row that does not exist."""
    assert {row for row, _ in TARGETS} == set(ROWS)


def test_a_target_tells_what_it_bounds():
    """As it stands in the tables."""
    assert str(Target(6, at_least=True)) == ">= 6x"
    assert str(Target(5, at_least=False, of_ratio=False, unit="ms")) == "<= 5 ms"
