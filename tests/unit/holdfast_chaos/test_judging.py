"""From a record to its verdict."""

from __future__ import annotations

import pytest
from holdfast_chaos import judging
from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.judging import WORKLOADS, Budget, judgements
from holdfast_chaos.verdict import Verdict, overall

from tests.unit.holdfast_chaos.records import Script

NO_DEMANDS = {"settings": {"demands": {"operations_min": 1}}}


def good() -> Script:
    return Script().put("a", at=(0, 1), revision=1).get("a", at=(2, 3), revision=1)


def test_every_workload_is_judged():
    """What can be generated can be judged."""
    assert set(WORKLOADS) == set(GENERATORS)
    assert {name for names in WORKLOADS.values() for name in names} <= set(judging._CHECKERS)


def test_a_good_record_is_valid():
    """Each checker of the workload speaks, and availability."""
    told = judgements(good().record(**NO_DEMANDS))

    assert [j.checker for j in told] == ["linearizability", "values", "guarantees", "availability"]
    assert overall(told) is Verdict.VALID


def test_one_violation_makes_it_invalid():
    """Though everything else is fine."""
    script = good().put("b", at=(4, 5), revision=2).get("a", at=(6, 7), revision=1)

    assert overall(judgements(script.record(**NO_DEMANDS))) is Verdict.INVALID


def test_a_checker_that_breaks_says_unknown():
    """A judge must not fall silent: here a bank whose accounts are not named."""
    told = {j.checker: j for j in judgements(good().record("bank", **NO_DEMANDS))}

    assert told["bank"].verdict is Verdict.UNKNOWN
    assert "accounts" in told["bank"].findings[0].message


def test_watches_without_the_changes_that_were_are_not_judged():
    """The shards had let their history go: VOID, with the reason, not a list of events that never were."""
    script = good().note("watch-open", {"watch": "w"}, at=1)
    script.note(
        "watch-event", {"watch": "w", "kind": "PUT", "value": "a"}, at=2, key="k", group=1, revision=1
    )
    script.note("changes-gone", {"text": "COMPACTED"}, at=9)
    told = {j.checker: j for j in judgements(script.record("watch", **NO_DEMANDS))}

    assert told["watch"].verdict is Verdict.VOID
    assert told["watch"].findings[0].message == "COMPACTED"


def test_changes_that_could_not_be_read_to_the_end_are_a_broken_promise():
    """A watch of a healed cluster stood still: that is what it must not do."""
    script = good()
    script.note("changes-stuck", {"text": "stands at 7"}, at=9)
    told = {j.checker: j for j in judgements(script.record("watch", **NO_DEMANDS))}

    assert told["watch"].verdict is Verdict.INVALID
    assert [(f.rule, f.message) for f in told["watch"].findings] == [("stuck", "stands at 7")]


def test_an_unknown_workload_is_not_passed_over():
    """Nobody knows how to judge it."""
    assert overall(judgements(good().record("chess"))) is Verdict.UNKNOWN


def test_a_small_budget_is_unknown():
    """What the caller allows is what is spent."""
    assert overall(judgements(good().record(**NO_DEMANDS), Budget(1))) is Verdict.UNKNOWN


def test_a_nemesis_that_never_began_makes_it_void():
    """The header says which faults the run is about."""
    assert overall(judgements(good().record(nemeses=("kill-one",), **NO_DEMANDS))) is Verdict.VOID


def test_replicas_are_judged_when_they_were_noted():
    """One digest more or less is the difference."""
    script = good()
    for node, text in ((1, "x"), (2, "y")):
        script.note("digest", {"digest": text}, at=5, node=node, group=1, applied_index=3)

    assert {j.checker: j.verdict for j in judgements(script.record(**NO_DEMANDS))}[
        "replicas"
    ] is Verdict.INVALID


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_an_empty_record_is_no_pass(workload):
    """Whatever the workload: nothing happened, nothing was shown."""
    settings = {"accounts": ["a"], "balance": 1}

    assert overall(judgements(Script().record(workload, settings=settings))) is Verdict.VOID


def test_expiry_waits_for_a_leader_that_faults_may_have_taken():
    """While a fault goes on, and until its recovery is due, nothing must expire."""

    def script(*, faulty: bool) -> Script:
        made = Script().put("a", at=(0, 1), revision=1, ttl_ms=50).get("a", at=(900, 901), revision=1)
        if faulty:
            for phase, at in (("begin", 10), ("proof", 11), ("healed", 20)):
                made.note("fault", {"id": 1, "name": "kill-one", "phase": phase}, at=at)
        return made

    def said(made: Script) -> Verdict:
        return {j.checker: j.verdict for j in judgements(made.record("ttl"))}["ttl"]

    assert said(script(faulty=True)) is Verdict.VALID
    assert said(script(faulty=False)) is Verdict.INVALID
