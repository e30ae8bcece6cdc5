"""Whether a run counts, and how it recovers."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast_chaos import availability
from holdfast_chaos.availability import Demands, Fault, faults_of
from holdfast_chaos.record import RecordError
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import NS, Script, rules


def fault(
    script: Script,
    begin: float,
    healed: float | None,
    *,
    name: str = "kill",
    number: int = 1,
    proof: bool = True,
    **more: Any,
) -> Script:
    script.note("fault", {"id": number, "name": name, "phase": "begin", **more}, at=begin)
    if proof:
        script.note("fault", {"id": number, "name": name, "phase": "proof"}, at=begin + 1)
    if healed is not None:
        script.note("fault", {"id": number, "name": name, "phase": "healed"}, at=healed)
    return script


def busy(*spans: tuple[int, int], step: int = 10) -> Script:
    """Writes and reads that succeed all through these times; in between weak reads go on."""
    script = Script()
    for at in range(0, 9000, 100):
        script.get("x", at=(at, at + 1), level="ANY")
    for begin, end in spans:
        for at in range(begin, end, step):
            script.put("x", at=(at, at + 1)).get("x", at=(at, at + 1))
    return script


def judged(script: Script, **demands: Any) -> Any:
    return availability.check(script.operations, script.notes, Demands(**demands))


def test_a_good_run():
    """Successes before, during and after, and a recovery within the bound."""
    told = judged(fault(busy((0, 1000), (1300, 9000)), 1000, 1200), nemeses=("kill",))

    assert told.verdict is Verdict.VALID
    (figures,) = told.figures["by_fault"]
    assert (figures["recovery_ms"], figures["without_write_ms"]) == (101.0, 200.0)


def test_a_late_recovery_is_a_broken_promise():
    """No success within the bound after healing, or none at all."""
    late = fault(busy((0, 1000), (3500, 9000)), 1000, 1200)
    never = fault(busy((0, 1000)).refused("put", "y", at=(8000, 9000)), 1000, 1200)

    assert rules(judged(late, ok_share_min=0.0)) == ["recovery", "recovery"]
    assert "recovery" in rules(judged(never))
    assert rules(judged(late, recovery_ms=5000.0)) == []


def test_a_recovery_counts_only_in_quiet():
    """Nothing is promised while another fault goes on, or begins within the bound."""
    overlapping = fault(fault(busy((0, 1000), (5000, 9000)), 1000, 1200), 1100, 4900, number=2)
    soon = fault(fault(busy((0, 1000), (5000, 9000)), 1000, 1200), 2000, 4900, number=2)

    assert rules(judged(overlapping)) == []
    assert rules(judged(soon)) == []


def test_a_minority_fault_stops_nobody_for_long():
    """When there is a bound for it."""
    script = fault(busy((0, 1000), (2500, 9000)), 1000, 3000, minority=True)

    assert rules(judged(script)) == []
    assert rules(judged(script, minority_gap_ms=500.0)) == ["minority", "minority"]


def test_a_run_with_too_little_is_void():
    """Too few operations, none in a phase, or too small a share of them."""
    few = judged(fault(busy((0, 20)), 4000, 5000), recovery_ms=9000.0)
    silent = judged(fault(busy((0, 1000), (1300, 9000)), 0, 1200))
    refused = fault(busy((0, 1000), (2000, 9000)), 1000, 1900)
    for at in range(1000, 1900):
        refused.refused("put", "y", at=(at, at + 1))

    assert (few.verdict, rules(few)) == (Verdict.VOID, ["operations"])
    assert (silent.verdict, rules(silent)) == (Verdict.VOID, ["share"])
    assert rules(judged(refused)) == ["share"]


def test_a_condition_that_did_not_hold_is_an_answer():
    """It does not lower the share of successes."""
    script = fault(busy((0, 1000), (2000, 9000)), 1000, 1900)
    for at in range(1000, 1900):
        script.refused("put", "y", at=(at, at + 1), error="CONDITION_FAILED", revision=1)

    assert rules(judged(script)) == []


def test_what_is_answered_counts():
    """A condition that did not hold is an answer; a refusal for want of a leader is none."""
    script = Script()
    for at in range(0, 1000, 100):
        script.put("x", at=(at, at + 1))
        script.refused("put", "y", at=(at, at + 1), error="CONDITION_FAILED", revision=1)
        script.refused("put", "z", at=(at, at + 1))

    assert rules(judged(script, operations_min=20)) == []
    assert rules(judged(script, operations_min=21)) == ["operations"]


def test_the_rate_is_of_the_time_in_which_faults_run():
    """What was answered before and after does not help; outages count, and are told."""
    script = fault(busy((0, 2000), (4000, 9000), step=5), 1000, 4100)
    figures = judged(script).figures

    assert (figures["outage_s"], figures["answered_per_s"]) == (2.0, 151.9)
    assert figures["answered_per_s_outside_outages"] == pytest.approx(411, abs=2)
    assert rules(judged(script, rate_min=150.0)) == []
    assert rules(judged(script, rate_min=152.0)) == ["operations"]
    assert rules(judged(busy((0, 2000), (4000, 9000)), rate_min=150.0)) == []


def slow(*, took: float, told: bool, level: str = "LINEARIZABLE") -> Script:
    """A minority fault from 1000 to 4000 in which the operations of one shard stand from 2000 on."""
    script = fault(busy((0, 2000), (2000 + int(took), 9000)), 1000, 4000, minority=True)
    script.note("shard", {"start": "k", "end": "l"}, at=0, group=2)
    script.note("shard", {"start": "l", "end": ""}, at=0, group=3)
    for _ in range(30):
        script.get("x", at=(2000, 2000 + took), level=level)
    if told:
        script.note("leader", {"term": 2}, at=2000 + took + 300, group=2, node=3)
    return script


def test_a_minority_fault_slows_nobody_down():
    """The p99 of what is asked in it has a bound, when there is one."""
    assert rules(judged(slow(took=900, told=False))) == []
    assert rules(judged(slow(took=900, told=False), p99_ms=500.0)) == ["latency"]
    assert rules(judged(slow(took=400, told=False), p99_ms=500.0)) == []


def test_an_election_excuses_what_waits_for_it():
    """A leader of a new term, noted soon after a silence of its group; not another group's, nor ANY."""
    saved = slow(took=900, told=True)
    told = judged(saved, p99_ms=500.0)
    other = slow(took=900, told=False).note("leader", {"term": 2}, at=3200, group=3, node=3)
    long_ago = slow(took=900, told=False).note("leader", {"term": 2}, at=4600, group=2, node=3)
    weak = slow(took=900, told=True, level="ANY")

    assert rules(told) == []
    (figures,) = told.figures["by_fault"]
    assert (figures["p99_all_ms"], figures["p99_ms"]) == (900.0, 1.0)
    assert rules(judged(other, p99_ms=500.0)) == ["latency"]
    assert rules(judged(long_ago, p99_ms=500.0)) == ["latency"]
    assert rules(judged(weak, p99_ms=500.0)) == ["latency"]


def test_latency_is_promised_in_faults_of_a_minority_only():
    """Not beside another fault, not when a majority is gone, and not of a handful of operations."""
    script = slow(took=900, told=False)
    two = fault(slow(took=900, told=False), 3900, 4100, number=2)
    majority = fault(busy((0, 2000), (2900, 9000)), 1000, 4000)
    for _ in range(30):
        majority.get("x", at=(2000, 2900))
    few = fault(Script(), 1000, 4000, minority=True)
    for at in range(1000, 4000, 100):
        few.put("x", at=(at, at + 900))

    assert rules(judged(script, p99_ms=500.0)) == ["latency"]
    assert rules(judged(two, p99_ms=500.0)) == []
    assert rules(judged(majority, p99_ms=500.0)) == []
    assert rules(judged(few, p99_ms=500.0, operations_min=1, ok_share_min=0.0)) == ["share", "share"]


def test_a_fault_without_proof_makes_the_run_void():
    """Each fault shows that it fired, and each nemesis of the run began."""
    unproved = judged(fault(busy((0, 1000), (1300, 9000)), 1000, 1200, proof=False))
    absent = judged(fault(busy((0, 1000), (1300, 9000)), 1000, 1200), nemeses=("kill", "pause"))

    assert (unproved.verdict, rules(unproved)) == (Verdict.VOID, ["not fired"])
    assert (absent.verdict, rules(absent)) == (Verdict.VOID, ["not fired"])


def test_a_fault_that_another_one_overtook_is_no_proof_and_no_harm():
    """Where its nemesis fired at another time, and only beside another fault."""

    def run(*, beside: bool, fired: bool) -> Any:
        script = fault(busy((0, 9000)), 1000, 1200, proof=False)
        fault(script, 1100 if beside else 1300, 1400, name="pause", number=2)
        fault(script, 4000, 4100, number=3, proof=fired)
        return judged(script)

    told = run(beside=True, fired=True)
    assert (told.verdict, told.figures["overtaken"]) == (Verdict.VALID, 1)
    assert rules(run(beside=False, fired=True)) == ["not fired"]
    assert rules(run(beside=True, fired=False)) == ["not fired", "not fired"]


def test_faults_are_read_from_notes():
    """One that was never healed lasts to the end; one that never began is damage."""
    open_ended = fault(Script(), 5, None, minority=True)

    assert faults_of(open_ended.notes, 99 * NS) == (Fault("kill", 5 * NS, 99 * NS, 1, is_minority=True),)
    with pytest.raises(RecordError, match="has no beginning"):
        faults_of(Script().note("fault", {"id": 1, "phase": "healed"}, at=1).notes, 0)
