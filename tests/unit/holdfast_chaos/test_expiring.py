"""Time to live: never early, gone in time."""

from __future__ import annotations

from typing import Any

from holdfast_chaos import expiring
from holdfast_chaos.expiring import Bounds, Span

from tests.unit.holdfast_chaos.records import NS, Script, rules


def given(ttl_ms: int = 1000) -> Script:
    return Script().put("a", at=(0, 10), revision=1, ttl_ms=ttl_ms)


def broken(script: Script, leaderless: tuple[Span, ...] = (), **bounds: Any) -> list[str]:
    return rules(expiring.check(script.operations, leaderless, Bounds(**bounds)))


def test_a_key_is_not_gone_early():
    """Gone before its time has passed since its write began; the clocks' drift is allowed for."""
    assert broken(given().get(None, at=(900, 950))) == ["early"]
    assert broken(given().get(None, at=(900, 995))) == []
    assert broken(given().get(None, at=(900, 995)), drift=0.0) == ["early"]
    assert broken(given().get("a", at=(900, 950), revision=1)) == []


def test_a_key_is_gone_in_time():
    """Gone when its time, the bound and the slack have passed since its write was acknowledged."""
    assert broken(given().get("a", at=(1310, 1311), revision=1)) == []
    assert broken(given().get("a", at=(1330, 1331), revision=1)) == ["late"]
    assert broken(given().get("a", at=(1330, 1331), revision=1), bound_ms=200.0) == []


def test_without_a_leader_nothing_expires():
    """The bound runs anew from the end of the time without one."""
    spans = (Span(1000 * NS, 3000 * NS), Span(3200 * NS, 4000 * NS))

    assert broken(given().get("a", at=(4200, 4201), revision=1), spans) == []
    assert broken(given().get("a", at=(4400, 4401), revision=1), spans) == ["late"]
    assert broken(given().get("a", at=(4400, 4401), revision=1), (Span(5000 * NS, 6000 * NS),)) == ["late"]


def test_only_what_is_certain_is_judged():
    """Not when somebody else may have changed the key, nor at a weaker level, nor an unknown write."""
    other = given().delete(at=(20, None)).get(None, at=(30, 31))
    overwritten = given().put("b", at=(20, 30), revision=2).get("b", at=(5000, 5001), revision=2)
    weak = given().get("a", at=(5000, 5001), revision=1, level="ANY")
    unknown = Script().put("a", at=(0, None), ttl_ms=50).get("a", at=(5000, 5001), revision=1)
    during = given().get(None, at=(5, 15))
    # Which of two overlapping writes came last is not known.
    either = given().put("b", at=(5, 15), revision=2, ttl_ms=5000).get(None, at=(1100, 1101))

    assert [broken(script) for script in (other, overwritten, weak, unknown, during, either)] == [[]] * 6


def test_a_touch_gives_a_new_time():
    """From then on the key lives as long as the touch says."""

    def touched() -> Script:
        return given(50).op("touch", at=(20, 30), revision=2, ttl_ms=5000)

    assert broken(touched().get("a", at=(1000, 1001), revision=1)) == []
    assert broken(touched().get(None, at=(1000, 1001))) == ["early"]


def test_what_is_left_is_no_more_than_what_was_given():
    """The rest that a read tells."""
    assert broken(given().get("a", at=(20, 21), revision=1, left_ms=990)) == []
    assert broken(given().get("a", at=(20, 21), revision=1, left_ms=1001)) == ["remaining"]
