"""One shard in memory, for the fake client: what each operation does to a dict.

Invariant: an operation answers and changes what the cluster's state machine would, seen from a client:
results, revisions, expiry by the clock it is told, events in order. Errors are results.

Does not evict, replicate, persist or remember sessions. Time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from holdfast import wire
from holdfast.errors import Reason
from holdfast.keys import KeyRange
from holdfast.operations import INT64_MAX, INT64_MIN
from holdfast.types import Event, EventKind, Outcome

DELETE_KEYS_MAX: Final = 1000
SCAN_BYTES_MAX: Final = 1024 * 1024
_INTEGER = re.compile(rb"-?[0-9]{1,19}\Z")


class Record(NamedTuple):
    """A key's value. deadline_ms: 0: does not expire."""

    value: bytes
    revision: int
    deadline_ms: int


class Refused(Exception):
    """An operation has no effect."""

    def __init__(self, reason: Reason, message: str, revision: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.revision = revision


class FakeStore:
    """Keys, revision and history of one shard."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Record] = {}
        self.revision = 0
        self.events: list[Event] = []

    def apply(self, operation: wire.OperationMessage, now_ms: int) -> wire.Result:
        """Does one operation at a time, which never goes back."""
        self.expire(now_ms)
        kind = operation.WhichOneof("kind") or ""
        result = wire.Result(sequence=operation.sequence)
        try:
            if kind == "scan":
                self._scan(operation.scan, result, now_ms)
            elif kind == "txn":
                self._txn(operation.txn, result, now_ms)
            elif kind == "delete" and operation.delete.HasField("range"):
                self._delete_range(operation.delete, result)
            else:
                after = dict[bytes, Record | None]()
                self._step(kind, operation, self.keys, after, result, now_ms)
                self._commit(after, result, now_ms)
        except Refused as refused:
            failed = wire.Result(sequence=operation.sequence, revision=refused.revision)
            failed.error.reason = int(refused.reason)  # type: ignore[assignment]
            failed.error.outcome = int(Outcome.REFUSED)  # type: ignore[assignment]
            failed.error.message = str(refused)
            return failed
        return result

    def expire(self, now_ms: int) -> None:
        """Keys whose time has come go, in one revision."""
        late = sorted(key for key, record in self.keys.items() if 0 < record.deadline_ms <= now_ms)
        self.remove(late, EventKind.EXPIRED)

    def remove(self, keys: Iterable[bytes], kind: EventKind) -> int:
        """Takes keys away; how many were there."""
        gone = [key for key in keys if key in self.keys]
        if gone:
            self.revision += 1
        for key in gone:
            before = self.keys.pop(key)
            self.events.append(Event(kind, key, None, self.revision, before.value, 0))
        return len(gone)

    # ---- single keys ----

    def _step(
        self,
        kind: str,
        operation: Any,
        before: dict[bytes, Record],
        after: dict[bytes, Record | None],
        result: wire.Result,
        now_ms: int,
    ) -> None:
        """One key's operation: what it answers into `result`, what becomes of the key into `after`."""
        step = _STEPS.get(kind)
        if step is None:
            raise Refused(Reason.INVALID, "the operation has no kind")
        key = operation.key
        old = after.get(key, before.get(key)) if key in after else before.get(key)
        asked = getattr(operation, kind)
        revision = self.revision + 1
        changed, record = step(asked, old, result, revision, now_ms)
        if changed:
            result.revision = revision
            after[key] = record

    def _commit(self, after: dict[bytes, Record | None], result: wire.Result, now_ms: int) -> None:
        """Writes what the steps decided, as one revision."""
        if not after:
            return
        self.revision += 1
        result.revision = self.revision
        for key in sorted(after):
            old, record = self.keys.get(key), after[key]
            previous = old.value if old else None
            if record is None:
                if old is not None:
                    del self.keys[key]
                    self.events.append(Event(EventKind.DELETED, key, None, self.revision, previous, 0))
                continue
            self.keys[key] = record
            is_touch = record.revision != self.revision
            kind = EventKind.TOUCHED if is_touch else EventKind.PUT
            value = None if is_touch else record.value
            self.events.append(Event(kind, key, value, self.revision, previous, record.deadline_ms))
        self.expire(now_ms)

    # ---- ranges and transactions ----

    def _in(self, range_: Any) -> list[bytes]:
        keys = KeyRange.of_prefix(range_.prefix) if range_.prefix else KeyRange(range_.start, range_.end)
        return sorted(key for key in self.keys if key in keys)

    def _delete_range(self, delete: Any, result: wire.Result) -> None:
        found = self._in(delete.range)
        if len(found) > DELETE_KEYS_MAX and not delete.paged:
            raise Refused(Reason.TOO_MANY_KEYS, f"the range holds more than {DELETE_KEYS_MAX} keys")
        result.deleted = self.remove(found[:DELETE_KEYS_MAX], EventKind.DELETED)
        result.more = len(found) > DELETE_KEYS_MAX
        result.revision = self.revision if result.deleted else 0

    def _scan(self, scan: Any, result: wire.Result, now_ms: int) -> None:
        size, limit = 0, scan.limit or 100
        result.page.SetInParent()
        for key in self._in(scan.range):
            if getattr(scan, "from") and key < getattr(scan, "from"):
                continue
            if len(result.page.items) >= limit or size >= SCAN_BYTES_MAX:
                result.page.next = key
                return
            record = self.keys[key]
            item = result.page.items.add(key=key, revision=record.revision, ttl_ms=_ttl(record, now_ms))
            if not scan.keys_only:
                item.value = record.value
                size += len(record.value)

    def _txn(self, txn: Any, result: wire.Result, now_ms: int) -> None:
        result.txn.succeeded = all(self._holds(compare) for compare in txn.compares)
        after = dict[bytes, Record | None]()
        for step in txn.then if result.txn.succeeded else txn.otherwise:
            kind = step.WhichOneof("kind") or ""
            self._step(kind, step, self.keys, after, result.txn.results.add(), now_ms)
        self._commit(after, result, now_ms)

    def _holds(self, compare: Any) -> bool:
        record = self.keys.get(compare.key)
        if compare.WhichOneof("test") == "exists":
            return bool(compare.exists) == (record is not None)
        return bool(compare.revision == (record.revision if record else 0))


# (changed, the new record or None when the key goes)
Change = tuple[bool, Record | None]


def _ttl(record: Record, now_ms: int) -> int:
    return max(1, record.deadline_ms - now_ms) if record.deadline_ms else 0


def _check(asked: Any, old: Record | None) -> None:
    present = old.revision if old else 0
    if asked.HasField("if_revision") and asked.if_revision != present:
        message = f"the key's revision is {present}, not {asked.if_revision}"
        raise Refused(Reason.CONDITION_FAILED, message, present)


def _get(_: Any, old: Record | None, result: wire.Result, __: int, now_ms: int) -> Change:
    if old is not None:
        result.revision, result.value, result.ttl_ms = old.revision, old.value, _ttl(old, now_ms)
    return False, None


def _put(asked: Any, old: Record | None, result: wire.Result, revision: int, now_ms: int) -> Change:
    _check(asked, old)
    if asked.if_absent and old is not None:
        raise Refused(Reason.CONDITION_FAILED, "the key exists", old.revision)
    if asked.if_present and old is None:
        raise Refused(Reason.CONDITION_FAILED, "the key does not exist")
    if asked.return_previous and old is not None:
        result.value = old.value
    return True, Record(asked.value, revision, now_ms + asked.ttl_ms if asked.ttl_ms else 0)


def _delete(asked: Any, old: Record | None, result: wire.Result, _: int, __: int) -> Change:
    _check(asked, old)
    if old is None:
        return False, None
    result.deleted = 1
    if asked.return_previous:
        result.value = old.value
    return True, None


def _cas(asked: Any, old: Record | None, _: wire.Result, revision: int, now_ms: int) -> Change:
    present = old.revision if old else 0
    if asked.revision != present:
        message = f"the key's revision is {present}, not {asked.revision}"
        raise Refused(Reason.CONDITION_FAILED, message, present)
    return True, Record(asked.value, revision, now_ms + asked.ttl_ms if asked.ttl_ms else 0)


def _increment(asked: Any, old: Record | None, result: wire.Result, revision: int, now_ms: int) -> Change:
    present, base = old.revision if old else 0, asked.initial
    if old is not None:
        if not _INTEGER.match(old.value):
            raise Refused(Reason.WRONG_TYPE, "the value is not the decimal text of an int64", present)
        base = int(old.value)
    total = base + asked.by
    lowest = asked.minimum if asked.HasField("minimum") else INT64_MIN
    highest = asked.maximum if asked.HasField("maximum") else INT64_MAX
    if not lowest <= total <= highest:
        message = f"the sum {total} lies outside {lowest}..{highest}"
        raise Refused(Reason.CONDITION_FAILED, message, present)
    result.number = total
    fresh = now_ms + asked.ttl_ms if asked.ttl_ms else 0
    return True, Record(b"%d" % total, revision, old.deadline_ms if old else fresh)


def _touch(asked: Any, old: Record | None, _: wire.Result, __: int, now_ms: int) -> Change:
    if old is None:
        return False, None
    # The key keeps the revision that wrote its value.
    return True, old._replace(deadline_ms=now_ms + asked.ttl_ms if asked.ttl_ms else 0)


_STEPS: dict[str, Callable[[Any, Record | None, wire.Result, int, int], Change]] = {
    "get": _get,
    "put": _put,
    "delete": _delete,
    "compare_and_set": _cas,
    "increment": _increment,
    "touch": _touch,
}
