"""The most frequent write, a plain overwrite within a session, in one piece and run by run.

`overwrites` does exactly what the general way does (state.State._apply_once with operations.write) for every
put without conditions, deadline or wish for the previous value, on a key that exists without a deadline; all
else it hands to that general way, in its turn. It reaches into the parts that hold keys, history and
sessions, because the calls between them cost more than the work (docs/evidence/speed-log.md).
tests/property/test_overwrite.py holds the two ways equal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from holdfast_node.cache.bounds import DecodeError
from holdfast_node.cache.buckets import HEADER
from holdfast_node.cache.eviction import RECENCY_MAX
from holdfast_node.cache.history import PUT as PUT_EVENT
from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.op import NO_REVISION, PUT, Op
from holdfast_node.cache.results import OpResult, done
from holdfast_node.cache.sessions import Session, Sessions
from holdfast_node.limits import (
    EVENT_OVERHEAD_BYTES,
    NOT_AFTER_AHEAD_MS_MAX,
    REPEAT_RECORD_BYTES,
    REPEAT_TABLE_BYTES_MAX,
)

_pack = HEADER.pack
_unpack = HEADER.unpack_from


def overwrites(
    space: Keyspace,
    sessions: Sessions,
    session: Session,
    ops: Sequence[Op | DecodeError],
    otherwise: Callable[[Op | DecodeError, Session], OpResult],
) -> list[OpResult]:
    """Applies a session's run of operations in order; `otherwise` takes those that are not so plain."""
    stamp_ms = space.stamp_ms
    latest = stamp_ms + NOT_AFTER_AHEAD_MS_MAX
    mark = session.mark
    buckets, history = space.buckets, space.history
    # The same objects for as long as an entry is applied, whatever is written.
    flat, row, fresh, remember = buckets._flat, buckets._row, space.fresh, history.events.append
    budget_bytes = space.policy.budget_bytes
    results: list[OpResult] = []
    answer = results.append
    for op in ops:
        if op.__class__ is not Op:
            answer(otherwise(op, session))
            continue
        sequence, kind, key, not_after, check, value, ttl_ms, if_revision, presence, wants_previous = op[:10]
        if (
            kind == PUT
            and not (ttl_ms or presence or wants_previous or session.shared)
            and if_revision == NO_REVISION
            and stamp_ms <= not_after <= latest
            and sequence >= mark
            and sequence not in session.applied
            and sessions.byte_count < REPEAT_TABLE_BYTES_MAX
        ):
            bucket = row[bisect_right(flat, key) - 1]
            old = bucket.records.get(key)
            if old is not None and not bucket.shared:
                recency, _, deadline_ms = _unpack(old)
                revision = space.revision + 1
                record = _pack(recency + 1 if recency < RECENCY_MAX else RECENCY_MAX, revision, 0) + value
                growth = len(record) - len(old)
                if not deadline_ms and (growth <= 0 or buckets.byte_count + growth <= budget_bytes):
                    bucket.records[key] = record
                    if growth:
                        bucket.bytes += growth
                        buckets.byte_count += growth
                    space.revision = revision
                    count = EVENT_OVERHEAD_BYTES + len(key) + len(record) + len(old)
                    event = (PUT_EVENT, key, revision, record, old, count)
                    remember(event)
                    history.byte_count += count
                    if fresh is not None:
                        fresh.append(event)
                    session.applied[sequence] = (check, not_after, revision, None)
                    sessions.byte_count += REPEAT_RECORD_BYTES
                    sessions.record_count += 1
                    answer(done(revision))
                    continue
        answer(otherwise(op, session))
    return results
