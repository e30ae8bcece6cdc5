"""Hashed namespaces in the state machine: operations say keys, the state holds places."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.keys import KeyRange
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import DecodeError, Op, UnknownEntryError, decode_operation
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.state import State

from tests.entries import SESSION, STAMP, apply, batch, copy_of, keys_of, operation

UNITS = Units(1, b"/", hashed=True)
EVERYWHERE = pb.Places()


def placed(*keys: bytes) -> list[bytes]:
    return sorted(map(UNITS.placed, keys))


def filled(*keys: bytes) -> State:
    state = State()
    for at in range(0, len(keys), 500):
        apply(state, *(operation("put", key, value=b"v") for key in keys[at : at + 500]), units=UNITS)
    return state


def delete(prefix: bytes, *, places: pb.Places = EVERYWHERE, paged: bool = True, sequence: int = 1) -> bytes:
    span = pb.KeyRange(prefix=prefix, places=places)
    return operation("delete", sequence=sequence, range=span, paged=paged)


def scan(state: State, prefix: bytes, **fields: object) -> OpResult:
    span = pb.KeyRange(prefix=prefix, places=EVERYWHERE)
    return state.read(decode_operation(operation("scan", range=span, **fields), UNITS))


# ---- decoding ----


@pytest.mark.parametrize("kind", ["get", "put", "delete", "compare_and_set", "increment", "touch"])
def test_a_key_is_decoded_to_its_place(kind: str) -> None:
    """Every operation on one key, and only its key, is another in a hashed namespace."""
    data = operation(kind, b"dev/x")

    assert decode_operation(data, UNITS) == decode_operation(data)._replace(key=UNITS.placed(b"dev/x"))


def test_the_keys_of_a_transaction_are_decoded_to_their_places() -> None:
    """Compares and steps alike, so that all of a unit lie in one shard."""
    data = operation(
        "txn", compares=[pb.Compare(key=b"d/a", exists=True)],
        then=[pb.TxnOperation(key=b"d/b", get=pb.Get())],
        otherwise=[pb.TxnOperation(key=b"d/c", touch=pb.Touch())],
    )  # fmt: skip
    op = decode_operation(data, UNITS)

    assert list(op.keys()) == placed(b"d/a", b"d/b", b"d/c")
    assert {place[:8] for place in op.keys()} == {UNITS.placed(b"d/")[:8]}  # noqa: SIM118 - no dict


def test_the_longest_key_has_a_place_and_a_longer_one_has_none() -> None:
    """The bound is that of keys as clients know them."""
    assert len(decode_operation(operation("get", bytes(1024)), UNITS).key) == limits.PLACE_BYTES_MAX
    with pytest.raises(DecodeError, match="1024 bytes"):
        decode_operation(operation("get", bytes(1025)), UNITS)


def test_a_range_inside_a_unit_is_a_range_of_places() -> None:
    """Nothing else stands there: no filter."""
    places = pb.Places(start=b"\x00")
    op = decode_operation(operation("scan", range=pb.KeyRange(prefix=b"dev/a", places=places)), UNITS)

    assert (op.range, op.among) == (UNITS.places_of(KeyRange.of_prefix(b"dev/a")), None)
    beside = pb.Places(start=prefix_after(UNITS.placed(b"dev/")))
    op = decode_operation(operation("scan", range=pb.KeyRange(prefix=b"dev/", places=beside)), UNITS)
    assert op.range is not None
    assert op.range.is_empty()


def prefix_after(place: bytes) -> bytes:
    return KeyRange.of_prefix(place).end


def test_a_range_over_units_is_looked_for_at_the_places_that_are_said() -> None:
    """Which keys are meant goes with it; of all keys nothing needs to be said."""
    places = pb.Places(start=b"\x40", end=b"\x80")
    op = decode_operation(operation("scan", range=pb.KeyRange(prefix=b"de", places=places)), UNITS)
    assert (op.range, op.among) == (KeyRange(b"\x40", b"\x80"), KeyRange(b"de", b"df"))
    op = decode_operation(operation("scan", range=pb.KeyRange(places=places), **{"from": b"\x50"}), UNITS)
    assert (op.range, op.among) == (KeyRange(b"\x50", b"\x80"), None)


@pytest.mark.parametrize(
    ("span", "units", "reason", "field"),
    [
        (pb.KeyRange(prefix=b"de"), UNITS, Reason.CROSS_SHARD, "delete.range.places"),
        (pb.KeyRange(places=EVERYWHERE), None, Reason.CROSS_SHARD, "delete.range.places"),
        (
            pb.KeyRange(places=pb.Places(start=bytes(1034))), UNITS, Reason.INVALID,
            "delete.range.places.start",
        ),
        (
            pb.KeyRange(places=pb.Places(start=b"b", end=b"a")), UNITS, Reason.INVALID,
            "delete.range.places.end",
        ),
    ],
    ids=["places are missing", "places of no use", "too long", "no range"],
)  # fmt: skip
def test_a_range_of_another_namespace_is_told_apart(
    span: pb.KeyRange, units: Units | None, reason: Reason, field: str
) -> None:
    """Who planned by a map of before is told to plan anew, instead of getting half of an answer."""
    with pytest.raises(DecodeError) as problem:
        decode_operation(operation("delete", range=span, paged=True), units)

    assert (problem.value.reason, problem.value.field) == (reason, field)


# ---- entries ----


def test_an_entry_says_itself_how_its_keys_are_placed() -> None:
    """What a follower decodes is what the leader decoded, from the log alone."""
    data = [operation("put", b"dev/x", value=b"v"), delete(b"de")]
    entry = batch(*data, units=UNITS)
    opened = commands.decode_entry(entry)

    assert opened.units == UNITS
    assert commands.decode_writes(entry, opened.runs, opened.units) == [
        [decode_operation(item, UNITS) for item in data]
    ]
    beside = batch(b"\xff", *data, units=UNITS)
    damaged, *rest = commands.decode_writes(beside, commands.decode_entry(beside).runs, UNITS)[0]
    assert isinstance(damaged, DecodeError)
    assert rest == [decode_operation(item, UNITS) for item in data]


@pytest.mark.parametrize("separator", [b"", b"//"])
def test_units_that_are_none_stop_the_replica(separator: bytes) -> None:
    """A batch of version 2 without units, or with a separator of another length, is not from this program."""
    entry = bytearray(batch(units=UNITS._replace(separator=b"?")))
    at = entry.index(b"\x12\x01?")
    whole = bytes(entry[: at - 3]) + (b"" if not separator else b"\x12\x06\x08\x01\x12\x02//")

    with pytest.raises(UnknownEntryError):
        commands.decode_entry(whole)


def test_places_are_kept_and_plain_keys_asked_for() -> None:
    """A key put is the key read, stored behind the hash of its unit."""
    state = filled(b"dev/x", b"dev/y", b"other")

    assert keys_of(state) == placed(b"dev/x", b"dev/y", b"other")
    assert state.read(decode_operation(operation("get", b"dev/x"), UNITS)).value == b"v"
    assert state.read(decode_operation(operation("get", b"dev/x"))).value is None


# ---- ranges ----


def test_a_delete_over_units_takes_exactly_the_keys_that_are_meant() -> None:
    """One event each, in one revision; what stands between them stays."""
    state = filled(b"dev-1/a", b"dev-1/b", b"dev-2/a", b"de", b"dew/a", b"x")
    before = state.revision
    (result,) = apply(state, delete(b"dev"), units=UNITS)

    assert (result.deleted, result.more, result.next) == (3, False, b"")
    assert keys_of(state) == placed(b"de", b"dew/a", b"x")
    assert [event.key for event in state.events_after(before)] == placed(b"dev-1/a", b"dev-1/b", b"dev-2/a")
    assert state.revision == before + 1


def test_a_delete_looks_at_places_it_was_told_only() -> None:
    """A page is for one shard, whatever else the state holds."""
    state = filled(*(b"dev-%d/a" % n for n in range(50)))
    whole = keys_of(state)
    (result,) = apply(state, delete(b"dev", places=pb.Places(start=b"\x40", end=b"\x80")), units=UNITS)

    assert 0 < result.deleted < 50
    assert keys_of(state) == [place for place in whole if not b"\x40" <= place < b"\x80"]


MANY = [b"%05d" % n for n in range(limits.DELETE_LOOKS_MAX + 500)]


def test_a_delete_that_finds_little_among_many_stops_and_says_where() -> None:
    """The work of an entry is bounded by what it looks at; the next page goes on there, and ends."""
    state = filled(*MANY)
    meant = [key for key in MANY if key.startswith(b"0000")]
    (first,) = apply(state, delete(b"0000"), units=UNITS)
    assert (first.more, first.next) == (True, placed(*MANY)[limits.DELETE_LOOKS_MAX])
    (second,) = apply(state, delete(b"0000", places=pb.Places(start=first.next)), units=UNITS)

    assert (second.more, second.next) == (False, b"")
    assert first.deleted + second.deleted == len(meant)
    assert state.key_count == len(MANY) - len(meant)
    assert not any(state.get(UNITS.placed(key)) for key in meant)


def test_an_atomic_delete_that_would_look_at_too_many_is_refused() -> None:
    """All or nothing has the same bound, and then takes nothing."""
    state = filled(*MANY)
    (result,) = apply(state, delete(b"0000", paged=False), units=UNITS)

    assert (result.error, state.key_count) == (int(Reason.TOO_MANY_KEYS), len(MANY))


def test_where_a_delete_goes_on_is_not_answered_again() -> None:
    """A repeat gives what a replica restored from a snapshot would give: all but that hint."""
    state = filled(*MANY)
    (first,) = apply(state, delete(b"0000"), units=UNITS, session=SESSION)
    assert first.next
    for replica in (copy_of(state), state):
        (again,) = apply(replica, delete(b"0000"), units=UNITS, session=SESSION)
        assert again == first._replace(next=b"")


def test_a_scan_over_units_stops_after_what_it_may_look_at() -> None:
    """A page of few among many is short, says where it goes on, and the pages together find all."""
    state = filled(*MANY)
    found, cursor, pages = [], b"", 0
    while pages == 0 or cursor:
        page = scan(state, b"0000", limit=1000, **{"from": cursor}).page
        assert page is not None
        found += [UNITS.key_at(item.key) for item in page.items]
        cursor = page.next
        pages += 1

    assert found == sorted((key for key in MANY if key.startswith(b"0000")), key=UNITS.placed)
    assert pages == -(-len(MANY) // limits.SCAN_LOOKS_MAX)


def test_operations_of_another_namespace_in_a_batch_are_refused_each_by_itself() -> None:
    """Apply is total: what the decoder does not let through is a result."""
    state = filled(b"a")
    (result,) = apply(state, operation("delete", range=pb.KeyRange(prefix=b"a")), units=UNITS)

    assert (result.error, state.key_count) == (int(Reason.CROSS_SHARD), 1)


def test_an_op_without_hash_costs_nothing_more() -> None:
    """Of other namespaces an operation says nothing of places."""
    op = decode_operation(operation("put", b"k", not_after=STAMP))

    assert isinstance(op, Op)
    assert (op.key, op.among) == (b"k", None)
