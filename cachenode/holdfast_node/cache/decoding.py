"""One client operation, from its bytes to an Op.

`decode_operation` is the one validator of an operation's shape: what it lets through, every replica can
apply. Each replica decodes an operation once.

It is also the one way from keys, of which clients speak, to places, of which everything behind it does:
`units` are those of the hashed namespace that the operation is for; None: it is not hashed.

Invariant: decoding is total. Whatever the bytes are, the outcome is an `Op` or a `DecodeError`.
Not here: the entry around operations (commands.py), where keys live (routing.py).
Source: proto/holdfast/v1/cache.proto for every bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from holdfast.errors import Reason
from holdfast.keys import KeyRange, prefix_end
from holdfast.units import EVERYWHERE, Units
from holdfast.v1 import cache_pb2 as pb

from holdfast_node import limits
from holdfast_node.cache.bounds import (
    LINEARIZABLE,
    PLAIN_LEVELS,
    DecodeError,
    checked_level,
    checked_ttl,
    checked_value,
    key_problem,
)
from holdfast_node.cache.op import (
    ABSENT,
    ANYHOW,
    COMPARE_AND_SET,
    DELETE,
    GET,
    INCREMENT,
    INT64_MAX,
    INT64_MIN,
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

_parse = pb.Operation.FromString
# The two hot kinds build their tuple directly: a named tuple's constructor fills nineteen fields by
# defaults, at three times the cost.
_new = tuple.__new__
_AFTER_VALUE = tuple(Op(0, PUT, b""))[6:]
_BEFORE_LEVEL = tuple(Op(0, GET, b""))[3:10]
_AFTER_LEVEL = tuple(Op(0, GET, b""))[11:]
# Tags of Operation's fields, as they are encoded.
_NOT_AFTER_TAG, _GET_TAG = 0x18, 0x42


def decode_operation(data: bytes, units: Units | None = None) -> Op:
    """Decodes and validates one holdfast.v1.Operation. Raises DecodeError, nothing else."""
    _check_size(data)
    try:
        message = _parse(data)
    except WireError:
        raise DecodeError("", "the bytes are not a holdfast.v1.Operation") from None
    return _decode(message, data, units)


def _check_size(data: bytes) -> None:
    if len(data) > limits.OPERATION_BYTES_MAX:
        raise DecodeError(
            "", f"an operation may have {limits.OPERATION_BYTES_MAX} bytes, this one has {len(data)}"
        )


def decode_operations(
    messages: Iterable[pb.Operation], operations: Iterable[bytes], units: Units | None = None
) -> list[Op | DecodeError]:
    """Decodes operations that were parsed together with their frame or entry, each with its bytes.

    One parse for all of them costs a tenth of one parse each.
    """
    decoded: list[Op | DecodeError] = []
    add = decoded.append
    for message, data in zip(messages, operations, strict=True):
        try:
            add(_plain(message, data, units) or _decode(message, data, units))
        except DecodeError as problem:
            add(problem)
    return decoded


def decode_each(operations: Iterable[bytes], units: Units | None = None) -> list[Op | DecodeError]:
    """As decode_operations, when what holds them cannot be parsed as a whole: one of them is damaged."""
    decoded: list[Op | DecodeError] = []
    for data in operations:
        try:
            decoded.append(decode_operation(data, units))
        except DecodeError as problem:
            decoded.append(problem)
    return decoded


def _plain(message: pb.Operation, data: bytes, units: Units | None) -> Op | None:
    """A put of a value without conditions, or a get without a bound; None: `_decode` must look.

    Half of the cost of the general way, which asks for every field that might be there. Here the length
    tells: the fields found fill `data` to the last byte even when each is encoded as short as can be, so
    there is no other, known or unknown. tests/property/test_decoding.py holds the two ways equal.
    """
    sequence = message.sequence
    key = message.key
    size = len(key)
    if not (0 < size <= limits.KEY_BYTES_MAX and 0 < sequence <= limits.SEQUENCE_MAX):
        return None
    # So far: the sequence and its tag, the key, its length and its tag.
    at = 3 + (sequence.bit_length() + 6) // 7 + (size > 127) + size
    tag = data[at] if at < len(data) else 0
    if tag == _NOT_AFTER_TAG:
        return _plain_put(message, data, units, sequence, key, at)
    return _plain_get(message, data, units, sequence, key, at) if tag == _GET_TAG else None


def _plain_put(
    message: pb.Operation, data: bytes, units: Units | None, sequence: int, key: bytes, at: int
) -> Op | None:
    value = message.put.value
    not_after = message.not_after_ms
    size = len(value)
    inner = 1 + (size.bit_length() + 6) // 7 + size
    if (
        len(data) != at + 2 + (not_after.bit_length() + 6) // 7 + (inner.bit_length() + 6) // 7 + inner
        or not 0 < size <= limits.VALUE_BYTES_MAX
        or not 0 < not_after <= INT64_MAX
    ):
        return None
    if units is not None:
        key = units.placed(key)
    return _new(Op, (sequence, PUT, key, not_after, zlib.crc32(data), value, *_AFTER_VALUE))


def _plain_get(
    message: pb.Operation, data: bytes, units: Units | None, sequence: int, key: bytes, at: int
) -> Op | None:
    if not message.HasField("get"):
        return None
    level = message.get.level
    if level not in PLAIN_LEVELS or len(data) != at + (4 if level else 2):
        return None
    if units is not None:
        key = units.placed(key)
    return _new(Op, (sequence, GET, key, *_BEFORE_LEVEL, level or LINEARIZABLE, *_AFTER_LEVEL))


def _decode(message: pb.Operation, data: bytes, units: Units | None) -> Op:
    """The operation that `data` parses to."""
    if len(data) > limits.OPERATION_BYTES_MAX:
        _check_size(data)
    if len(UnknownFieldSet(message)):
        raise _unknown("", message)
    sequence = message.sequence
    if not 1 <= sequence <= limits.SEQUENCE_MAX:
        raise DecodeError("sequence", "is required, at least 1 and below 2^63")
    kind = message.WhichOneof("kind")
    if kind is None:
        raise DecodeError("kind", "is required: one of get, put, delete, ...")
    return _DECODERS[kind](sequence, message, data, units)


def _unknown(field: str, message: Message) -> DecodeError:
    fields = UnknownFieldSet(message)
    numbers = sorted({fields[i].field_number for i in range(len(fields))})
    return DecodeError(field, f"holds unknown fields: {', '.join(map(str, numbers))}")


def _known(field: str, message: Message) -> None:
    if len(UnknownFieldSet(message)):
        raise _unknown(field, message)


def _no_key(name: str, message: pb.Operation) -> None:
    if message.key:
        raise DecodeError("key", f"must be absent: {name} carries its own keys")


def _not_after(message: pb.Operation) -> int:
    not_after = message.not_after_ms
    if not 1 <= not_after < 2**63:
        raise DecodeError("not_after_ms", "is required for writes and must be below 2^63")
    return not_after


def _range(prefix: str, part: pb.KeyRange, units: Units | None) -> tuple[KeyRange, KeyRange | None]:
    """The range of places, and which of the keys there are meant; None: all."""
    keys = _keys(prefix, part)
    field = prefix + "places"
    if part.HasField("places") != (units is not None):
        why = "must be absent: the namespace is not hashed" if units is None else "is required: it is hashed"
        raise DecodeError(field, f"{why}; ask for the map", Reason.CROSS_SHARD)
    if units is None:
        return keys, None
    within, standing = _places(field, part.places), units.places_of(keys)
    if standing is None:
        return within, None if keys == EVERYWHERE else keys
    found = within.intersect(standing)
    return (KeyRange(found.start, found.start) if found.is_empty() else found), None


def _places(field: str, part: pb.Places) -> KeyRange:
    _known(field, part)
    for name, place in (("start", part.start), ("end", part.end)):
        # One more than a place: a page may end just after the longest.
        if len(place) > limits.PLACE_BYTES_MAX + 1:
            raise DecodeError(f"{field}.{name}", f"may have {limits.PLACE_BYTES_MAX + 1} bytes")
    if part.end and part.start >= part.end:
        raise DecodeError(field + ".end", "must lie behind start")
    return KeyRange(part.start, part.end)


def _keys(prefix: str, part: pb.KeyRange) -> KeyRange:
    _known(prefix[:-1], part)
    start, end = part.start, part.end
    for name, key in (("prefix", part.prefix), ("start", start), ("end", end)):
        if len(key) > limits.KEY_BYTES_MAX:
            raise key_problem(prefix + name, key)
    if part.prefix:
        if start or end:
            raise DecodeError(prefix + "prefix", "excludes start and end")
        return KeyRange(part.prefix, prefix_end(part.prefix))
    if end and start > end:
        raise DecodeError(prefix + "end", "lies before start")
    return KeyRange(start, end)


def _decode_get(sequence: int, message: pb.Operation, _: bytes, units: Units | None) -> Op:
    key = _place("key", message.key, units)
    if message.not_after_ms:
        raise DecodeError("not_after_ms", "is for writes only")
    part = message.get
    _known("get", part)
    level, bound_ms, or_linearizable = checked_level("get.", part.level, part.bound_ms, part.or_linearizable)
    return Op(sequence, GET, key, level=level, bound_ms=bound_ms, or_linearizable=or_linearizable)


def _decode_put(sequence: int, message: pb.Operation, data: bytes, units: Units | None) -> Op:
    key, not_after = _write_head(message, units)
    value, ttl_ms, if_revision, presence, return_previous = _put("put.", message.put)
    return Op(
        sequence, PUT, key, not_after, zlib.crc32(data), value, ttl_ms, if_revision, presence, return_previous
    )


def _put(prefix: str, part: pb.Put) -> tuple[bytes, int, int, int, bool]:
    _known(prefix[:-1], part)
    value = checked_value(prefix + "value", part.value)
    ttl_ms = checked_ttl(prefix + "ttl_ms", part.ttl_ms)
    if_revision = part.if_revision if part.HasField("if_revision") else NO_REVISION
    presence = ANYHOW
    if part.if_absent:
        presence = ABSENT
    if part.if_present:
        if presence:
            raise DecodeError(prefix + "if_present", "excludes if_absent")
        presence = PRESENT
    if presence and if_revision != NO_REVISION:
        raise DecodeError(prefix + "if_revision", "excludes if_absent and if_present")
    return value, ttl_ms, if_revision, presence, part.return_previous


def _write_head(message: pb.Operation, units: Units | None) -> tuple[bytes, int]:
    """Place and not_after of a write on one key."""
    return _place("key", message.key, units), _not_after(message)


def _decode_delete(sequence: int, message: pb.Operation, data: bytes, units: Units | None) -> Op:
    part = message.delete
    if not part.HasField("range"):
        key, not_after = _write_head(message, units)
        if_revision, return_previous = _delete("delete.", part)
        return Op(
            sequence, DELETE, key, not_after, zlib.crc32(data),
            if_revision=if_revision, return_previous=return_previous,
        )  # fmt: skip
    _no_key("delete.range", message)
    _known("delete", part)
    if part.HasField("if_revision"):
        raise DecodeError("delete.if_revision", "is for single keys only")
    if part.return_previous:
        raise DecodeError("delete.return_previous", "is for single keys only")
    span, among = _range("delete.range.", part.range, units)
    return Op(
        sequence, DELETE, b"", _not_after(message), zlib.crc32(data),
        range=span, paged=part.paged, among=among,
    )  # fmt: skip


def _delete(prefix: str, part: pb.Delete) -> tuple[int, bool]:
    _known(prefix[:-1], part)
    if part.HasField("range"):
        raise DecodeError(prefix + "range", "is not possible in a transaction")
    if part.paged:
        raise DecodeError(prefix + "paged", "is for ranges only")
    return part.if_revision if part.HasField("if_revision") else NO_REVISION, part.return_previous


def _decode_compare_and_set(sequence: int, message: pb.Operation, data: bytes, units: Units | None) -> Op:
    key, not_after = _write_head(message, units)
    part = message.compare_and_set
    _known("compare_and_set", part)
    value = checked_value("compare_and_set.value", part.value)
    ttl_ms = checked_ttl("compare_and_set.ttl_ms", part.ttl_ms)
    return Op(sequence, COMPARE_AND_SET, key, not_after, zlib.crc32(data), value, ttl_ms, part.revision)


def _decode_increment(sequence: int, message: pb.Operation, data: bytes, units: Units | None) -> Op:
    key, not_after = _write_head(message, units)
    summand, ttl_ms = _increment("increment.", message.increment)
    return Op(sequence, INCREMENT, key, not_after, zlib.crc32(data), ttl_ms=ttl_ms, sum=summand)


def _increment(prefix: str, part: pb.Increment) -> tuple[Sum, int]:
    _known(prefix[:-1], part)
    minimum = part.minimum if part.HasField("minimum") else INT64_MIN
    maximum = part.maximum if part.HasField("maximum") else INT64_MAX
    if minimum > maximum:
        raise DecodeError(prefix + "minimum", "is above maximum")
    return Sum(part.by, part.initial, minimum, maximum), checked_ttl(prefix + "ttl_ms", part.ttl_ms)


def _decode_touch(sequence: int, message: pb.Operation, data: bytes, units: Units | None) -> Op:
    key, not_after = _write_head(message, units)
    ttl_ms = _touch("touch.", message.touch)
    return Op(sequence, TOUCH, key, not_after, zlib.crc32(data), ttl_ms=ttl_ms)


def _touch(prefix: str, part: pb.Touch) -> int:
    _known(prefix[:-1], part)
    return checked_ttl(prefix + "ttl_ms", part.ttl_ms)


def _decode_scan(sequence: int, message: pb.Operation, _: bytes, units: Units | None) -> Op:
    _no_key("scan", message)
    if message.not_after_ms:
        raise DecodeError("not_after_ms", "is for writes only")
    part = message.scan
    _known("scan", part)
    span, among = _range("scan.range.", part.range, units)
    start = getattr(part, "from")
    longest = limits.KEY_BYTES_MAX if units is None else limits.PLACE_BYTES_MAX
    if len(start) > longest + 1:  # one more than a key: a page may end just after the longest
        raise key_problem("scan.from", start)
    if start:
        if start < span.start or (span.end and start > span.end):
            raise DecodeError("scan.from", "lies outside the range")
        span = KeyRange(start, span.end)
    limit = part.limit or limits.SCAN_ITEMS_DEFAULT
    if limit > limits.SCAN_ITEMS_MAX:
        raise DecodeError("scan.limit", f"may be {limits.SCAN_ITEMS_MAX}, is {limit}")
    level, bound_ms, or_linearizable = checked_level("scan.", part.level, part.bound_ms, part.or_linearizable)
    return Op(
        sequence, SCAN, b"", level=level, bound_ms=bound_ms, or_linearizable=or_linearizable,
        range=span, limit=limit, keys_only=part.keys_only, among=among,
    )  # fmt: skip


def _decode_txn(sequence: int, message: pb.Operation, data: bytes, units: Units | None) -> Op:
    _no_key("txn", message)
    if len(data) > limits.TXN_BYTES_MAX:
        raise DecodeError("txn", f"may have {limits.TXN_BYTES_MAX} bytes, this one has {len(data)}")
    part = message.txn
    _known("txn", part)
    compares, then, otherwise = part.compares, part.then, part.otherwise
    if len(compares) > limits.TXN_COMPARES_MAX:
        raise DecodeError("txn.compares", f"may be {limits.TXN_COMPARES_MAX}, are {len(compares)}")
    if len(then) + len(otherwise) > limits.TXN_OPERATIONS_MAX:
        raise DecodeError(
            "txn.then", f"with otherwise may be {limits.TXN_OPERATIONS_MAX}, are {len(then) + len(otherwise)}"
        )
    if not compares and not then and not otherwise:
        raise DecodeError("txn", "is empty")
    transaction = Transaction(
        tuple(_compare(f"txn.compares[{i}]", compare, units) for i, compare in enumerate(compares)),
        tuple(_step(f"txn.then[{i}]", step, units) for i, step in enumerate(then)),
        tuple(_step(f"txn.otherwise[{i}]", step, units) for i, step in enumerate(otherwise)),
    )
    return Op(sequence, TXN, b"", _not_after(message), zlib.crc32(data), txn=transaction)


def _place(field: str, key: bytes, units: Units | None) -> bytes:
    """The place of a key that is within its bounds."""
    if not 0 < len(key) <= limits.KEY_BYTES_MAX:
        raise key_problem(field, key)
    return key if units is None else units.placed(key)


def _compare(field: str, compare: pb.Compare, units: Units | None) -> Compare:
    _known(field, compare)
    key = _place(field + ".key", compare.key, units)
    test = compare.WhichOneof("test")
    if test is None:
        raise DecodeError(field + ".test", "is required: revision or exists")
    return Compare(key, compare.revision if test == "revision" else NO_REVISION, compare.exists)


def _step(field: str, step: pb.TxnOperation, units: Units | None) -> Op:
    _known(field, step)
    key = _place(field + ".key", step.key, units)
    kind = step.WhichOneof("kind")
    if kind == "put":
        value, ttl_ms, if_revision, presence, return_previous = _put(field + ".put.", step.put)
        return Op(0, PUT, key, 0, 0, value, ttl_ms, if_revision, presence, return_previous)
    if kind == "get":
        _known(field + ".get", step.get)
        if step.get.level or step.get.bound_ms or step.get.or_linearizable:
            raise DecodeError(field + ".get.level", "must be absent in a transaction")
        return Op(0, GET, key)
    if kind == "delete":
        if_revision, return_previous = _delete(field + ".delete.", step.delete)
        return Op(0, DELETE, key, if_revision=if_revision, return_previous=return_previous)
    if kind == "increment":
        summand, ttl_ms = _increment(field + ".increment.", step.increment)
        return Op(0, INCREMENT, key, ttl_ms=ttl_ms, sum=summand)
    if kind == "touch":
        return Op(0, TOUCH, key, ttl_ms=_touch(field + ".touch.", step.touch))
    raise DecodeError(field + ".kind", "is required: one of get, put, delete, increment, touch")


_DECODERS: dict[str, Callable[[int, pb.Operation, bytes, Units | None], Op]] = {
    "get": _decode_get,
    "put": _decode_put,
    "delete": _decode_delete,
    "compare_and_set": _decode_compare_and_set,
    "increment": _decode_increment,
    "touch": _decode_touch,
    "scan": _decode_scan,
    "txn": _decode_txn,
}
