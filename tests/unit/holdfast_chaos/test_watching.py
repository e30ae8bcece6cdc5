"""Watches: each documented guarantee broken by hand, and good watches beside them."""

from __future__ import annotations

from holdfast_chaos import watching
from holdfast_chaos.verdict import Verdict
from holdfast_chaos.watching import CaughtUp, Change, Cut, Item, Point, Resumed, Watched

from tests.unit.holdfast_chaos.records import rules


def put(revision: int, key: str, value: str = "") -> Change:
    return Change(revision, key, "PUT", value or f"v{revision}")


# Revision 3 changes two keys at once; key c lies in another shard.
A1, B2, A3, B3, A4 = put(1, "a"), put(2, "b"), put(3, "a"), put(3, "b"), Change(4, "a", "DELETED")
C1, C9 = put(1, "c", "w1"), put(9, "c", "w9")
LOG = (A1, B2, A3, B3, A4, C1, C9)
FROM_START = (Point(0, "a", "c"), Point(0, "c"))


def first(revision: int) -> Point:
    """A mark of the shard that holds a and b."""
    return Point(revision, "a", "c")


def broken(*items: Item, points: tuple[Point, ...] = FROM_START, start: str = "", end: str = "") -> list[str]:
    return rules(watching.check([Watched("w", start, end, points, items)], LOG))


def test_a_good_watch():
    """Every change once and in order; groups in any order among each other; marks behind what they cover."""
    assert broken(A1, B2, C1, A3, B3, first(3), A4, C9, Point(9, "c"), first(4)) == []
    assert broken(C1, C9, A1, B2, A3, B3, A4) == []


def test_a_watch_may_stop_anywhere():
    """What was not reached is not missing."""
    assert broken(A1, B2) == []
    assert broken(A1, B2, A3) == []  # in the middle of a revision, when its caller stopped there


def test_an_event_is_a_change_that_happened():
    """To a watched key, with its kind and its value."""
    assert broken(A1, put(2, "b", "other")) == ["true"]
    assert broken(A1, A4._replace(revision=2)) == ["true"]
    assert broken(A1._replace(kind="DELETED")) == ["true"]
    assert broken(C1, start="a", end="c", points=(Point(0, "c"),)) == ["true"]


def test_order_in_a_shard():
    """Revisions do not go down."""
    assert broken(B2, A1) == ["ordered"]


def test_order_of_a_key():
    """A later change does not come first."""
    assert broken(C9, C1) == ["ordered"]


def test_no_change_twice():
    """Not after a reconnect either."""
    assert broken(A1, A1) == ["unique"]
    assert broken(A1, Cut.LOST, A1, B2) == ["unique"]


def test_a_gap():
    """A change between two that were shown, or before a later one of its shard, is missing."""
    assert broken(A1, A3, B3, A4) == ["gap"]
    assert broken(B2) == ["gap"]  # it was to begin before revision 1
    assert broken(C9) == ["gap"]


def test_a_gap_where_the_watch_was_cut_off():
    """The same, told apart: the resumption lost it."""
    assert broken(A1, Cut.LOST, A3, B3, A4) == ["resumable"]
    assert broken(A1, Resumed((first(1),)), A3, B3, A4) == ["resumable"]


def test_where_a_watch_begins():
    """By its points; without them, behind what it first showed."""
    assert broken(A3, B3, points=(first(2),)) == []
    assert broken(B3, A4, points=()) == []
    assert broken(B2, A4, points=()) == ["gap", "gap"]
    assert broken(first(2), A4, points=()) == ["gap", "gap"]


def test_a_progress_mark_is_never_ahead():
    """What it covers was shown before it."""
    assert broken(A1, first(2), B2) == ["ahead"]
    assert broken(first(0), A1, first(1)) == []


def test_a_revision_comes_whole():
    """Its changes are there before its shard goes on, or a mark covers it."""
    assert broken(A1, B2, A3, A4) == ["atomic"]
    assert broken(A1, B2, A3, A4, B3)[0] == "atomic"
    assert broken(A1, B2, A3, first(3), B3) == ["atomic"]
    assert broken(A1, B2, B3, C1, A3, A4) == []  # another shard's change between is fine


def test_a_range_is_judged_by_its_own_keys():
    """Changes of keys that are not watched are not missing."""
    assert broken(A1, A3, A4, first(4), start="a", end="b") == []


def test_a_caller_that_resumes_gets_the_unfinished_revision_again():
    """Points cover whole revisions; what was had beyond them comes twice, and must come."""
    resumed = Resumed((first(2),))

    assert broken(A1, B2, A3, resumed, A3, B3, A4) == []
    assert broken(A1, B2, A3, resumed, B3, A4) == ["atomic"]
    assert broken(A1, B2, resumed, B2) == ["unique"]


def test_a_snapshot_is_the_range_as_it_stood():
    """Exactly the keys there were, with their values and versions; then what came after it."""
    snapshot = [c._replace(kind="SNAPSHOT") for c in (A3, B3)]
    caught_up = CaughtUp(first(3))

    assert broken(*snapshot, caught_up, A4, points=()) == []
    assert broken(snapshot[0], caught_up, A4, points=()) == ["snapshot"]
    assert broken(snapshot[0], A1._replace(kind="SNAPSHOT", key="b"), caught_up, points=()) == ["snapshot"]
    assert broken(*snapshot, CaughtUp(first(4)), points=()) == ["snapshot"]  # a is gone by then
    assert broken(A1, *snapshot, caught_up, A4) == []  # the snapshot stands for what was compacted


def test_a_touch_does_not_change_what_a_snapshot_holds():
    """The key keeps its value and its version."""
    log = (A1, Change(2, "a", "TOUCHED"))
    items = (A1._replace(kind="SNAPSHOT"), CaughtUp(Point(2)))

    assert rules(watching.check([Watched("w", "", "", (), items)], log)) == []


def test_a_shard_that_is_split_and_merged_goes_on_by_its_revisions():
    """No point divides a span: what was seen of a part holds for the whole that it is merged into."""
    log = (put(1, "a"), put(2, "b"), put(2, "a"), put(3, "b"), put(3, "a"))
    split = Resumed((Point(2, "a", "b"), Point(1, "b", "c")))

    def judged(*items: Item) -> list[str]:
        watched = Watched("w", "a", "c", (Point(0, "a", "c"),), items)
        return rules(watching.check([watched], log))

    a1, b2, a2, b3, a3 = log
    assert judged(a1, a2, split, b2, first(2), a3, b3, first(3)) == []
    assert judged(a1, a2, split, b3, a3) == ["resumable"]
    assert judged(a1, a2, split, first(2)) == ["ahead"]
    assert judged(a1, a2, split, b2, b3, a3, first(3)) == []  # of two spans, each in its order


def test_a_mark_tells_of_its_keys_only():
    """What lies in another shard may come later."""
    assert broken(A1, B2, first(2), C1) == []
    assert broken(A1, B2, Point(2), C1) == ["ahead"]


def test_a_run_without_events_is_void():
    """Nothing shown proves nothing."""
    assert watching.check([Watched("w", "", "", FROM_START, (Point(0),))], LOG).verdict is Verdict.VOID
