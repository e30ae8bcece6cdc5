"""The bounds agree with each other and with what is published."""

from __future__ import annotations

from holdfast import keys
from holdfast_node import limits


def test_the_bounds_are_the_published_ones() -> None:
    """What clients were promised does not drift."""
    assert limits.KEY_BYTES_MAX == keys.KEY_BYTES_MAX == 1024
    assert limits.VALUE_BYTES_MAX == keys.VALUE_BYTES_MAX == 2**20
    assert (limits.FRAME_BYTES_MAX, limits.FRAME_OPERATIONS_MAX) == (4 * 2**20, 4096)
    assert (limits.TTL_MS_MIN, limits.TTL_MS_MAX) == (10, 315_360_000_000)
    assert (limits.TXN_OPERATIONS_MAX, limits.DELETE_KEYS_MAX, limits.SCAN_ITEMS_MAX) == (128, 1000, 1000)
    assert limits.NOT_AFTER_AHEAD_MS_MAX == 600_000


def test_every_bound_is_a_positive_whole_number() -> None:
    """A bound of zero, or of another kind, is a typing mistake."""
    bounds = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(bounds) > 30
    for name, value in bounds.items():
        assert type(value) is int, name
        assert value > 0, name
