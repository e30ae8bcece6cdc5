"""What is read, at whatever level, was written once by somebody who had begun to."""

from __future__ import annotations

import pytest
from holdfast_chaos import values

from tests.unit.holdfast_chaos.records import Script, rules


def broken(script: Script) -> list[str]:
    return rules(values.check(script.operations))


@pytest.mark.parametrize("level", ["LINEARIZABLE", "SESSION", "BOUNDED", "ANY"])
def test_a_value_was_written(level):
    """Nobody reads what nobody wrote, nor what was refused; old values may be read here."""
    good = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 3), revision=2)
    stranger = Script().put("a", at=(0, 1), revision=1).get("x", at=(2, 3), revision=2, level=level)
    refused = Script().refused("put", "a", at=(0, 1)).get("a", at=(2, 3), revision=1, level=level)

    assert broken(good.get("a", at=(4, 5), revision=1, level=level)) == []
    assert broken(stranger) == ["never written"]
    assert broken(refused) == ["refused"]


def test_a_value_was_written_to_this_key():
    """A value of another key is a stranger."""
    script = Script().put("a", at=(0, 1), revision=1, key="other").get("a", at=(2, 3), revision=1)

    assert broken(script) == ["never written"]


def test_an_unknown_write_may_be_read():
    """Once it has begun, for ever after; not before."""
    good = Script().put("a", at=(0, None)).get("a", at=(5, 6), revision=1, level="ANY")
    early = Script().get("a", at=(5, 6), revision=1, level="ANY").put("a", at=(7, None))

    assert broken(good) == []
    assert broken(early) == ["from the future"]


def test_a_write_has_one_revision():
    """A retry that ran twice shows the value at two revisions."""
    read = Script().put("a", at=(0, 1), revision=1).get("a", at=(2, 3), revision=2, level="ANY")
    twice = Script().put("a", at=(0, None)).get("a", at=(2, 3), revision=2).get("a", at=(4, 5), revision=3)

    assert broken(read) == ["ran twice"]
    assert broken(twice) == ["ran twice"]


def test_a_revision_of_a_key_is_one_value():
    """Two values at one revision come of replicas that differ."""
    script = Script().put("a", at=(0, None)).put("b", at=(0, None))
    script.get("a", at=(2, 3), revision=1, level="ANY").get("b", at=(2, 3), revision=1, level="ANY")

    assert broken(script) == ["two values"]


def test_sums_are_left_out():
    """A key that is incremented holds values that nobody wrote."""
    script = Script().op("increment", 3, at=(0, 1), revision=1, result=3).get("3", at=(2, 3), revision=1)

    assert broken(script) == []


def test_values_in_transactions_count():
    """What a transaction wrote may be read; what it read must have been written."""
    ask = {"then": [["put", "u/x", "a"], ["get", "u/y"]]}
    good = Script("u/").op(
        "txn", ask, at=(0, 1), revision=1, result={"succeeded": True, "results": [[1, None], [0, None]]}
    )
    good.op("scan", at=(2, 3), result=[["u/x", "a", 1]])
    bad = Script("u/").op(
        "txn", ask, at=(0, 1), revision=1, result={"succeeded": True, "results": [[1, None], [1, "z"]]}
    )

    assert broken(good) == []
    assert broken(bad) == ["never written"]
