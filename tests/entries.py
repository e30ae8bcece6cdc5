"""Builders of operations and entries, for every test of the cache state machine."""

from __future__ import annotations

from typing import Any

from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache import commands
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.state import State

STAMP = 1_000_000
SESSION = b"s" * 16


def operation(
    kind: str, key: bytes = b"", sequence: int = 1, not_after: int = STAMP + 60_000, **fields: Any
) -> bytes:
    """Bytes of an Operation; not_after is left out of reads."""
    names = {
        "get": pb.Get, "put": pb.Put, "delete": pb.Delete, "compare_and_set": pb.CompareAndSet,
        "increment": pb.Increment, "touch": pb.Touch, "scan": pb.Scan, "txn": pb.Txn,
    }  # fmt: skip
    message = pb.Operation(sequence=sequence, key=key, **{kind: names[kind](**fields)})
    if kind not in ("get", "scan"):
        message.not_after_ms = not_after
    return message.SerializeToString()


def batch(
    *operations: bytes, stamp: int = STAMP, session: bytes = b"", answered_below: int = 0,
    units: Units | None = None,
) -> bytes:  # fmt: skip
    """An entry of one run. units: of a hashed namespace."""
    return commands.encode_batch(stamp, [commands.Run(session, answered_below, operations)], units)


def apply(
    state: State, *operations: bytes, stamp: int = STAMP, session: bytes = b"", below: int = 0,
    units: Units | None = None,
) -> list[OpResult]:  # fmt: skip
    """Applies operations as one run of one entry; their results."""
    entry = batch(*operations, stamp=stamp, session=session, answered_below=below, units=units)
    (results,) = state.apply(entry)
    return results


def put(state: State, key: bytes, value: bytes = b"v", stamp: int = STAMP, **fields: Any) -> OpResult:
    """Puts one key."""
    (result,) = apply(
        state, operation("put", key, not_after=stamp + 60_000, value=value, **fields), stamp=stamp
    )
    return result


def keys_of(state: State) -> list[bytes]:
    """All keys in order."""
    return [item.key for item in state.scan(limit=10**6, max_bytes=10**9).items]


def copy_of(state: State) -> State:
    """The state as a restore from an image of this moment has it."""
    image = state.freeze()
    builder = state.builder()
    for chunk in image.chunks():
        builder.feed(chunk)
    image.release()
    return State.restored(builder)
