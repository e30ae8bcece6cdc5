"""Arguments are checked before they are sent."""

from datetime import timedelta

import pytest
from holdfast.errors import InvalidError
from holdfast.keys import KeyRange
from holdfast.operations import (
    TTL_MS_MAX,
    TTL_MS_MIN,
    Compare,
    Step,
    check_int64,
    check_put_conditions,
    checked_timeout,
    key_bytes,
    key_range,
    ttl_in_ms,
    value_bytes,
)


@pytest.mark.parametrize(
    ("act", "field"),
    [
        (lambda: key_bytes(""), "key"),
        (lambda: key_bytes("k" * 1025), "key"),
        (lambda: value_bytes(b"x" * (1024 * 1024 + 1)), "value"),
        (lambda: ttl_in_ms(TTL_MS_MIN - 1, None), "ttl_ms"),
        (lambda: ttl_in_ms(-1, None), "ttl_ms"),
        (lambda: ttl_in_ms(TTL_MS_MAX + 1, None), "ttl_ms"),
        (lambda: ttl_in_ms(10, 1.0), "ttl_ms"),
        (lambda: ttl_in_ms(None, 0.0), "ttl_ms"),
        (lambda: key_range("a", "b"), "range.prefix"),
        (lambda: key_range(None, "b", "a"), "range.end"),
        (lambda: checked_timeout(0), "timeout_s"),
        (lambda: checked_timeout(601), "timeout_s"),
        (lambda: check_put_conditions(1, True, False), "put.if_revision"),
        (lambda: check_put_conditions(-1, False, False), "put.if_revision"),
        (lambda: check_int64("by", 2**63), "by"),
        (lambda: Compare.exists(""), "txn.compares.key"),
        (lambda: Step.put("k", "v", ttl_ms=1), "txn.put.ttl_ms"),
    ],
)
def test_a_value_out_of_bounds_names_its_field(act, field):
    """Each bad argument is an InvalidError that names the field at fault."""
    with pytest.raises(InvalidError) as caught:
        act()

    assert caught.value.field == field


def test_what_lies_on_the_bounds_passes():
    """Bounds are inclusive."""
    assert len(key_bytes("k" * 1024)) == 1024
    assert len(value_bytes(b"x" * 1024 * 1024)) == 1024 * 1024
    assert ttl_in_ms(TTL_MS_MIN, None) == TTL_MS_MIN
    assert ttl_in_ms(TTL_MS_MAX, None) == TTL_MS_MAX


def test_lifetimes_have_three_spellings():
    """Milliseconds, seconds and timedelta say the same; none of them: for ever."""
    assert [ttl_in_ms(1500, None), ttl_in_ms(None, 1.5), ttl_in_ms(None, timedelta(seconds=1.5))] == [
        1500
    ] * 3
    assert ttl_in_ms(None, None) == 0


def test_text_is_utf8():
    """str keys and prefixes are their UTF-8 bytes."""
    assert key_bytes("ä") == "ä".encode()
    assert key_range("a") == KeyRange(b"a", b"b")
    assert key_range() == KeyRange(b"", b"")
