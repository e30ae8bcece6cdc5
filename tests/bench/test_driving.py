"""What generators say (ours and peerload alike), and what is made of it."""

from __future__ import annotations

from array import array

import pytest

from tests.bench.driving import GeneratorFailedError, joined, ours, parsed
from tests.bench.load import Load, shares

MEASURED = (
    '{"errors":1,"event":"measured","last_error":"etcdserver: too many requests","operations":1500,'
    '"seconds":3.0}\n'
)


def test_a_line_of_peerload_is_read():
    """The words of its main.go."""
    said = parsed(MEASURED, "measured")

    assert (said["operations"], said["errors"], said["seconds"]) == (1500, 1, 3.0)


@pytest.mark.parametrize("line", ["peerload: no leader\n", '{"event":"warm"}\n', "[1]\n", "\n"])
def test_another_line_than_the_one_due_ends_the_run(line):
    """A generator that failed must not count as one that measured nothing."""
    with pytest.raises(GeneratorFailedError):
        parsed(line, "measured")


def test_generators_together_are_one_run():
    """Operations add up, the longest counts as the time, CPU is for each operation of all."""
    said = [parsed(MEASURED, "measured"), {**parsed(MEASURED, "measured"), "operations": 500, "seconds": 4.0}]

    run = joined(said, array("d", [0.001, 0.002]), {"leader": 0.1})

    assert (run.operations, run.errors, run.rate) == (2000, 2, 500.0)
    assert run.cpu_us == {"leader": pytest.approx(50.0)}
    assert run.ms(50) == 1.0


def test_a_run_in_which_all_failed_has_no_cpu_an_operation():
    """Nothing is divided by zero."""
    nothing = {**parsed(MEASURED, "measured"), "operations": 0}

    assert joined([nothing], array("d"), {"leader": 0.1}).cpu_us == {}


def test_a_load_is_shared_out_whole():
    """All callers, the whole rate, one that fills, no two callers of one number."""
    made = ours(Load("put", "", callers=256, rate=900.0, fill=True), 3)

    assert [each.callers for each in made] == [86, 85, 85] == shares(256, 3)
    assert [each.first for each in made] == [0, 86, 171]
    assert [each.rate for each in made] == [300.0] * 3
    assert [each.fill for each in made] == [True, False, False]
    assert len({each.seed for each in made}) == 3


def test_a_load_survives_the_way_to_its_generator():
    """What the parent says is what the generator does."""
    load = Load("mixed", "127.0.0.1:1", rate=36_000, zipf=0.99, samples="x")

    assert Load.parsed(load.text()) == load
