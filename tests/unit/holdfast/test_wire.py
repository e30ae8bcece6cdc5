"""The hand-written encoders mean what the generated classes mean."""

import pytest
from holdfast import wire
from holdfast.errors import Reason, RefusedError, UnknownOutcomeError
from holdfast.keys import KeyRange
from holdfast.operations import Compare, Step
from holdfast.token import ENTRIES_MAX, BadTokenError, Token, TokenEntry
from holdfast.types import Level, WatchPoint
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2
from hypothesis import given
from hypothesis import strategies as st

U64 = st.integers(1, 2**64 - 1)


def parsed(kind: bytes) -> pb.Operation:
    return pb.Operation.FromString(kind)


@given(
    st.lists(st.tuples(U64, st.binary(min_size=1, max_size=1024), U64, st.binary(max_size=600)), max_size=4)
)
def test_a_joined_frame_is_the_frame_the_classes_would_write(puts):
    """Operations joined by hand parse to the very message the generated classes build."""
    operations = [wire.operation(s, k, wire.not_after(t), wire.plain_put(v)) for s, k, t, v in puts]
    wanted = pb.StreamRequest(
        namespace="ns",
        operations=[
            pb.Operation(sequence=s, key=k, not_after_ms=t, put=pb.Put(value=v)) for s, k, t, v in puts
        ],
        token=types_pb2.Token(cluster_id="c"),
        answered_below=9,
        timeout_ms=5000,
    )
    token = wire.token_bytes(Token("c"))

    assert wanted == pb.StreamRequest.FromString(wire.frame("ns", operations, token, 9, 5000))


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(number):
    """Every length and number is written as protobuf writes it."""
    written = pb.Operation(sequence=number).SerializeToString()

    assert (b"\x08" + wire.varint(number) if number else b"") == written


def test_the_default_namespace_is_left_out():
    """Absent means `default`, as the proto says."""
    assert pb.StreamRequest.FromString(wire.frame("default", [], b"", 1, 1)).namespace == ""


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (wire.get(Level.LINEARIZABLE), pb.Operation(get=pb.Get())),
        (wire.get(Level.SESSION), pb.Operation(get=pb.Get(level=2))),
        (
            wire.get(Level.BOUNDED, 50, True),
            pb.Operation(get=pb.Get(level=3, bound_ms=50, or_linearizable=True)),
        ),
        (wire.plain_put(b""), pb.Operation(put=pb.Put())),
        (
            wire.put(b"v", 10, 0, False, False, True),
            pb.Operation(put=pb.Put(value=b"v", ttl_ms=10, if_revision=0, return_previous=True)),
        ),
        (wire.put(b"v", 0, None, True, False, False), pb.Operation(put=pb.Put(value=b"v", if_absent=True))),
        (wire.delete(None, False), pb.Operation(delete=pb.Delete())),
        (
            wire.delete_range(KeyRange(b"a", b"b"), True),
            pb.Operation(delete=pb.Delete(range=pb.KeyRange(start=b"a", end=b"b"), paged=True)),
        ),
        (
            wire.compare_and_set(3, b"v", 0),
            pb.Operation(compare_and_set=pb.CompareAndSet(revision=3, value=b"v")),
        ),
        (
            wire.increment(-2, 5, None, 0, 0),
            pb.Operation(increment=pb.Increment(by=-2, initial=5, maximum=0)),
        ),
        (wire.touch(0), pb.Operation(touch=pb.Touch())),
        (
            wire.scan(KeyRange(b"a", b""), 7, True, Level.ANY, 0, False),
            pb.Operation(scan=pb.Scan(range=pb.KeyRange(start=b"a"), limit=7, keys_only=True, level=4)),
        ),
    ],
)
def test_each_kind_means_what_the_class_means(kind, wanted):
    """Every kind's bytes are the generated message's, absent fields absent."""
    assert wanted == parsed(kind)


def test_a_transaction_carries_every_part():
    """Compares and steps reach the wire with their conditions."""
    found = parsed(
        wire.txn(
            [Compare.revision("a", 0), Compare.absent("b"), Compare.exists("c")],
            [Step.put("a", "1", if_absent=True), Step.get("a"), Step.increment("n", 2, maximum=5)],
            [Step.delete("a", if_revision=4), Step.touch("a", ttl_ms=10)],
        )
    ).txn

    assert [c.WhichOneof("test") for c in found.compares] == ["revision", "exists", "exists"]
    assert [c.exists for c in found.compares] == [False, False, True]
    assert [s.WhichOneof("kind") for s in found.then] == ["put", "get", "increment"]
    assert found.then[0].put.if_absent
    assert not found.then[0].put.HasField("if_revision")
    assert found.then[2].increment.maximum == 5
    assert found.otherwise[0].delete.if_revision == 4
    assert found.otherwise[1].touch.ttl_ms == 10


def test_a_session_read_can_be_asked_linearizable():
    """The stronger form of a read keeps everything but its level."""
    kind = wire.scan(KeyRange(b"a", b"z"), 7, False, Level.SESSION, 0, False)

    assert parsed(wire.as_linearizable(kind)).scan.level == types_pb2.LEVEL_LINEARIZABLE
    assert parsed(wire.as_linearizable(kind)).scan.limit == 7
    assert wire.get(Level.LINEARIZABLE) == wire.as_linearizable(wire.get(Level.SESSION))


def test_an_error_without_outcome_is_unknown():
    """Unless the node says REFUSED, it may have happened."""
    refused = types_pb2.Error(reason=4, outcome=1, retry_after_ms=9)

    assert isinstance(wire.failure(refused), RefusedError)
    assert wire.failure(refused).retry_after_ms == 9
    assert isinstance(wire.failure(types_pb2.Error(reason=21)), UnknownOutcomeError)


def test_a_reason_of_a_newer_server_is_still_an_error():
    """An unknown reason number becomes INTERNAL and keeps its outcome."""
    found = wire.failure(types_pb2.Error(reason=9999, outcome=1))

    assert found.reason is Reason.INTERNAL
    assert isinstance(found, RefusedError)


def test_a_token_survives_its_bytes():
    """Export and import give the same token."""
    token = Token("c", [TokenEntry(b"a", b"m", 7, 3), TokenEntry(b"m", b"z", 5, 100)])

    assert token == wire.token_from_bytes(wire.token_bytes(token))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_token_are_refused(data):
    """Any bytes are a token or a BadTokenError, nothing else."""
    try:
        token = wire.token_from_bytes(data)
    except BadTokenError:
        return
    assert len(token.entries) <= ENTRIES_MAX


def test_a_token_of_too_many_entries_is_refused():
    """The bound is checked before the work."""
    message = types_pb2.Token(cluster_id="c", entries=[types_pb2.TokenEntry()] * (ENTRIES_MAX + 1))

    with pytest.raises(BadTokenError, match="at most 1024"):
        wire.token_from_bytes(message.SerializeToString())


def test_a_shard_that_nobody_serves_is_not_believed():
    """A map entry without replicas is refused, for there is nobody to ask."""
    with pytest.raises(ValueError, match="no replicas"):
        wire.shard_map(pb.ShardMap(epoch=1, shards=[types_pb2.Shard(namespace="n", group=2)]))


def test_a_watch_starts_at_its_point():
    """Without a point the field is absent: from now on."""
    start = pb.WatchRequest.FromString(
        wire.watch_start(3, "ns", KeyRange(b"a", b"b"), WatchPoint(2, 9), True, False, True)
    )
    fresh = pb.WatchRequest.FromString(
        wire.watch_start(4, "ns", KeyRange(b"a", b"b"), None, False, False, False)
    )

    assert getattr(start.start, "from").revision == 9
    assert start.start.or_snapshot
    assert not fresh.start.HasField("from")


def test_an_entry_that_names_no_replica_does_not_break_the_stream():
    """A descriptor whose nodes the teller cannot name is left out; the error is read all the same."""
    shards = [types_pb2.Shard(namespace="default", group=7)]
    found = wire.failure(types_pb2.Error(reason=3, outcome=1, shards=shards))

    assert (found.reason, found.shards) == (Reason.WRONG_SHARD, ())
