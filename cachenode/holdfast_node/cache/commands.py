"""What the log holds: entries, encoded and decoded.

An operation's bytes travel unread inside entries (`Run.operations`), so a client can never reach the
container's stamp; decoding.py reads them.

A batch of a hashed namespace says so itself, in a version of its own: where a key is kept depends on the log
alone, on every replica and for ever.

Invariant: opening is total. Whatever the bytes are, the outcome is an `Entry` or an `UnknownEntryError`.
Not here: what operations do (operations.py).
Source: proto/holdfast_node/v1/command.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError as WireError
from holdfast.units import Units
from holdfast.v1 import types_pb2

from holdfast_node import limits
from holdfast_node.cache.bounds import (
    DecodeError,
)
from holdfast_node.cache.decoding import decode_each, decode_operation, decode_operations
from holdfast_node.cache.op import (
    ABSENT,
    ANYHOW,
    COMPARE_AND_SET,
    DELETE,
    GET,
    INCREMENT,
    INT64_MAX,
    KIND_NAMES,
    NO_REVISION,
    PRESENT,
    PUT,
    SCAN,
    TOUCH,
    TXN,
    Compare,
    Op,
    Sum,
    Transaction,
)
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.seal import Abort, OtherSource, Seal, Target, Verdict
from holdfast_node.v1 import command_pb2 as stored

__all__ = [
    "ABORT", "ABSENT", "ANYHOW", "BATCH", "COMPARE_AND_SET", "DELETE", "EVICT", "EXPIRE", "GET", "INCREMENT",
    "KIND_NAMES", "NO_REVISION", "PRESENT", "PUT", "SCAN", "SEAL", "SET_POLICY", "TOUCH", "TOUCH_SAMPLES",
    "TXN", "UNSEAL", "VERSION", "Compare", "DecodeError", "Entry", "Op", "Run", "Sum", "Transaction",
    "UnknownEntryError", "decode_each", "decode_entry", "decode_operation", "decode_operations",
    "decode_writes", "encode_abort", "encode_batch", "encode_evict", "encode_expire", "encode_policy",
    "encode_seal", "encode_touch", "encode_unseal", "encode_verdict", "policy_message", "policy_of",
    "seal_message", "seal_of", "units_message", "units_of",
]  # fmt: skip

# Kinds of entries, the first byte of the container. Numbers are never used again.
BATCH, TOUCH_SAMPLES, EXPIRE, EVICT, SET_POLICY = 1, 2, 3, 4, 5
SEAL, ABORT, UNSEAL = 6, 7, 8
VERSION = 1
# Of a BATCH whose operations are for a hashed namespace.
PLACED_VERSION = 2
_CONTAINER = struct.Struct("<BBQ")


class UnknownEntryError(ValueError):
    """An entry's kind, version or payload is not known to this program: the replica must stop."""


class Run(NamedTuple):
    """Operations of one session that stand together in a batch; session b'': unary calls."""

    session: bytes
    answered_below: int
    operations: Sequence[bytes]


class Entry(NamedTuple):
    """One decoded entry. Only the fields of its kind are set."""

    kind: int
    stamp_ms: int
    runs: Sequence[Run] = ()
    units: Units | None = None
    keys: Sequence[bytes] = ()
    keys_max: int = 0
    policy: Policy | None = None
    seal: Seal | None = None
    plan: int = 0


# ---- entries -----------------------------------------------------------------------------------------


def encode_batch(stamp_ms: int, runs: Iterable[Run], units: Units | None = None) -> bytes:
    """An entry of client operations, carried as they came. units: of the hashed namespace they are for."""
    batch = stored.Batch()
    add = batch.runs.add
    for session, answered_below, operations in runs:
        add(session=session, answered_below=answered_below, operations=operations)
    if units is None:
        return _CONTAINER.pack(BATCH, VERSION, stamp_ms) + batch.SerializeToString()
    batch.units.CopyFrom(units_message(units))
    return _CONTAINER.pack(BATCH, PLACED_VERSION, stamp_ms) + batch.SerializeToString()


def encode_touch(stamp_ms: int, keys: Iterable[bytes]) -> bytes:
    """An entry of sampled reads, at most TOUCH_KEYS_MAX keys."""
    payload = stored.TouchSamples(keys=keys).SerializeToString()
    return _CONTAINER.pack(TOUCH_SAMPLES, VERSION, stamp_ms) + payload


def encode_expire(stamp_ms: int, keys_max: int = limits.EXPIRE_KEYS_MAX) -> bytes:
    """An entry that removes keys whose deadline the stamp has reached."""
    return _CONTAINER.pack(EXPIRE, VERSION, stamp_ms) + stored.Expire(keys_max=keys_max).SerializeToString()


def encode_evict(stamp_ms: int, keys_max: int = limits.EVICT_KEYS_MAX) -> bytes:
    """An entry that brings the state nearer to its budget."""
    return _CONTAINER.pack(EVICT, VERSION, stamp_ms) + stored.Evict(keys_max=keys_max).SerializeToString()


def encode_policy(stamp_ms: int, policy: Policy) -> bytes:
    """An entry that changes the policy."""
    problem = policy.problem()
    if problem:
        raise ValueError(problem)
    return _CONTAINER.pack(SET_POLICY, VERSION, stamp_ms) + policy_message(policy).SerializeToString()


def encode_seal(stamp_ms: int, seal: Seal) -> bytes:
    """An entry that ends the shard. Raises ValueError."""
    problem = seal.problem()
    if problem:
        raise ValueError(problem)
    return _CONTAINER.pack(SEAL, VERSION, stamp_ms) + seal_message(seal).SerializeToString()


def encode_abort(stamp_ms: int, plan: int) -> bytes:
    """An entry that forbids a plan."""
    return _CONTAINER.pack(ABORT, VERSION, stamp_ms) + stored.Abort(plan=plan).SerializeToString()


def encode_unseal(stamp_ms: int, plan: int) -> bytes:
    """An entry that takes back a Seal that does not decide."""
    return _CONTAINER.pack(UNSEAL, VERSION, stamp_ms) + stored.Unseal(plan=plan).SerializeToString()


def encode_verdict(stamp_ms: int, verdict: Verdict) -> bytes:
    """An entry that judges a plan. Raises ValueError."""
    if isinstance(verdict, Seal):
        return encode_seal(stamp_ms, verdict)
    encode = encode_abort if isinstance(verdict, Abort) else encode_unseal
    return encode(stamp_ms, verdict.plan)


def seal_message(seal: Seal) -> stored.Seal:
    """The stored form of a seal."""
    return stored.Seal(
        plan=seal.plan,
        decides=seal.decides,
        targets=[stored.Target(**target._asdict()) for target in seal.targets],
        others=[stored.OtherSource(group=o.group, index=o.index, term=o.term) for o in seal.others],
    )


def seal_of(message: stored.Seal) -> Seal:
    """The seal of its stored form. Raises ValueError."""
    seal = Seal(
        message.plan,
        message.decides,
        tuple(Target(t.group, t.start, t.end, tuple(t.replicas)) for t in message.targets),
        tuple(OtherSource(other.group, other.index, other.term) for other in message.others),
    )
    problem = seal.problem()
    if problem:
        raise ValueError(problem)
    return seal


def policy_message(policy: Policy) -> stored.Policy:
    """The stored form of a policy."""
    return stored.Policy(
        budget_bytes=policy.budget_bytes,
        eviction=stored.Eviction.ValueType(policy.eviction),
        history_events=policy.history_events,
        history_bytes=policy.history_bytes,
    )


def policy_of(message: stored.Policy) -> Policy:
    """The policy of its stored form. Raises ValueError."""
    policy = Policy(
        message.budget_bytes, Eviction(message.eviction), message.history_events, message.history_bytes
    )
    problem = policy.problem()
    if problem:
        raise ValueError(problem)
    return policy


def units_message(units: Units) -> types_pb2.Units:
    """The stored form of a hashed namespace's units."""
    assert units.hashed, "of other namespaces nothing is said"
    return types_pb2.Units(parts=units.parts, separator=units.separator)


def units_of(message: types_pb2.Units) -> Units:
    """The units of their stored form. Raises ValueError."""
    if len(message.separator) != 1:
        raise ValueError(f"a unit's separator is one byte, not {message.separator!r}")
    return Units(message.parts, message.separator, hashed=True)


def decode_entry(data: bytes) -> Entry:
    """Opens an entry. Raises UnknownEntryError."""
    if len(data) < _CONTAINER.size:
        raise UnknownEntryError(f"an entry of {len(data)} bytes has no room for its head")
    kind, version, stamp_ms = _CONTAINER.unpack_from(data)
    reader = _ENTRIES.get((kind, version))
    # A stamp of 2^63 would leave no room for a deadline after it: no clock says that, so it is damage.
    if reader is None or stamp_ms > INT64_MAX:
        raise UnknownEntryError(
            f"entry of kind {kind}, version {version}, stamp {stamp_ms}: not from this program"
        )
    try:
        return reader(stamp_ms, data[_CONTAINER.size :])
    except (WireError, ValueError) as problem:
        raise UnknownEntryError(f"payload of an entry of kind {kind} cannot be read: {problem}") from problem


def _batch(stamp_ms: int, payload: bytes) -> Entry:
    runs = [
        Run(run.session, run.answered_below, run.operations) for run in stored.Batch.FromString(payload).runs
    ]
    return Entry(BATCH, stamp_ms, runs=runs)


def _placed_batch(stamp_ms: int, payload: bytes) -> Entry:
    return _batch(stamp_ms, payload)._replace(units=units_of(stored.Batch.FromString(payload).units))


def _touch_samples(stamp_ms: int, payload: bytes) -> Entry:
    return Entry(TOUCH_SAMPLES, stamp_ms, keys=stored.TouchSamples.FromString(payload).keys)


def _expire(stamp_ms: int, payload: bytes) -> Entry:
    return Entry(EXPIRE, stamp_ms, keys_max=stored.Expire.FromString(payload).keys_max)


def _evict(stamp_ms: int, payload: bytes) -> Entry:
    return Entry(EVICT, stamp_ms, keys_max=stored.Evict.FromString(payload).keys_max)


def _set_policy(stamp_ms: int, payload: bytes) -> Entry:
    return Entry(SET_POLICY, stamp_ms, policy=policy_of(stored.Policy.FromString(payload)))


def _seal(stamp_ms: int, payload: bytes) -> Entry:
    seal = seal_of(stored.Seal.FromString(payload))
    return Entry(SEAL, stamp_ms, seal=seal, plan=seal.plan)


def _abort(stamp_ms: int, payload: bytes) -> Entry:
    return Entry(ABORT, stamp_ms, plan=_plan_of(stored.Abort.FromString(payload).plan))


def _unseal(stamp_ms: int, payload: bytes) -> Entry:
    return Entry(UNSEAL, stamp_ms, plan=_plan_of(stored.Unseal.FromString(payload).plan))


def _plan_of(plan: int) -> int:
    if not plan:
        raise ValueError("plans are numbered from 1")
    return plan


# By kind and version.
_ENTRIES: dict[tuple[int, int], Callable[[int, bytes], Entry]] = {
    (BATCH, VERSION): _batch,
    (BATCH, PLACED_VERSION): _placed_batch,
    (TOUCH_SAMPLES, VERSION): _touch_samples,
    (EXPIRE, VERSION): _expire,
    (EVICT, VERSION): _evict,
    (SET_POLICY, VERSION): _set_policy,
    (SEAL, VERSION): _seal,
    (ABORT, VERSION): _abort,
    (UNSEAL, VERSION): _unseal,
}


def decode_writes(
    entry: bytes, runs: Sequence[Run], units: Units | None = None
) -> list[list[Op | DecodeError]]:
    """The operations of a batch's runs; `entry` is the batch, the others what decode_entry found in it."""
    try:
        readable = stored.ReadableBatch.FromString(entry[_CONTAINER.size :]).runs
    except WireError:
        decoded = [decode_each(run.operations, units) for run in runs]
    else:
        decoded = [
            decode_operations(r.operations, run.operations, units)
            for r, run in zip(readable, runs, strict=True)
        ]
    for ops in decoded:
        for i, op in enumerate(ops):
            if isinstance(op, Op) and not op.is_write:
                ops[i] = DecodeError("kind", "reads do not go through the log")
    return decoded
