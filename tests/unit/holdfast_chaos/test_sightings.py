"""Operations taken apart, key by key."""

from __future__ import annotations

from holdfast_chaos.sightings import Change, Sighting, done_by, put_by, seen_by

from tests.unit.holdfast_chaos.records import Script

ASK = {
    "then": [["put", "x", "a"], ["get", "x"], ["get", "y"], ["delete", "z"]],
    "otherwise": [["put", "w", "b"]],
}
DONE = {"succeeded": True, "results": [[4, None], [4, "a"], [2, "old"], [0, None]]}


def test_a_transaction_shows_what_its_branch_read():
    """Of keys that it did not change itself before."""
    (txn,) = Script().op("txn", ASK, at=(0, 1), revision=4, result=DONE).operations

    assert seen_by(txn) == (Sighting("y", "old", 2),)


def test_a_transaction_does_what_its_branch_says():
    """Known: the branch that was done, a delete of nothing removes nothing. Not known: either."""
    (txn,) = Script().op("txn", ASK, at=(0, 1), revision=4, result=DONE).operations
    (maybe,) = Script().op("txn", ASK, at=(0, None)).operations

    assert done_by(txn) == (Change("x", "a", 4), Change("z", None, 0, removes=False))
    assert [(change.key, change.removes) for change in done_by(maybe)] == [
        ("x", False),
        ("z", True),
        ("w", False),
    ]
    assert put_by(txn) == (("x", "a"), ("w", "b"))


def test_what_was_refused_did_nothing_and_asked_for_something():
    """A refused put changes nothing; that it was asked for is known."""
    (put,) = Script().refused("put", "a", at=(0, 1)).operations

    assert done_by(put) == ()
    assert put_by(put) == (("k", "a"),)
