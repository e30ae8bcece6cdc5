"""Sessions, and the age of reads."""

from __future__ import annotations

import pytest
from holdfast_chaos import guarantees

from tests.unit.holdfast_chaos.records import Script, rules

MINE = {"session": "mine"}


def broken(script: Script, **more: object) -> list[str]:
    return rules(guarantees.check(script.operations, script.notes, **more))


def two_writes() -> Script:
    return Script().put("a", at=(0, 1), revision=1, **MINE).put("b", at=(2, 3), revision=2, **MINE)


def test_a_session_reads_its_writes():
    """A SESSION read sees the session's own writes; another session's need not."""
    assert broken(two_writes().get("b", at=(4, 5), revision=2, level="SESSION", **MINE)) == []
    assert broken(two_writes().get("a", at=(4, 5), revision=1, level="SESSION", **MINE)) == [
        "read your writes"
    ]
    assert broken(two_writes().get(None, at=(4, 5), level="SESSION", **MINE)) == ["read your writes"]
    assert broken(two_writes().get("a", at=(4, 5), revision=1, level="SESSION")) == []


@pytest.mark.parametrize("first", ["SESSION", "BOUNDED", "ANY"])
def test_a_session_does_not_read_back(first):
    """A SESSION read sees what the session has read before, at whatever level; an ANY read may be older."""
    script = (
        Script()
        .put("a", at=(0, None))
        .put("b", at=(0, None))
        .get("b", at=(4, 5), revision=2, level=first, **MINE)
    )
    back = (
        Script()
        .put("a", at=(0, None))
        .put("b", at=(0, None))
        .get("b", at=(4, 5), revision=2, level=first, **MINE)
    )

    assert broken(script.get("a", at=(6, 7), revision=1, level="ANY", **MINE)) == []
    assert broken(back.get("a", at=(6, 7), revision=1, level="SESSION", **MINE)) == ["monotonic reads"]


def test_what_overlaps_in_a_session_has_no_order():
    """Operations that were not awaited one after the other are concurrent."""
    script = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 6), revision=2, **MINE)

    assert broken(script.get("a", at=(5, 7), revision=1, level="SESSION", **MINE)) == []


def test_what_meets_in_one_ns_overlaps():
    """Intervals are closed: a read that begins when a write ends need not see it."""
    script = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 5), revision=2, **MINE)

    assert broken(script.get("a", at=(5, 7), revision=1, level="SESSION", **MINE)) == []


def test_of_many_deletes_one_is_enough():
    """The ones before what was seen do not count, nor do they hide the one behind it."""
    script = (
        Script().put("a", at=(0, None)).delete(at=(0, 1), revision=1).put("b", at=(2, 3), revision=2, **MINE)
    )
    script.delete(at=(4, 5), revision=3)

    assert broken(script.get(None, at=(6, 7), level="SESSION", **MINE)) == []


def test_writes_of_a_session_take_growing_revisions():
    """On a key; and in a group, whose revisions are counted once for all keys."""
    key = Script().put("a", at=(0, 1), revision=5, **MINE).put("b", at=(2, 3), revision=4, **MINE)
    shard = Script().put("a", at=(0, 1), revision=5, group=7, **MINE)
    shard.put("b", at=(2, 3), revision=4, group=7, key="other", **MINE)
    two = Script().put("a", at=(0, 1), revision=5, group=7, **MINE)
    two.put("b", at=(2, 3), revision=4, group=8, key="other", **MINE)

    assert [broken(script) for script in (key, shard, two)] == [
        ["monotonic writes"],
        ["monotonic writes"],
        [],
    ]


def test_writes_follow_reads():
    """A write comes after whatever its session has read."""
    script = Script().put("a", at=(0, None)).get("a", at=(1, 2), revision=5, level="ANY", **MINE)

    assert broken(script.put("b", at=(3, 4), revision=5, **MINE)) == ["writes follow reads"]


def test_a_token_takes_what_was_seen_along():
    """A session that was given another's token has seen what that had seen by then."""
    given = two_writes().note("token", {"from": "mine", "to": "yours"}, at=3.5)
    given.get("a", at=(4, 5), revision=1, level="SESSION", session="yours")
    earlier = two_writes().note("token", {"from": "mine", "to": "yours"}, at=1.5)
    earlier.get("a", at=(4, 5), revision=1, level="SESSION", session="yours")

    assert broken(given) == ["read your writes"]
    assert broken(earlier) == []


def test_a_replica_that_answers_a_session_has_applied_what_it_saw():
    """The index in the answer is not below one of the same group that the session has seen."""

    def script(group: int, level: str) -> Script:
        return (
            Script().put("a", at=(0, 1), revision=1, group=1, applied_index=9, **MINE)
            .get("x", at=(2, 3), revision=1, key="other", level=level, group=group, applied_index=8, **MINE)
        )  # fmt: skip

    assert broken(script(1, "SESSION")) == ["token"]
    assert broken(script(2, "SESSION")) == []
    assert broken(script(1, "ANY")) == []


def test_an_absence_needs_a_reason():
    """A delete that had begun and may lie behind what was seen, a time to live, or eviction."""

    def absent(script: Script) -> Script:
        return script.get(None, at=(8, 9), level="SESSION", **MINE)

    assert broken(absent(two_writes())) == ["read your writes"]
    assert broken(absent(two_writes().delete(at=(4, None)))) == []
    assert broken(absent(two_writes().delete(at=(4, 5), revision=3))) == []
    assert broken(absent(two_writes().delete(at=(10, 11), revision=3))) == ["read your writes"]
    assert broken(absent(Script().put("a", at=(0, 1), revision=1, ttl_ms=5, **MINE))) == []
    assert broken(absent(two_writes()), evicting=True) == []


def test_a_delete_before_what_was_seen_explains_nothing():
    """A delete at revision 1 does not make a key absent that was seen at 2."""
    script = (
        Script().put("a", at=(0, None)).delete(at=(0, 1), revision=1).put("b", at=(2, 3), revision=2, **MINE)
    )

    assert broken(script.get(None, at=(4, 5), level="SESSION", **MINE)) == ["read your writes"]


def test_a_key_stays_gone_for_who_deleted_it():
    """One delete explains every absence after it, the session's own too; a later write is seen again."""
    own = two_writes().delete(at=(4, 5), revision=3, **MINE)
    unknown = two_writes().delete(at=(4, None))
    for script in (own, unknown):
        for at in (6, 8, 10):
            script.get(None, at=(at, at + 1), level="SESSION", **MINE)
        script.put("c", at=(12, 13), revision=4).get("c", at=(14, 15), revision=4, level="SESSION", **MINE)

    assert broken(own) == []
    assert broken(unknown) == []


def test_a_deleted_key_does_not_rise_in_a_session():
    """Whoever saw the key gone by a delete does not see it as it was before."""
    for end, revision in ((3, 2), (None, None)):
        script = Script().put("a", at=(0, 1), revision=1, **MINE).delete(at=(2, end), revision=revision)
        script.get(None, at=(4, 5), level="SESSION", **MINE)

        assert broken(script.get("a", at=(6, 7), revision=1, level="SESSION", **MINE)) == ["monotonic reads"]


def test_a_touch_does_not_change_the_version_of_the_value():
    """After a touch the key is read at the revision that wrote it."""
    script = (
        Script().put("a", at=(0, 1), revision=1, **MINE).op("touch", at=(2, 3), revision=2, ttl_ms=90, **MINE)
    )

    assert broken(script.get("a", at=(4, 5), revision=1, level="SESSION", **MINE)) == []


def test_a_linearizable_read_sees_what_was_acknowledged():
    """Whoever wrote it; in a run of any length."""
    script = two_writes()

    assert broken(script.get("a", at=(4, 5), revision=1)) == ["real time"]


def test_a_bounded_read_is_no_older_than_its_bound():
    """What was acknowledged longer ago than that is seen; what is younger need not be."""
    bounded = {"level": "BOUNDED", "bound_ms": 10}

    assert broken(two_writes().get("a", at=(12, 13), revision=1, **bounded)) == []
    assert broken(two_writes().get("a", at=(14, 15), revision=1, **bounded)) == ["bounded"]
    assert broken(two_writes().get("a", at=(14, 15), revision=1, **bounded), slack_ms=5) == []
    assert broken(two_writes().get(None, at=(14, 15), **bounded)) == ["bounded"]


def test_the_age_in_an_answer_is_within_the_bound():
    """By its own words; unless it was served stronger."""
    bounded = {"level": "BOUNDED", "bound_ms": 10, "age_ms": 11}

    assert broken(two_writes().get("b", at=(4, 5), revision=2, **bounded)) == ["age"]
    assert broken(two_writes().get("b", at=(4, 5), revision=2, served="LINEARIZABLE", **bounded)) == []


def test_any_promises_nothing():
    """An ANY read may be as old as it likes."""
    assert broken(two_writes().get("a", at=(900, 901), revision=1, level="ANY", **MINE)) == []
