"""Percentiles are exact and come from all samples of all generators."""

from __future__ import annotations

from array import array

import pytest

from tests.bench import percentiles


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1.0), (50, 50.0), (99, 99.0), (99.9, 100.0), (100, 100.0), (0.5, 1.0), (1.5, 2.0)],
)
def test_a_percentile_is_the_least_sample_that_so_many_do_not_exceed(percent, expected):
    """Nearest rank, without interpolation: every percentile is a latency that somebody waited."""
    assert percentiles.at([float(n) for n in range(1, 101)], percent) == expected


def test_one_sample_is_every_percentile():
    """The smallest run there is."""
    assert {percentiles.at([0.25], p) for p in (0, 50, 99.9, 100)} == {0.25}


def test_a_summary_is_in_milliseconds_and_names_its_points():
    """{"p50": ms, ...} with the maximum at the end."""
    summary = percentiles.summary_ms([0.001, 0.002, 0.003, 0.004], (50.0, 99.9))

    assert summary == {"p50": 2.0, "p99.9": 4.0, "max": 4.0}


def test_no_samples_make_no_summary():
    """A run in which all failed has no latency, not one of zero."""
    assert percentiles.summary_ms([]) == {}


def test_samples_of_several_generators_are_joined_before_they_are_sorted(tmp_path):
    """A percentile of all is not the mean of percentiles."""
    percentiles.write(array("d", [3.0, 1.0]), tmp_path / "0")
    percentiles.write(array("d", [2.0]), tmp_path / "1")

    assert list(percentiles.read([tmp_path / "0", tmp_path / "1"])) == [1.0, 2.0, 3.0]


def test_medians_leave_out_what_a_round_lacks():
    """Each point's median over the rounds that have it all."""
    rounds = [{"p50": 1.0, "p99": 9.0}, {"p50": 3.0}, {}, {"p50": 2.0}]

    assert percentiles.medians(rounds) == {"p50": 2.0}


@pytest.mark.parametrize("point", percentiles.POINTS)
def test_names_of_points_can_be_read_back(point):
    """Plots read the names that summaries write."""
    (name, last) = percentiles.summary_ms([1.0], [point])

    assert percentiles.percent_of(name) == point
    assert percentiles.percent_of(last) == 100.0
