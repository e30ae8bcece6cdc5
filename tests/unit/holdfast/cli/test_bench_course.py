"""holdfast.cli.bench_course: a second is complete when every process has told it or has ended."""

from __future__ import annotations

from holdfast.cli.bench_course import Course

from tests.unit.holdfast.cli.benches import tally


def test_a_second_waits_for_every_process() -> None:
    """Processes need not tell in step; seconds come in order, each with what all did in it."""
    course = Course(2)

    assert course.tell(0, tally(put=[1])) == []
    assert course.tell(0, tally(put=[2])) == []
    (first,) = course.tell(1, tally(get=[3]))
    (second,) = course.tell(1, tally(get=[4]))

    assert {kind: seen.max_us for kind, seen in first.latencies.items()} == {"put": 1, "get": 3}
    assert {kind: seen.max_us for kind, seen in second.latencies.items()} == {"put": 2, "get": 4}
    assert course.seconds == [first, second]


def test_nobody_waits_for_a_process_that_has_ended() -> None:
    """Its end completes what only it was missing from."""
    course = Course(2)
    course.tell(0, tally(put=[1]))
    course.tell(0, tally(0.25, put=[2]))

    (first, second) = course.end(1)

    assert (first.seconds, second.seconds) == (1.0, 0.25)
    assert course.end(0) == []


def test_the_whole_takes_as_long_as_the_longest() -> None:
    """Times of processes overlap, those of seconds follow each other."""
    course = Course(2)
    for process, seconds in ((0, 1.0), (1, 1.0), (0, 1.0), (1, 0.5)):
        course.tell(process, tally(seconds, put=[1]))

    assert (course.whole.seconds, course.whole.latencies["put"].count) == (2.0, 4)
