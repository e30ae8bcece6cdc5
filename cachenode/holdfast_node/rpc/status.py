"""How a failed unary call leaves the node: gRPC status, details for any client, ours for the SDK.

A generic gRPC client may repeat UNAVAILABLE by itself, so an outcome that is unknown never leaves under
it: that would be an effect twice. The whole error goes along in trailing metadata, as google.rpc.Status
(grpc-status-details-bin) and bare (holdfast-error-bin).
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError as WireError
from holdfast.errors import HoldfastError, Reason, error
from holdfast.types import Outcome
from holdfast.v1 import types_pb2 as types

from holdfast_node.rpc import convert

ERROR_KEY = "holdfast-error-bin"
DETAILS_KEY = "grpc-status-details-bin"

Metadata = tuple[tuple[str, str | bytes], ...]

_CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_LEADER: grpc.StatusCode.UNAVAILABLE,
    Reason.WRONG_SHARD: grpc.StatusCode.UNAVAILABLE,
    Reason.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.LAGGING: grpc.StatusCode.UNAVAILABLE,
    Reason.NO_QUORUM: grpc.StatusCode.UNAVAILABLE,
    Reason.CONDITION_FAILED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNKNOWN_NAMESPACE: grpc.StatusCode.NOT_FOUND,
    Reason.TOO_LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.SEQUENCE_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PREVIOUS_NOT_KEPT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OUT_OF_SPACE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DISK_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.STOPPED: grpc.StatusCode.UNAVAILABLE,
    Reason.CROSS_SHARD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_TOKEN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.WRONG_TYPE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TOO_MANY_KEYS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.COMPACTED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.LEADERSHIP_LOST: grpc.StatusCode.ABORTED,
}


def code_of(problem: HoldfastError) -> grpc.StatusCode:
    """The gRPC status of an error."""
    code = _CODES[problem.reason]
    if problem.outcome is Outcome.UNKNOWN and code is grpc.StatusCode.UNAVAILABLE:
        return grpc.StatusCode.UNKNOWN
    return code


def trailers(problem: HoldfastError) -> Metadata:
    """The error in full, as trailing metadata."""
    code = code_of(problem).value[0]
    return (
        (ERROR_KEY, convert.error_message(problem).SerializeToString()),
        (DETAILS_KEY, convert.status_details(code, problem)),
    )


def from_peer(failure: grpc.aio.AioRpcError, *, is_write: bool) -> HoldfastError:
    """The error of a call that was sent on to another node.

    Without one of ours it was the connection that failed, and a write may have happened.
    """
    pairs: Any = failure.trailing_metadata() or ()
    for key, value in pairs:
        found = _read(value) if key == ERROR_KEY else None
        if found is not None:
            return found
    outcome = Outcome.UNKNOWN if is_write else Outcome.REFUSED
    if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return error(Reason.DEADLINE, "the deadline passed before the other node answered", outcome=outcome)
    reason = Reason.LEADERSHIP_LOST if is_write else Reason.STOPPED
    return error(reason, f"the node that was asked did not answer: {failure.details()}", outcome=outcome)


def _read(value: bytes) -> HoldfastError | None:
    """The other node's error; None when this program cannot read it."""
    try:
        message = types.Error.FromString(value)
        return error(
            Reason(message.reason),
            message.message,
            outcome=Outcome(message.outcome) if message.outcome else None,
            field=message.field,
            retry_after_ms=message.retry_after_ms,
            leader=message.leader,
            shards=tuple(map(convert.shard_of, message.shards)),
            applied_index=message.applied_index,
            oldest_revision=message.oldest_revision,
        )
    except (WireError, ValueError):
        return None
