"""Conversion: nothing but HoldfastError comes out, whatever the bytes; and what goes in comes back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from holdfast import wire
from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard
from holdfast.token import TokenEntry
from holdfast.types import EventKind, Item, Outcome
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2 as types
from holdfast_node import limits
from holdfast_node.cache.history import Event
from holdfast_node.cache.results import OpResult, Page, TxnOutcome
from holdfast_node.rpc import convert
from holdfast_node.v1 import frame_pb2 as private
from holdfast_node.watch_hub import WatchSlice
from hypothesis import given
from hypothesis import strategies as st

SHARD = Shard(
    "default", KeyRange(b"a", b"m"), 7, 3, (Replica(1, "127.0.0.1:1"), Replica(2, "127.0.0.1:2")), 2
)


def test_slices_that_leave_together_are_read_one_after_the_other() -> None:
    """The SDK sees as many responses as there were slices, in their order."""
    slices = [(watch, 2, WatchSlice([], 9, watch + 10)) for watch in (3, 1, 3)]

    found = wire.watch_responses(convert.watch_message(slices))

    assert [(each.watch, each.point.revision) for each in found] == [(3, 13), (1, 11), (3, 13)]


UNITS = Units(1, b"/", hashed=True)


def added(result: OpResult) -> pb.Result:
    answers = pb.Answers()
    convert.add_result(answers.results, 5, result)
    return answers.results[0]


def test_private_messages_have_the_public_numbers_and_names() -> None:
    """A raw message is the public one on the wire: same fields, same numbers."""
    for raw, public in (
        (private.RawStreamRequest, pb.StreamRequest),
        (private.RawWatchResponse, pb.WatchResponse),
    ):
        fields = {f.name: f.number for f in public.DESCRIPTOR.fields}
        assert {f.name: f.number for f in raw.DESCRIPTOR.fields} == fields


def test_a_frames_operations_come_out_as_the_client_encoded_them() -> None:
    """Operation bytes are sliced out of the frame unchanged."""
    frame = pb.StreamRequest(namespace="a", answered_below=4, timeout_ms=9, token=types.Token(cluster_id="c"))
    frame.operations.add(sequence=1, key=b"k", put=pb.Put(value=b"v"))
    # An unknown field inside an operation must survive for the validator to see it.
    strange = frame.operations[0].SerializeToString() + b"\xa0\x06\x01"
    data = frame.SerializeToString() + b"\x1a" + bytes((len(strange),)) + strange

    raw = convert.frame_of(data)

    assert list(raw.operations) == [frame.operations[0].SerializeToString(), strange]
    assert (raw.namespace, raw.answered_below, raw.timeout_ms) == ("a", 4, 9)
    assert raw.token == frame.token.SerializeToString()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    """Random frames, hellos, tokens and watch requests raise nothing but HoldfastError."""
    for take in (
        convert.frame_of,
        convert.session_of,
        convert.watch_request_of,
        lambda d: convert.token_of(d, "c"),
        lambda d: convert.sequences_of((d,)),
    ):
        with suppress(HoldfastError):
            take(data)


def test_frame_limits_are_refused_by_name() -> None:
    """A frame over a limit is refused with the field and the limit."""
    many = private.RawStreamRequest(operations=[b""] * (limits.FRAME_OPERATIONS_MAX + 1))

    assert convert.frame_problem(limits.FRAME_BYTES_MAX, private.RawStreamRequest()) is None
    large = convert.frame_problem(limits.FRAME_BYTES_MAX + 1, private.RawStreamRequest())
    packed = convert.frame_problem(10, many)
    late = convert.frame_problem(10, private.RawStreamRequest(timeout_ms=limits.TIMEOUT_MS_MAX + 1))

    assert large is not None
    assert str(limits.FRAME_BYTES_MAX) in large.message
    assert packed is not None
    assert packed.field == "operations"
    assert late is not None
    assert late.field == "timeout_ms"


@pytest.mark.parametrize("session", [b"", b"short", bytes(17)])
def test_a_session_is_sixteen_bytes(session: bytes) -> None:
    """Any other length is refused, naming the field."""
    with pytest.raises(HoldfastError) as caught:
        convert.session_of(pb.Hello(session=session, client="x").SerializeToString())

    assert caught.value.field == "hello.session"


def test_a_hello_is_needed_and_its_client_bounded() -> None:
    """No hello and a long client name are refused, each by its field."""
    with pytest.raises(HoldfastError) as missing:
        convert.session_of(b"")
    with pytest.raises(HoldfastError) as long:
        convert.session_of(pb.Hello(session=bytes(16), client="x" * 129).SerializeToString())

    assert (missing.value.field, long.value.field) == ("hello", "hello.client")


@pytest.mark.parametrize(
    "token",
    [
        types.Token(cluster_id="other"),
        types.Token(entries=[types.TokenEntry(start=b"b", end=b"a", group=1, index=1)]),
        types.Token(entries=[types.TokenEntry(start=b"a", end=b"b")]),
        types.Token(entries=[types.TokenEntry(start=b"a", end=b"b", group=2, index=i) for i in range(1025)]),
    ],
)
def test_a_token_that_cannot_be_is_bad(token: types.Token) -> None:
    """Another cluster's token, an impossible entry or too many are BAD_TOKEN."""
    with pytest.raises(HoldfastError) as caught:
        convert.token_of(token, "c")

    assert caught.value.reason is Reason.BAD_TOKEN


def test_a_token_comes_back_as_it_went() -> None:
    """What an answer has seen can be handed back."""
    entry = TokenEntry(b"default\0", b"default\1", 2, 99)

    assert convert.token_of(convert.token_message("c", entry), "c").entries == (entry,)


def test_an_error_carries_every_hint() -> None:
    """Each field of an error reaches the wire."""
    problem = error(
        Reason.WRONG_SHARD, "m", field="f", retry_after_ms=3, leader="l:1", shards=(SHARD,), applied_index=4,
        oldest_revision=5,
    )  # fmt: skip

    message = convert.error_message(problem)

    assert (message.reason, message.outcome, message.message, message.field) == (3, 1, "m", "f")
    assert (message.retry_after_ms, message.leader, message.applied_index, message.oldest_revision) == (
        3,
        "l:1",
        4,
        5,
    )
    assert convert.shard_of(message.shards[0]) == SHARD


def test_status_details_are_a_google_rpc_status() -> None:
    """The details hold code, message and the error under its type's url."""
    problem = error(Reason.BUSY, "full")

    status = private.RpcStatus.FromString(convert.status_details(8, problem))

    detail: AnyMessage = status.details[0]
    assert (status.code, detail.type_url) == (8, "type.googleapis.com/holdfast.v1.Error")
    assert types.Error.FromString(detail.value) == convert.error_message(problem)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (OpResult(revision=9), pb.Result(sequence=5, revision=9)),
        (OpResult(revision=9, value=b""), pb.Result(sequence=5, revision=9, value=b"")),
        (OpResult(revision=9, value=b"v", ttl_ms=7), pb.Result(sequence=5, revision=9, value=b"v", ttl_ms=7)),
        (OpResult(revision=1, number=-3), pb.Result(sequence=5, revision=1, number=-3)),
        (OpResult(deleted=2, more=True), pb.Result(sequence=5, deleted=2, more=True)),
        (
            OpResult(page=Page((Item(b"k", b"v", 3, 4),), b"n")),
            pb.Result(
                sequence=5,
                page=pb.ScanPage(items=[pb.KeyValue(key=b"k", value=b"v", revision=3, ttl_ms=4)], next=b"n"),
            ),
        ),
        (OpResult(page=Page((), b"")), pb.Result(sequence=5, page=pb.ScanPage())),
        (
            OpResult(revision=2, txn=TxnOutcome(True, (OpResult(revision=2), OpResult(value=b"x")))),
            pb.Result(
                sequence=5,
                revision=2,
                txn=pb.TxnResult(succeeded=True, results=[pb.Result(revision=2), pb.Result(value=b"x")]),
            ),
        ),
    ],
)
def test_a_result_reaches_the_wire_whole(result: OpResult, expected: pb.Result) -> None:
    """Every kind of result has its fields and no others; an empty value is not an absent one."""
    assert added(result) == expected


def test_a_failed_condition_tells_the_present_revision() -> None:
    """A refusal by the state machine is REFUSED, with the revision beside it."""
    result = added(OpResult(error=Reason.CONDITION_FAILED, revision=8))

    assert (result.error.reason, result.error.outcome, result.revision) == (7, Outcome.REFUSED, 8)


def test_a_value_not_kept_has_no_outcome() -> None:
    """PREVIOUS_NOT_KEPT did happen: neither refused nor unknown."""
    assert added(OpResult(error=Reason.PREVIOUS_NOT_KEPT, revision=8)).error.outcome == 0


def test_unary_requests_become_operations() -> None:
    """Key and value may be given as bytes or as text, not as both."""
    namespace, operation = convert.put_operation(pb.PutRequest(key=pb.Key(key_text="ä"), value_text="ö"))

    assert (namespace, operation.key, operation.put.value) == ("default", "ä".encode(), "ö".encode())
    for request, take in (
        (pb.PutRequest(key=pb.Key(key=b"k"), put=pb.Put(value=b"v"), value_text="v"), convert.put_operation),
        (pb.PutRequest(), convert.put_operation),
        (pb.GetRequest(key=pb.Key(namespace="a")), convert.get_operation),
    ):
        with pytest.raises(HoldfastError) as caught:
            take(request)  # type: ignore[operator]
        assert caught.value.field in {"value_text", "key"}


def test_a_range_delete_takes_no_key() -> None:
    """delete.range excludes the key; the key's namespace still counts."""
    request = pb.DeleteRequest(key=pb.Key(namespace="a"), delete=pb.Delete(range=pb.KeyRange(prefix=b"p")))

    namespace, operation = convert.delete_operation(request)

    assert (namespace, operation.key, operation.delete.range.prefix) == ("a", b"", b"p")
    request.key.key = b"k"
    with pytest.raises(HoldfastError):
        convert.delete_operation(request)


def test_a_watch_range_is_checked_like_a_scans() -> None:
    """A bad range names its field under start."""
    with pytest.raises(HoldfastError) as caught:
        convert.watch_range(pb.WatchStart(range=pb.KeyRange(prefix=b"p", start=b"a")))

    assert caught.value.field == "start.range.prefix"
    assert convert.watch_range(pb.WatchStart()) == (KeyRange(b"", b""), None)


def test_a_watch_of_a_hashed_namespace_is_about_places() -> None:
    """A unit is a range of them; what is wider stands among others, everywhere unless it says where."""
    unit, wide = pb.WatchStart(range=pb.KeyRange(prefix=b"d/")), pb.WatchStart(range=pb.KeyRange(prefix=b"d"))

    assert convert.watch_range(unit, UNITS) == (UNITS.places_of(KeyRange.of_prefix(b"d/")), None)
    assert convert.watch_range(wide, UNITS) == (KeyRange(b"", b""), KeyRange(b"d", b"e"))
    wide.range.places.start = b"\x80"
    assert convert.watch_range(wide, UNITS) == (KeyRange(b"\x80", b""), KeyRange(b"d", b"e"))
    with pytest.raises(HoldfastError) as caught:
        convert.watch_range(wide)
    assert (caught.value.reason, caught.value.field) == (Reason.CROSS_SHARD, "start.range.places")


def test_clients_are_answered_in_plain_keys() -> None:
    """The items of a page and the events of a watch; what is next stays a place."""
    place = UNITS.placed(b"d/x")
    page = convert.page_message(OpResult(page=Page((Item(place, b"v", 3, 0),), place)), UNITS)
    event = Event(int(EventKind.DELETED), place, 4, None, None)

    assert ([item.key for item in page.items], page.next) == ([b"d/x"], place)
    encoded = convert.event_encoder(UNITS)(event, False, False)
    assert pb.Event.FromString(encoded) == pb.Event(kind=pb.Event.KIND_DELETED, key=b"d/x", revision=4)
    assert convert.event_encoder(None) is convert.event_bytes


def test_a_unary_range_in_a_hashed_namespace_is_about_all_places() -> None:
    """Who has no map need not name them; elsewhere nothing is said of them."""
    scan = convert.scan_operation(pb.ScanRequest(prefix_text="d"))[1]
    convert.say_places(scan, None)
    assert not scan.scan.range.HasField("places")
    convert.say_places(scan, UNITS)
    assert scan.scan.range.HasField("places")
    request = pb.DeleteRequest(delete=pb.Delete(range=pb.KeyRange(places=pb.Places(start=b"\x80"))))
    delete = convert.delete_operation(request)[1]
    convert.say_places(delete, UNITS)
    assert delete.delete.range.places.start == b"\x80"


def test_a_map_entry_says_how_its_namespace_is_hashed() -> None:
    """Clients place keys by what the map says, so it must survive its bytes."""
    entry = SHARD._replace(units=UNITS)

    assert convert.shard_of(convert.shard_message(entry)) == entry
    assert wire.shard(convert.shard_message(entry)) == entry
    assert not convert.shard_message(SHARD).HasField("units")


def test_a_watch_response_reads_as_the_public_message() -> None:
    """Encoded events, point and cancellation come out in the public form."""
    event = pb.Event(kind=pb.Event.KIND_PUT, key=b"k", value=b"v", revision=6)
    part = WatchSlice([event.SerializeToString()], 9, 6, started=True, cancelled=error(Reason.BUSY, "slow"))

    found = pb.WatchResponse.FromString(convert.watch_message([(3, 2, part)]))

    assert (found.watch, found.started, found.point, list(found.events)) == (
        3, True, pb.WatchPoint(group=2, revision=6), [event],
    )  # fmt: skip
    assert found.cancelled.reason == Reason.BUSY
