"""Exactly once."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.v1 import cache_pb2 as pb
from holdfast_node import limits
from holdfast_node.cache import sessions
from holdfast_node.cache.state import State

from tests.entries import SESSION, STAMP, apply, operation

ADD = {"by": 1}


def test_a_repeat_has_its_effect_once_and_the_same_answer() -> None:
    """The same operation again, in the same or a later entry, is answered from its record."""
    state = State()
    data = operation("increment", b"n", 5, **ADD)
    first, again = apply(state, data, data, session=SESSION)
    (later,) = apply(state, data, session=SESSION, stamp=STAMP + 1000)
    assert first == again == later
    assert (first.number, state.revision) == (1, 1)


def test_names_belong_to_sessions() -> None:
    """The same sequence in two sessions names two operations; without a session there is no table."""
    state = State()
    data = operation("increment", b"n", 5, **ADD)
    results = [apply(state, data, session=session)[0].number for session in (SESSION, b"t" * 16, b"", b"")]
    assert results == [1, 2, 3, 4]
    assert state.stats()["session_records"] == 2


def test_a_used_name_is_not_used_again() -> None:
    """Another operation under a recorded (session, sequence) is refused, never executed, never answered."""
    state = State()
    apply(state, operation("put", b"a", 5, value=b"1"), session=SESSION)
    (reused,) = apply(state, operation("put", b"a", 5, value=b"2"), session=SESSION)
    assert reused.error == Reason.SEQUENCE_REUSED
    assert state.get(b"a") == (b"1", 1, 0)


def test_a_refused_write_leaves_no_record() -> None:
    """What was refused at apply may be tried again under its name, and then take effect."""
    state = State()
    data = operation("put", b"a", 5, if_present=True, value=b"2")
    (refused,) = apply(state, data, session=SESSION)
    apply(state, operation("put", b"a", 6, value=b"1"), session=SESSION)
    (done,) = apply(state, data, session=SESSION)
    assert (refused.error, done.error, done.revision) == (Reason.CONDITION_FAILED, 0, 2)


def test_a_no_op_is_an_outcome() -> None:
    """A delete that found nothing is recorded: its repeat must not delete what came later."""
    state = State()
    data = operation("delete", b"a", 5)
    apply(state, data, session=SESSION)
    apply(state, operation("put", b"a", 6, value=b"v"), session=SESSION)
    (again,) = apply(state, data, session=SESSION)
    assert (again.revision, again.deleted) == (0, 0)
    assert state.key_count == 1


def test_below_the_mark_nothing_executes() -> None:
    """answered_below drops the records below it, and sequences below it are refused from then on."""
    state = State()
    one, two = operation("increment", b"n", 1, **ADD), operation("increment", b"n", 2, **ADD)
    apply(state, one, two, session=SESSION)
    assert state.stats()["session_records"] == 2
    below, at = apply(state, one, two, session=SESSION, below=2)
    assert (below.error, at.number) == (Reason.SEQUENCE_REUSED, 2)
    assert state.stats()["session_records"] == 1
    (lowered,) = apply(state, one, session=SESSION, below=0)
    assert lowered.error == Reason.SEQUENCE_REUSED


def test_a_far_mark_costs_no_more_than_the_records() -> None:
    """A mark at the end of the numbers drops every record without counting up to it."""
    state = State()
    apply(state, operation("increment", b"n", 1, **ADD), session=SESSION)
    apply(state, session=SESSION, below=2**62)
    assert state.stats()["session_records"] == 0


def test_a_session_is_forgotten_after_its_last_not_after() -> None:
    """Records and mark stay until the stamp has passed every not_after; then a repeat is itself TOO_LATE."""
    state = State()
    data = operation("increment", b"n", 1, STAMP + 100, **ADD)
    refused = operation("put", b"n", 2, STAMP + 200, if_absent=True)
    apply(state, data, refused, session=SESSION)
    (repeat,) = apply(state, data, session=SESSION, stamp=STAMP + 100)
    assert repeat.number == 1
    (late,) = apply(state, data, session=SESSION, stamp=STAMP + 101)
    assert late.error == Reason.TOO_LATE
    assert state.stats()["sessions"] == 1, "the refused write's not_after still counts"
    apply(state, stamp=STAMP + 200)
    assert state.stats()["sessions"] == 1
    apply(state, stamp=STAMP + 201)
    assert (state.stats()["sessions"], state.stats()["session_bytes"]) == (0, 0)


def test_a_session_stays_for_the_latest_of_its_runs() -> None:
    """A later run with a later not_after keeps the session, its mark included, to the last millisecond."""
    state = State()
    apply(state, operation("put", b"a", 1, STAMP + 100), session=SESSION)
    apply(state, operation("put", b"a", 5, STAMP + 300), session=SESSION, below=5)
    apply(state, stamp=STAMP + 300)
    (below,) = apply(state, operation("put", b"a", 4, STAMP + 300), session=SESSION, stamp=STAMP + 300)
    assert below.error == Reason.SEQUENCE_REUSED
    apply(state, stamp=STAMP + 301)
    assert state.stats()["sessions"] == 0


def test_a_sleeper_cannot_execute_twice() -> None:
    """A client that wakes after its session was forgotten finds its write too late, not new."""
    state = State()
    data = operation("increment", b"n", 1, STAMP + 100, **ADD)
    apply(state, data, session=SESSION)
    (woken,) = apply(state, data, session=SESSION, stamp=STAMP + 11 * 60_000)
    assert woken.error == Reason.TOO_LATE
    assert state.get(b"n") == (b"1", 1, 0)


def test_an_absurd_not_after_does_not_keep_a_session() -> None:
    """A refused not_after in the far future does not pin the session in the table."""
    state = State()
    apply(state, operation("put", b"a", 1, 2**62), session=SESSION)
    apply(state, stamp=STAMP + limits.NOT_AFTER_AHEAD_MS_MAX + 1)
    assert state.stats()["sessions"] == 0


def previous(state: State, sequence: int, size: int) -> bytes:
    """A put that answers a previous value of `size` bytes."""
    apply(state, operation("put", b"a", 1, value=bytes(size)))
    data = operation("put", b"a", sequence, value=b"", return_previous=True)
    apply(state, data, session=SESSION)
    return data


@pytest.mark.parametrize(("size", "error"), [(1024, 0), (1025, Reason.PREVIOUS_NOT_KEPT)])
def test_previous_values_are_kept_up_to_1_kib(size: int, error: int) -> None:
    """A repeat gets the value when it was small, and is told that it happened once when it was not."""
    state = State()
    data = previous(state, 7, size)
    revision = state.revision
    (repeat,) = apply(state, data, session=SESSION)
    assert (repeat.error, repeat.revision) == (error, revision)
    assert repeat.value == (bytes(size) if not error else None)


def test_values_of_a_transaction_count_together() -> None:
    """Reads of a transaction are kept for its repeat only up to 1 KiB in all."""
    state = State()
    apply(state, operation("put", b"a", 1, value=bytes(600)))
    steps = [pb.TxnOperation(key=b"a", get=pb.Get())] * 2
    data = operation("txn", sequence=3, then=steps)
    (first,) = apply(state, data, session=SESSION)
    (repeat,) = apply(state, data, session=SESSION)
    assert (first.error, repeat.error) == (0, Reason.PREVIOUS_NOT_KEPT)


def test_a_session_keeps_values_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the session's bound of kept values, further repeats are told that the value is gone."""
    monkeypatch.setattr(sessions, "REPEAT_SESSION_VALUE_BYTES_MAX", 1500)
    state = State()
    kept, gone = previous(state, 7, 1000), previous(state, 8, 1000)
    results = [apply(state, data, session=SESSION)[0].error for data in (kept, gone)]
    assert results == [0, Reason.PREVIOUS_NOT_KEPT]


def test_a_full_table_refuses_new_writes_but_answers_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its bound the table says BUSY to new writes with a session; repeats and unary calls go on."""
    state = State()
    first = operation("increment", b"n", 1, **ADD)
    apply(state, first, session=SESSION)
    monkeypatch.setattr(sessions, "REPEAT_TABLE_BYTES_MAX", state.stats()["session_bytes"])
    new, repeat = apply(state, operation("increment", b"n", 2, **ADD), first, session=SESSION)
    assert (new.error, new.retry_after_ms > 0, repeat.number) == (Reason.BUSY, True, 1)
    assert apply(state, operation("increment", b"n", **ADD))[0].error == 0
