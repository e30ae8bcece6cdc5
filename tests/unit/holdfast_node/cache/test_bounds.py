"""Bounds of fields at their edges. (Which field has which: test_commands.py.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from holdfast.types import Level
from holdfast_node import limits
from holdfast_node.cache.bounds import DecodeError, checked_level, checked_ttl, checked_value, key_problem


@pytest.mark.parametrize("ttl_ms", [0, limits.TTL_MS_MIN, limits.TTL_MS_MAX])
def test_a_ttl_within_its_bounds_comes_back(ttl_ms: int) -> None:
    """Both ends belong to the range, and 0 means that the key does not expire."""
    assert checked_ttl("ttl_ms", ttl_ms) == ttl_ms


@pytest.mark.parametrize("bound_ms", [1, limits.BOUND_MS_MAX])
def test_a_bounded_read_has_a_bound(bound_ms: int) -> None:
    """Both ends of the bound belong to it; an absent level is linearizable."""
    assert checked_level("", Level.BOUNDED, bound_ms, True) == (Level.BOUNDED, bound_ms, True)
    assert checked_level("", 0, 0, False) == (Level.LINEARIZABLE, 0, False)


@pytest.mark.parametrize(
    ("check", "field"),
    [
        (lambda: checked_ttl("a.ttl_ms", limits.TTL_MS_MIN - 1), "a.ttl_ms"),
        (lambda: checked_ttl("a.ttl_ms", limits.TTL_MS_MAX + 1), "a.ttl_ms"),
        (lambda: checked_value("a.value", bytes(limits.VALUE_BYTES_MAX + 1)), "a.value"),
        (lambda: checked_level("a.", -1, 0, False), "a.level"),
        (lambda: checked_level("a.", Level.ANY + 1, 0, False), "a.level"),
        (lambda: checked_level("a.", Level.BOUNDED, 0, False), "a.bound_ms"),
        (lambda: checked_level("a.", Level.BOUNDED, limits.BOUND_MS_MAX + 1, False), "a.bound_ms"),
        (lambda: checked_level("a.", Level.ANY, 1, False), "a.bound_ms"),
        (lambda: checked_level("a.", Level.SESSION, 0, True), "a.or_linearizable"),
    ],
)
def test_what_lies_outside_names_its_field(check: Callable[[], object], field: str) -> None:
    """One step beyond either end is refused under the field's dotted name."""
    with pytest.raises(DecodeError) as caught:
        check()
    assert caught.value.field == field


def test_a_key_problem_tells_absent_from_too_long() -> None:
    """The message says which of the two it is, and the bound."""
    assert key_problem("key", b"").message == "is required"
    assert "1024" in key_problem("key", bytes(1025)).message
