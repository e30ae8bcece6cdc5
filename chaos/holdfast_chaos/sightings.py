"""What an operation saw and what it wrote, key by key, for the checkers that look at single values.

Transactions and scans are taken apart here (their form: `unit_model.py`), so that a value that was read in
one is a value that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Type


class Sighting(NamedTuple):
    """What was told of a key. value: None: it did not exist; revision: None: not told."""

    key: str
    value: Any
    revision: int | None


class Change(NamedTuple):
    """What was done to a key. value: None: it is no put; revision: None: not known; 0: it changed nothing."""

    key: str
    value: Any
    revision: int | None
    removes: bool = False


def seen_by(operation: Operation) -> tuple[Sighting, ...]:
    """The keys that the answer tells of."""
    reply = operation.reply
    if reply is None or reply.type is not Type.OK or reply.error is not None:
        return ()
    key = operation.key or ""
    if operation.f == "get":
        return (Sighting(key, reply.value if reply.revision != 0 else None, reply.revision),)
    if operation.f in ("put", "delete") and operation.invoke.want_previous:
        return (Sighting(key, reply.value, None),)
    if operation.f == "scan":
        return tuple(Sighting(name, value, revision) for name, value, revision in reply.value)
    if operation.f == "txn":
        return _seen_by_txn(operation)
    return ()


def _seen_by_txn(operation: Operation) -> tuple[Sighting, ...]:
    own: set[str] = set()
    found: list[Sighting] = []
    for (f, key, *_), (revision, value) in zip(_taken(operation), operation.result["results"], strict=True):
        if f == "get" and key not in own:
            found.append(Sighting(key, value if revision else None, revision))
        elif f != "get":
            own.add(key)
    return tuple(found)


def _taken(operation: Operation) -> Sequence[Any]:
    """The steps of the branch that was done."""
    branch = "then" if operation.result["succeeded"] else "otherwise"
    steps: Sequence[Any] = operation.argument.get(branch, ())
    return steps


def done_by(operation: Operation) -> tuple[Change, ...]:
    """What it did to keys, or may have done; nothing when it was refused."""
    if operation.outcome is Type.FAIL or not operation.is_write:
        return ()
    key, revision = operation.key or "", operation.revision
    if operation.f == "put":
        return (Change(key, operation.argument, revision),)
    if operation.f == "txn":
        return _done_by_txn(operation)
    return (Change(key, None, revision, removes=operation.f == "delete" and revision != 0),)


def _done_by_txn(operation: Operation) -> tuple[Change, ...]:
    asked = operation.argument
    if operation.is_ok and operation.result is not None:
        results = [revision for revision, _ in operation.result["results"]]
        steps = list(zip(_taken(operation), results, strict=True))
    else:
        steps = [(step, None) for step in (*asked.get("then", ()), *asked.get("otherwise", ()))]
    return tuple(
        Change(key, given[0] if f == "put" else None, revision, removes=f == "delete" and revision != 0)
        for (f, key, *given), revision in steps
        if f != "get"
    )


def put_by(operation: Operation) -> tuple[tuple[str, Any], ...]:
    """Every (key, value) that it asked to write, whatever became of it."""
    if operation.f == "put":
        return ((operation.key or "", operation.argument),)
    if operation.f == "txn":
        asked = operation.argument
        steps = (*asked.get("then", ()), *asked.get("otherwise", ()))
        return tuple((step[1], step[2]) for step in steps if step[0] == "put")
    return ()
