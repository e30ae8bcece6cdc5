"""The judgement of plans, and the frozen state behind a seal."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.seal import OtherSource, Seal, Sealed, Target
from holdfast_node.cache.state import State
from holdfast_node.v1 import command_pb2 as stored

from tests.entries import SESSION, STAMP, apply, batch, copy_of, operation, put

TARGET = Target(8, b"", b"", (1, 2, 3))


def verdict(state: State, entry: bytes, place: tuple[int, int] = (9, 2)) -> str:
    """What the state says to an entry about a plan: '' is yes."""
    ((result,),) = state.apply(entry, None, place)
    assert (result.error == Reason.CONDITION_FAILED) == bool(result.message)
    return result.message


def seal(state: State, plan: int = 5, decides: bool = True, place: tuple[int, int] = (9, 2)) -> str:
    return verdict(state, commands.encode_seal(STAMP, Seal(plan, decides, (TARGET,))), place)


def abort(state: State, plan: int) -> str:
    return verdict(state, commands.encode_abort(STAMP, plan))


def unseal(state: State, plan: int) -> str:
    return verdict(state, commands.encode_unseal(STAMP, plan))


def test_a_seal_records_itself_and_its_place() -> None:
    """The state says under which plan it ended, where in the log, and who goes on."""
    state = State()
    others = (OtherSource(3, 70, 1),)
    entry = commands.encode_seal(STAMP, Seal(5, True, (TARGET,), others))

    assert verdict(state, entry, (9, 2)) == ""

    assert state.sealed == Sealed(5, True, 9, 2, (TARGET,), others)
    assert state.stamp_ms == STAMP, "targets begin at the seal's own time"
    assert repr(state).endswith(" sealed>")


def test_a_repeated_seal_changes_nothing() -> None:
    """A second Seal of the plan is yes once more, and the first one's place stays."""
    state = State()
    seal(state, place=(9, 2))
    digest = state.digest()

    assert seal(state, place=(11, 3)) == ""

    assert state.digest() == digest
    assert state.sealed is not None
    assert state.sealed.index == 9


def test_two_plans_never_both_seal() -> None:
    """Another plan's Seal is refused while one stands."""
    state = State()
    seal(state, 5)
    assert "plan 5" in seal(state, 6)
    assert state.sealed is not None
    assert state.sealed.plan == 5


@pytest.mark.parametrize("plan", [4, 5])
def test_an_aborted_plan_never_seals(plan: int) -> None:
    """A Seal at or below the floor is refused; the next plan is not."""
    state = State()
    assert abort(state, 5) == ""
    assert "floor is 5" in seal(state, plan)
    assert (state.sealed, state.floor) == (None, 5)
    assert seal(state, 6) == ""


def test_the_first_applied_wins() -> None:
    """An Abort after the plan's own Seal is refused and raises no floor."""
    state = State()
    seal(state, 5)
    assert "sealed by plan 5" in abort(state, 5)
    assert (state.floor, state.sealed is not None) == (0, True)


def test_the_floor_never_goes_back() -> None:
    """Aborts of earlier plans leave it; one of another plan raises it even behind a seal."""
    state = State()
    abort(state, 5)
    abort(state, 3)
    assert state.floor == 5
    seal(state, 6)
    assert abort(state, 9) == ""
    assert state.floor == 9


def test_only_an_undecided_seal_is_taken_back() -> None:
    """Unseal ends a seal that does not decide and forbids its plan; one that decides stays."""
    undecided, decided = State(), State()
    seal(undecided, 5, decides=False)
    seal(decided, 5, decides=True)

    assert unseal(undecided, 5) == ""
    assert "has decided" in unseal(decided, 5)

    assert (undecided.sealed, undecided.floor) == (None, 5)
    assert put(undecided, b"a").error == 0
    assert decided.sealed is not None
    assert decided.floor == 0


def test_an_unseal_of_what_is_not_sealed_forbids_the_plan() -> None:
    """It may come before the Seal that it takes back, and leaves another plan's seal alone."""
    state = State()
    assert unseal(state, 5) == ""
    assert seal(state, 5, decides=False) != ""
    seal(state, 6, decides=False)
    assert unseal(state, 5) == ""
    assert state.sealed is not None


@pytest.mark.parametrize("decides", [True, False])
def test_nothing_changes_behind_a_seal(decides: bool) -> None:
    """Whatever is applied then leaves time, keys, sessions and digest as they were."""
    state = State(Policy(1000))
    put(state, b"old", bytes(800), ttl_ms=50)
    apply(state, operation("put", b"n", 1), session=SESSION)
    seal(state, decides=decides)
    digest, stats = state.digest(), state.stats()
    later = STAMP + 60 * 60_000
    for entry in (
        commands.encode_expire(later),
        commands.encode_evict(later),
        commands.encode_touch(later, [b"old"]),
        commands.encode_policy(later, Policy(10)),
    ):
        assert state.apply(entry) == []
        assert (state.digest(), state.stats()) == (digest, stats)
    entry = batch(operation("put", b"x", 2, later), b"\xff", stamp=later, session=SESSION, answered_below=2)

    ((write, malformed),) = state.apply(entry)

    assert write == malformed
    assert write.error == (Reason.WRONG_SHARD if decides else Reason.BUSY)
    assert write.retry_after_ms == (0 if decides else 20)
    assert (state.digest(), state.stats()) == (digest, stats)
    assert copy_of(state).digest() == digest


def test_every_operation_of_every_run_is_answered() -> None:
    """A refused batch has the shape of an applied one."""
    state = State()
    seal(state)
    runs = [commands.Run(SESSION, 0, [b"1", b"2"]), commands.Run(b"", 0, []), commands.Run(b"", 0, [b"3"])]
    results = state.apply(commands.encode_batch(STAMP, runs))
    assert [[type(result) for result in run] for run in results] == [[OpResult, OpResult], [], [OpResult]]


def test_a_sealed_state_wants_no_upkeep() -> None:
    """Its leader finds nothing to expire, to evict or to sample, and finds it again after an unseal."""
    state = State(Policy(100))
    put(state, b"a", bytes(20), ttl_ms=50)
    state.apply(commands.encode_policy(STAMP, Policy(50)))
    wanted = state.over_budget(), state.wants_touch(), state.next_deadline(), state.expired_count(STAMP + 50)
    assert wanted == (True, True, STAMP + 50, 1)

    seal(state, decides=False)

    frozen = state.over_budget(), state.wants_touch(), state.next_deadline(), state.expired_count(STAMP + 50)
    assert frozen == (False, False, None, 0)
    unseal(state, 5)
    assert state.next_deadline() == STAMP + 50


def test_a_restore_knows_the_seal_and_the_floor() -> None:
    """Both are in snapshots and in the digest."""
    state = State()
    digests = {state.digest()}
    abort(state, 3)
    digests.add(state.digest())
    seal(state, 5, place=(9, 2))
    digests.add(state.digest())

    twin = copy_of(state)

    assert len(digests) == 3
    assert (twin.sealed, twin.floor, twin.digest()) == (state.sealed, 3, state.digest())


def test_an_unknown_entry_stops_a_sealed_replica_too() -> None:
    """It may be a newer program's way to go on."""
    state = State()
    seal(state)
    with pytest.raises(UnknownEntryError):
        state.apply(b"\x63\x01" + bytes(8))


WRONG = {
    "plan 0": Seal(0, True, (TARGET,)),
    "no target": Seal(5, True, ()),
    "too many targets": Seal(5, True, (TARGET,) * (limits.SEAL_TARGETS_MAX + 1)),
    "one group twice": Seal(5, True, (TARGET, TARGET)),
    "a target that is a source": Seal(5, True, (TARGET,), (OtherSource(8, 1, 1),)),
    "others without a decision": Seal(5, False, (TARGET,), (OtherSource(3, 1, 1),)),
    "too many sources": Seal(5, True, (TARGET,), tuple(OtherSource(i, 1, 1) for i in range(20, 36))),
    "group 0": Seal(5, True, (TARGET._replace(group=0),)),
    "an empty range": Seal(5, True, (TARGET._replace(start=b"b", end=b"b"),)),
    "a long bound": Seal(5, True, (TARGET._replace(end=bytes(1025)),)),
    "no replica": Seal(5, True, (TARGET._replace(replicas=()),)),
    "too many replicas": Seal(5, True, (TARGET._replace(replicas=tuple(range(1, 18))),)),
    "a replica twice": Seal(5, True, (TARGET._replace(replicas=(1, 1)),)),
    "node 0": Seal(5, True, (TARGET._replace(replicas=(0,)),)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_seal_outside_its_bounds_is_no_entry(name: str) -> None:
    """Neither written nor read: a replica that finds one stops."""
    with pytest.raises(ValueError, match=r".+"):
        commands.encode_seal(STAMP, WRONG[name])
    payload = commands.seal_message(WRONG[name]).SerializeToString()
    with pytest.raises(UnknownEntryError):
        State().apply(b"\x06\x01" + STAMP.to_bytes(8, "little") + payload)


@pytest.mark.parametrize("kind", [commands.ABORT, commands.UNSEAL])
def test_an_entry_about_no_plan_is_unknown(kind: int) -> None:
    """Plans are numbered from 1."""
    head = bytes((kind, 1)) + STAMP.to_bytes(8, "little")
    for payload in (b"", stored.Abort(plan=0).SerializeToString(), b"\xff"):
        with pytest.raises(UnknownEntryError):
            State().apply(head + payload)
