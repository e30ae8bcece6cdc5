"""Values: what is read, at whatever level, was written once, by somebody who had begun to.

Rules, for keys whose values are unique and written by puts (a key that is incremented is left out):
- a value that is read was written to this key (*never written*), by a write that was not refused
  (*refused*), and that had begun by then (*from the future*);
- a write has one revision, so nothing runs twice (*ran twice*);
- a revision of a key is one value (*two values*).

Nothing is said about which value a read may return: that is linearizability's business, and the session
guarantees'. Weak reads may be old, but never of something that did not happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from holdfast_chaos.operation import Operation, text_of
from holdfast_chaos.record import Type
from holdfast_chaos.sightings import Sighting, done_by, put_by, seen_by
from holdfast_chaos.verdict import Finding, Judgement, judge


def check(operations: Iterable[Operation]) -> Judgement:
    """Judges every value that was read."""
    every = tuple(operations)
    writers: dict[tuple[str, Any], list[Operation]] = {}
    for operation in every:
        for key, value in put_by(operation):
            writers.setdefault((key, value), []).append(operation)
    summed = {operation.key for operation in every if operation.f == "increment"}
    summed |= {step[1] for o in every if o.f == "txn" for step in _steps(o) if step[0] == "increment"}
    broken: list[Finding] = []
    looked_at = 0
    for operation in every:
        for sighting in seen_by(operation):
            if sighting.value is None or sighting.key in summed:
                continue
            looked_at += 1
            broken += _origin(operation, sighting, writers.get((sighting.key, sighting.value), []))
    broken += _versions(every, writers, summed)
    return judge("values", broken=broken, figures={"values_read": looked_at, "values_written": len(writers)})


def _steps(operation: Operation) -> Iterator[Any]:
    yield from operation.argument.get("then", ())
    yield from operation.argument.get("otherwise", ())


def _origin(reader: Operation, sighting: Sighting, writers: list[Operation]) -> Iterator[Finding]:
    """Where a value came from."""
    if not writers:
        rule, why = "never written", "nobody wrote it"
    elif all(writer.outcome is Type.FAIL for writer in writers):
        rule, why = "refused", "its write was refused"
    elif all(writer.start_ns > reader.end_ns for writer in writers if writer.outcome is not Type.FAIL):
        rule, why = "from the future", "its write had not begun"
    else:
        return
    story = (*(text_of(writer) for writer in writers[:3]), text_of(reader))
    yield Finding(rule, f"{sighting.value!r} was read, and {why}", sighting.key, story)


def _versions(
    operations: Iterable[Operation], writers: dict[tuple[str, Any], list[Operation]], summed: set[Any]
) -> Iterator[Finding]:
    """A value and its revision belong to each other."""
    revision_of: dict[tuple[str, Any], tuple[int, Operation]] = {}
    value_at: dict[tuple[str, int], tuple[Any, Operation]] = {}
    told: set[tuple[str, Any]] = set()
    for operation in operations:
        pairs = [(c.key, c.value, c.revision) for c in done_by(operation) if operation.is_ok]
        pairs += [(s.key, s.value, s.revision) for s in seen_by(operation)]
        for key, value, revision in pairs:
            if value is None or not revision or key in summed:
                continue
            known, first = revision_of.setdefault((key, value), (revision, operation))
            is_one_write = len(writers.get((key, value), ())) == 1
            if known != revision and is_one_write and (key, value) not in told:
                told.add((key, value))
                message = f"{value!r} was written once and stands at revisions {known} and {revision}"
                yield Finding("ran twice", message, key, (text_of(first), text_of(operation)))
            other, first = value_at.setdefault((key, revision), (value, operation))
            if other != value and (key, revision) not in told:
                told.add((key, revision))
                message = f"revision {revision} is {other!r} and {value!r}"
                yield Finding("two values", message, key, (text_of(first), text_of(operation)))
