"""The short way to decode a plain put or get is the general way, only shorter."""

from __future__ import annotations

from google.protobuf.message import DecodeError as WireError
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache import decoding
from holdfast_node.cache.bounds import DecodeError
from holdfast_node.cache.decoding import decode_operation, decode_operations
from holdfast_node.cache.op import Op
from hypothesis import example, given
from hypothesis import strategies as st

UNITS = st.sampled_from([None, Units(1, b"/", hashed=True)])

kinds = st.one_of(
    st.builds(
        lambda value, more: {"put": pb.Put(value=value, **more)},
        st.binary(max_size=200),
        st.sampled_from(
            [{}, {}, {}, {"ttl_ms": 500}, {"if_revision": 0}, {"if_absent": True}, {"return_previous": True}]
        ),
    ),
    st.builds(
        lambda level, more: {"get": pb.Get(level=level, **more)},
        st.integers(0, 5),
        st.sampled_from([{}, {}, {"bound_ms": 7}, {"or_linearizable": True}]),
    ),
    st.sampled_from([{}, {"delete": pb.Delete()}, {"touch": pb.Touch()}, {"scan": pb.Scan()}]),
)
operations = st.builds(
    lambda sequence, key, not_after, kind: pb.Operation(
        sequence=sequence, key=key, not_after_ms=not_after, **kind
    ),
    st.sampled_from([0, 1, 127, 128, 1 << 20, (1 << 63) - 1, (1 << 64) - 1]),
    st.one_of(
        st.binary(max_size=40), st.sampled_from([b"B\0", b"k" * 127, b"k" * 128, b"k" * 1024, b"k" * 1025])
    ),
    st.sampled_from([0, 1, 127, 128, 1_790_000_000_000, (1 << 63) - 1, 1 << 63]),
    kinds,
)
# An operation's bytes, and what a client of another making may do to them: fields again, in another order,
# unknown ones, numbers longer than need be.
wires = st.builds(
    lambda operation, before, after: before + operation.SerializeToString() + after,
    operations,
    st.sampled_from([b"", b"", b"\x42\x00", b"\x4a\x00", b"\x08\x85\x00"]),
    st.sampled_from(
        [b"", b"", b"\x42\x00", b"\x4a\x00", b"\x12\x02B\x00", b"\x08\x05", b"\xa0\x06\x01", b"\x18\x80\x00"]
    ),
)


def outcome(data: bytes, units: Units | None) -> Op | tuple[str, str]:
    try:
        return decode_operation(data, units)
    except DecodeError as problem:
        return problem.field, problem.message


@example(
    data=pb.Operation(sequence=1, key=b"k", not_after_ms=1, put=pb.Put(value=b"v")).SerializeToString(),
    units=None,
)
@example(data=pb.Operation(sequence=1, key=b"k", get=pb.Get()).SerializeToString(), units=None)
@given(wires, UNITS)
def test_operations_decode_alike_alone_and_by_the_short_way(data: bytes, units: Units | None) -> None:
    """Together with their frame, where the short way is tried, or alone, where it is not."""
    try:
        message = pb.Operation.FromString(data)
    except WireError:
        return
    short = decode_operations([message], [data], units)[0]

    alone = outcome(data, units)

    if isinstance(short, DecodeError):
        assert (short.field, short.message) == alone
    else:
        assert short == alone


@given(st.binary(min_size=1, max_size=300), st.sampled_from([b"k", b"k" * 128]))
def test_plain_puts_and_gets_take_the_short_way(value: bytes, key: bytes) -> None:
    """What nearly every operation is does not pay for what it might have been."""
    put = pb.Operation(sequence=300, key=key, not_after_ms=1_790_000_000_000, put=pb.Put(value=value))
    get = pb.Operation(sequence=300, key=key, get=pb.Get())
    session = pb.Operation(sequence=300, key=key, get=pb.Get(level=2))

    for message in (put, get, session):
        assert decoding._plain(message, message.SerializeToString(), None) is not None
