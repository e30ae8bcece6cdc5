"""Entries, time and facts of the state machine."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import Run, UnknownEntryError
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import State

from tests.entries import STAMP, apply, batch, operation, put


def test_the_stamp_never_goes_back() -> None:
    """An entry with an older stamp is applied at the state's own."""
    state = State()
    put(state, b"a", stamp=STAMP + 100)
    put(state, b"b", stamp=STAMP, ttl_ms=50)
    assert state.stamp_ms == STAMP + 100
    assert state.next_deadline() == STAMP + 150


def test_a_write_past_its_not_after_is_refused() -> None:
    """The last moment of a write is its not_after; one ms later it is TOO_LATE."""
    state = State()
    on_time, late = apply(
        state, operation("put", b"a", not_after=STAMP), operation("put", b"b", not_after=STAMP - 1)
    )
    assert (on_time.error, late.error) == (0, Reason.TOO_LATE)
    assert state.key_count == 1


def test_a_write_too_far_ahead_is_refused() -> None:
    """not_after at most ten minutes after the stamp, as it bounds the table of repeats."""
    far = STAMP + limits.NOT_AFTER_AHEAD_MS_MAX
    last, beyond = apply(
        State(), operation("put", b"a", not_after=far), operation("put", b"a", not_after=far + 1)
    )
    assert last.error == 0
    assert (beyond.error, beyond.field) == (Reason.INVALID, "not_after_ms")


@pytest.mark.parametrize(("count", "left"), [(0, None), (1, None), (2, 1), (7, 3), (600, None), (5000, None)])
def test_any_two_keys_can_be_parted(count: int, left: int | None) -> None:
    """The middle has keys on both sides; few keys, in one bucket, are halved exactly."""
    state = State()
    for number in range(count):
        put(state, b"%06d" % number)
    middle = state.middle_key()
    if count < 2:
        assert middle is None
        return
    assert middle is not None
    before = int(middle)
    assert 0 < before < count
    assert left in (None, before)


def test_operations_decoded_elsewhere_give_the_same() -> None:
    """What the proposer decoded saves work and changes nothing."""
    data = [operation("put", b"k%d" % i, i + 1, value=b"v" * i) for i in range(5)]
    entry = batch(*data, session=b"s" * 16)
    leader, follower = State(), State()
    assert leader.apply(entry, [[commands.decode_operation(item) for item in data]]) == follower.apply(entry)
    assert leader.digest() == follower.digest()


def test_a_malformed_operation_is_a_result() -> None:
    """Bytes that the validator refuses are answered INVALID with the field; the rest of the batch applies."""
    bad, read, good = apply(State(), operation("put", b""), operation("get", b"a"), operation("put", b"a"))
    assert (bad.error, bad.field) == (Reason.INVALID, "key")
    assert (read.error, read.field) == (Reason.INVALID, "kind")
    assert good.error == 0


def test_runs_apply_in_order_with_their_own_results() -> None:
    """A batch answers run by run, operation by operation."""
    state = State()
    entry = commands.encode_batch(
        STAMP,
        [
            Run(b"s" * 16, 0, [operation("increment", b"n", 1, by=1), operation("increment", b"n", 2, by=1)]),
            Run(b"", 0, []),
            Run(b"t" * 16, 0, [operation("increment", b"n", 1, by=1)]),
        ],
    )
    assert [[result.number for result in run] for run in state.apply(entry)] == [[1, 2], [], [3]]


def test_an_unknown_entry_changes_nothing() -> None:
    """The entry that stops a replica leaves its state as it was."""
    state = State()
    put(state, b"a")
    digest = state.digest()
    with pytest.raises(UnknownEntryError):
        state.apply(b"\x63\x01" + (STAMP + 5).to_bytes(8, "little"))
    assert state.digest() == digest


def test_events_are_taken_once_and_only_when_wanted() -> None:
    """Without watchers no events are set aside; with them each is handed out once."""
    state = State()
    put(state, b"a")
    assert state.take_events() == []
    state.keep_events = True
    put(state, b"b", b"1")
    put(state, b"b", b"2")
    first, second = state.take_events()
    assert (first.key, first.value, first.previous_value, first.revision) == (b"b", b"1", None, 2)
    assert (second.value, second.previous_value) == (b"2", b"1")
    assert state.take_events() == []
    state.keep_events = False
    put(state, b"c")
    assert state.take_events() == []


def test_a_policy_is_state() -> None:
    """SetPolicy changes the policy and the digest, and takes no revision."""
    state = State()
    digest = state.digest()
    policy = Policy(12345, Eviction.NOEVICT, 7, 8)
    assert state.apply(commands.encode_policy(STAMP, policy)) == []
    assert (state.policy, state.revision) == (policy, 0)
    assert state.digest() != digest


def test_touch_samples_are_wanted_near_the_budget_only() -> None:
    """Samples are worth proposing above 80 % of the budget, and never where nothing is evicted."""
    state = State(Policy(1000))
    put(state, b"a", bytes(735))
    assert not state.wants_touch()
    put(state, b"a", bytes(736))
    assert state.wants_touch()
    state.apply(commands.encode_policy(STAMP, Policy(1000, Eviction.NOEVICT)))
    assert not state.wants_touch()


def test_expired_count_tells_what_an_entry_would_remove() -> None:
    """The hint counts due keys at a stamp without changing anything."""
    state = State()
    put(state, b"a", ttl_ms=50)
    put(state, b"b", ttl_ms=60)
    assert [state.expired_count(STAMP + ms) for ms in (49, 50, 60)] == [0, 1, 2]
    assert state.key_count == 2


def test_repr_tells_the_truth() -> None:
    """One line says what a state holds."""
    state = State()
    put(state, b"a")
    assert repr(state) == f"<State revision=1 stamp={STAMP} keys=1 bytes=66 sessions=0 events=1>"
