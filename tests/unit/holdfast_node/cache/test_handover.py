"""What targets begin with. (Over random logs: tests/property/test_handover.py.)"""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node import limits
from holdfast_node.cache import commands, history
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.seal import Seal, Target
from holdfast_node.cache.state import CompactedError, Event, Rest, State

from tests.entries import SESSION, STAMP, apply, copy_of, keys_of, operation, put

ADD = {"by": 1}


def sealed(state: State, plan: int = 100, stamp: int = STAMP) -> State:
    """The state, sealed."""
    target = Target(99, b"", b"", (1,))
    ((result,),) = state.apply(commands.encode_seal(stamp, Seal(plan, True, (target,))), None, (9, 2))
    assert not result.error
    return state


def filled(*keys: bytes, stamp: int = STAMP) -> State:
    state = State()
    for key in keys:
        put(state, key, stamp=stamp)
    return state


def revisions(events: list[Event]) -> list[tuple[bytes, int]]:
    return [(event.key, event.revision) for event in events]


# ---- cut -------------------------------------------------------------------------------------------------


def test_a_target_goes_on_where_its_source_stood() -> None:
    """Same revision, stamp and policy; its own part of the keys; neither sealed nor with a floor."""
    state = State(Policy(5000))
    for key in (b"a", b"b", b"c"):
        put(state, key, ttl_ms=50)
    state.apply(commands.encode_abort(STAMP, 7))
    sealed(state, stamp=STAMP + 5)

    part = state.cut(b"b", b"", 4)

    assert keys_of(part) == [b"b", b"c"]
    assert (part.revision, part.stamp_ms, part.policy) == (3, STAMP + 5, Policy(5000))
    assert (part.sealed, part.floor, part.next_deadline()) == (None, 0, STAMP + 50)
    assert put(part, b"d", stamp=STAMP + 6).revision == 4


def test_only_a_sealed_state_is_handed_over() -> None:
    """A part of a state that goes on changing would miss what comes next."""
    with pytest.raises(AssertionError):
        filled(b"a").cut(b"", b"", 4)
    with pytest.raises(AssertionError):
        State.joined([sealed(filled(b"a")), filled(b"b")], [4, 5], Policy())


@pytest.mark.parametrize("released", ["source", "target", "before"])
def test_an_image_released_at_any_time_unshares_nothing(released: str) -> None:
    """A bucket or session that two states hold stays so, whichever image of either ends when."""
    state = filled(b"a", b"b")
    apply(state, operation("increment", b"n", 1, **ADD), session=SESSION)
    early = state.freeze()
    sealed(state)
    digest = state.digest()
    part = state.cut(b"", b"", 4)
    image = {"source": state.freeze, "target": part.freeze, "before": lambda: early}[released]()
    image.release()
    early.release()

    apply(part, operation("put", b"a", 2, value=b"new"), session=SESSION, below=2)

    assert state.digest() == digest
    assert copy_of(state).digest() == digest


def test_the_eviction_hand_is_kept_where_it_lies_in_the_range() -> None:
    """Outside of it the hand begins at the part's first key."""
    state = State(Policy(68 * 3))
    for key in (b"a", b"b", b"c", b"d"):
        put(state, key, b"123")
    hand = state._space.hand
    assert b"a" < hand < b"d"
    sealed(state)
    assert state.cut(b"", hand + b"x", 4)._space.hand == hand
    assert state.cut(hand, b"", 4)._space.hand == hand
    assert state.cut(b"", hand, 4)._space.hand == b""
    assert state.cut(b"d", b"", 4)._space.hand == b""


def test_repeats_are_answered_in_every_target() -> None:
    """The table travels with each part; what one part then records stays its own."""
    state = State()
    first = operation("increment", b"n", 1, **ADD)
    apply(state, first, session=SESSION)
    sealed(state)
    left, right = state.cut(b"", b"m", 4), state.cut(b"m", b"", 4)
    apply(left, operation("put", b"a", 2), session=SESSION)

    for part in (left, right):
        (again,) = apply(part, first, session=SESSION)
        assert (again.error, again.number, again.revision) == (0, 1, 1)
    assert [part.stats()["session_records"] for part in (state, left, right)] == [1, 2, 1]


def test_history_is_cut_with_the_keys() -> None:
    """A part keeps the events of its own keys, under the source's revisions."""
    state = sealed(filled(b"a", b"x", b"b", b"y"))
    part = state.cut(b"", b"m", 4)
    assert revisions(part.events_after(0)) == [(b"a", 1), (b"b", 3)]
    assert part.resume(4, 3, 8) == 3
    assert part.resume(8, 3, 8) == 3


def test_other_keys_events_are_sifted_out_a_piece_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hand-over looks at none of them; nothing is trimmed until all were looked at."""
    monkeypatch.setattr(history, "SIFTED_AN_ENTRY", 3)
    state = sealed(filled(b"a", b"x", b"b", b"y"))
    part = state.cut(b"", b"m", 4)
    assert part.stats()["history_bytes"] == 0
    apply(part, operation("put", b"c", 9))
    assert part.stats()["history_events"] == 1
    apply(part, operation("put", b"d", 10))
    assert part.stats()["history_events"] == 4
    events = revisions(part.events_after(0))
    assert events == [(b"a", 1), (b"b", 3), (b"c", 5), (b"d", 6)]


def test_what_is_not_sifted_yet_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is split or merged right away keeps every event of its keys."""
    monkeypatch.setattr(history, "SIFTED_AN_ENTRY", 1)
    state = sealed(filled(b"a", b"x", b"b", b"y"))
    left, right = sealed(state.cut(b"", b"m", 4), plan=8), sealed(state.cut(b"m", b"", 4), plan=8)
    again = left.cut(b"", b"b", 5)
    whole = State.joined([left, right], [5, 6], Policy())

    assert revisions(again.events_after(0)) == [(b"a", 1)]
    rests = [whole.resume(group, 0, 9) for group in (5, 6)]
    assert [revisions(rest.events) for rest in rests if isinstance(rest, Rest)] == [
        [(b"a", 1), (b"b", 3)],
        [(b"x", 2), (b"y", 4)],
    ]


# ---- join ------------------------------------------------------------------------------------------------


def test_joined_states_take_the_greater_revision_and_stamp() -> None:
    """Left's keys, then right's; the policy is the caller's."""
    left, right = filled(b"a"), filled(b"x", b"y", b"z", stamp=STAMP + 40)

    whole = State.joined([sealed(left), sealed(right)], [4, 5], Policy(7777))

    assert keys_of(whole) == [b"a", b"x", b"y", b"z"]
    assert (whole.revision, whole.stamp_ms, whole.policy) == (3, STAMP + 40, Policy(7777))
    assert put(whole, b"b", stamp=STAMP + 40).revision == 4


def test_states_are_joined_in_key_order_only() -> None:
    """Sources in another order are a defect of the caller."""
    with pytest.raises(ValueError, match="order"):
        State.joined([sealed(filled(b"x")), sealed(filled(b"a"))], [4, 5], Policy())


def test_what_is_left_of_a_deadline_survives_a_join() -> None:
    """The source whose clock is behind has its deadlines and not_afters moved by the difference."""
    behind, ahead = State(), State()
    put(behind, b"a", ttl_ms=500)
    write = operation("increment", b"n", 1, STAMP + 300, **ADD)
    apply(behind, write, session=SESSION)
    put(ahead, b"x", ttl_ms=500, stamp=STAMP + 100)

    whole = State.joined([sealed(behind), sealed(ahead, stamp=STAMP + 100)], [4, 5], Policy())

    assert [whole.get(key).deadline_ms for key in (b"a", b"x")] == [STAMP + 600, STAMP + 600]
    assert behind.get(b"a").deadline_ms == STAMP + 500
    whole.apply(commands.encode_expire(STAMP + 400))
    assert whole.stats()["sessions"] == 1
    whole.apply(commands.encode_expire(STAMP + 401))
    assert whole.stats()["sessions"] == 0


def test_sessions_are_joined_operation_by_operation() -> None:
    """Both sources' records answer, the greater mark holds, and what both had counts once."""
    source = State()
    shared = operation("increment", b"n", 5, **ADD)
    apply(source, shared, session=SESSION)
    sealed(source)
    left, right = source.cut(b"", b"m", 4), source.cut(b"m", b"", 4)
    in_left = operation("increment", b"a", 6, **ADD)
    in_right = operation("put", b"n", 7, value=b"w", return_previous=True)
    apply(left, in_left, operation("put", b"a", 2), session=SESSION)
    apply(right, in_right, session=SESSION, below=4)

    whole = State.joined([sealed(left), sealed(right)], [4, 5], Policy())

    a, b, c, below = apply(whole, shared, in_left, in_right, operation("put", b"a", 2), session=SESSION)
    assert (a.number, b.number, c.value) == (1, 1, b"1")
    assert below.error == Reason.SEQUENCE_REUSED
    stats = whole.stats()
    assert (stats["sessions"], stats["session_records"]) == (1, 3)
    assert stats["session_bytes"] == limits.REPEAT_SESSION_BYTES + 3 * limits.REPEAT_RECORD_BYTES + 1
    assert copy_of(whole).stats() == stats


@pytest.mark.parametrize("longer", ["left", "right"])
def test_a_number_used_twice_goes_by_the_later_not_after(longer: str) -> None:
    """The operation that may still be repeated for longer is the one that is remembered."""
    source = sealed(filled(b"a"))
    left, right = source.cut(b"", b"m", 4), source.cut(b"m", b"", 4)
    ends = {"left": STAMP + 10, "right": STAMP + 10} | {longer: STAMP + 900}
    writes = {
        "left": operation("put", b"a", 3, ends["left"]),
        "right": operation("put", b"n", 3, ends["right"]),
    }
    apply(left, writes["left"], session=SESSION)
    apply(right, writes["right"], session=SESSION)

    whole = State.joined([sealed(left), sealed(right)], [5, 6], Policy())

    (again,) = apply(whole, writes.pop(longer), session=SESSION)
    (reused,) = apply(whole, *writes.values(), session=SESSION)
    assert (again.error, reused.error) == (0, Reason.SEQUENCE_REUSED)


# ---- lineage ---------------------------------------------------------------------------------------------


def merged() -> State:
    """Group 6 out of 4 (a 1, b 2) and 5 (x 1), with c at revision 3."""
    left, right = sealed(filled(b"a", b"b")), sealed(filled(b"x"))
    whole = State.joined([left, right], [4, 5], Policy())
    put(whole, b"c")
    return whole


def test_a_point_of_a_merged_group_has_its_rest_and_then_the_own_line() -> None:
    """First what is left of that source, in its revisions, then the target's line from its beginning."""
    whole = merged()

    rest = whole.resume(4, 1, 6)

    assert isinstance(rest, Rest)
    assert (rest.group, revisions(rest.events), rest.revision, rest.then) == (4, [(b"b", 2)], 2, (6, 2))
    assert revisions(whole.events_after(2)) == [(b"c", 3)]
    other = whole.resume(5, 0, 6)
    assert isinstance(other, Rest)
    assert (revisions(other.events), other.then) == ([(b"x", 1)], (6, 2))


def test_closed_lines_lead_on_through_later_reshapes() -> None:
    """After another merge and a split a point of the first group is still carried to the present."""
    second = State.joined([sealed(merged()), sealed(filled(b"z"))], [6, 7], Policy())
    put(second, b"d")
    state = sealed(second).cut(b"", b"y", 8)
    put(state, b"e")
    for twin in (state, copy_of(state)):
        point, told = (4, 0), []
        while isinstance(rest := twin.resume(*point, 9), Rest):
            told += revisions(rest.events)
            point = rest.then
        told += revisions(twin.events_after(rest))
        assert told == [(b"a", 1), (b"b", 2), (b"c", 3), (b"d", 4), (b"e", 5)]
        assert twin.resume(8, 4, 9) == 4


def test_a_group_nobody_knows_is_compacted() -> None:
    """A point of a stranger cannot be resumed."""
    with pytest.raises(CompactedError):
        merged().resume(3, 1, 6)


def test_closed_lines_are_trimmed_first_and_the_bounds_hold_over_all() -> None:
    """Oldest first; a line that is no longer whole from the point is compacted."""
    whole = merged()
    whole.apply(commands.encode_policy(STAMP, Policy(history_events=3)))
    with pytest.raises(CompactedError):
        whole.resume(4, 0, 6)
    assert isinstance(whole.resume(4, 1, 6), Rest)
    whole.apply(commands.encode_policy(STAMP, Policy(history_events=1)))
    assert revisions(whole.events_after(2)) == [(b"c", 3)]
    assert whole.resume(4, 2, 6).then == (6, 2)
    assert whole.stats()["history_events"] == 1
    assert copy_of(whole).stats() == whole.stats()
    whole.apply(commands.encode_policy(STAMP, Policy(history_events=0)))
    with pytest.raises(CompactedError):
        whole.resume(4, 2, 6)


def test_bytes_of_trimmed_lines_are_counted_right_through_later_reshapes() -> None:
    """A replica that lived and one that was restored between trim together for ever."""
    for events in range(1, 8):
        whole = State.joined(
            [sealed(filled(b"a", b"bb", b"ccc")), sealed(filled(b"x", b"yy"))], [4, 5], Policy()
        )
        for key in (b"dddd", b"z"):
            put(whole, key)
        whole.apply(commands.encode_policy(STAMP, Policy(history_events=events)))
        twins = []
        for source in (whole, copy_of(whole)):
            other = State.joined([sealed(source), sealed(filled(b"zz"))], [6, 7], Policy())
            part = sealed(other).cut(b"b", b"zzz", 8)
            put(part, b"e")
            again = copy_of(part)
            assert again.stats() == part.stats()
            twins.append((part.stats(), part.digest()))
        assert twins[0] == twins[1]


def test_sixteen_groups_are_remembered() -> None:
    """The oldest goes, with the line that only it was counted by."""
    state = merged()
    for group in range(7, 7 + limits.LINEAGE_GROUPS_MAX - 2):
        state = sealed(state, plan=group).cut(b"", b"", group - 1)
    assert isinstance(state.resume(4, 0, 999), Rest)
    before = state.stats()["history_events"]

    state = sealed(state).cut(b"", b"", 500)

    with pytest.raises(CompactedError):
        state.resume(4, 0, 999)
    assert isinstance(state.resume(5, 0, 999), Rest)
    assert state.stats()["history_events"] == before - 2
    assert copy_of(state).stats() == state.stats()
    assert copy_of(state).digest() == state.digest()


def test_a_group_that_was_split_and_merged_again_is_forgotten() -> None:
    """Its revisions lead into two lines, and its point does not say which; its targets' points do."""
    source = sealed(filled(b"a", b"x"))
    left, right = source.cut(b"", b"m", 4), source.cut(b"m", b"", 4)
    put(left, b"b")
    put(right, b"y")

    whole = State.joined([sealed(left), sealed(right)], [5, 6], Policy())

    with pytest.raises(CompactedError):
        whole.resume(4, 0, 7)
    rest = whole.resume(6, 0, 7)
    assert isinstance(rest, Rest)
    assert revisions(rest.events) == [(b"x", 2), (b"y", 3)]
    assert copy_of(whole).digest() == whole.digest()


def test_a_gap_in_a_later_line_is_compacted_too() -> None:
    """A point at the very end of a line is of no use when the beginning of the next one is gone."""
    second = State.joined([sealed(merged()), sealed(filled(b"z"))], [6, 7], Policy())
    assert isinstance(second.resume(4, 2, 8), Rest)
    second.apply(commands.encode_policy(STAMP, Policy(history_events=1)))  # all but z of group 7
    assert isinstance(second.resume(6, 3, 8), Rest)
    with pytest.raises(CompactedError):
        second.resume(4, 2, 8)
