"""Between protobuf and the node's own words, both ways; where bad requests are refused.

One validator, in two layers: `cache.decoding.decode_operation` says whether one operation is well formed
(streams and unary calls alike), this module says the same of what stands around it: keys given as text,
namespaces, tokens, frames. Pure: no clock, network, files.

Clients speak of keys, everything behind this of places (holdfast/units.py). On the way in the decoder places
them; on the way out a page's items and an event get their keys back here. `units`: of the hashed namespace
that it is about; None: it is not hashed.

Invariant: nothing here raises but HoldfastError, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError as WireError
from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import DEFAULT_NAMESPACE, KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.token import BadTokenError, Token, TokenEntry
from holdfast.types import EventKind, Outcome
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2 as types

from holdfast_node import limits
from holdfast_node.cache.bounds import DecodeError
from holdfast_node.cache.commands import units_message, units_of
from holdfast_node.cache.decoding import decode_each, decode_operation, decode_operations
from holdfast_node.cache.history import Event
from holdfast_node.cache.op import Op
from holdfast_node.cache.results import OpResult
from holdfast_node.v1 import frame_pb2 as private
from holdfast_node.watch_hub import Encode, WatchSlice

# A unary call has no session, so its operation's sequence names nothing.
UNARY_SEQUENCE = 1
ERROR_TYPE_URL = "type.googleapis.com/holdfast.v1.Error"

_REASON_TEXT = {
    Reason.CONDITION_FAILED: "the condition did not hold",
    Reason.WRONG_TYPE: "the stored value is not what the operation needs",
    Reason.TOO_LATE: "the write was past its not_after_ms when it was applied",
    Reason.OUT_OF_SPACE: "the shard's budget is full and its namespace never evicts",
}


def invalid(field: str, message: str) -> HoldfastError:
    """The refusal of a field; `message` goes on where the field's name ends."""
    return error(Reason.INVALID, f"{field} {message}".lstrip(), field=field)


def refusal_of(problem: DecodeError) -> HoldfastError:
    """The error of an operation that the decoder does not let through."""
    return error(problem.reason, f"{problem.field} {problem.message}".lstrip(), field=problem.field)


# ---- errors -----------------------------------------------------------------------


def error_message(problem: HoldfastError) -> types.Error:
    """The wire form of an error."""
    return types.Error(
        reason=types.Reason.ValueType(problem.reason),
        outcome=types.Outcome.ValueType(problem.outcome or 0),
        message=problem.message,
        field=problem.field,
        retry_after_ms=problem.retry_after_ms,
        leader=problem.leader,
        shards=[shard_message(shard) for shard in problem.shards],
        applied_index=problem.applied_index,
        oldest_revision=problem.oldest_revision,
        revision=problem.revision,
    )


def error_of(result: OpResult) -> HoldfastError:
    """The error that a result of the state machine holds."""
    reason = Reason(result.error)
    outcome = None if reason is Reason.PREVIOUS_NOT_KEPT else Outcome.REFUSED
    message = result.message or _REASON_TEXT.get(reason, reason.name)
    if reason is Reason.CONDITION_FAILED:
        message += f" (present revision {result.revision})"
    return error(
        reason,
        message,
        outcome=outcome,
        field=result.field,
        retry_after_ms=result.retry_after_ms,
        revision=result.revision,
    )


def status_details(code: int, problem: HoldfastError) -> bytes:
    """What goes into grpc-status-details-bin: a google.rpc.Status with the error as its one detail."""
    detail = AnyMessage(type_url=ERROR_TYPE_URL, value=error_message(problem).SerializeToString())
    status = private.RpcStatus(code=code, message=str(problem), details=[detail])
    return status.SerializeToString()


# ---- the map and tokens -----------------------------------------------------------


def replica_message(replica: Replica) -> types.Replica:
    """The wire form of a replica."""
    return types.Replica(node=replica.node, address=replica.address)


def shard_message(shard: Shard) -> types.Shard:
    """The wire form of a map entry."""
    return types.Shard(
        namespace=shard.namespace,
        start=shard.range.start,
        end=shard.range.end,
        group=shard.group,
        epoch=shard.epoch,
        replicas=map(replica_message, shard.replicas),
        leader=shard.leader,
        units=None if shard.units is None else units_message(shard.units),
    )


def shard_of(message: types.Shard) -> Shard:
    """The map entry of its wire form. Raises ValueError."""
    return Shard(
        message.namespace,
        KeyRange(message.start, message.end),
        message.group,
        message.epoch,
        tuple(Replica(replica.node, replica.address) for replica in message.replicas),
        message.leader,
        units_of(message.units) if message.HasField("units") else None,
    )


def map_message(shards: ShardMap, namespace: str = "") -> pb.ShardMap:
    """The wire form of the map, or of one namespace of it."""
    chosen = (s for s in shards.shards if not namespace or s.namespace == namespace)
    return pb.ShardMap(epoch=shards.epoch, shards=map(shard_message, chosen))


def map_of(message: pb.ShardMap) -> ShardMap:
    """The map of its wire form."""
    return ShardMap(message.epoch, map(shard_of, message.shards))


def token_of(message: types.Token | bytes, cluster_id: str) -> Token:
    """The token a client sent. Raises BAD_TOKEN."""
    try:
        found = types.Token.FromString(message) if isinstance(message, bytes) else message
    except WireError:
        raise _bad_token("the bytes are not a holdfast.v1.Token") from None
    if found.cluster_id and found.cluster_id != cluster_id:
        raise _bad_token(f"it was made by cluster {found.cluster_id!r}, this is {cluster_id!r}")
    if len(found.entries) > limits.TOKEN_ENTRIES_MAX:
        raise _bad_token(f"it has {len(found.entries)} entries, at most {limits.TOKEN_ENTRIES_MAX}")
    try:
        return Token(cluster_id, [TokenEntry(e.start, e.end, e.group, e.index) for e in found.entries])
    except BadTokenError as problem:
        raise _bad_token(str(problem)) from None


def _bad_token(message: str) -> HoldfastError:
    return error(Reason.BAD_TOKEN, f"the token cannot be used: {message}", field="token")


def token_message(cluster_id: str, entry: TokenEntry) -> types.Token:
    """The wire form of what one answer has seen."""
    start, end, group, index = entry
    seen = types.TokenEntry(start=start, end=end, group=group, index=index)
    return types.Token(cluster_id=cluster_id, entries=[seen])


# ---- results ----------------------------------------------------------------------


def add_result(results: Any, sequence: int, result: OpResult, units: Units | None = None) -> int:
    """Appends a result to a repeated field of Result; returns about how many bytes it takes."""
    failed, revision, value, number, ttl_ms, deleted, more, page, txn, *_ = result
    if failed:
        problem = error_message(error_of(result))
        results.add(sequence=sequence, error=problem, revision=revision)
        return 128
    if page is None and txn is None:
        # Puts, gets and the like; None and 0 cost nothing on the wire.
        if number or deleted or more:
            results.add(
                sequence=sequence,
                revision=revision,
                value=value,
                number=number,
                ttl_ms=ttl_ms,
                deleted=deleted,
                more=more,
                next=result.next,
            )
        else:
            results.add(sequence=sequence, revision=revision, value=value, ttl_ms=ttl_ms)
        return 24 if value is None else 24 + len(value)
    added = results.add(sequence=sequence, revision=revision)
    if page is not None:
        add = added.page.items.add
        for item in page.items:
            key = item.key if units is None else units.key_at(item.key)
            add(key=key, value=item.value, revision=item.revision, ttl_ms=item.ttl_ms)
        added.page.next = page.next
        added.page.SetInParent()
    if txn is not None:
        added.txn.succeeded = txn.succeeded
        for step in txn.results:
            add_result(added.txn.results, 0, step)
    return int(added.ByteSize())


def key_value(key: bytes, result: OpResult) -> pb.KeyValue:
    """The wire form of what a Get found."""
    return pb.KeyValue(key=key, value=result.value or b"", revision=result.revision, ttl_ms=result.ttl_ms)


def page_message(result: OpResult, units: Units | None = None) -> pb.ScanPage:
    """The wire form of what a Scan found."""
    holder = pb.Answers()
    add_result(holder.results, 0, result, units)
    return holder.results[0].page


def txn_message(result: OpResult) -> pb.TxnResult:
    """The wire form of what a Txn did."""
    holder = pb.Answers()
    add_result(holder.results, 0, result)
    return holder.results[0].txn


# ---- unary requests ---------------------------------------------------------------


def _key(key: pb.Key) -> tuple[str, bytes]:
    name = key.WhichOneof("name")
    if name is None:
        raise invalid("key", "is required: key, or key_text")
    return key.namespace or DEFAULT_NAMESPACE, key.key if name == "key" else key.key_text.encode()


def get_operation(request: pb.GetRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Get. Raises INVALID, as all of these."""
    namespace, key = _key(request.key)
    return namespace, pb.Operation(sequence=UNARY_SEQUENCE, key=key, get=request.get)


def put_operation(request: pb.PutRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Put."""
    namespace, key = _key(request.key)
    operation = pb.Operation(sequence=UNARY_SEQUENCE, key=key, put=request.put)
    if request.HasField("value_text"):
        if request.put.value:
            raise invalid("value_text", "excludes put.value")
        operation.put.value = request.value_text.encode()
    return namespace, operation


def delete_operation(request: pb.DeleteRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Delete: of one key, or of delete.range."""
    delete = request.delete
    if delete.HasField("range"):
        if request.key.WhichOneof("name") is not None:
            raise invalid("key", "must be absent with delete.range; only its namespace counts")
        namespace = request.key.namespace or DEFAULT_NAMESPACE
        return namespace, pb.Operation(sequence=UNARY_SEQUENCE, delete=delete)
    namespace, key = _key(request.key)
    return namespace, pb.Operation(sequence=UNARY_SEQUENCE, key=key, delete=delete)


def compare_and_set_operation(request: pb.CompareAndSetRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary CompareAndSet."""
    namespace, key = _key(request.key)
    operation = pb.Operation(sequence=UNARY_SEQUENCE, key=key, compare_and_set=request.compare_and_set)
    if request.HasField("value_text"):
        if request.compare_and_set.value:
            raise invalid("value_text", "excludes compare_and_set.value")
        operation.compare_and_set.value = request.value_text.encode()
    return namespace, operation


def increment_operation(request: pb.IncrementRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Increment."""
    namespace, key = _key(request.key)
    return namespace, pb.Operation(sequence=UNARY_SEQUENCE, key=key, increment=request.increment)


def touch_operation(request: pb.TouchRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Touch."""
    namespace, key = _key(request.key)
    return namespace, pb.Operation(sequence=UNARY_SEQUENCE, key=key, touch=request.touch)


def scan_operation(request: pb.ScanRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Scan."""
    operation = pb.Operation(sequence=UNARY_SEQUENCE, scan=request.scan)
    operation.scan.SetInParent()
    if request.HasField("prefix_text"):
        if request.scan.range.prefix:
            raise invalid("prefix_text", "excludes scan.range.prefix")
        operation.scan.range.prefix = request.prefix_text.encode()
    return request.namespace or DEFAULT_NAMESPACE, operation


def txn_operation(request: pb.TxnRequest) -> tuple[str, pb.Operation]:
    """Namespace and operation of a unary Txn."""
    operation = pb.Operation(sequence=UNARY_SEQUENCE, txn=request.txn)
    operation.txn.SetInParent()
    return request.namespace or DEFAULT_NAMESPACE, operation


def say_places(operation: pb.Operation, units: Units | None) -> None:
    """In a hashed namespace a unary scan or delete that names no places is about all of them."""
    if units is None:
        return
    if operation.HasField("scan"):
        operation.scan.range.places.SetInParent()
    elif operation.HasField("delete") and operation.delete.HasField("range"):
        operation.delete.range.places.SetInParent()


# ---- frames -----------------------------------------------------------------------


def frame_of(data: bytes) -> private.RawStreamRequest:
    """Opens a frame; its operations stay bytes. Raises INVALID for what is no frame."""
    try:
        return private.RawStreamRequest.FromString(data)
    except WireError:
        raise invalid("", "the bytes are not a holdfast.v1.StreamRequest") from None


def operations_of(
    data: bytes, frame: private.RawStreamRequest, units: Units | None = None
) -> list[Op | DecodeError]:
    """The operations of a frame that `frame_of` opened, decoded and validated."""
    try:
        messages = pb.StreamRequest.FromString(data).operations
    except WireError:
        return decode_each(frame.operations, units)
    return decode_operations(messages, frame.operations, units)


def frame_problem(size_bytes: int, frame: private.RawStreamRequest) -> HoldfastError | None:
    """Which limit a frame exceeds."""
    if size_bytes > limits.FRAME_BYTES_MAX:
        return invalid("", f"a frame may have {limits.FRAME_BYTES_MAX} bytes, this one has {size_bytes}")
    if len(frame.operations) > limits.FRAME_OPERATIONS_MAX:
        most = limits.FRAME_OPERATIONS_MAX
        return invalid("operations", f"may be {most} in one frame, these are {len(frame.operations)}")
    if frame.timeout_ms > limits.TIMEOUT_MS_MAX:
        return invalid("timeout_ms", f"may be {limits.TIMEOUT_MS_MAX}, is {frame.timeout_ms}")
    return None


def session_of(hello: bytes) -> bytes:
    """The session's id. Raises INVALID."""
    if not hello:
        raise invalid("hello", "is required in the first frame of a stream")
    try:
        message = pb.Hello.FromString(hello)
    except WireError:
        raise invalid("hello", "is not a holdfast.v1.Hello") from None
    if len(message.session) != limits.SESSION_ID_BYTES:
        found = len(message.session)
        raise invalid("hello.session", f"must be {limits.SESSION_ID_BYTES} bytes, these are {found}")
    if len(message.client.encode()) > limits.CLIENT_NAME_BYTES_MAX:
        raise invalid("hello.client", f"may have {limits.CLIENT_NAME_BYTES_MAX} bytes")
    return message.session


def sequences_of(operations: Iterable[bytes]) -> Sequence[int]:
    """The sequences of operations that are refused unread; 0 where there is none to read."""
    found = []
    for data in operations:
        try:
            found.append(pb.Operation.FromString(data).sequence)
        except WireError:
            found.append(0)
    return found


# ---- watches ----------------------------------------------------------------------


def watch_request_of(data: bytes) -> pb.WatchRequest:
    """Opens what a watcher sends. Raises INVALID."""
    try:
        return pb.WatchRequest.FromString(data)
    except WireError:
        raise invalid("", "the bytes are not a holdfast.v1.WatchRequest") from None


def watch_range(start: pb.WatchStart, units: Units | None = None) -> tuple[KeyRange, KeyRange | None]:
    """The places to watch, and which keys there are meant (None: all); checked as a scan's are.

    Raises HoldfastError.
    """
    scan = pb.Operation(sequence=UNARY_SEQUENCE, scan=pb.Scan(range=start.range))
    say_places(scan, units)
    try:
        found = decode_operation(scan.SerializeToString(), units)
    except DecodeError as problem:
        field = problem.field.replace("scan.", "start.", 1)
        raise refusal_of(DecodeError(field, problem.message, problem.reason)) from None
    assert found.range is not None, "a scan has a range"
    return found.range, found.among


def watch_point(start: pb.WatchStart) -> tuple[int, int] | None:
    """Where to go on: (group, revision)."""
    if not start.HasField("from"):
        return None
    point: pb.WatchPoint = getattr(start, "from")  # a word of Python's
    return point.group, point.revision


def event_encoder(units: Units | None) -> Encode:
    """What encodes the events of a shard."""
    if units is None:
        return event_bytes
    return lambda event, with_previous, keys_only: event_bytes(
        event._replace(key=units.key_at(event.key)), with_previous, keys_only
    )


def event_bytes(event: Event, with_previous: bool, keys_only: bool) -> bytes:
    """The encoded holdfast.v1.Event; watch_hub.Encode."""
    value = None if keys_only or event.kind == EventKind.TOUCHED else event.value
    return pb.Event(
        kind=pb.Event.Kind.ValueType(event.kind),
        key=event.key,
        value=value,
        revision=event.revision,
        previous=event.previous_value if with_previous else None,
        deadline_ms=event.deadline_ms,
    ).SerializeToString()


def watch_message(slices: Sequence[tuple[int, int, WatchSlice]]) -> bytes:
    """One encoded holdfast.v1.WatchResponse of (watch, group, slice), the later ones in its `also`."""
    first = _watch_response(*slices[0])
    first.also.extend([_watch_response(*each).SerializeToString() for each in slices[1:]])
    return first.SerializeToString()


def _watch_response(watch: int, group: int, part: WatchSlice) -> private.RawWatchResponse:
    """A slice's point may be of a group that came before."""
    point = b""
    if part.revision is not None:
        point = pb.WatchPoint(group=part.group or group, revision=part.revision).SerializeToString()
    response = private.RawWatchResponse(
        watch=watch, events=part.events, point=point, started=part.started, caught_up=part.caught_up
    )
    if part.cancelled is not None:
        response.cancelled = error_message(part.cancelled).SerializeToString()
    return response
