"""What each operation does.

A step function decides, on one key's present record, what becomes of it: pure, so that a transaction can
try its steps on an overlay and drop them all. `write` then makes room and commits, in one revision.

Invariants: a refused operation changes nothing, except that keys whose time had come are gone; a
transaction whose step is refused is refused as a whole; keys that an operation names are expired before
it looks at them.
Not here: repeats and deadlines of operations (state.py), which operations are well-formed (commands.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from holdfast.errors import Reason
from holdfast.keys import KeyRange
from holdfast.types import Item
from holdfast.units import is_among

from holdfast_node import limits
from holdfast_node.cache.buckets import HEADER, HEADER_BYTES, RECORD_OVERHEAD, counted_bytes
from holdfast_node.cache.eviction import RECENCY_MAX, RECENCY_NEW, make_room
from holdfast_node.cache.history import DELETED, PUT, TOUCHED
from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.op import (
    ABSENT,
    COMPARE_AND_SET,
    DELETE,
    GET,
    INCREMENT,
    INT64_MAX,
    INT64_MIN,
    NO_REVISION,
    PRESENT,
    TOUCH,
    TXN,
    Compare,
    Op,
)
from holdfast_node.cache.op import PUT as PUT_OP
from holdfast_node.cache.results import OpResult, Page, TxnOutcome, done, got

_INTEGER = re.compile(rb"-?[0-9]{1,19}\Z")
_unpack = HEADER.unpack_from
_pack = HEADER.pack


# What a step makes of its key: (the answer, the event's kind or 0 when nothing changes, the new record or
# None when the key goes). A plain tuple: named ones cost three times as much, on every write.
Decision = tuple[OpResult, int, bytes | None]
# (operation, present record or None, stamp, the revision this write would make) -> what to do
Step = Callable[[Op, bytes | None, int, int], Decision]


def _refused(reason: Reason, message: str, revision: int = 0, field: str = "") -> Decision:
    return OpResult(int(reason), revision, message=message, field=field), 0, None


def _condition(op: Op, old: bytes | None) -> Decision | None:
    """The refusal of a write whose condition does not hold."""
    present: int = 0 if old is None else _unpack(old)[1]
    if op.presence == ABSENT and old is not None:
        return _refused(Reason.CONDITION_FAILED, "the key exists", present)
    if op.presence == PRESENT and old is None:
        return _refused(Reason.CONDITION_FAILED, "the key does not exist", 0)
    if op.if_revision not in (NO_REVISION, present):
        message = f"the key's revision is {present}, not {op.if_revision}"
        return _refused(Reason.CONDITION_FAILED, message, present)
    return None


def _put(op: Op, old: bytes | None, stamp_ms: int, revision: int) -> Decision:
    """Put and CompareAndSet."""
    if op.presence or op.if_revision != NO_REVISION:
        refusal = _condition(op, old)
        if refusal is not None:
            return refusal
    recency = RECENCY_NEW if old is None else min(old[0] + 1, RECENCY_MAX)
    deadline_ms = stamp_ms + op.ttl_ms if op.ttl_ms else 0
    record = _pack(recency, revision, deadline_ms) + op.value
    if op.return_previous and old is not None:
        return OpResult(0, revision, old[HEADER_BYTES:]), PUT, record
    return done(revision), PUT, record


def _delete(op: Op, old: bytes | None, _: int, revision: int) -> Decision:
    if op.if_revision != NO_REVISION:
        refusal = _condition(op, old)
        if refusal is not None:
            return refusal
    if old is None:
        return OpResult(), 0, None
    previous = old[HEADER_BYTES:] if op.return_previous else None
    return OpResult(0, revision, previous, deleted=1), DELETED, None


def _increment(op: Op, old: bytes | None, stamp_ms: int, revision: int) -> Decision:
    summand = op.sum
    assert summand is not None, "the decoder gives every Increment a sum"
    if old is None:
        recency, present, base = RECENCY_NEW, 0, summand.initial
        deadline_ms = stamp_ms + op.ttl_ms if op.ttl_ms else 0
    else:
        recency, present, deadline_ms = _unpack(old)
        recency = min(recency + 1, RECENCY_MAX)
        text = old[HEADER_BYTES:]
        base = int(text) if _INTEGER.match(text) else INT64_MAX + 1
        if not INT64_MIN <= base <= INT64_MAX:
            return _refused(Reason.WRONG_TYPE, "the value is not the decimal text of an int64", present)
    total = base + summand.by
    if not summand.minimum <= total <= summand.maximum:
        message = f"the sum {total} lies outside {summand.minimum}..{summand.maximum}"
        return _refused(Reason.CONDITION_FAILED, message, present)
    record = _pack(recency, revision, deadline_ms) + b"%d" % total
    return OpResult(0, revision, number=total), PUT, record


def _touch(op: Op, old: bytes | None, stamp_ms: int, revision: int) -> Decision:
    if old is None:
        return OpResult(), 0, None
    recency, present, _ = _unpack(old)
    deadline_ms = stamp_ms + op.ttl_ms if op.ttl_ms else 0
    # The key keeps the revision that wrote its value: a touch must not break another client's CompareAndSet.
    record = _pack(min(recency + 1, RECENCY_MAX), present, deadline_ms) + old[HEADER_BYTES:]
    return done(revision), TOUCHED, record


def _get(_: Op, old: bytes | None, stamp_ms: int, __: int) -> Decision:
    return found(old, stamp_ms), 0, None


def found(record: bytes | None, stamp_ms: int) -> OpResult:
    """What a Get answers."""
    if record is None:
        return OpResult()
    _, revision, deadline_ms = _unpack(record)
    # A key that is still there has time left, were it less than a millisecond: 0 would mean for ever.
    ttl_ms = max(deadline_ms - stamp_ms, 1) if deadline_ms else 0
    return got(revision, record[HEADER_BYTES:], ttl_ms)


_STEPS: dict[int, Step] = {
    GET: _get,
    PUT_OP: _put,
    DELETE: _delete,
    COMPARE_AND_SET: _put,
    INCREMENT: _increment,
    TOUCH: _touch,
}


def write(space: Keyspace, op: Op) -> OpResult:
    """Applies one write."""
    kind = op.kind
    if kind == TXN:
        return _transaction(space, op)
    if op.range is not None:
        return _delete_range(space, op)
    key = op.key
    old = space.live(key)
    revision = space.revision + 1
    result, event, record = _STEPS[kind](op, old, space.stamp_ms, revision)
    if not event:
        return result
    if record is not None:
        growth = len(record) - len(old) if old is not None else len(record) + len(key) + RECORD_OVERHEAD
        if growth > 0 and space.buckets.byte_count + growth > space.policy.budget_bytes:
            refusal = make_room(space, growth, counted_bytes(key, record), (key,))
            if refusal is not None:
                return refusal
    space.revision = revision
    space.change(event, key, revision, record, old)
    return result


def _delete_range(space: Keyspace, op: Op) -> OpResult:
    """Deletes up to 1000 keys of a range in one revision, one event a key in key order."""
    found_keys, following = _keys_meant(space, op)
    more = bool(following)
    if more and not op.paged:
        return OpResult(
            int(Reason.TOO_MANY_KEYS),
            message=f"the range holds more than {limits.DELETE_KEYS_MAX} keys, or they stand among more than"
            f" {limits.DELETE_LOOKS_MAX}: delete it with paged",
        )
    late = [key for key, record in found_keys if space.is_due(record)]
    if late:
        space.expire(late)
    gone = [item for item in found_keys if not space.is_due(item[1])]
    # Where to go on is only news when others were looked at too: of a plain range what is left comes first.
    goes_on = following if op.among is not None else b""
    if not gone:
        return OpResult(more=more, next=goes_on)
    space.revision = revision = space.revision + 1
    for key, record in gone:
        space.change(DELETED, key, revision, None, record)
    return OpResult(0, revision, deleted=len(gone), more=more, next=goes_on)


def _keys_meant(space: Keyspace, op: Op) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The first keys that a range delete means, and where it was left off for its bounds; b'': nowhere."""
    span, among = op.range, op.among
    assert span is not None, "only deletes of a range come here"
    meant: list[tuple[bytes, bytes]] = []
    for looked, item in enumerate(space.buckets.items(span.start, span.end)):
        if len(meant) == limits.DELETE_KEYS_MAX or looked == limits.DELETE_LOOKS_MAX:
            return meant, item[0]
        if among is None or is_among(item[0], among):
            meant.append(item)
    return meant, b""


def _holds(compare: Compare, record: bytes | None) -> bool:
    if compare.revision == NO_REVISION:
        return compare.exists == (record is not None)
    present: int = 0 if record is None else _unpack(record)[1]
    return compare.revision == present


def _transaction(space: Keyspace, op: Op) -> OpResult:
    """Compares, then one of the two lists on an overlay, then all of it or nothing."""
    assert op.txn is not None, "the decoder gives every Txn its parts"
    compares, then, otherwise = op.txn
    keys = op.keys()
    before = {key: space.buckets.get(key) for key in keys}
    late = [key for key, record in before.items() if record is not None and space.is_due(record)]
    if late:
        space.expire(late)
        before.update(dict.fromkeys(late))
    succeeded = all(_holds(compare, before[compare.key]) for compare in compares)
    after = dict(before)
    events: dict[bytes, int] = {}
    results = []
    revision = space.revision + 1
    for index, step in enumerate(then if succeeded else otherwise):
        old = after[step.key]
        result, event, record = _STEPS[step.kind](step, old, space.stamp_ms, revision)
        if result.error:
            field = f"txn.{'then' if succeeded else 'otherwise'}[{index}]"
            return result._replace(field=field, message=f"{field}: {result.message}")
        results.append(result)
        if event:
            after[step.key] = record
            # A put that is then only touched is still a put to who watches.
            events[step.key] = PUT if event == TOUCHED and events.get(step.key) == PUT else event
    outcome = TxnOutcome(succeeded, tuple(results))
    if not events:
        return OpResult(txn=outcome)
    refusal = _room_for(space, before, after, events)
    if refusal is not None:
        return refusal
    space.revision = revision
    for key in sorted(events):
        # A key that came and went inside the transaction was never there.
        if before[key] is not None or after[key] is not None:
            space.change(events[key], key, revision, after[key], before[key])
    return OpResult(0, revision, txn=outcome)


def _room_for(
    space: Keyspace,
    before: dict[bytes, bytes | None],
    after: dict[bytes, bytes | None],
    events: dict[bytes, int],
) -> OpResult | None:
    """Makes room for all writes of a transaction together."""
    written = growth = 0
    for key in events:
        new, old = after[key], before[key]
        if new is not None:
            written += counted_bytes(key, new)
            growth += counted_bytes(key, new)
        if old is not None:
            growth -= counted_bytes(key, old)
    if growth <= 0 or space.buckets.byte_count + growth <= space.policy.budget_bytes:
        return None
    return make_room(space, growth, written, tuple(before))


def read(space: Keyspace, op: Op, hide_expired_at: int | None) -> OpResult:
    """A Get or Scan of the present state, changing nothing."""
    if op.kind == GET:
        record = space.buckets.get(op.key)
        if hide_expired_at is not None and record is not None and 0 < _unpack(record)[2] <= hide_expired_at:
            record = None
        return found(record, space.stamp_ms)
    assert op.range is not None, "reads are Get and Scan"
    page = scan(
        space, op.range.start, op.range.end, op.limit, limits.SCAN_BYTES_MAX, op.keys_only, hide_expired_at,
        op.among,
    )  # fmt: skip
    return OpResult(page=page)


def scan(
    space: Keyspace,
    start: bytes,
    end: bytes,
    items_max: int,
    bytes_max: int,
    keys_only: bool,
    hide_expired_at: int | None = None,
    among: KeyRange | None = None,
) -> Page:
    """Keys of [start, end) in order, up to `items_max` or the item that reaches `bytes_max` of values."""
    items: list[Item] = []
    size = 0
    stamp_ms = space.stamp_ms
    for looked, (key, record) in enumerate(space.buckets.items(start, end)):
        # Hidden keys and others count as looked at, so that a page costs what its bounds say.
        if len(items) >= items_max or size >= bytes_max or looked >= limits.SCAN_LOOKS_MAX:
            return Page(tuple(items), key)
        if among is not None and not is_among(key, among):
            continue
        _, revision, deadline_ms = _unpack(record)
        if hide_expired_at is not None and 0 < deadline_ms <= hide_expired_at:
            continue
        value = b"" if keys_only else record[HEADER_BYTES:]
        size += len(value)
        items.append(Item(key, value, revision, max(deadline_ms - stamp_ms, 1) if deadline_ms else 0))
    return Page(tuple(items), b"")
