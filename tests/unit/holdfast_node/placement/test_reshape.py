"""When which step of a plan is due, by what is known of its shards.

tests/property/reshape_model.py lets it act against logs, lags and losses; here is each rule by itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from holdfast_node.cache.seal import OtherSource, Target
from holdfast_node.placement.plan import Kind, Phase, Plan, Source
from holdfast_node.placement.reshape import (
    COPY_BEHIND_BYTES_MAX,
    MERGE_STALE_MS_MAX,
    SAID_WITHIN_MS,
    Advance,
    AskAbort,
    AskCopy,
    AskSeal,
    AskSnapshot,
    AskUnseal,
    CopyFacts,
    Facts,
    ReplicaFacts,
    advance,
)

NODES = (1, 2, 3)
SPLIT = Plan(
    7, Kind.SPLIT, "default", (Source(2, b"", b"", NODES),),
    (Target(10, b"", b"m", NODES), Target(11, b"m", b"", NODES)),
)  # fmt: skip
MERGE = Plan(
    7, Kind.MERGE, "default", (Source(2, b"m", b"", NODES), Source(3, b"", b"m", NODES)),
    (Target(10, b"", b"", NODES),),
)  # fmt: skip
MOVE = Plan(7, Kind.MOVE, "default", (Source(2, b"", b"", NODES),), (Target(10, b"", b"", (4, 1, 2)),))
SEALED = {"sealed": 7, "seal_index": 30, "seal_term": 2}


def group(number: int, leader: int = 1, **each: Any) -> dict[tuple[int, int], ReplicaFacts]:
    """Replicas on all three nodes, close to their leader."""
    facts = ReplicaFacts(staleness_ms=5, **each)
    return {(number, node): facts._replace(leads=node == leader) for node in NODES}


def both(**each: Any) -> dict[tuple[int, int], ReplicaFacts]:
    return {**group(2, **each), **group(3, leader=2, **each)}


def at(plan: Plan, phase: Phase) -> Plan:
    return plan._replace(phase=phase)


def steps(plan: Plan, facts: Facts) -> list[Any]:
    return list(advance(plan, facts).steps)


CLOSE = CopyFacts(durable=True, behind_bytes=100)


# ---- prepare -------------------------------------------------------------------------------------------


def test_a_split_needs_only_a_leader() -> None:
    """Everything is on its nodes already."""
    assert steps(SPLIT, Facts(group(2))) == [Advance(Phase.SEAL)]

    waiting = advance(SPLIT, Facts(group(2, leader=0)))

    assert (waiting.steps, waiting.progress) == ((), "group 2 has no leader")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"staleness_ms": MERGE_STALE_MS_MAX + 1}, "group 3 lags on node 3"),
        ({"staleness_ms": -1}, "group 3 lags on node 3"),
        ({"said_ms_ago": SAID_WITHIN_MS + 1}, "node 3 does not report"),
    ],
)
def test_a_merge_waits_for_every_replica_of_both(change: dict[str, int], why: str) -> None:
    """Whoever lags would make the clients of both wait."""
    known = both()
    assert steps(MERGE, Facts(known)) == [Advance(Phase.SEAL)]
    known[3, 3] = known[3, 3]._replace(**change)

    assert advance(MERGE, Facts(known)).progress == why
    del known[3, 3]
    assert advance(MERGE, Facts(known)).progress == "node 3 does not report"


def test_a_shard_that_has_not_come_to_its_nodes_is_not_sealed_for_them() -> None:
    """Sealed, a target that most of its nodes could not be born on would wait for what nobody brings."""
    late = MOVE._replace(targets=(Target(10, b"", b"", (3,)),))
    known = group(2)
    del known[2, 3]
    assert advance(late, Facts(known)).progress == "group 2 has not come to node 3 yet"
    assert steps(late, Facts(known)) == []

    assert steps(late, Facts(group(2))) == [Advance(Phase.SEAL)]
    assert steps(SPLIT, Facts(known)) == [Advance(Phase.SEAL)]


def test_a_copy_is_asked_for_from_followers_first() -> None:
    """They have time. Those not heard of come last, but are named: the copy keeps to these nodes."""
    known = group(2, leader=1)
    assert steps(MOVE, Facts(known)) == [AskCopy(4, MOVE.targets[0], 2, (2, 3, 1))]
    del known[2, 2]

    assert steps(MOVE, Facts(known)) == [AskCopy(4, MOVE.targets[0], 2, (3, 1, 2))]
    assert steps(MOVE, Facts({(10, 4): ReplicaFacts()})) == []


@pytest.mark.parametrize(
    ("copy", "why"),
    [
        (CLOSE._replace(durable=False), "node 4 copies, 100 bytes behind"),
        (CLOSE._replace(behind_bytes=COPY_BEHIND_BYTES_MAX + 1), f"{COPY_BEHIND_BYTES_MAX + 1} bytes behind"),
        (CLOSE._replace(said_ms_ago=SAID_WITHIN_MS + 1), "was last heard"),
        (CLOSE._replace(problem="slow disk"), "node 4 copies: slow disk"),
    ],
)
def test_a_move_waits_for_copies_that_are_close(copy: CopyFacts, why: str) -> None:
    """Durable, at most a MiB behind, said within the last second, without a problem."""
    found = advance(MOVE, Facts(group(2), {(10, 4): copy}))

    assert found.steps == ()
    assert why in found.progress
    assert steps(MOVE, Facts(group(2), {(10, 4): CLOSE})) == [Advance(Phase.SEAL)]


def test_a_copy_of_an_earlier_process_is_asked_for_again() -> None:
    """It begins anew; one under way is not asked for."""
    begun_before = Facts(group(2), {(10, 4): CLOSE._replace(begun=False)})

    assert [type(step) for step in steps(MOVE, begun_before)] == [AskCopy]


def test_a_source_that_has_refused_it_ends_a_plan() -> None:
    """Some earlier leader aborted it: no Seal of it will ever be applied there."""
    for phase in (Phase.PREPARE, Phase.SEAL):
        assert steps(at(SPLIT, phase), Facts(group(2, floor=7))) == [Advance(Phase.CANCELLING)]
    assert steps(at(SPLIT, Phase.PREPARE), Facts(group(2, floor=6))) == [Advance(Phase.SEAL)]
    first_refused = {**group(2, floor=7), **group(3)}
    assert steps(at(MERGE, Phase.SEAL), Facts(first_refused)) == [Advance(Phase.CANCELLING)]


# ---- seal ----------------------------------------------------------------------------------------------


def test_the_leader_by_the_freshest_report_is_asked() -> None:
    """Who led before may not know yet that it does no more."""
    known = group(2, leader=1)
    known[2, 1] = known[2, 1]._replace(said_ms_ago=900)
    known[2, 3] = known[2, 3]._replace(leads=True, said_ms_ago=10)

    assert steps(at(SPLIT, Phase.SEAL), Facts(known)) == [AskSeal(3, 2, True, ())]


def test_sources_of_a_merge_are_sealed_in_the_order_of_their_ids() -> None:
    """The last one decides, and names where the first stands."""
    sealing = at(MERGE, Phase.SEAL)
    assert steps(sealing, Facts(both())) == [AskSeal(1, 2, False, ())]
    known = {**group(2, **SEALED), **group(3, leader=2)}

    assert steps(sealing, Facts(known)) == [AskSeal(2, 3, True, (OtherSource(2, 30, 2),))]
    assert steps(sealing, Facts(both(**SEALED))) == [Advance(Phase.RETIRE)]


def test_the_second_source_is_sealed_however_far_somebody_lags() -> None:
    """The first one's clients wait: there is no better moment to wait for."""
    known = {**group(2, **SEALED), **group(3, leader=2)}
    known[3, 3] = known[3, 3]._replace(staleness_ms=10_000)

    assert [type(step) for step in steps(at(MERGE, Phase.SEAL), Facts(known))] == [AskSeal]


def test_a_copy_that_falls_behind_is_waited_for_again() -> None:
    """What is checked before the phase is checked before every Seal asked for."""
    sealing = at(MOVE, Phase.SEAL)
    assert [type(s) for s in steps(sealing, Facts(group(2), {(10, 4): CLOSE}))] == [AskSeal]

    assert steps(sealing, Facts(group(2), {(10, 4): CLOSE._replace(durable=False)})) == []
    assert [type(s) for s in steps(sealing, Facts(group(2)))] == [AskCopy]


def test_one_report_of_a_seal_is_proof() -> None:
    """It was applied, so a majority has it, whoever says so and however old the word is."""
    known = group(2)
    known[2, 3] = known[2, 3]._replace(**SEALED, said_ms_ago=1_000_000)

    assert steps(at(SPLIT, Phase.SEAL), Facts(known)) == [Advance(Phase.RETIRE)]


def test_a_seal_of_another_plan_proves_nothing() -> None:
    """And no report at all proves nothing either."""
    assert steps(at(SPLIT, Phase.SEAL), Facts(group(2, sealed=6)))[0] == AskSeal(1, 2, True, ())
    assert steps(at(SPLIT, Phase.SEAL), Facts()) == []


# ---- cancelling ----------------------------------------------------------------------------------------


def test_taking_a_merge_back_begins_with_the_source_that_decides() -> None:
    """Its Abort is the proof that releases the other."""
    cancelling = at(MERGE, Phase.CANCELLING)
    first_sealed = {**group(2, **SEALED), **group(3, leader=2)}
    assert steps(cancelling, Facts(first_sealed)) == [AskAbort(2, 3)]
    aborted = {**group(2, **SEALED), **group(3, leader=2, floor=7)}
    assert steps(cancelling, Facts(aborted)) == [AskUnseal(1, 2)]

    assert steps(cancelling, Facts(both(floor=7))) == [Advance(Phase.CANCELLED)]


def test_what_was_decided_is_not_taken_back() -> None:
    """The Seal was first in the log: the plan goes on."""
    assert steps(at(SPLIT, Phase.CANCELLING), Facts(group(2, **SEALED))) == [Advance(Phase.RETIRE)]


def test_taking_back_waits_for_a_leader() -> None:
    """Nothing is forgotten before the log has judged."""
    waiting = advance(at(SPLIT, Phase.CANCELLING), Facts(group(2, leader=0)))

    assert (waiting.steps, waiting.progress) == ((), "group 2 has no leader")


def test_a_replica_that_lags_may_still_show_a_seal_that_was_lifted() -> None:
    """The floor of another says that it is no more."""
    known = {**group(2, floor=7), **group(3, leader=2, floor=7)}
    known[2, 3] = ReplicaFacts(**SEALED)

    assert steps(at(MERGE, Phase.CANCELLING), Facts(known)) == [Advance(Phase.CANCELLED)]


# ---- retire --------------------------------------------------------------------------------------------


def test_a_plan_is_done_when_every_target_replica_stands() -> None:
    """Each that does not is asked for a snapshot; one that is silent is waited for."""
    retiring = at(SPLIT, Phase.RETIRE)
    known = {**group(10, stands=True), **group(11, stands=True)}
    assert steps(retiring, Facts(known)) == [Advance(Phase.DONE)]
    known[10, 2] = known[10, 2]._replace(stands=False)
    del known[11, 3]

    found = advance(retiring, Facts(known))

    assert found.steps == (AskSnapshot(2, 10),)
    assert "10 on node 2, 11 on node 3" in found.progress


def test_a_target_that_a_later_plan_ended_is_not_waited_for() -> None:
    """It was replaced, by a move that got there."""
    known = group(11, stands=True)

    assert steps(at(SPLIT, Phase.RETIRE), Facts(known, {}, frozenset({10}))) == [Advance(Phase.DONE)]


def test_a_copy_that_its_node_lost_is_asked_for_again_behind_the_seal() -> None:
    """The sealed source is still there to be copied."""
    known = {**group(2, **SEALED), (10, 1): ReplicaFacts(stands=True), (10, 2): ReplicaFacts(stands=True)}

    asked = steps(at(MOVE, Phase.RETIRE), Facts(known))

    assert asked == [AskCopy(4, MOVE.targets[0], 2, (2, 3, 1))]
