"""Schedules that once broke the product, by the name of what was wrong; see tests/planted/found_bugs.py.

That each still shows its bug when the fix is taken out is checked by `make sim-planted`.
"""

from __future__ import annotations

import pytest

from tests.planted.found_bugs import FOUND_BUGS
from tests.planted.search import recorded
from tests.sim.plan import make_plan
from tests.sim.reshape_schedule import schedule_of
from tests.sim.schedule import Schedule


@pytest.mark.parametrize("name", [bug.name for bug in FOUND_BUGS])
def test_what_was_found_once_is_cured(name: str) -> None:
    """The very schedule that shows the bug runs through on the product."""
    found = recorded()[name]

    assert schedule_of(make_plan(found.seed, found.profile, found.replicas)).run().acknowledged > 0


def test_a_disk_that_failed_a_moment_ago_counts_as_failed_when_it_is_healed() -> None:
    """The harness's own: a node that has not heard yet of its disk's failure is powered off with it.

    Its death, a moment after the fault was healed, was taken for a defect of the product.
    """
    assert Schedule(make_plan(40493)).run().acknowledged > 0


def test_a_node_that_was_wiped_meanwhile_is_not_asked_for_a_leadership() -> None:
    """The harness's own: it asked a node without replicas to hand one over."""
    assert Schedule(make_plan(59237)).run().acknowledged > 0
