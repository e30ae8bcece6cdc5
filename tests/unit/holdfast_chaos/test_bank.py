"""Accounts that money moves between."""

from __future__ import annotations

from typing import Any

from holdfast_chaos import bank

from tests.unit.holdfast_chaos.records import Script, rules


def moved(amount: int, *, at: tuple[float, float | None] = (0, 1), script: Script | None = None) -> Script:
    return (script or Script()).op("transfer", {"from": "a", "to": "b", "amount": amount}, at=at)


def broken(script: Script, **more: Any) -> list[str]:
    return rules(bank.check(script.operations, ("a", "b"), 10, **more))


def read(script: Script, held: dict[str, int], level: str = "LINEARIZABLE") -> Script:
    return script.op("read", at=(5, 6), result=held, level=level)


def test_the_total_never_changes():
    """At any level: a read is consistent in itself, old or not."""
    assert broken(read(moved(3), {"a": 7, "b": 13})) == []
    assert broken(read(moved(3), {"a": 10, "b": 10}, "ANY")) == []
    assert broken(read(moved(3), {"a": 7, "b": 10}, "ANY")) == ["total"]


def test_a_transfer_is_done_once():
    """An acknowledged one is not missing and not there twice; an unknown one may be either."""
    maybe = moved(3, at=(0, None))

    assert broken(read(moved(3), {"a": 10, "b": 10})) == ["balance", "balance"]
    assert broken(read(moved(3), {"a": 4, "b": 16})) == ["balance", "balance"]
    assert broken(read(read(maybe, {"a": 10, "b": 10}), {"a": 7, "b": 13})) == []


def test_no_account_is_overdrawn_or_missing():
    """Unless the workload allows the first."""
    assert "overdrawn" in broken(read(moved(13), {"a": -3, "b": 23}))
    assert broken(read(moved(13), {"a": -3, "b": 23}), overdraft=True) == []
    assert broken(read(moved(3), {"a": 20})) == ["accounts"]
