"""Verdicts and their order."""

from __future__ import annotations

import itertools

import pytest
from holdfast_chaos.verdict import FINDINGS_MAX, Finding, Judgement, Verdict, as_json, judge, overall

ORDER = [Verdict.INVALID, Verdict.UNKNOWN, Verdict.VOID, Verdict.VALID]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations_with_replacement(ORDER, 2)))
def test_the_worst_news_wins(first, second):
    """INVALID beats UNKNOWN beats VOID beats VALID, in any order."""
    told = [Judgement("a", second), Judgement("b", first)]

    assert overall(told) is first
    assert overall(reversed(told)) is first


def test_nothing_judged_is_no_pass():
    """Without a checker nothing was shown."""
    assert overall([]) is Verdict.VOID


def test_evidence_makes_the_verdict():
    """Violations, open questions and what is missing each have their verdict; the evidence is kept."""
    one = [Finding("r", "m")]

    assert judge("c").verdict is Verdict.VALID
    assert judge("c", missing=one).verdict is Verdict.VOID
    assert judge("c", missing=one, open_questions=one).verdict is Verdict.UNKNOWN
    assert judge("c", missing=one, open_questions=one, broken=one).verdict is Verdict.INVALID
    assert judge("c", missing=one, open_questions=one, broken=one).found == 3


def test_evidence_is_bounded_and_counted():
    """The first findings are kept, all are counted."""
    told = judge("c", broken=[Finding("r", str(n)) for n in range(1000)])

    assert len(told.findings) == FINDINGS_MAX
    assert told.found == 1000


def test_the_json_form():
    """The verdict in all, then each checker with its evidence."""
    told = judge("c", broken=[Finding("r", "m", "k", ("one", "two"))], figures={"keys": 2})

    assert as_json([told]) == {
        "verdict": "invalid",
        "checkers": [
            {
                "checker": "c",
                "verdict": "invalid",
                "found": 1,
                "findings": [{"rule": "r", "message": "m", "key": "k", "story": ["one", "two"]}],
                "figures": {"keys": 2},
            }
        ],
    }
