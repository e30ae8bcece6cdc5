"""What a watch shows of what it is fed."""

import asyncio

from holdfast.keys import KeyRange
from holdfast.types import Event, EventKind, Mark, MarkKind, WatchPoint
from holdfast.watch import Watch, WatchPart

ALL = KeyRange(b"", b"")


class Feeder:
    """Feeds nothing by itself; the test does."""

    def __init__(self):
        self.resumed = []
        self.stopped = False

    def start(self, watch):
        watch.parts.append(WatchPart(watch, ALL, None))

    def resume(self, watch, part):
        self.resumed.append(part)

    def stop(self, watch):
        self.stopped = True

    def close(self):
        pass


def event(revision: int, kind: EventKind = EventKind.PUT, key: bytes = b"k") -> Event:
    return Event(kind, key, b"v", revision, None, 0)


def taken(watch: Watch, count: int) -> list:
    async def take():
        return [await anext(watch) for _ in range(count)]

    return asyncio.run(take())


def point(revision: int, group: int = 2) -> WatchPoint:
    return WatchPoint(group, revision, b"", b"")


def test_what_was_received_before_is_dropped():
    """After a resumption, revisions up to the received point come no second time."""
    watch = Watch(Feeder(), "default", ALL)
    part = watch.parts[0]
    watch.feed(part, [event(1), event(2)], point(2))
    watch.feed(part, [event(2), event(3)], point(3))

    assert [e.revision for e in taken(watch, 3)] == [1, 2, 3]


def test_a_revision_is_seen_with_its_last_event():
    """Two events of one revision are one change: the point moves behind the second."""
    watch = Watch(Feeder(), "default", ALL)
    watch.feed(watch.parts[0], [event(1), event(2, key=b"a"), event(2, key=b"b"), event(3)], point(5))

    seen = []
    for _ in range(4):
        taken(watch, 1)
        seen.append(watch.points[0].revision if watch.points else 0)
    assert seen == [1, 1, 2, 5]


def test_a_progress_mark_moves_the_point_without_an_event():
    """A point alone is taken over when the iterator passes it, and many of them do not pile up."""
    watch = Watch(Feeder(), "default", ALL)
    part = watch.parts[0]
    for n in range(100):
        watch.feed(part, [], point(n))
    assert len(watch._items) == 1
    watch.feed(part, [event(200)], point(200))
    taken(watch, 1)

    assert watch.points == (point(200),)


def test_a_broken_snapshot_begins_again_with_a_mark():
    """A snapshot that broke off is not continued: the new one opens with SNAPSHOT_BEGINS."""
    watch = Watch(Feeder(), "default", ALL, or_snapshot=True)
    part = watch.parts[0]
    watch.feed(part, [event(4, EventKind.SNAPSHOT)], point(9))
    part.in_snapshot = False  # what the driver does when it subscribes anew
    watch.feed(part, [event(5, EventKind.SNAPSHOT)], None)
    watch.feed(part, [], point(9), caught_up=True)
    found = taken(watch, 5)

    assert [i.kind if isinstance(i, Mark) else i.revision for i in found] == [
        MarkKind.SNAPSHOT_BEGINS,
        4,
        MarkKind.SNAPSHOT_BEGINS,
        5,
        MarkKind.CAUGHT_UP,
    ]
    assert watch.points == (point(9),)


def test_nothing_counts_as_seen_inside_a_snapshot():
    """A point that comes before the snapshot is complete is no place to resume."""
    watch = Watch(Feeder(), "default", ALL, or_snapshot=True)
    watch.feed(watch.parts[0], [event(4, EventKind.SNAPSHOT)], point(9))
    taken(watch, 2)

    assert watch.points == ()
    assert watch.parts[0].point is None


def test_revisions_of_two_groups_are_not_compared():
    """After a reshape the new group's events are not measured by the old one's point."""
    watch = Watch(Feeder(), "default", ALL)
    part = watch.parts[0]
    watch.feed(part, [event(100)], point(100, group=2))
    watch.feed(part, [event(7)], point(7, group=9))

    assert [e.revision for e in taken(watch, 2)] == [100, 7]


def test_a_given_point_is_found_by_group_or_by_what_it_covers():
    """The point of the same group, else the latest of an earlier group whose keys cover the part."""
    watch = Watch(
        Feeder(), "default", ALL, (WatchPoint(2, 5, b"", b"m"), WatchPoint(3, 6, b"m", b""), point(1, 1))
    )

    assert watch.given_point(KeyRange(b"", b"m"), 2) == WatchPoint(2, 5, b"", b"m")
    assert watch.given_point(KeyRange(b"n", b"p"), 7) == WatchPoint(3, 6, b"m", b"")
    assert watch.given_point(KeyRange(b"a", b"z"), 7) == point(1, 1)


def test_points_for_one_shard_begin_a_part_each():
    """After a merge a shard has a point for each half; what no point covers begins at a place of its own."""
    given = (WatchPoint(9, 5, b"a", b"m"), WatchPoint(9, 8, b"m", b"t"), WatchPoint(4, 70, b"t", b""))
    watch = Watch(Feeder(), "default", ALL, given)

    assert watch.given(KeyRange(b"a", b""), 9) == [
        (KeyRange(b"a", b"m"), given[0]),
        (KeyRange(b"m", b"t"), given[1]),
        (KeyRange(b"t", b""), given[2]),
    ]
    assert watch.given(KeyRange(b"b", b"c"), 12) == [(KeyRange(b"b", b"c"), given[0])]


def test_points_at_the_same_place_begin_one_part():
    """Halves of a merged shard that have come equally far are watched as one again."""
    watch = Watch(Feeder(), "default", ALL, (WatchPoint(9, 5, b"", b"m"), WatchPoint(9, 5, b"m", b"")))

    assert [keys for keys, _ in watch.given(ALL, 9)] == [ALL]


def test_of_two_points_for_a_key_the_later_groups_counts():
    """Points gathered over several runs may overlap: the latest is where the caller has come to."""
    watch = Watch(Feeder(), "default", ALL, (WatchPoint(2, 500, b"", b"z"), WatchPoint(9, 5, b"", b"z")))

    assert watch.given_point(KeyRange(b"a", b"b"), 9) == WatchPoint(9, 5, b"", b"z")


def test_a_group_of_before_brings_nothing_new():
    """Once a later group has been heard, what an earlier one says of the same keys has been seen."""
    watch = Watch(Feeder(), "default", ALL)
    part = watch.parts[0]
    watch.feed(part, [event(7)], point(7, group=9))
    watch.feed(part, [event(100)], point(100, group=2))
    watch.feed(part, [event(8)], point(8, group=9))

    assert [e.revision for e in taken(watch, 2)] == [7, 8]
    assert watch.points == (point(8, group=9),)


def test_a_segment_of_a_group_of_before_leads_to_the_present_one():
    """Points of the old group, then of the new one: each event once, each point where it belongs."""
    watch = Watch(Feeder(), "default", ALL)
    part = watch.parts[0]
    part.point = point(90)
    watch.feed(part, [event(90), event(95)], point(99))
    watch.feed(part, [event(2)], point(2, group=9))

    assert [e.revision for e in taken(watch, 1)] == [95]
    assert watch.points == (point(99),)
    assert [e.revision for e in taken(watch, 1)] == [2]
    assert watch.points == (point(2, group=9),)
