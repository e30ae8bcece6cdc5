"""Verdicts: what a checker says, with its evidence, and what all of them together say.

Four words, the first that any checker says wins:

    INVALID  a promise was broken, and the evidence shows it. Stands whatever else went wrong in the run.
    UNKNOWN  the judge could not finish: there may be a violation. Judge again, with a larger budget.
    VOID     too little happened for the run to mean anything: few operations, a fault that did not fire.
    VALID    nothing found, by a judge that finished, in a run that counts. The only pass.

UNKNOWN comes before VOID because a violation may hide behind it, and the record is still there to find
it; a void run has to be run again anyway. A checker that breaks says UNKNOWN, never VALID. No checker at
all is VOID.

Source: Jepsen's checker.clj (merge by priority), with VOID for etcd's "minimal QPS or the run is invalid".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

FINDINGS_MAX: Final = 20
"""Evidence kept of each checker: the first ones tell, the rest are counted."""


class Verdict(StrEnum):
    """What a checker says."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    VOID = "void"


_ORDER: Final = (Verdict.INVALID, Verdict.UNKNOWN, Verdict.VOID, Verdict.VALID)


class Finding(NamedTuple):
    """One piece of evidence.

    Attributes:
        rule: which rule was broken, or why it could not be judged: a few words, always the same ones.
        message: what happened.
        key: where; empty: not about a key.
        story: the operations that show it, one a line.
    """

    rule: str
    message: str
    key: str = ""
    story: tuple[str, ...] = ()


class Judgement(NamedTuple):
    """What one checker says.

    Attributes:
        checker: its name.
        verdict: see the module.
        findings: the evidence; empty when VALID.
        found: how many there were in all.
        figures: what it looked at, by name.
    """

    checker: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    found: int = 0
    figures: Mapping[str, Any] = {}


def judge(
    checker: str,
    *,
    broken: Iterable[Finding] = (),
    open_questions: Iterable[Finding] = (),
    missing: Iterable[Finding] = (),
    figures: Mapping[str, Any] | None = None,
) -> Judgement:
    """The judgement that follows from the evidence.

    Args:
        checker: its name.
        broken: violations.
        open_questions: what could not be judged.
        missing: what ought to have happened for this to mean anything.
        figures: what was looked at.
    """
    kinds = ((Verdict.INVALID, broken), (Verdict.UNKNOWN, open_questions), (Verdict.VOID, missing))
    evidence = [(verdict, tuple(findings)) for verdict, findings in kinds]
    every = [finding for _, findings in evidence for finding in findings]
    verdict = next((verdict for verdict, findings in evidence if findings), Verdict.VALID)
    return Judgement(checker, verdict, tuple(every[:FINDINGS_MAX]), len(every), figures or {})


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """What all of them say together."""
    said = {judgement.verdict for judgement in judgements}
    return next((verdict for verdict in _ORDER if verdict in said), Verdict.VOID)


def as_json(judgements: Iterable[Judgement]) -> dict[str, Any]:
    """The stable JSON form."""
    every = tuple(judgements)
    return {
        "verdict": overall(every).value,
        "checkers": [
            {
                "checker": judgement.checker,
                "verdict": judgement.verdict.value,
                "found": judgement.found,
                "findings": [
                    {"rule": f.rule, "message": f.message, "key": f.key or None, "story": list(f.story)}
                    for f in judgement.findings
                ],
                "figures": dict(judgement.figures),
            }
            for judgement in every
        ],
    }
