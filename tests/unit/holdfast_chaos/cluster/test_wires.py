"""What one direction between two parties does."""

from __future__ import annotations

import random

from holdfast_chaos.cluster.wires import CLIENTS, Wires, between, both_ways


def test_a_wire_is_one_direction():
    """What is done to one way leaves the other alone."""
    wires = Wires()
    wires.cut([(1, 2)])

    assert wires(1, 2).is_cut
    assert not wires(2, 1).is_cut
    assert wires(2, 1).is_plain


def test_healing_makes_every_wire_plain():
    """Whatever it was."""
    wires = Wires()
    wires.cut(between({1}, {2, 3}))
    wires(3, CLIENTS).change(delay_s=0.1, jitter_s=0.1, bytes_per_s=10)
    wires.heal()

    assert all(wire.is_plain for wire in wires)


def test_pairs_of_two_sides_go_both_ways():
    """A partition is both directions of every pair."""
    assert between({1}, {2, 3}) == {(1, 2), (2, 1), (1, 3), (3, 1)}
    assert both_ways({(1, 2)}) == {(1, 2), (2, 1)}


def test_lateness_is_delay_and_jitter_and_the_time_that_bytes_take():
    """Each by itself, and together."""
    wire = Wires()(1, 2)
    wire.change(delay_s=0.5, bytes_per_s=1000)
    assert wire.late_s(100, random.Random(1)) == 0.6
    wire.change(jitter_s=0.2)
    assert 0.6 <= wire.late_s(100, random.Random(1)) <= 0.8


def test_who_waits_is_told():
    """Of every change, once."""
    told: list[int] = []
    wire = Wires()(1, 2)
    wire.waiting.add(lambda: told.append(1))
    wire.change(is_cut=True)
    wire.change(is_cut=False)

    assert told == [1, 1]
