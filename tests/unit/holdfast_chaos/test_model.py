"""The sequential model of a key, step by step."""

from __future__ import annotations

import pytest
from holdfast_chaos.model import ABSENT, ANY_VALUE, PRESENT, UNKNOWN, Act, State, any_state, order_of, step

A5 = State("a", 5, 5)
MAYBE = State("a", UNKNOWN, 6)
GONE = State(None, 0, 5)


def refusal(revision: int, expect: int | str | None = None) -> Act:
    return Act("refusal", revision=revision, expect=expect)


def test_a_read_tells_the_revision_of_a_value_that_was_not_known():
    """From then on it is known; it is not below what was written before it."""
    assert step(MAYBE, Act("get", "a", 9)) == (State("a", 9, 9),)
    assert step(MAYBE, Act("get", "a", 5)) == ()
    assert step(MAYBE, Act("get", "a", None)) == (MAYBE,)


def test_a_write_raises_the_floor():
    """Its revision is greater; one that is not known is at least one more."""
    assert step(A5, Act("put", "b", 7)) == (State("b", 7, 7),)
    assert step(A5, Act("put", "b", 5)) == ()
    assert step(A5, Act("put", "b", is_known=False)) == (State("b", UNKNOWN, 6),)
    assert step(A5, Act("delete", revision=6, deleted=True)) == (State(None, 0, 6),)
    assert step(A5, Act("delete", is_known=False)) == (State(None, 0, 6),)


@pytest.mark.parametrize(
    ("state", "act", "fits"),
    [
        (A5, refusal(5, 4), True),
        (A5, refusal(5, 5), False),
        (A5, refusal(5, ABSENT), True),
        (A5, refusal(5, PRESENT), False),
        (A5, refusal(4, 3), False),
        (A5, refusal(0, PRESENT), False),
        (GONE, refusal(0, PRESENT), True),
        (GONE, refusal(0, 5), True),
        (GONE, refusal(0, ABSENT), False),
        (GONE, refusal(0, 0), False),
        (GONE, refusal(5, 4), False),
        (A5, refusal(5), True),
    ],
)
def test_a_refusal_fits_a_state_or_not(state, act, fits):
    """The key stands at the revision that was told, and the condition does not hold of that."""
    assert step(state, act) == ((state,) if fits else ())


def test_a_key_that_may_go_may_have_gone():
    """Every operation may find it or not; its version does not go back for that."""
    perishable = A5._replace(perishable=True)

    assert step(perishable, Act("get", None, 0)) == (GONE,)
    assert set(step(perishable, Act("delete", is_known=False))) == {State(None, 0, 6)}
    assert step(perishable, Act("put", "b", 6, expect=ABSENT)) == (State("b", 6, 6),)
    assert step(perishable, Act("put", "b", 4, expect=ABSENT)) == ()


def test_a_touch_keeps_value_and_revision():
    """It raises the floor, and what is known of the time to live."""
    assert step(A5, Act("touch", revision=8, ttl_ms=50)) == (State("a", 5, 8, perishable=True),)
    assert step(A5, Act("touch", revision=5, ttl_ms=50)) == ()
    assert step(MAYBE, Act("touch", revision=8)) == (MAYBE,)
    assert step(GONE, Act("touch", revision=0)) == (GONE,)


def test_increments_need_a_number():
    """A text is refused as WRONG_TYPE, so no answer fits; a value that is not known may be any number."""
    assert step(A5, Act("increment", by=1, is_known=False)) == ()
    assert step(State(ANY_VALUE, UNKNOWN, 0), Act("increment", "7", 9, by=1)) == (State("7", 9, 9),)
    assert step(State(ANY_VALUE, UNKNOWN, 0), Act("increment", by=1, is_known=False))[0].value == ANY_VALUE


def test_any_state_fits_every_first_observation():
    """For a part of a record whose beginning is left out."""
    for act in (Act("get", "x", 3), Act("get", None, 0), refusal(7, 2), Act("put", "y", 1)):
        assert any(step(state, act) for state in any_state(perishable=False))


def test_orders_put_a_write_before_its_readers():
    """And versions one behind the other; what has none stands anywhere."""
    acts = [Act("put", "a", 1), Act("get", "a", 1), Act("put", "b", 2), refusal(2, 1)]
    orders = [order_of(act) for act in acts]

    assert orders == [2, 3, 4, 5]
    assert [order_of(a) for a in (Act("get", None, 0), Act("touch", revision=9), Act("put", "c"))] == [
        None
    ] * 3
