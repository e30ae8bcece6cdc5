"""Plans of faults."""

from __future__ import annotations

import itertools
import random

import pytest
from holdfast_chaos.schedule import KINDS, Times, plan

TIMES = Times(length=300.0)


def planned(*names: str, seed: int = 1, times: Times = TIMES, side_by_side: int = 1) -> tuple:
    return plan(random.Random(seed), [KINDS[name] for name in names], times, side_by_side=side_by_side)


def test_the_same_seed_plans_the_same():
    """And another seed plans something else."""
    assert planned("kill-one", "delay") == planned("kill-one", "delay")
    assert planned("kill-one", "delay") != planned("kill-one", "delay", seed=2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("side_by_side", [1, 2, 3])
def test_a_plan_keeps_its_bounds(seed, side_by_side):
    """A quiet lead and tail; durations of the kind; no more at once than allowed, and none twice at once."""
    names = ("kill-one", "pause-leader", "partition-ring", "crash-loop")
    faults = planned(*names, seed=seed, times=Times(300.0, interval=0.8), side_by_side=side_by_side)

    assert {fault.name for fault in faults} == set(names)
    for fault in faults:
        kind = KINDS[fault.name]
        assert TIMES.lead <= fault.begin_s < fault.end_s <= TIMES.length - TIMES.tail
        assert kind.shortest_s - 0.002 <= fault.end_s - fault.begin_s <= kind.longest_s + 0.002
    for fault in faults:
        at_once = [f for f in faults if f.begin_s <= fault.begin_s < f.end_s]
        assert len(at_once) <= side_by_side
        assert len({f.name for f in at_once}) == len(at_once)


def test_faults_come_about_as_often_as_asked():
    """One in each interval, on average."""
    faults = planned("reset", times=Times(1000.0, interval=5.0))
    pauses = [after.begin_s - before.begin_s for before, after in itertools.pairwise(faults)]

    assert 4.0 < sum(pauses) / len(pauses) < 6.0


def test_combinations_come_about():
    """With two side by side each pair overlaps somewhere."""
    names = ("kill-one", "delay", "slow-disk")
    faults = planned(*names, side_by_side=2, times=Times(600.0, interval=2.0))
    met = {
        frozenset((one.name, two.name))
        for one, two in itertools.combinations(faults, 2)
        if one.begin_s < two.end_s and two.begin_s < one.end_s
    }

    assert met == {frozenset(pair) for pair in itertools.combinations(names, 2)}


def test_no_nemesis_and_no_time():
    """No faults are a plan too, and one that does not fit is left out."""
    assert planned() == ()
    assert planned("crash-loop", times=Times(length=8.0, lead=2.0, tail=5.0)) == ()
