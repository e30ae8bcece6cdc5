"""The course of a run: whose failure a fault that broke is, and whether it came to its end."""

from __future__ import annotations

import pytest
from holdfast_chaos import course
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import Script, rules


def noted(*phases: dict[str, object], end: bool = True) -> Script:
    script = Script()
    for at, value in enumerate(phases):
        script.note("fault", {"id": 1, "name": "kill-one", **value}, at=at)
    return script.note("end", at=99) if end else script


def test_a_run_that_ended_is_valid():
    """Faults that were healed are nothing to say."""
    told = course.check(noted({"phase": "begin"}, {"phase": "healed"}).notes, has_end=True)

    assert told.verdict is Verdict.VALID
    assert told.figures == {"faults": 1}


def test_a_cluster_that_stays_unwell_has_not_come_back():
    """It answers, and an operator would be told that something is wrong."""
    told = course.check(
        noted({"phase": "begin"}).note("unwell", {"text": "shard 2 has no leader"}, at=9).notes, has_end=True
    )

    assert (rules(told), told.verdict) == (["unwell"], Verdict.INVALID)
    assert "shard 2 has no leader" in told.findings[0].message


def test_what_a_broken_nemesis_left_behind_is_its_own_doing():
    """A node that it took away and did not bring back is down, and nobody's failure."""
    script = noted({"phase": "error", "kind": "nemesis", "text": "so"}).note("unwell", {"text": "down"}, at=9)
    told = course.check(script.notes, has_end=True)

    assert (rules(told), told.verdict) == (["nemesis", "unwell"], Verdict.VOID)


def test_a_run_that_broke_off_says_why():
    """And is judged for what is on record."""
    script = noted({"phase": "begin"}, end=False).note("broken-off", {"text": "OSError: full"}, at=9)
    told = course.check(script.notes, has_end=True)

    assert (rules(told), told.verdict) == (["cut off", "cut off"], Verdict.VOID)
    assert "OSError: full" in told.findings[0].message


@pytest.mark.parametrize(
    ("kind", "rule", "verdict"),
    [
        ("stuck", "stuck", Verdict.INVALID),
        ("served", "served damage", Verdict.INVALID),
        ("lost", "lost plan", Verdict.INVALID),
        ("nemesis", "nemesis", Verdict.VOID),
    ],
)
def test_whose_failure_it_is_decides(kind, rule, verdict):
    """A cluster that does not come back has broken a promise; a nemesis that breaks has wasted a run."""
    told = course.check(noted({"phase": "error", "kind": kind, "text": "so"}).notes, has_end=True)

    assert (rules(told), told.verdict) == ([rule], verdict)


def test_a_run_that_was_cut_off_is_void():
    """Without its final reads it may have lost anything."""
    assert course.check(noted(end=False).notes, has_end=True).verdict is Verdict.VOID
    assert course.check(noted(end=False).notes, has_end=False).verdict is Verdict.VALID
