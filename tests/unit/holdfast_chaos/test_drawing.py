"""Pieces of a drawing."""

from __future__ import annotations

import pytest
from holdfast_chaos import drawing
from holdfast_chaos.drawing import Scale


def test_a_scale_maps_ends_to_ends():
    """Also when there is only one value."""
    scale = Scale(0, 10, 100, 200)

    assert (scale(0), scale(5), scale(10)) == (100, 150, 200)
    assert Scale(3, 3, 100, 200)(3) == 100


def test_a_line_breaks_off_where_there_is_nothing():
    """A time without a latency is no latency of zero."""
    assert 'd="M0 0 L1 1 M3 3"' in drawing.path([(0, 0), (1, 1), None, (3, 3)], "p50")


@pytest.mark.parametrize(
    ("most", "wanted"), [(0, [0]), (3, [0, 1, 2, 3]), (9, [0, 5]), (100, [0, 25, 50, 75, 100])]
)
def test_ticks_are_round_and_few(most, wanted):
    """1, 2, 5 or so times a power of ten, within what there is."""
    found = drawing.ticks(most)

    assert len(found) <= 5
    assert found[0] == 0
    assert found[-1] <= most
    assert found == wanted or len(wanted) > 1
