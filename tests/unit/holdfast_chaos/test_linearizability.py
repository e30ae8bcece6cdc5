"""Registers, judged key by key: hand-made records of every class of violation, and good ones beside them."""

from __future__ import annotations

import pytest
from holdfast_chaos import linearizability
from holdfast_chaos.linearizability import REGISTER, UNIT, Part, smallest
from holdfast_chaos.verdict import Judgement, Verdict

from tests.unit.holdfast_chaos.records import NS, Script

VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN


def judged(script: Script, **more: object) -> Judgement:
    return linearizability.check(script.operations, **more)


def verdict(script: Script) -> Verdict:
    return judged(script).verdict


def test_a_read_after_a_write_sees_it():
    """A write that was acknowledged is seen by reads that begin afterwards."""
    good = Script().put("a", at=(0, 1), revision=1).get("a", at=(2, 3), revision=1)
    lost = Script().put("a", at=(0, 1), revision=1).get(None, at=(2, 3))

    assert verdict(good) is VALID
    assert verdict(lost) is INVALID


@pytest.mark.parametrize("revisions", [(1, 2), (None, None)])
def test_a_stale_read_is_found(revisions):
    """A read that begins after a second write was acknowledged does not see the first, versions or not."""
    first, second = revisions
    stale = Script().put("a", at=(0, 1), revision=first).put("b", at=(2, 3), revision=second)
    stale.get("a", at=(4, 5), revision=first)

    assert verdict(stale) is INVALID


def test_reads_do_not_go_back():
    """Of two reads one after the other, during one write, the second does not see less than the first."""
    back = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 20), revision=2)
    back.get("b", at=(3, 4), revision=2).get("a", at=(5, 6), revision=1)
    forth = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 20), revision=2)
    forth.get("a", at=(3, 4), revision=1).get("b", at=(5, 6), revision=2)

    assert verdict(back) is INVALID
    assert verdict(forth) is VALID


def test_intervals_are_closed():
    """A read that begins in the very ns in which a write ends is concurrent with it."""
    meets = Script().put("a", at=(0, 5), revision=1).get(None, at=(5, 6))

    assert verdict(meets) is VALID


def test_of_two_conditional_writes_of_one_version_one_succeeds():
    """Two compare-and-set of the same revision do not both succeed."""
    both = Script().put("a", at=(0, 1), revision=1)
    both.put("b", at=(2, 10), expect=1, revision=2).put("c", at=(2, 10), expect=1, revision=3)
    one = Script().put("a", at=(0, 1), revision=1)
    one.put("b", at=(2, 10), expect=1, revision=2)
    one.refused("put", "c", at=(2, 10), expect=1, error="CONDITION_FAILED", revision=2)

    assert verdict(both) is INVALID
    assert verdict(one) is VALID


def test_a_condition_that_did_not_hold_has_read_the_key():
    """The revision in a refusal is one the key had, and not the one that was wanted."""
    stale = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 3), revision=2)
    stale.refused("put", "c", at=(4, 5), expect=7, error="CONDITION_FAILED", revision=1)
    wrong = Script().put("a", at=(0, 1), revision=1)
    wrong.refused("put", "c", at=(4, 5), expect=1, error="CONDITION_FAILED", revision=1)
    absent = Script().put("a", at=(0, 1), revision=1)
    absent.refused("put", "c", at=(4, 5), expect="present", error="CONDITION_FAILED", revision=0)

    assert [verdict(script) for script in (stale, wrong, absent)] == [INVALID] * 3


def test_if_absent_succeeds_once():
    """A put that wants the key absent does not succeed on one that exists."""
    twice = (
        Script()
        .put("a", at=(0, 1), expect="absent", revision=1)
        .put("b", at=(2, 3), expect="absent", revision=2)
    )
    between = Script().put("a", at=(0, 1), expect="absent", revision=1).delete(at=(2, 3), revision=2)
    between.put("b", at=(4, 5), expect="absent", revision=3)
    present = Script().put("a", at=(0, 1), expect="present", revision=1)

    assert verdict(twice) is INVALID
    assert verdict(between) is VALID
    assert verdict(present) is INVALID


def test_a_deleted_key_stays_deleted():
    """A value does not come back after its delete was acknowledged."""
    risen = (
        Script().put("a", at=(0, 1), revision=1).delete(at=(2, 3), revision=2).get("a", at=(4, 5), revision=1)
    )
    nothing = Script().put("a", at=(0, 1), revision=1).delete(at=(2, 3), revision=0)

    assert verdict(risen) is INVALID
    assert verdict(nothing) is INVALID  # it says that there was nothing to delete


def test_a_retry_that_runs_twice_is_found():
    """A write takes effect once: its value does not come back over a later one."""
    twice = Script().put("a", at=(0, 9), revision=1).get("a", at=(1, 2), revision=1)
    twice.put("b", at=(3, 4), revision=2).get("b", at=(5, 6), revision=2).get("a", at=(7, 8), revision=3)

    assert verdict(twice) is INVALID


def test_versions_do_not_go_back():
    """A later write takes a greater revision, though the values alone would fit."""
    back = Script().put("a", at=(0, 1), revision=5).put("b", at=(2, 3), revision=4)
    same = Script().put("a", at=(0, 9), revision=5).put("b", at=(0, 9), revision=5)
    read = Script().put("a", at=(0, 1), revision=5).get("a", at=(2, 3), revision=4)

    assert [verdict(script) for script in (back, same, read)] == [INVALID] * 3


def test_a_refused_write_is_not_read():
    """A write of which it is said that it never happens does not happen."""
    read = Script().refused("put", "a", at=(0, 1)).get("a", at=(2, 3), revision=1)

    assert verdict(read) is INVALID


def test_an_unknown_write_may_happen_at_any_time_or_never():
    """A write of unknown outcome is open for ever: seen never, at once, or long after; then it stays."""
    never = Script().put("a", at=(0, None)).get(None, at=(1, 2)).get(None, at=(3, 4))
    late = Script().put("a", at=(0, None)).get(None, at=(1, 2)).get("a", at=(3, 4), revision=1)
    gone = Script().put("a", at=(0, None)).get("a", at=(1, 2), revision=1).get(None, at=(3, 4))
    before = Script().get("a", at=(1, 2), revision=1).put("a", at=(3, None))

    assert [verdict(script) for script in (never, late)] == [VALID] * 2
    assert [verdict(script) for script in (gone, before)] == [INVALID] * 2


def test_an_unknown_write_happens_once():
    """One write of unknown outcome does not explain two appearances with another write between."""
    twice = Script().put("a", at=(0, None)).get("a", at=(1, 2)).put("b", at=(3, 4)).get("b", at=(5, 6))
    twice.get("a", at=(7, 8))

    assert verdict(twice) is INVALID


def test_a_value_that_two_have_written_tells_nobody():
    """Where values are not unique a read does not say whose write took effect."""
    script = Script().put("a", at=(0, None)).put("a", at=(0, 1), revision=1).get("a", at=(2, 3), revision=1)

    assert verdict(script) is VALID


def test_a_value_that_may_be_a_sum_tells_nobody():
    """A number that is read may be what an increment made, not what an open write wrote."""
    script = Script().put("3", at=(0, None)).op("increment", 3, at=(0, 1), revision=1, result=3)

    assert verdict(script.get("3", at=(2, 3), revision=1)) is VALID


def test_an_unknown_delete_explains_an_absence():
    """A delete of unknown outcome may be why a key is gone; without one it must be there."""
    script = Script().put("a", at=(0, 1), revision=1).delete(at=(2, None)).get(None, at=(3, 4))

    assert verdict(script) is VALID


def test_a_previous_value_is_a_read():
    """return_previous tells the value that the write replaced."""
    good = (
        Script()
        .put("a", at=(0, 1), revision=1)
        .put("b", at=(2, 3), revision=2, want_previous=True, result="a")
    )
    bad = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 3), revision=2, want_previous=True)
    kept_not = Script().put("a", at=(0, 1), revision=1)
    kept_not.put("b", at=(2, 3), want_previous=True, error="PREVIOUS_NOT_KEPT").get(
        "b", at=(4, 5), revision=2
    )

    assert [verdict(script) for script in (good, bad, kept_not)] == [VALID, INVALID, VALID]


def test_a_previous_value_shows_an_unknown_write():
    """What a write replaced did happen, though no read shows it."""
    seen = Script().put("a", at=(0, None)).put("b", at=(2, 3), revision=2, want_previous=True, result="a")
    other = Script().put("x", at=(0, None)).put("b", at=(2, 3), revision=2, want_previous=True, result="a")

    assert [verdict(script) for script in (seen, other)] == [VALID, INVALID]


def test_increments_add_up():
    """Each increment takes effect once, on what the ones before it made."""
    good = (
        Script()
        .op("increment", 2, at=(0, 1), revision=1, result=2)
        .op("increment", 3, at=(2, 3), revision=2, result=5)
    )
    lost = (
        Script()
        .op("increment", 2, at=(0, 1), revision=1, result=2)
        .op("increment", 3, at=(2, 3), revision=2, result=3)
    )
    maybe = Script().op("increment", 2, at=(0, None)).op("increment", 3, at=(2, 3), revision=2, result=5)
    begins = Script().op("increment", [2, 10], at=(0, 1), revision=1, result=12)

    assert [verdict(script) for script in (good, lost, maybe, begins)] == [VALID, INVALID, VALID, VALID]


def test_a_key_with_a_time_to_live_may_be_gone():
    """A key that may expire is found absent without an operation; one that may not is not."""
    expiring = Script().put("a", at=(0, 1), revision=1, ttl_ms=50).get(None, at=(100, 101))
    risen = (
        Script()
        .put("a", at=(0, 1), revision=1, ttl_ms=50)
        .get(None, at=(100, 101))
        .get("a", at=(102, 103), revision=1)
    )
    kept = (
        Script()
        .put("a", at=(0, 1), revision=1, ttl_ms=50)
        .op("touch", at=(2, 3), revision=2)
        .get(None, at=(100, 101))
    )

    assert [verdict(script) for script in (expiring, risen, kept)] == [VALID, INVALID, INVALID]


def test_a_touch_keeps_the_version_of_the_value():
    """A touch takes a revision of the shard; the key keeps the one that wrote its value."""
    good = (
        Script()
        .put("a", at=(0, 1), revision=1)
        .op("touch", at=(2, 3), revision=2, ttl_ms=9)
        .get("a", at=(4, 5), revision=1)
    )
    absent = Script().put("a", at=(0, 1), revision=1).op("touch", at=(2, 3), revision=0)

    assert [verdict(script) for script in (good, absent)] == [VALID, INVALID]


@pytest.mark.parametrize("level", ["SESSION", "BOUNDED", "ANY"])
def test_weaker_reads_are_not_judged_here(level):
    """A stale read at a weaker level is no violation of linearizability, unless it was served at that."""
    stale = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 3), revision=2)
    served = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 3), revision=2)

    assert verdict(stale.get("a", at=(4, 5), revision=1, level=level)) is VALID
    assert verdict(served.get("a", at=(4, 5), revision=1, level=level, served="LINEARIZABLE")) is INVALID


def test_keys_are_judged_by_themselves():
    """A violation on one key is found among others, and named."""
    script = Script().put("a", at=(0, 1), revision=1, key="x").put("a", at=(0, 1), revision=1, key="y")
    script.get("a", at=(2, 3), revision=1, key="x").get(None, at=(2, 3), key="y")

    (finding,) = judged(script).findings
    assert finding.key == "y"


def test_a_search_without_budget_is_unknown():
    """What could not be judged within the budget has not passed, by steps or by time."""
    script = Script().put("a", at=(0, 1), revision=1).get("a", at=(2, 3), revision=1)

    assert judged(script, steps_per_key=1).verdict is UNKNOWN


def test_the_time_for_all_keys_is_a_budget_too():
    """Once the time is up, keys that were not judged are unknown."""
    script = Script()
    for n in range(1100):
        script.put(f"v{n}", at=(2 * n, 2 * n + 1), revision=n + 1)

    assert judged(script, is_over=lambda: True).verdict is UNKNOWN


def test_an_operation_that_is_not_modelled_is_not_passed_over():
    """A write the model does not know could explain anything, so the verdict is unknown."""
    script = Script().put("a", at=(0, 1), revision=1).op("delete_range", at=(2, 3))

    assert verdict(script) is UNKNOWN


def violation_in_a_crowd() -> Script:
    """A stale read in the middle of a long good run."""
    script = Script()
    for n in range(1, 101):
        script.put(f"v{n}", at=(10 * n, 10 * n + 5), revision=n)
        script.get(f"v{n}", at=(10 * n + 6, 10 * n + 8), revision=n)
    return script.get("v20", at=(509, 509.5), revision=20)


def test_a_violation_is_told_by_its_smallest_part():
    """Of two hundred operations those are shown that cannot be explained together, and a value's origin."""
    (finding,) = judged(violation_in_a_crowd()).findings

    assert len(finding.story) <= 4
    assert finding.story[0].startswith("before:")
    assert "v20" in finding.story[0]
    assert "v20" in finding.story[-1]
    assert "v50" in "".join(finding.story)


def test_what_is_left_of_a_violation_is_one_by_itself():
    """The small part ends with the reply that cannot be explained: without it all is well."""
    part = smallest(Part(violation_in_a_crowd().operations), REGISTER)

    assert part.until == 509.5 * NS
    assert part.since is not None
    assert part.since >= 500 * NS


def txn(value: dict, result: dict | None, revision: int | None = None) -> dict:
    return {"value": value, "result": result, "revision": revision}


def test_a_transaction_is_all_or_nothing():
    """A scan of a unit does not see one of two puts that were made together."""
    both = {"then": [["put", "u/x", "1"], ["put", "u/y", "2"]]}
    script = Script("u/").op(
        "txn", at=(0, 1), **txn(both, {"succeeded": True, "results": [[1, None], [1, None]]}, 1)
    )
    whole = [["u/x", "1", 1], ["u/y", "2", 1]]
    good = Script("u/").op(
        "txn", at=(0, 1), **txn(both, {"succeeded": True, "results": [[1, None], [1, None]]}, 1)
    )
    good.op("scan", at=(2, 3), result=whole, level="LINEARIZABLE")
    script.op("scan", at=(2, 3), result=whole[:1], level="LINEARIZABLE")

    assert linearizability.check(good.operations, of=UNIT).verdict is VALID
    assert linearizability.check(script.operations, of=UNIT).verdict is INVALID


def test_compares_decide_which_steps_are_done():
    """Of two transactions that want the key absent, one takes the other branch."""
    ask = {"compares": [["u/x", "absent"]], "then": [["put", "u/x", "a"]], "otherwise": [["get", "u/x"]]}
    other = {**ask, "then": [["put", "u/x", "b"]]}
    won = txn(ask, {"succeeded": True, "results": [[1, None]]}, 1)
    lost = txn(other, {"succeeded": False, "results": [[1, "a"]]}, 0)
    both = txn(other, {"succeeded": True, "results": [[2, None]]}, 2)

    good = Script("u/").op("txn", at=(0, 9), **won).op("txn", at=(0, 9), **lost)
    bad = Script("u/").op("txn", at=(0, 9), **won).op("txn", at=(0, 9), **both)
    assert linearizability.check(good.operations, of=UNIT).verdict is VALID
    assert linearizability.check(bad.operations, of=UNIT).verdict is INVALID


def test_a_transaction_of_unknown_outcome_may_take_either_branch():
    """What it did is told by what is read afterwards; half of a branch explains nothing."""
    ask = {
        "compares": [["u/x", "exists"]],
        "then": [["put", "u/x", "a"]],
        "otherwise": [["put", "u/y", "b"], ["put", "u/z", "c"]],
    }
    seen = {
        "none": [],
        "otherwise": [["u/y", "b", 3], ["u/z", "c", 3]],
        "then": [["u/x", "a", 3]],
        "half": [["u/y", "b", 3]],
    }
    found = {}
    for name, items in seen.items():
        script = (
            Script("u/")
            .op("txn", ask, at=(0, None))
            .op("scan", at=(2, 3), result=items, level="LINEARIZABLE")
        )
        found[name] = linearizability.check(script.operations, of=UNIT).verdict

    assert found == {"none": VALID, "otherwise": VALID, "then": INVALID, "half": INVALID}
    made = {"then": [["put", "u/x", "a"], ["get", "u/x"]]}
    script = Script("u/").op("txn", made, at=(0, None))
    script.op("scan", at=(2, 3), result=seen["then"], level="LINEARIZABLE")
    assert linearizability.check(script.operations, of=UNIT).verdict is VALID


def test_a_unit_counts_its_revisions_once_for_all_keys():
    """A later transaction on another key of the unit takes a greater revision."""
    one = txn({"then": [["put", "u/x", "a"]]}, {"succeeded": True, "results": [[5, None]]}, 5)
    two = txn({"then": [["put", "u/y", "b"]]}, {"succeeded": True, "results": [[4, None]]}, 4)
    script = Script("u/").op("txn", at=(0, 1), **one).op("txn", at=(2, 3), **two)

    assert linearizability.check(script.operations, of=UNIT).verdict is INVALID
