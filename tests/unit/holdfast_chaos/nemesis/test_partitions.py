"""Which directions each kind of partition cuts."""

from __future__ import annotations

import random

import pytest
from holdfast_chaos.nemesis import partitions

THREE, FIVE = (1, 2, 3), (1, 2, 3, 4, 5)


def hears(nodes: tuple[int, ...], pairs: set[tuple[int, int]]) -> dict[int, set[int]]:
    return {
        node: {other for other in nodes if other != node and (other, node) not in pairs} for node in nodes
    }


def test_an_isolated_node_neither_hears_nor_is_heard():
    """And nobody else notices anything."""
    assert hears(THREE, partitions.isolated(2, THREE)) == {1: {3}, 2: set(), 3: {1}}


@pytest.mark.parametrize("nodes", [THREE, FIVE])
def test_halves_leave_a_majority(nodes):
    """The larger side can go on."""
    heard = hears(nodes, partitions.halves(nodes, random.Random(1)))
    sizes = sorted(len(others) + 1 for others in heard.values())

    assert sizes[-1] > len(nodes) / 2
    assert sizes[0] <= len(nodes) / 2


def test_in_a_ring_nobody_hears_all_others():
    """Of three each hears one, of five each its two neighbours."""
    assert hears(THREE, partitions.ring(THREE)) == {1: {3}, 2: {1}, 3: {2}}
    assert hears(FIVE, partitions.ring(FIVE)) == {1: {2, 5}, 2: {1, 3}, 3: {2, 4}, 4: {3, 5}, 5: {1, 4}}


def test_a_bridge_is_seen_by_all():
    """One node hears everybody; the others only their side and the bridge."""
    heard = hears(FIVE, partitions.bridge(FIVE, random.Random(1)))

    assert sorted(len(others) for others in heard.values()) == [2, 2, 2, 2, 4]


@pytest.mark.parametrize(("deaf", "heard"), [(True, {1: {2, 3}, 2: set(), 3: {1, 2}}), (False, None)])
def test_one_way_is_one_way(deaf, heard):
    """A deaf node is heard; a mute one hears."""
    told = hears(THREE, partitions.one_way(2, THREE, deaf=deaf))

    assert told == (heard or {1: {3}, 2: {1, 3}, 3: {1}})
    assert told[1] | told[3] >= {1, 3}
