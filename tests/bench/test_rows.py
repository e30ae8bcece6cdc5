"""What rows make of their runs."""

from __future__ import annotations

from array import array

import pytest

from tests.bench.driving import Run
from tests.bench.echo_row import Shape, shape_of
from tests.bench.holdfast_side import elections
from tests.bench.mixed_row import Trial


def run(operations: int, seconds: float, errors: int = 0, **said: object) -> Run:
    return Run(operations, errors, seconds, array("d", [0.001] * 100), {}, [said])


def test_an_echo_has_the_frames_of_the_run_before_it():
    """Bytes a frame each way, operations in each, as many under way as the callers fill."""
    frames = {"frames_out": 10, "bytes_out": 3000, "frames_in": 20, "bytes_in": 500}

    assert shape_of(run(1000, 1.0, frames=frames)) == Shape(100.0, 300, 50)
    assert Shape(100.0, 300, 50).under_way == 3
    assert Shape(1000.0, 300, 50).under_way == 1


def test_a_rate_is_kept_when_all_were_answered_in_time():
    """What was refused is not answered; what came long after the end was not kept up with."""
    assert Trial(100.0, 10.0, run(1000, 10.5), array("d", [0.001]), 0).kept == 1.0
    assert Trial(100.0, 10.0, run(900, 10.5), array("d", [0.001]), 0).kept == pytest.approx(0.9)
    assert Trial(100.0, 10.0, run(1000, 21.0), array("d", [0.001]), 0).kept == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("p99_s", "operations", "changes", "good"),
    [(0.005, 1000, 0, True), (0.0051, 1000, 0, False), (0.005, 980, 0, False), (0.005, 1000, 1, False)],
)
def test_a_rate_is_good_when_p99_rate_and_leaders_are(p99_s, operations, changes, good):
    """All three of the target."""
    trial = Trial(100.0, 10.0, run(operations, 10.0), array("d", [p99_s]), changes)

    assert trial.is_good is good


def test_elections_are_terms_that_began():
    """Of every shard; one that was not known before counts from nothing."""
    assert elections({"2": 3.0, "3": 1.0}, {"2": 3.0, "3": 1.0}) == 0
    assert elections({"2": 3.0, "3": 1.0}, {"2": 5.0, "3": 1.0, "4": 1.0}) == 3
