"""What each operation does to its keys."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.types import EventKind
from holdfast.v1 import cache_pb2 as pb
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import Run
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import State

from tests.entries import STAMP, apply, keys_of, operation, put

LATER = STAMP + 1000


def kinds(state: State, after: int = 0) -> list[tuple[str, bytes, int]]:
    return [(EventKind(event.kind).name, event.key, event.revision) for event in state.events_after(after)]


def test_a_put_takes_the_next_revision() -> None:
    """Each applied write takes one revision, and it becomes the key's version."""
    state = State()
    assert put(state, b"a").revision == 1
    assert put(state, b"a", b"w").revision == 2
    record = state.get(b"a")
    assert record == (b"w", 2, 0)


def test_return_previous_gives_the_value_before() -> None:
    """return_previous answers with the old value, and with none when there was none."""
    state = State()
    assert put(state, b"a", b"1", return_previous=True).value is None
    assert put(state, b"a", b"2", return_previous=True).value == b"1"
    (gone,) = apply(state, operation("delete", b"a", return_previous=True))
    assert (gone.value, gone.deleted, gone.revision) == (b"2", 1, 3)


@pytest.mark.parametrize(
    ("fields", "exists", "holds"),
    [
        ({"if_absent": True}, False, True),
        ({"if_absent": True}, True, False),
        ({"if_present": True}, True, True),
        ({"if_present": True}, False, False),
        ({"if_revision": 1}, True, True),
        ({"if_revision": 2}, True, False),
        ({"if_revision": 0}, False, True),
        ({"if_revision": 0}, True, False),
    ],
)
def test_a_condition_decides_a_put(fields: dict[str, int], exists: bool, holds: bool) -> None:
    """A put whose condition fails changes nothing and answers the key's present revision."""
    state = State()
    if exists:
        put(state, b"a", b"old")
    before = state.revision
    result = put(state, b"a", b"new", **fields)
    if holds:
        assert (result.error, result.revision) == (0, before + 1)
    else:
        assert (result.error, result.revision) == (Reason.CONDITION_FAILED, 1 if exists else 0)
        assert state.revision == before


def test_compare_and_set_compares_revisions_not_values() -> None:
    """A value that came back is not a key that did not change: ABA is told apart."""
    state = State()
    put(state, b"a", b"A")
    put(state, b"a", b"B")
    put(state, b"a", b"A")
    (stale, fresh, taken) = apply(
        state,
        operation("compare_and_set", b"a", revision=1, value=b"x"),
        operation("compare_and_set", b"a", revision=3, value=b"x"),
        operation("compare_and_set", b"a", revision=0, value=b"y"),
    )
    assert (stale.error, stale.revision) == (Reason.CONDITION_FAILED, 3)
    assert (fresh.error, fresh.revision) == (0, 4)
    assert taken.error == Reason.CONDITION_FAILED


def test_deleting_what_is_not_there_takes_no_revision() -> None:
    """A delete or touch of an absent key succeeds, changes nothing and answers revision 0."""
    state = State()
    deleted, touched = apply(state, operation("delete", b"a"), operation("touch", b"a", ttl_ms=100))
    assert (deleted.error, deleted.revision, deleted.deleted) == (0, 0, 0)
    assert (touched.error, touched.revision) == (0, 0)
    assert (state.revision, state.events_after(0)) == (0, [])


def test_increment_counts_from_initial_and_keeps_the_deadline() -> None:
    """An absent key counts as `initial` and gets the ttl; an existing one keeps its own deadline."""
    state = State()
    first, second = apply(
        state,
        operation("increment", b"n", by=2, initial=40, ttl_ms=5000),
        operation("increment", b"n", by=-50, ttl_ms=90),
    )
    assert (first.number, second.number) == (42, -8)
    assert state.get(b"n") == (b"-8", 2, STAMP + 5000)


@pytest.mark.parametrize(
    "value", [b"", b"x", b"1.5", b" 1", b"+1", b"1_0", b"9" * 20, b"9223372036854775808", b"1\n"]
)
def test_increment_refuses_what_is_not_an_int64(value: bytes) -> None:
    """A value that is not the decimal text of an int64 is WRONG_TYPE and stays."""
    state = State()
    put(state, b"n", value)
    (result,) = apply(state, operation("increment", b"n", by=1))
    assert (result.error, result.revision) == (Reason.WRONG_TYPE, 1)
    assert state.get(b"n") == (value, 1, 0)


@pytest.mark.parametrize(
    ("start", "fields"),
    [(b"9223372036854775807", {"by": 1}), (b"5", {"by": 1, "maximum": 5}), (b"5", {"by": -9, "minimum": 0})],
)
def test_increment_stays_within_its_bounds(start: bytes, fields: dict[str, int]) -> None:
    """A sum outside the bounds, or outside int64, is CONDITION_FAILED and changes nothing."""
    state = State()
    put(state, b"n", start)
    (result,) = apply(state, operation("increment", b"n", **fields))
    assert result.error == Reason.CONDITION_FAILED
    assert state.get(b"n") == (start, 1, 0)


def test_a_touch_moves_the_deadline_and_keeps_the_version() -> None:
    """A touch takes a revision and tells watchers, but the key's version stays: nobody's CAS breaks."""
    state = State()
    put(state, b"a", b"v", ttl_ms=100)
    (touched,) = apply(state, operation("touch", b"a", ttl_ms=5000))
    assert touched.revision == 2
    assert state.get(b"a") == (b"v", 1, STAMP + 5000)
    assert kinds(state)[-1] == ("TOUCHED", b"a", 2)
    apply(state, operation("touch", b"a"))
    assert state.next_deadline() is None


def test_a_put_without_ttl_ends_an_earlier_one() -> None:
    """The absent ttl means that the key does not expire, also when it did before."""
    state = State()
    put(state, b"a", ttl_ms=50)
    put(state, b"a")
    assert state.next_deadline() is None
    assert state.get(b"a") == (b"v", 2, 0)


def test_an_operation_sees_a_key_whose_time_has_come_as_gone() -> None:
    """A key due at the entry's stamp expires first, in a revision of its own, before the write."""
    state = State()
    put(state, b"a", ttl_ms=50)
    result = put(state, b"a", b"new", stamp=STAMP + 50, if_absent=True)
    assert (result.error, result.revision) == (0, 3)
    assert kinds(state, 1) == [("EXPIRED", b"a", 2), ("PUT", b"a", 3)]


def test_a_refused_operation_still_expires_what_it_looked_at() -> None:
    """Expiry is a fact of the log, not part of the refused write."""
    state = State()
    put(state, b"a", ttl_ms=50)
    result = put(state, b"a", stamp=STAMP + 50, if_present=True)
    assert (result.error, result.revision) == (Reason.CONDITION_FAILED, 0)
    assert kinds(state, 1) == [("EXPIRED", b"a", 2)]


def test_a_key_is_never_gone_before_its_deadline() -> None:
    """At one ms before the deadline the key is there, and its remaining time is 1 ms."""
    state = State()
    put(state, b"a", ttl_ms=50)
    state.apply(commands.encode_expire(STAMP + 49))
    assert state.read(commands.decode_operation(operation("get", b"a"))).ttl_ms == 1


def test_a_range_delete_takes_one_revision_with_one_event_a_key() -> None:
    """Deleting a range is one change: one revision, events in key order."""
    state = State()
    for key in (b"b", b"a/2", b"a/1", b"a"):
        put(state, key)
    (result,) = apply(state, operation("delete", range=pb.KeyRange(prefix=b"a/")))
    assert (result.deleted, result.revision, result.more) == (2, 5, False)
    assert kinds(state, 4) == [("DELETED", b"a/1", 5), ("DELETED", b"a/2", 5)]
    assert keys_of(state) == [b"a", b"b"]


def test_a_range_delete_expires_what_is_due_first() -> None:
    """Keys of the range whose time has come go as EXPIRED and are not counted as deleted."""
    state = State()
    put(state, b"a", ttl_ms=50)
    put(state, b"b")
    (result,) = apply(state, operation("delete", range=pb.KeyRange()), stamp=STAMP + 60)
    assert (result.deleted, result.revision) == (1, 4)
    assert kinds(state, 2) == [("EXPIRED", b"a", 3), ("DELETED", b"b", 4)]


def filled(count: int) -> State:
    state = State()
    data = [operation("put", b"k%05d" % i, value=b"v") for i in range(count)]
    state.apply(commands.encode_batch(STAMP, [Run(b"", 0, data)]))
    return state


def test_a_large_range_needs_pages() -> None:
    """Above 1000 keys a range delete is refused; with `paged` it deletes 1000 and says that more are left."""
    state = filled(limits.DELETE_KEYS_MAX + 1)
    whole, page, rest = apply(
        state,
        operation("delete", range=pb.KeyRange()),
        operation("delete", range=pb.KeyRange(), paged=True),
        operation("delete", range=pb.KeyRange(), paged=True),
    )
    assert whole.error == Reason.TOO_MANY_KEYS
    assert (page.deleted, page.more) == (1000, True)
    assert (rest.deleted, rest.more) == (1, False)
    assert filled(1000).key_count == 1000


def txn(
    *then: pb.TxnOperation, compares: tuple[pb.Compare, ...] = (), otherwise: tuple[pb.TxnOperation, ...] = ()
) -> bytes:
    return operation("txn", compares=compares, then=then, otherwise=otherwise)


def step(key: bytes, **kind: object) -> pb.TxnOperation:
    return pb.TxnOperation(key=key, **kind)


def test_a_transaction_is_one_revision() -> None:
    """All writes of a transaction share a revision; its reads see the steps before them."""
    state = State()
    (result,) = apply(
        state, txn(step(b"b", put=pb.Put(value=b"1")), step(b"a", put=pb.Put()), step(b"b", get=pb.Get()))
    )
    assert (result.revision, state.revision) == (1, 1)
    assert result.txn is not None
    assert result.txn.succeeded
    assert (result.txn.results[2].value, result.txn.results[2].revision) == (b"1", 1)
    assert kinds(state) == [("PUT", b"a", 1), ("PUT", b"b", 1)]


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (pb.Compare(key=b"a", revision=1), True),
        (pb.Compare(key=b"a", revision=2), False),
        (pb.Compare(key=b"x", revision=0), True),
        (pb.Compare(key=b"a", revision=0), False),
        (pb.Compare(key=b"a", exists=True), True),
        (pb.Compare(key=b"a", exists=False), False),
        (pb.Compare(key=b"x", exists=False), True),
    ],
)
def test_compares_choose_the_list(compare: pb.Compare, holds: bool) -> None:
    """`then` is done when every compare holds, `otherwise` when one does not."""
    state = State()
    put(state, b"a")
    data = txn(
        step(b"t", put=pb.Put()),
        compares=(pb.Compare(key=b"a", exists=True), compare),
        otherwise=(step(b"o", put=pb.Put()),),
    )
    (result,) = apply(state, data)
    assert result.txn is not None
    assert result.txn.succeeded == holds
    assert keys_of(state) == [b"a", b"t" if holds else b"o"]


def test_a_refused_step_refuses_the_transaction() -> None:
    """One step that is refused undoes all, and the answer names the step."""
    state = State()
    put(state, b"n", b"text")
    (result,) = apply(state, txn(step(b"a", put=pb.Put()), step(b"n", increment=pb.Increment(by=1))))
    assert (result.error, result.field, result.txn) == (Reason.WRONG_TYPE, "txn.then[1]", None)
    assert (keys_of(state), state.revision) == ([b"n"], 1)


def test_a_transaction_tells_watchers_the_net_change() -> None:
    """A key written twice is one event; a key that came and went inside is none; a touched put is a put."""
    state = State()
    put(state, b"d")
    apply(
        state,
        txn(
            step(b"a", put=pb.Put(value=b"1")),
            step(b"a", put=pb.Put(value=b"2")),
            step(b"c", put=pb.Put()),
            step(b"c", delete=pb.Delete()),
            step(b"p", put=pb.Put()),
            step(b"p", touch=pb.Touch(ttl_ms=50)),
            step(b"d", delete=pb.Delete()),
        ),
    )
    assert kinds(state, 1) == [("PUT", b"a", 2), ("DELETED", b"d", 2), ("PUT", b"p", 2)]
    assert state.get(b"p") == (b"", 2, STAMP + 50)


def test_a_transaction_that_only_reads_takes_no_revision() -> None:
    """Steps that change nothing leave the revision where it is."""
    state = State()
    put(state, b"a", b"v")
    (result,) = apply(state, txn(step(b"a", get=pb.Get()), step(b"x", delete=pb.Delete())))
    assert (result.revision, state.revision) == (0, 1)
    assert result.txn is not None
    assert [step.value for step in result.txn.results] == [b"v", None]


def test_a_transaction_that_does_not_fit_changes_nothing() -> None:
    """Room is made for a transaction as a whole, or it is refused as a whole."""
    state = State(Policy(3 * 70, Eviction.NOEVICT))
    put(state, b"a", b"v")
    (result,) = apply(state, txn(*(step(b"k%d" % i, put=pb.Put(value=b"v")) for i in range(3))))
    assert result.error == Reason.OUT_OF_SPACE
    assert (keys_of(state), state.revision) == ([b"a"], 1)


def test_a_scan_reads_pages_in_order() -> None:
    """A page ends at its limit and says where to go on; pages together are the range."""
    state = filled(1100)
    op = commands.decode_operation(operation("scan", range=pb.KeyRange(prefix=b"k"), limit=1000))
    page = state.read(op).page
    assert page is not None
    assert (len(page.items), page.next) == (1000, b"k01000")
    rest = commands.decode_operation(
        operation("scan", range=pb.KeyRange(prefix=b"k"), limit=1000, **{"from": page.next})
    )
    last = state.read(rest).page
    assert last is not None
    assert ([item.key for item in last.items], last.next) == ([b"k%05d" % i for i in range(1000, 1100)], b"")


def test_a_page_ends_at_a_mebibyte_of_values() -> None:
    """Large values end a page before its limit; without values they do not count."""
    state = State()
    for i in range(5):
        put(state, b"k%d" % i, bytes(400_000))
    page = state.scan()
    assert (len(page.items), page.next) == (3, b"k3")
    bare = state.scan(keys_only=True)
    assert [item.value for item in bare.items] == [b""] * 5


def test_strict_reads_hide_keys_whose_time_has_passed() -> None:
    """hide_expired_at hides what the log has not expired yet, and nothing else."""
    state = State()
    put(state, b"a", ttl_ms=50)
    put(state, b"b")
    get = commands.decode_operation(operation("get", b"a"))
    assert state.read(get).value == b"v"
    assert state.read(get, STAMP + 49).value == b"v"
    hidden = state.read(get, STAMP + 50)
    assert (hidden.value, hidden.revision) == (None, 0)
    page = state.read(commands.decode_operation(operation("scan")), STAMP + 50).page
    assert page is not None
    assert [item.key for item in page.items] == [b"b"]
