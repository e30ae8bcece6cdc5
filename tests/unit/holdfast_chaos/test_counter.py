"""Counters, between what must and what may have been added."""

from __future__ import annotations

from holdfast_chaos import counter

from tests.unit.holdfast_chaos.records import Script, rules


def broken(script: Script) -> list[str]:
    return rules(counter.check(script.operations))


def read(
    script: Script, number: int, at: tuple[float, float] = (20, 21), level: str = "LINEARIZABLE"
) -> Script:
    return script.op("read", at=at, result=number, level=level)


def test_every_acknowledged_add_counts_once():
    """A sum that is too small has lost one, one that is too large has run one twice."""

    def script() -> Script:
        return Script().op("add", 2, at=(0, 1)).op("add", 3, at=(2, 3))

    assert broken(read(script(), 5)) == []
    assert broken(read(script(), 2)) == ["too small"]
    assert broken(read(script(), 8)) == ["too large"]
    assert broken(read(script(), 2, level="ANY")) == []


def test_what_is_in_question_widens_the_bounds():
    """Unknown or concurrent adds may count or not; refused ones do not."""

    def script() -> Script:
        made = Script().op("add", 2, at=(0, 1)).op("add", 10, at=(0, None)).op("add", 100, at=(15, 25))
        return made.refused("add", 1000, at=(0, 1))

    for number in (2, 12, 102, 112):
        assert broken(read(script(), number)) == []
    assert broken(read(script(), 1)) == ["too small"]
    assert broken(read(script(), 1002)) == ["too large"]


def test_a_sum_does_not_go_back():
    """Of two reads one after the other, during an add; where something may be taken away it may."""

    def script(*more: int) -> Script:
        made = Script().op("add", 2, at=(0, 100))
        for by in more:
            made.op("add", by, at=(0, None))
        return read(read(made, 2, at=(10, 11)), 0, at=(12, 13))

    assert broken(script()) == ["went back"]
    assert broken(script(-2)) == []


def test_negative_adds():
    """What may be taken away lowers the least, what must have been lowers the most."""

    def script() -> Script:
        return Script().op("add", 10, at=(0, 1)).op("add", -3, at=(2, 3)).op("add", -5, at=(4, None))

    assert [broken(read(script(), n)) for n in (7, 2, 1, 8)] == [[], [], ["too small"], ["too large"]]


def test_answers_of_adds_are_sums():
    """Each holds its own part; two of the same direction never get the same one."""
    good = Script().op("add", 1, at=(0, 9), result=2).op("add", 1, at=(0, 9), result=1)
    same = Script().op("add", 1, at=(0, 9), result=1).op("add", 1, at=(0, 9), result=1)
    own = Script().op("add", 5, at=(0, 9), result=4)
    down = Script().op("add", -5, at=(0, 9), result=0)

    assert [broken(script) for script in (good, same, own, down)] == [
        [],
        ["same sum"],
        ["too small"],
        ["too large"],
    ]
