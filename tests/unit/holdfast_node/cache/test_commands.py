"""The validator of operations and the entry container."""

from __future__ import annotations

import contextlib

import pytest
from holdfast.keys import KeyRange
from holdfast.v1 import cache_pb2 as pb
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import DecodeError, Run, UnknownEntryError, decode_entry, decode_operation
from holdfast_node.cache.policy import Eviction, Policy
from hypothesis import given
from hypothesis import strategies as st

from tests.entries import STAMP, operation

KEY = b"device/1"


def refusal(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_operation(data)
    return caught.value


def test_a_put_is_decoded_with_all_its_fields() -> None:
    """Every field of a put reaches the Op under its own name."""
    data = operation("put", KEY, 7, 99, value=b"v", ttl_ms=10, if_revision=3, return_previous=True)
    op = decode_operation(data)
    assert (op.sequence, op.kind, op.key, op.not_after, op.value) == (7, commands.PUT, KEY, 99, b"v")
    assert (op.ttl_ms, op.if_revision, op.presence, op.return_previous) == (10, 3, commands.ANYHOW, True)
    assert op.is_write
    assert op.keys() == (KEY,)
    assert op.span() == KeyRange(KEY, KEY + b"\0")


def test_a_directly_built_op_has_the_defaults_of_a_constructed_one() -> None:
    """The fast construction of puts and gets gives the very tuple that the constructor gives."""
    data = operation("put", KEY, 7, 99, value=b"v")
    op = decode_operation(data)
    assert op == commands.Op(7, commands.PUT, KEY, 99, op.check, b"v")
    get = decode_operation(operation("get", KEY, 3, level=3, bound_ms=5, or_linearizable=True))
    assert get == commands.Op(3, commands.GET, KEY, level=3, bound_ms=5, or_linearizable=True)
    assert type(op) is type(get) is commands.Op


def test_a_read_without_level_is_linearizable() -> None:
    """An absent level is never 0 behind the validator."""
    assert decode_operation(operation("get", KEY)).level == 1
    assert decode_operation(operation("scan")).level == 1


def test_the_check_tells_operations_apart() -> None:
    """Two operations under one name differ in `check` as soon as a byte differs."""
    one, two = operation("put", KEY, value=b"a"), operation("put", KEY, value=b"b")
    assert decode_operation(one).check != decode_operation(two).check
    assert decode_operation(one).check == decode_operation(one).check


def test_a_transaction_names_its_keys_once_in_order() -> None:
    """keys() of a Txn joins compares and both lists, sorted, each once."""
    data = operation(
        "txn",
        compares=[pb.Compare(key=b"c", exists=True)],
        then=[pb.TxnOperation(key=b"b", put=pb.Put()), pb.TxnOperation(key=b"a", get=pb.Get())],
        otherwise=[pb.TxnOperation(key=b"b", delete=pb.Delete())],
    )
    op = decode_operation(data)
    assert op.keys() == (b"a", b"b", b"c")
    assert op.span() == KeyRange(b"a", b"c\0")
    assert op.weight() == 3


def test_a_scan_goes_on_where_from_says() -> None:
    """`from` cuts the range and a prefix becomes a range."""
    op = decode_operation(operation("scan", range=pb.KeyRange(prefix=b"a/"), **{"from": b"a/5"}))
    assert op.range == KeyRange(b"a/5", b"a0")
    assert op.limit == limits.SCAN_ITEMS_DEFAULT
    assert not op.is_write


PUT_OK = pb.TxnOperation(key=b"k", put=pb.Put())
BAD = {
    "sequence": operation("put", KEY, 0),
    "kind": pb.Operation(sequence=1, key=KEY).SerializeToString(),
    "key": operation("put", b""),
    "not_after_ms": operation("put", KEY, not_after=0),
    "put.value": operation("put", KEY, value=bytes(limits.VALUE_BYTES_MAX + 1)),
    "put.ttl_ms": operation("put", KEY, ttl_ms=9),
    "put.if_present": operation("put", KEY, if_absent=True, if_present=True),
    "put.if_revision": operation("put", KEY, if_revision=0, if_present=True),
    "get.level": operation("get", KEY, level=5),
    "get.bound_ms": operation("get", KEY, level=3),
    "get.or_linearizable": operation("get", KEY, or_linearizable=True),
    "delete.paged": operation("delete", KEY, paged=True),
    "delete.if_revision": operation("delete", if_revision=1, range=pb.KeyRange()),
    "delete.return_previous": operation("delete", return_previous=True, range=pb.KeyRange()),
    "delete.range.prefix": operation("delete", range=pb.KeyRange(prefix=b"a", end=b"b")),
    "delete.range.end": operation("delete", range=pb.KeyRange(start=b"b", end=b"a")),
    "delete.range.start": operation("delete", range=pb.KeyRange(start=bytes(1025))),
    "compare_and_set.ttl_ms": operation("compare_and_set", KEY, ttl_ms=limits.TTL_MS_MAX + 1),
    "compare_and_set.value": operation("compare_and_set", KEY, value=bytes(limits.VALUE_BYTES_MAX + 1)),
    "increment.minimum": operation("increment", KEY, minimum=2, maximum=1),
    "increment.ttl_ms": operation("increment", KEY, ttl_ms=1),
    "touch.ttl_ms": operation("touch", KEY, ttl_ms=1),
    "scan.limit": operation("scan", limit=limits.SCAN_ITEMS_MAX + 1),
    "scan.from": operation("scan", range=pb.KeyRange(start=b"b"), **{"from": b"a"}),
    "scan.level": operation("scan", level=9),
    "txn": operation("txn"),
    "txn.compares": operation("txn", compares=[pb.Compare(key=b"k", exists=True)] * 129),
    "txn.then": operation("txn", then=[PUT_OK] * 100, otherwise=[PUT_OK] * 29),
    "txn.compares[0].test": operation("txn", compares=[pb.Compare(key=b"k")]),
    "txn.compares[0].key": operation("txn", compares=[pb.Compare(exists=True)]),
    "txn.then[1].kind": operation("txn", then=[PUT_OK, pb.TxnOperation(key=b"k")]),
    "txn.then[0].get.level": operation("txn", then=[pb.TxnOperation(key=b"k", get=pb.Get(level=1))]),
    "txn.then[0].delete.range": operation(
        "txn", then=[pb.TxnOperation(key=b"k", delete=pb.Delete(range=pb.KeyRange()))]
    ),
    "txn.otherwise[0].put.ttl_ms": operation(
        "txn", otherwise=[pb.TxnOperation(key=b"k", put=pb.Put(ttl_ms=1))]
    ),
}


@pytest.mark.parametrize("field", BAD)
def test_a_field_outside_its_bounds_is_named(field: str) -> None:
    """A malformed operation is refused with the dotted name of the field at fault."""
    assert refusal(BAD[field]).field == field


@pytest.mark.parametrize("kind", ["delete", "scan", "txn"])
def test_an_operation_that_carries_its_own_keys_refuses_a_key(kind: str) -> None:
    """Operation.key is refused beside a range or a transaction, never ignored."""
    fields = {"delete": {"range": pb.KeyRange()}, "scan": {}, "txn": {"then": [PUT_OK]}}[kind]
    assert refusal(operation(kind, KEY, **fields)).field == "key"


@pytest.mark.parametrize("size", [0, 1025])
@pytest.mark.parametrize("kind", ["get", "put", "delete", "compare_and_set", "increment", "touch"])
def test_a_key_has_1_to_1024_bytes(kind: str, size: int) -> None:
    """Every kind on one key refuses an empty and an overlong key, and takes the longest."""
    assert refusal(operation(kind, bytes(size))).field == "key"
    assert decode_operation(operation(kind, bytes(1024))).key == bytes(1024)


def test_a_read_with_not_after_is_refused() -> None:
    """not_after_ms belongs to writes; a read that has one is a mistake of the caller."""
    for name in ("get", "scan"):
        message = pb.Operation.FromString(operation(name, KEY if name == "get" else b""))
        message.not_after_ms = 5
        assert refusal(message.SerializeToString()).field == "not_after_ms"


UNKNOWN = b"\xfa\x01\x01x"  # field 31, one byte


@pytest.mark.parametrize("depth", ["operation", "put", "step", "range"])
def test_unknown_fields_are_refused_at_every_depth(depth: str) -> None:
    """A field that the validator does not know is refused wherever it stands, so it never reaches the log."""
    if depth == "operation":
        data = operation("put", KEY) + UNKNOWN
    elif depth == "put":
        data = pb.Operation(
            sequence=1, key=KEY, not_after_ms=5, put=pb.Put.FromString(UNKNOWN)
        ).SerializeToString()
    elif depth == "range":
        data = operation("scan", range=pb.KeyRange.FromString(UNKNOWN))
    else:
        data = operation("txn", then=[pb.TxnOperation.FromString(PUT_OK.SerializeToString() + UNKNOWN)])
    assert "unknown fields: 31" in refusal(data).message


def test_an_operation_over_its_size_is_refused_before_it_is_parsed() -> None:
    """The size bound counts the whole operation and stands before the parser."""
    assert "may have" in refusal(bytes(limits.OPERATION_BYTES_MAX + 1)).message


def test_an_entry_brings_back_what_was_put_in() -> None:
    """encode and decode of every entry kind are inverse."""
    data = commands.encode_batch(STAMP, [Run(b"s" * 16, 5, [b"a", b"", b"c"]), Run(b"", 0, [])])
    entry = decode_entry(data)
    assert (entry.kind, entry.stamp_ms) == (commands.BATCH, STAMP)
    assert [(run.session, run.answered_below, list(run.operations)) for run in entry.runs] == [
        (b"s" * 16, 5, [b"a", b"", b"c"]),
        (b"", 0, []),
    ]
    assert list(decode_entry(commands.encode_touch(STAMP, [b"a", b"b"])).keys) == [b"a", b"b"]
    assert decode_entry(commands.encode_expire(STAMP, 7)).keys_max == 7
    assert decode_entry(commands.encode_evict(STAMP)).keys_max == limits.EVICT_KEYS_MAX
    policy = Policy(1000, Eviction.NOEVICT, 5, 6)
    assert decode_entry(commands.encode_policy(STAMP, policy)).policy == policy


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x01\x00",
        b"\x00\x01" + bytes(8),
        b"\x06\x01" + bytes(8),
        b"\x01\x02" + bytes(8),
        b"\x01\x01" + b"\xff" * 8,
        b"\x01\x01" + bytes(8) + b"\xff",
        b"\x05\x01" + bytes(8),
    ],
    ids=[
        "empty",
        "short",
        "kind 0",
        "kind 6",
        "version 2",
        "absurd stamp",
        "payload",
        "policy without budget",
    ],
)
def test_an_entry_that_is_not_known_stops(data: bytes) -> None:
    """An unknown kind, version or payload raises UnknownEntryError instead of being skipped."""
    with pytest.raises(UnknownEntryError):
        decode_entry(data)


def test_a_policy_outside_its_bounds_is_not_encoded() -> None:
    """A leader cannot put a policy into the log that replicas would refuse."""
    for policy in (
        Policy(0),
        Policy(1, history_events=-1),
        Policy(1, history_events=10**9),
        Policy(1, history_bytes=-1),
    ):
        with pytest.raises(ValueError, match="must be"):
            commands.encode_policy(STAMP, policy)


GOOD = st.sampled_from(
    [
        operation("put", KEY, value=b"v" * 20, ttl_ms=1000),
        operation("get", KEY, level=3, bound_ms=9),
        operation("delete", range=pb.KeyRange(prefix=b"a"), paged=True),
        operation("scan", range=pb.KeyRange(start=b"a"), limit=3),
        operation("txn", compares=[pb.Compare(key=b"k", revision=1)], then=[PUT_OK]),
        operation("increment", KEY, by=-1, minimum=-5),
    ]
)


@given(GOOD, st.data())
def test_mutated_operations_raise_nothing_but_decode_error(data: bytes, draw: st.DataObject) -> None:
    """Whatever is done to an operation's bytes, the outcome is an Op or a DecodeError."""
    mutable = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        mutable[draw.draw(st.integers(0, len(mutable) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(mutable[: draw.draw(st.integers(0, len(mutable)))])
    for candidate in (bytes(mutable), cut):
        try:
            op = decode_operation(candidate)
        except DecodeError:
            continue
        assert op.sequence >= 1
        op.keys(), op.span(), op.weight()


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_their_own_error(data: bytes) -> None:
    """Both decoders are total."""
    for decode, expected in ((decode_operation, DecodeError), (decode_entry, UnknownEntryError)):
        with contextlib.suppress(expected):
            decode(data)
