"""The sequential model of a unit of keys."""

from __future__ import annotations

from holdfast_chaos.model import Act, State
from holdfast_chaos.unit_model import UnitAct, UnitState, step

X1 = UnitState((("x", State("a", 1, 1)),), 1)
READ_Y = ("y", Act("get", None, 0))


def test_a_key_may_be_changed_twice_in_one_revision():
    """The second step of a transaction sees the first, and takes the same revision."""
    steps = (("x", Act("put", "b", 2)), ("x", Act("get", "b", 2)), ("x", Act("put", "c", 2)))

    (after,) = step(X1, UnitAct((), steps, (), True, 2))
    assert after.of("x") == State("c", 2, 2)
    assert after.floor == 2


def test_a_unit_counts_its_revisions_once():
    """A transaction on another key takes a greater one too."""
    assert step(X1, UnitAct((), (("y", Act("put", "b", 2)),), (), True, 2))
    assert step(X1, UnitAct((), (("y", Act("put", "b", 1)),), (), True, 1)) == ()


def test_an_unknown_transaction_may_delete_nothing():
    """Its other steps take effect all the same."""
    steps = (("y", Act("delete", is_known=False)), ("x", Act("put", "b", is_known=False)))

    (after,) = step(X1, UnitAct((), steps, (), None, None))
    assert after.of("x").value == "b"


def test_a_scan_shows_every_key():
    """A key that exists and is not shown makes it impossible."""
    assert step(X1, UnitAct((), (("x", Act("get", "a", 1)),), (), True, 0, is_scan=True)) == (X1,)
    assert step(X1, UnitAct((), (), (), True, 0, is_scan=True)) == ()


def test_one_compare_that_fails_is_enough():
    """And none that fails is not."""

    def failed(*compares: tuple[str, int | str]) -> bool:
        return bool(step(X1, UnitAct(compares, (), (READ_Y,), False, 0)))

    assert failed(("x", "present"), ("y", "present"))
    assert failed(("x", 2))
    assert not failed(("x", "present"), ("x", 1), ("y", "absent"))
    assert not failed()


def test_all_compares_hold():
    """For the first branch."""

    def held(*compares: tuple[str, int | str]) -> bool:
        return bool(step(X1, UnitAct(compares, (READ_Y,), (), True, 0)))

    assert held(("x", "present"), ("x", 1), ("y", "absent"))
    assert not held(("x", "present"), ("y", "present"))
