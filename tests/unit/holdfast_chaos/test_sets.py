"""Sets that only grow."""

from __future__ import annotations

from holdfast_chaos import sets
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import Script, rules


def added(*elements: str) -> Script:
    script = Script()
    for element in elements:
        script.op("add", element, at=(0, 5))
    return script


def broken(script: Script) -> list[str]:
    return rules(sets.check(script.operations))


def read(
    script: Script, *elements: str, at: tuple[float, float] = (10, 11), level: str = "LINEARIZABLE"
) -> Script:
    return script.op("read", at=at, result=list(elements), level=level)


def test_what_was_acknowledged_stays():
    """Lost: added and not there; gone: seen and no longer there. Unknown adds may be there or not."""
    maybe = added("a").op("add", "b", at=(0, None))
    gone = added("a").op("add", "b", at=(0, None))

    assert broken(read(added("a", "b"), "b", "a")) == []
    assert broken(read(read(maybe, "a"), "a", "b", at=(12, 13))) == []
    assert broken(read(added("a", "b"), "a")) == ["lost"]
    assert broken(read(read(gone, "a", "b"), "a", at=(12, 13))) == ["gone"]


def test_an_add_during_the_read_need_not_be_seen():
    """Nor does a weaker read prove a loss."""
    assert broken(read(read(added("a"), at=(3, 7)), "a")) == []
    assert broken(read(read(added("a"), at=(8, 9), level="SESSION"), "a")) == []


def test_strangers():
    """Never added, refused, from the future, or there twice."""
    assert broken(read(added("a"), "a", "z")) == ["never added"]
    assert broken(read(added("a").refused("add", "z", at=(0, 1)), "a", "z")) == ["refused"]
    assert broken(read(read(added("a").op("add", "z", at=(20, 21)), "a", "z"), "a", "z", at=(30, 31))) == [
        "from the future"
    ]
    assert broken(read(added("a"), "a", "a")) == ["twice"]


def test_without_a_final_read_nothing_is_shown():
    """An acknowledged element that no read could have missed makes the run void."""
    assert sets.check(added("a").operations).verdict is Verdict.VOID
