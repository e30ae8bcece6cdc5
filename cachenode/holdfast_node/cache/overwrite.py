"""The most frequent write, a plain overwrite within a session, in one piece.

`plain_overwrite` does exactly what the general way does (state.State._apply_once with
operations.write) for a put without conditions, deadline or wish for the previous value, on a key that
exists without a deadline; for anything else it says None and has done nothing. It reaches into the parts
that hold keys, history and sessions, because the calls between them cost more than the work: 2 to 3 us of
6 on every replica (docs/evidence/speed-log.md). tests/property/test_overwrite.py holds the two ways equal.
"""

from __future__ import annotations

from bisect import bisect_right

from holdfast_node.cache.buckets import HEADER
from holdfast_node.cache.eviction import RECENCY_MAX
from holdfast_node.cache.history import PUT as PUT_EVENT
from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.op import NO_REVISION, PUT, Op
from holdfast_node.cache.results import OpResult, done
from holdfast_node.cache.sessions import Session, Sessions
from holdfast_node.limits import EVENT_OVERHEAD_BYTES, REPEAT_RECORD_BYTES

_pack = HEADER.pack
_unpack = HEADER.unpack_from


def plain_overwrite(space: Keyspace, sessions: Sessions, session: Session, op: Op) -> OpResult | None:
    """Applies a new, timely write of the session if it is as plain as that; None: take the general way."""
    if (
        op.kind != PUT
        or op.ttl_ms
        or op.presence
        or op.return_previous
        or op.if_revision != NO_REVISION
        or session.shared
    ):
        return None
    key = op.key
    buckets = space.buckets
    bucket = buckets._row[bisect_right(buckets._flat, key) - 1]
    old = bucket.records.get(key)
    if old is None or bucket.shared:
        return None
    recency, _, deadline_ms = _unpack(old)
    revision = space.revision + 1
    record = _pack(recency + 1 if recency < RECENCY_MAX else RECENCY_MAX, revision, 0) + op.value
    growth = len(record) - len(old)
    if deadline_ms or (growth > 0 and buckets.byte_count + growth > space.policy.budget_bytes):
        return None
    bucket.records[key] = record
    if growth:
        bucket.bytes += growth
        buckets.byte_count += growth
    space.revision = revision
    count = EVENT_OVERHEAD_BYTES + len(key) + len(record) + len(old)
    event = (PUT_EVENT, key, revision, record, old, count)
    history = space.history
    history.events.append(event)
    history.byte_count += count
    if space.fresh is not None:
        space.fresh.append(event)
    session.applied[op.sequence] = (op.check, op.not_after, revision, None)
    sessions.byte_count += REPEAT_RECORD_BYTES
    sessions.record_count += 1
    return done(revision)
