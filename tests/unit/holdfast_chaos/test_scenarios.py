"""Named runs: every nemesis is in the one that makes the evidence, and each part has time for its own."""

from __future__ import annotations

import pytest
from holdfast_chaos.nemesis.known import NEEDS_A_SPARE, NEMESES
from holdfast_chaos.runner import Wish, plan_of
from holdfast_chaos.scenarios import SCENARIOS, wishes

TEN_MINUTES = Wish(seconds=600.0, seed=9)


def test_all_has_every_nemesis():
    """A nemesis that no part has is never run; what has no room on three nodes has it on five."""
    assert {name for part in SCENARIOS["all"] for name in part.nemeses} == set(NEMESES)
    for nodes, left_out in ((3, NEEDS_A_SPARE), (5, set())):
        run = [wish.nemeses for _, wish in wishes("all", TEN_MINUTES._replace(nodes=nodes))]
        assert {name for names in run for name in names} == set(NEMESES) - left_out


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_shares_are_of_a_whole(scenario):
    """The time that is asked for is the time that is taken."""
    assert sum(part.share for part in SCENARIOS[scenario]) == pytest.approx(1.0)


def test_in_ten_minutes_every_part_has_time_for_its_faults():
    """So that nothing of `make chaos` is void for want of time."""
    for name, wish in wishes("all", TEN_MINUTES):
        assert {fault.name for fault in plan_of(wish)} == set(wish.nemeses), name


def test_parts_are_told_apart():
    """Each has a folder and a seed of its own."""
    parts = list(wishes("all", TEN_MINUTES))

    assert len({name for name, _ in parts}) == len({wish.seed for _, wish in parts}) == len(parts)
