"""Every fault that can be planned can be carried out, and the other way round."""

from __future__ import annotations

from holdfast_chaos.nemesis.known import MOVES_SHARDS, NEEDS_OUR_DISK, NEMESES
from holdfast_chaos.schedule import KINDS


def test_plans_and_carriers_know_the_same_names():
    """A name that only one side knows would be a fault that never fires."""
    assert set(NEMESES) == set(KINDS)
    assert set(NEMESES) >= NEEDS_OUR_DISK | MOVES_SHARDS


def test_every_nemesis_says_what_it_does():
    """`list` shows the first line."""
    assert [name for name, nemesis in NEMESES.items() if not nemesis.__doc__] == []
