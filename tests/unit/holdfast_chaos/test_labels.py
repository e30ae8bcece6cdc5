"""What the placement group has acknowledged to an operator."""

from __future__ import annotations

from holdfast_chaos import labels
from holdfast_chaos.judging import judgements
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import Script, rules


class Operator:
    """One call after the other."""

    def __init__(self) -> None:
        self.script = Script()
        self._at = 0

    def sets(self, name: str, value: str, told: str = "ok") -> Operator:
        return self._noted("label", {"name": name, "value": value, "told": told})

    def finds(self, **found: str) -> Operator:
        return self._noted("labels", {"found": found})

    def _noted(self, f: str, value: object) -> Operator:
        self._at += 1
        self.script.note(f, value, at=self._at)
        return self


def test_what_was_acknowledged_is_found():
    """Also what was set over it, and a label that somebody else has set."""
    operator = Operator().sets("a", "1").sets("b", "2").finds(a="1", b="2", zone="x")
    told = labels.check(operator.sets("a", "3").finds(a="3", b="2").script.notes)

    assert told.verdict is Verdict.VALID
    assert told.figures == {"acknowledged": 3, "reads": 2}


def test_a_label_that_is_gone_or_older_is_lost():
    """Once for each, with what is there and what was acknowledged."""
    operator = Operator().sets("a", "1").sets("b", "2").sets("a", "3")
    told = labels.check(operator.finds(a="1").finds(a="1").script.notes)

    assert rules(told) == ["lost label", "lost label"]
    assert "a is '1'" in told.findings[0].message
    assert "'3' was acknowledged" in told.findings[0].message
    assert "b is None" in told.findings[1].message


def test_what_was_not_answered_may_come_about_at_any_time():
    """After what was acknowledged since, or never, but once; and nothing else may."""

    def operator() -> Operator:
        return Operator().sets("a", "1").sets("a", "2", "info").finds(a="1").sets("a", "3").finds(a="3")

    assert labels.check(operator().finds(a="2").finds(a="2").script.notes).verdict is Verdict.VALID
    assert labels.check(operator().finds(a="1").script.notes).verdict is Verdict.INVALID
    assert labels.check(operator().finds(a="2").finds(a="3").script.notes).verdict is Verdict.INVALID
    assert labels.check(operator().finds(a="2").sets("a", "4").finds(a="2").script.notes).verdict is (
        Verdict.INVALID
    )


def test_an_operator_whom_nobody_answers_in_the_end_leaves_a_question_open():
    """What was acknowledged may be lost."""
    operator = Operator().sets("a", "1").finds(a="1")
    operator.script.note("labels", {"found": None}, at=9)
    told = labels.check(operator.script.notes)

    assert (rules(told), told.verdict) == (["not told"], Verdict.UNKNOWN)


def test_a_record_that_tells_of_labels_is_judged_by_them():
    """And one that does not is not."""
    lost = Operator().sets("a", "1").finds()
    told = {j.checker: j.verdict for j in judgements(lost.script.record())}

    assert told["labels"] is Verdict.INVALID
    assert "labels" not in {j.checker for j in judgements(Script().record())}
