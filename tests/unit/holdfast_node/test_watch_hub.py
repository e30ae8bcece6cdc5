"""Watches: ordered, without gap or duplicate, atomic by revision, bounded, resumable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.types import EventKind
from holdfast.units import Units
from holdfast_node import limits, watch_hub
from holdfast_node.cache.buckets import HEADER, pack_record
from holdfast_node.cache.history import CompactedError, Event, Rest
from holdfast_node.watch_hub import MARK_EVERY, WatchBudget, Watcher, WatchHub, WatchSlice
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.holdfast_node.scripted import encode

ALL = KeyRange(b"", b"")
GROUP = 7


class Source:
    """A state of a few lines: keys with the revision that wrote them, and history."""

    def __init__(self) -> None:
        self.revision = 0
        self.oldest_revision = 0
        self.records: dict[bytes, bytes] = {}
        self.events: list[Event] = []
        self.ancestor = 0  # counts the own revisions
        self.ended = Rest(0, [], 0, (GROUP, 0))

    def events_after(self, revision: int) -> list[Event]:
        if revision < self.oldest_revision:
            raise CompactedError(self.oldest_revision)
        return [event for event in self.events if event.revision > revision]

    def resume(self, group: int, revision: int) -> int | Rest:
        if group in (GROUP, self.ancestor):
            return revision
        if group != self.ended.group or not self.oldest_revision <= self.ended.then[1]:
            raise CompactedError(self.oldest_revision)
        return self.ended._replace(events=[event for event in self.ended.events if event.revision > revision])

    def page(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> tuple[list[Event], bytes]:
        keys = sorted(key for key in self.records if key in KeyRange(start, end))
        found = [
            Event(
                int(EventKind.SNAPSHOT),
                key,
                HEADER.unpack_from(self.records[key])[1],
                self.records[key],
                None,
            )
            for key in keys[:keys_max]
        ]
        return found, keys[keys_max] if len(keys) > keys_max else b""

    def write(self, *keys: bytes, value: bytes = b"v", kind: EventKind = EventKind.PUT) -> list[Event]:
        """One revision that changes all the keys."""
        self.revision += 1
        made = []
        for key in keys:
            record = None if kind is EventKind.DELETED else pack_record(0, self.revision, 0, value)
            made.append(Event(int(kind), key, self.revision, record, self.records.pop(key, None)))
            if record is not None:
                self.records[key] = record
        self.events += made
        return made

    def compact(self) -> None:
        self.oldest_revision = self.revision
        self.events.clear()


class Receiver:
    """Takes slices; gives their room back when told to."""

    def __init__(self) -> None:
        self.slices: list[WatchSlice] = []
        self.watcher: Watcher

    def __call__(self, piece: WatchSlice) -> None:
        self.slices.append(piece)

    @property
    def events(self) -> list[bytes]:
        return [event for piece in self.slices for event in piece.events]

    @property
    def cancelled(self) -> HoldfastError | None:
        return self.slices[-1].cancelled if self.slices else None

    def drain(self) -> None:
        self.watcher.taken(self.watcher.pending_bytes)


class Stage:
    """A hub, its source and its surroundings."""

    def __init__(
        self, budget: WatchBudget | None = None, encode: Callable[[Event, bool, bool], bytes] = encode
    ) -> None:
        self.source = Source()
        self.watched: list[bool] = []
        self.woken = 0
        self.encoded = 0
        self._encode = encode
        self.hub = WatchHub(
            GROUP, self.source, self.count, watched=self.watched.append, wake=self.wake, budget=budget
        )

    def count(self, event: Event, with_previous: bool, keys_only: bool) -> bytes:
        self.encoded += 1
        return self._encode(event, with_previous, keys_only)

    def wake(self) -> None:
        self.woken += 1

    def watch(self, keys: KeyRange = ALL, point: int | None = None, **fields: Any) -> Receiver:
        receiver = Receiver()
        at = None if point is None else (GROUP, point)
        receiver.watcher = self.hub.subscribe(keys, receiver, point=at, **fields)
        return receiver

    def write(self, *keys: bytes, **fields: Any) -> None:
        """A revision happens, with its events told to the hub as one entry's."""
        self.hub.publish(self.source.write(*keys, **fields))

    def settle(self, *receivers: Receiver) -> None:
        """Turns until nothing is left to deliver."""
        for _ in range(1000):
            before = sum(len(receiver.slices) for receiver in receivers)
            for receiver in receivers:
                receiver.drain()
            self.hub.turn()
            if before == sum(len(receiver.slices) for receiver in receivers) and not self.hub._pump:
                return
        raise AssertionError("deliveries do not end")


def test_a_watch_from_now_sees_what_comes_and_not_what_was() -> None:
    """Without a point a watch begins at the present revision, and says so at once."""
    stage = Stage()
    stage.write(b"old")
    receiver = stage.watch()
    stage.hub.turn()
    stage.write(b"a")

    assert receiver.events == [b"1|a|2|v|"]
    assert [(piece.revision, piece.started) for piece in receiver.slices] == [(1, True), (2, False)]


def test_what_happens_between_subscribing_and_the_first_turn_is_seen() -> None:
    """ "From now" is the moment of the call, not of the first delivery."""
    stage = Stage()
    receiver = stage.watch()
    stage.write(b"a")
    stage.hub.turn()
    stage.hub.turn()

    assert receiver.events == [b"1|a|1|v|"]


def test_a_watch_from_a_point_replays_and_goes_live_without_gap_or_duplicate() -> None:
    """Replay ends and live begins inside one call."""
    stage = Stage()
    for i in range(5):
        stage.write(b"k%d" % i)
    receiver = stage.watch(point=2)
    stage.hub.turn()
    stage.write(b"during")
    stage.hub.turn()
    stage.hub.turn()
    stage.write(b"live")

    assert [event.split(b"|")[2] for event in receiver.events] == [b"3", b"4", b"5", b"6", b"7"]
    assert receiver.slices[-1].revision == 7


def test_only_the_watched_keys_are_delivered() -> None:
    """Ranges, prefixes and single keys get their own changes; the point passes the others."""
    stage = Stage()
    stage.write(b"x")
    receivers = [stage.watch(keys, point=0) for keys in (KeyRange(b"a", b"c"), KeyRange.of_prefix(b"b"))]
    stage.settle(*receivers)
    for key in (b"a", b"b1", b"c"):
        stage.write(key)

    assert [receiver.events for receiver in receivers] == [[b"1|a|2|v|", b"1|b1|3|v|"], [b"1|b1|3|v|"]]
    assert receivers[1].slices[-1].revision == 3


def test_keys_that_stand_among_others_are_told_by_themselves() -> None:
    """In a hashed namespace: by snapshot, replay and live the same keys, at the places that were said."""
    stage, units = Stage(), Units(1, hashed=True)
    keys = [b"dev-%d/x" % n for n in range(20)] + [b"else-%d/x" % n for n in range(20)]
    low, meant = KeyRange(b"", b"\x80"), KeyRange.of_prefix(b"dev")
    for key in keys:
        stage.write(units.placed(key))
    replayed = stage.watch(low, point=0, among=meant)
    shown = stage.watch(low, among=meant, or_snapshot=True)
    stage.settle(replayed, shown)
    live = stage.watch(low, among=meant)
    unit = stage.watch(units.places_of(KeyRange.of_prefix(b"dev-3/")))
    stage.settle(live, unit)
    before = len(replayed.events), len(shown.events)
    stage.write(*map(units.placed, keys))

    wanted = sorted(place for key in keys if (place := units.placed(key)) in low and key in meant)

    def told(events: list[bytes]) -> list[bytes]:
        return sorted(event.split(b"|", 1)[1].rsplit(b"|", 3)[0] for event in events)

    assert wanted
    for receiver, skipped in ((replayed, before[0]), (shown, before[1]), (live, 0)):
        assert told(receiver.events[skipped:]) == wanted
    assert told(replayed.events[: before[0]]) == told(shown.events[: before[1]]) == wanted
    assert told(unit.events) == [units.placed(b"dev-3/x")]
    assert stage.watched == [True]
    for receiver in (replayed, shown, live, unit):
        stage.hub.cancel(receiver.watcher)
    assert stage.watched == [True, False]


def test_a_snapshot_says_nothing_of_pages_without_a_key_that_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of many keys few are meant: the first page begins the watch, the last ends the snapshot."""
    monkeypatch.setattr(watch_hub, "PAGE_KEYS", 2)
    stage = Stage()
    for n in range(20):
        stage.write(b"\x00" * 7 + b"%c" % n + b"other")
    stage.write(b"\x01" * 8 + b"meant")
    receiver = stage.watch(among=KeyRange.of_prefix(b"meant"), or_snapshot=True)
    stage.settle(receiver)

    assert len(receiver.events) == 1
    assert [(bool(piece.events), piece.started, piece.caught_up) for piece in receiver.slices] == [
        (False, True, False), (True, False, True),
    ]  # fmt: skip


def test_a_revision_is_never_split_over_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large, the events of one revision come together, in replay and live."""
    monkeypatch.setattr(watch_hub, "SLICE_BYTES", 100)
    monkeypatch.setattr(watch_hub, "REPLAY_EVENTS", 3)
    stage = Stage()
    for i in range(6):
        stage.write(*(b"%d-%d" % (i, j) for j in range(5)))
    receiver = stage.watch(point=0)
    stage.settle(receiver)
    stage.hub.publish(stage.source.write(*(b"x%d" % j for j in range(5))) + stage.source.write(b"y"))
    slices = [[event.split(b"|")[2] for event in piece.events] for piece in receiver.slices if piece.events]

    assert slices == [[b"%d" % i] * 5 for i in range(1, 8)] + [[b"8"]]
    assert [piece.revision for piece in receiver.slices if piece.events] == list(range(1, 9))


def test_an_event_is_encoded_once_for_all_who_want_it_alike() -> None:
    """A thousand watchers of a key cost one encoding for each kind of wish."""
    stage = Stage()
    plain = [stage.watch() for _ in range(50)]
    bare = [stage.watch(keys_only=True) for _ in range(50)]
    stage.settle(*plain, *bare)

    stage.write(b"a")

    assert stage.encoded == 2
    assert plain[7].events == [b"1|a|1|v|"]
    assert bare[7].events == [b"1|a|1||"]


def test_the_previous_value_comes_on_request() -> None:
    """with_previous adds what stood there before, live and in replay."""
    stage = Stage()
    receiver = stage.watch(with_previous=True)
    stage.hub.turn()
    stage.write(b"a", value=b"old")
    stage.write(b"a", value=b"new")
    replay = stage.watch(point=1, with_previous=True)
    stage.hub.turn()

    assert receiver.events[-1] == replay.events[-1] == b"1|a|2|new|old"


def test_previous_values_give_way_before_a_slice_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision with many large previous values leaves the rest out rather than pass a message's bound."""
    monkeypatch.setattr(watch_hub, "PREVIOUS_BYTES_MAX", 1000)
    stage = Stage()
    keys = [b"k%d" % i for i in range(4)]
    stage.write(*keys, value=b"x" * 600)
    receiver = stage.watch(with_previous=True, point=1)
    stage.hub.turn()
    stage.write(*keys, kind=EventKind.DELETED)
    replay = stage.watch(with_previous=True, point=1)
    stage.hub.turn()

    assert [len(event) > 600 for event in receiver.events] == [True, True, False, False]
    assert replay.events == receiver.events


# ---- bounds ----------------------------------------------------------------------------------------


def test_a_replay_pauses_while_its_receiver_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay goes as fast as it is taken; nothing piles up and nothing is lost."""
    monkeypatch.setattr(watch_hub, "SLICE_BYTES", 1000)
    monkeypatch.setattr(limits, "WATCHER_QUEUE_BYTES_MAX", 4000)
    stage = Stage()
    for i in range(200):
        stage.write(b"k%03d" % i)
    receiver = stage.watch(point=0)
    for _ in range(50):
        stage.hub.turn()
    assert receiver.watcher.pending_bytes < 4000
    assert not stage.hub._pump

    stage.settle(receiver)

    assert len(receiver.events) == 200
    assert receiver.watcher.live


def test_a_slow_live_watcher_is_cancelled_with_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound: BUSY, and resuming at the point misses nothing and repeats nothing."""
    monkeypatch.setattr(limits, "WATCHER_QUEUE_BYTES_MAX", 1000)
    stage = Stage()
    receiver = stage.watch()
    stage.hub.turn()
    for i in range(20):
        stage.write(b"k%02d" % i)
    assert receiver.cancelled is not None
    assert receiver.cancelled.reason is Reason.BUSY
    again = stage.watch(point=receiver.slices[-1].revision)
    stage.settle(again)

    assert receiver.events + again.events == [b"1|k%02d|%d|v|" % (i, i + 1) for i in range(20)]
    assert stage.watched == [True, False, True]


def test_the_nodes_watchers_are_bounded() -> None:
    """One watcher too many is refused BUSY; one that ends makes room; hubs share the count."""
    budget = WatchBudget(2)
    first, second = Stage(budget), Stage(budget)
    receiver = first.watch()
    second.watch()
    with pytest.raises(HoldfastError) as refused:
        second.watch()
    assert refused.value.reason is Reason.BUSY
    first.hub.cancel(receiver.watcher)
    first.hub.cancel(receiver.watcher)

    second.watch()

    assert budget.count == 2


def test_replays_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn delivers a bounded number of slices and asks for another."""
    monkeypatch.setattr(watch_hub, "SLICES_A_TURN", 3)
    stage = Stage()
    stage.write(b"a")
    receivers = [stage.watch(point=0) for _ in range(5)]
    stage.hub.turn()
    assert sum(bool(receiver.slices) for receiver in receivers) == 3
    before = stage.woken

    stage.hub.turn()

    assert before > 0
    assert all(receiver.events for receiver in receivers)


def test_a_receiver_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in one receiver ends its watch; the others are told."""
    stage = Stage()

    def broken(_: WatchSlice) -> None:
        raise RuntimeError("a receiver's defect")

    stage.hub.subscribe(ALL, broken, point=None)
    receiver = stage.watch()
    stage.hub.turn()
    stage.write(b"a")

    assert receiver.events == [b"1|a|1|v|"]
    assert len(stage.hub) == 1
    assert "a receiver's defect" in caplog.text


# ---- compaction and snapshots ---------------------------------------------------------------------------


def test_a_point_that_is_no_longer_kept_is_compacted() -> None:
    """The watch ends COMPACTED and says where one may begin."""
    stage = Stage()
    stage.write(b"a")
    stage.write(b"a")
    stage.source.compact()
    receiver = stage.watch(point=1)
    stage.hub.turn()

    assert receiver.cancelled is not None
    assert receiver.cancelled.reason is Reason.COMPACTED
    assert receiver.cancelled.oldest_revision == 2


def test_or_snapshot_gives_the_present_keys_and_then_the_tail() -> None:
    """A compacted point, or none, begins with SNAPSHOT events; caught_up ends them."""
    stage = Stage()
    stage.write(b"a")
    stage.write(b"b")
    stage.source.compact()
    receivers = [stage.watch(point=1, or_snapshot=True), stage.watch(or_snapshot=True)]
    stage.settle(*receivers)
    stage.write(b"c")

    for receiver in receivers:
        assert receiver.events == [b"5|a|1|v|", b"5|b|2|v|", b"1|c|3|v|"]
        assert [(p.revision, p.started, p.caught_up) for p in receiver.slices] == [
            (2, True, True),
            (3, False, False),
        ]


def test_an_empty_snapshot_still_says_that_it_is_done() -> None:
    """caught_up comes also when there is nothing to show."""
    stage = Stage()
    receiver = stage.watch(or_snapshot=True)
    stage.hub.turn()

    assert [(piece.revision, piece.started, piece.caught_up) for piece in receiver.slices] == [
        (0, True, True)
    ]


def test_a_snapshot_under_way_has_no_resume_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends in the middle of a snapshot cannot be resumed and does not pretend to."""
    monkeypatch.setattr(watch_hub, "PAGE_KEYS", 2)
    stage = Stage()
    for i in range(5):
        stage.write(b"k%d" % i)
    receiver = stage.watch(or_snapshot=True)
    stage.hub.turn()
    stage.write(b"z")
    stage.hub.close(HoldfastError(Reason.STOPPED, "over"))

    assert [piece.revision for piece in receiver.slices] == [None, None]
    assert receiver.cancelled is not None


def test_a_point_of_an_earlier_group_needs_a_snapshot() -> None:
    """Another group's revisions mean nothing here."""
    stage = Stage()
    stage.write(b"a")
    with pytest.raises(HoldfastError) as refused:
        stage.hub.subscribe(ALL, Receiver(), point=(GROUP - 1, 1))
    receiver = Receiver()
    receiver.watcher = stage.hub.subscribe(ALL, receiver, point=(GROUP - 1, 1), or_snapshot=True)
    stage.settle(receiver)

    assert refused.value.reason is Reason.COMPACTED
    assert receiver.events == [b"5|a|1|v|"]


def test_a_point_of_a_later_group_is_wrong_shard() -> None:
    """A session that has seen a later group is never served by this one."""
    with pytest.raises(HoldfastError) as refused:
        Stage().hub.subscribe(ALL, Receiver(), point=(GROUP + 1, 1))

    assert refused.value.reason is Reason.WRONG_SHARD


def test_a_point_ahead_of_this_replica_waits_for_it() -> None:
    """A replica that lags delivers nothing the watcher has seen elsewhere."""
    stage = Stage()
    stage.write(b"a")
    receiver = stage.watch(point=3)
    stage.hub.turn()
    for key in (b"b", b"c", b"d"):
        stage.write(key)

    assert receiver.events == [b"1|d|4|v|"]


# ---- idling, replacing, ending ---------------------------------------------------------------------------


def test_an_idle_watcher_is_told_how_far_it_has_seen() -> None:
    """Every few seconds, if the point moved and nothing waits to be taken."""
    stage = Stage()
    receiver = stage.watch(KeyRange.of_prefix(b"a"), now=10.0)
    stage.hub.turn()
    receiver.drain()
    stage.write(b"other")
    stage.hub.tick(10.0 + MARK_EVERY - 0.1)
    assert len(receiver.slices) == 1

    stage.hub.tick(10.0 + MARK_EVERY)
    receiver.drain()
    stage.hub.tick(10.0 + 2 * MARK_EVERY)

    assert [(piece.events, piece.revision) for piece in receiver.slices[1:]] == [([], 1)]


def test_marks_are_spread_over_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick tells a bounded number of watchers; the others follow in the next."""
    monkeypatch.setattr(watch_hub, "MARKS_A_TICK", 2)
    stage = Stage()
    receivers = [stage.watch(KeyRange.of_prefix(b"a")) for _ in range(3)]
    stage.settle(*receivers)
    stage.write(b"other")
    stage.hub.tick(MARK_EVERY)
    told = [len(receiver.slices) for receiver in receivers]
    stage.hub.tick(MARK_EVERY)

    assert told == [2, 2, 1]
    assert [len(receiver.slices) for receiver in receivers] == [2, 2, 2]


def test_a_replaced_state_sends_live_watchers_to_its_history() -> None:
    """After an install a watcher continues at its point, or is told COMPACTED; never a gap."""
    stage = Stage()
    receiver = stage.watch()
    stage.hub.turn()
    stage.source.write(b"a")
    stage.hub.reinstalled()
    stage.settle(receiver)
    assert receiver.events == [b"1|a|1|v|"]
    stage.source.write(b"b")
    stage.source.compact()

    stage.hub.reinstalled()
    stage.hub.turn()

    assert receiver.cancelled is not None
    assert receiver.cancelled.reason is Reason.COMPACTED
    assert receiver.slices[-1].revision == 1


def test_a_cancelled_watcher_hears_nothing_more() -> None:
    """Cancelling ends deliveries, also from a replay; the state is told when nobody watches."""
    stage = Stage()
    stage.write(b"a")
    live, replaying = stage.watch(), stage.watch(point=0)
    stage.settle(live)
    stage.hub.cancel(live.watcher)
    stage.hub.cancel(replaying.watcher)
    heard = len(live.slices), len(replaying.slices)
    stage.write(b"b")
    stage.hub.turn()
    stage.hub.tick(100.0)
    live.watcher.taken(64)

    assert (len(live.slices), len(replaying.slices)) == heard
    assert stage.watched[-1] is False
    assert len(stage.hub) == 0


# ---- reshape -------------------------------------------------------------------------------------


def ended(*keys: bytes, group: int = GROUP - 2) -> Rest:
    """A line of revisions 1.. that ended in a merge into the own one, which began at 10."""
    events = [
        Event(int(EventKind.PUT), key, revision, pack_record(0, revision, 0, b"v"), None)
        for revision, key in enumerate(keys, 1)
    ]
    return Rest(group, events, len(keys), (GROUP, 10))


def test_a_point_of_the_group_before_a_split_goes_on_at_its_revision() -> None:
    """Source and target count the same revisions; slices bear the target's group."""
    stage = Stage()
    stage.source.ancestor = GROUP - 1
    stage.write(b"a")
    stage.write(b"b")
    receiver = Receiver()
    receiver.watcher = stage.hub.subscribe(ALL, receiver, point=(GROUP - 1, 1))
    stage.settle(receiver)
    stage.write(b"c")

    assert receiver.events == [b"1|b|2|v|", b"1|c|3|v|"]
    assert {piece.group for piece in receiver.slices} == {GROUP}


@pytest.mark.parametrize("pieces", [1, 100])
def test_a_line_that_ended_is_replayed_before_the_own_one(
    monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    """Whole revisions, nothing twice; until its end slices bear that line's group and revisions."""
    monkeypatch.setattr(watch_hub, "SLICE_BYTES", pieces)
    monkeypatch.setattr(watch_hub, "REPLAY_EVENTS", pieces)
    stage = Stage()
    stage.source.revision = stage.source.oldest_revision = 10
    stage.source.ended = ended(b"a", b"x", b"b", b"c")
    stage.write(b"d")
    receiver = Receiver()
    receiver.watcher = stage.hub.subscribe(KeyRange(b"", b"m"), receiver, point=(GROUP - 2, 1))
    stage.settle(receiver)
    stage.write(b"e")

    assert receiver.events == [b"1|b|3|v|", b"1|c|4|v|", b"1|d|11|v|", b"1|e|12|v|"]
    points = [(piece.group, piece.revision) for piece in receiver.slices if piece.events]
    assert points[-2:] == [(GROUP, 11), (GROUP, 12)]
    assert points[:-2] == ([(GROUP - 2, 3), (GROUP - 2, 4)] if pieces == 1 else [(GROUP - 2, 4)])


def test_every_point_of_a_replay_across_a_merge_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever breaks off after any slice and comes back with its point sees each event once in all."""
    monkeypatch.setattr(watch_hub, "SLICE_BYTES", 1)
    stage = Stage()
    stage.source.revision = stage.source.oldest_revision = 10
    stage.source.ended = ended(b"a", b"b")
    stage.write(b"c")
    point, seen = (GROUP - 2, 0), []
    for _ in range(5):
        receiver = Receiver()
        receiver.watcher = stage.hub.subscribe(ALL, receiver, point=point)
        while not receiver.slices:
            stage.hub.turn()
        stage.hub.cancel(receiver.watcher)
        seen += receiver.slices[0].events
        assert receiver.slices[0].revision is not None
        point = (receiver.slices[0].group, receiver.slices[0].revision)

    assert seen == [b"1|a|1|v|", b"1|b|2|v|", b"1|c|11|v|"]
    assert point == (GROUP, 11)


def test_a_watch_at_the_end_of_a_merged_line_is_live_at_once() -> None:
    """Nothing is left there and nothing new has come: the first slice says the own line's beginning."""
    stage = Stage()
    stage.source.revision = stage.source.oldest_revision = 10
    stage.source.ended = ended(b"a")
    receiver = Receiver()
    receiver.watcher = stage.hub.subscribe(ALL, receiver, point=(GROUP - 2, 1))
    stage.settle(receiver)

    assert receiver.watcher.live
    assert [(piece.group, piece.revision, piece.started) for piece in receiver.slices] == [(GROUP, 10, True)]


def test_a_merged_line_that_is_trimmed_under_a_replay_is_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch ends with its point, never with a gap."""
    monkeypatch.setattr(watch_hub, "REPLAY_EVENTS", 1)
    stage = Stage()
    stage.source.revision = stage.source.oldest_revision = 10
    stage.source.ended = ended(b"a", b"b")
    receiver = Receiver()
    receiver.watcher = stage.hub.subscribe(ALL, receiver, point=(GROUP - 2, 0))
    stage.hub.turn()
    stage.source.oldest_revision = 11
    stage.hub.turn()

    assert receiver.cancelled is not None
    assert receiver.cancelled.reason is Reason.COMPACTED
    assert (receiver.slices[-1].group, receiver.slices[-1].revision) == (GROUP - 2, 1)


def test_a_seal_ends_all_watches_after_everything_published() -> None:
    """Each with a point from which nothing is missed, also one whose keys were long quiet."""
    stage = Stage()
    watching, quiet = stage.watch(), stage.watch(KeyRange.of_prefix(b"q"))
    stage.settle(watching, quiet)
    stage.write(b"a")
    replaying = stage.watch(point=0)
    why = HoldfastError(Reason.WRONG_SHARD, "moved")

    stage.hub.seal(why)

    assert watching.events == [b"1|a|1|v|"]
    for receiver, revision in ((watching, 1), (quiet, 1), (replaying, 0)):
        assert receiver.cancelled is why
        assert (receiver.slices[-1].group, receiver.slices[-1].revision) == (GROUP, revision)
    with pytest.raises(HoldfastError) as refused:
        stage.watch()
    assert refused.value is why
    stage.hub.unseal()
    again = stage.watch(point=0)
    stage.settle(again)
    assert again.events == [b"1|a|1|v|"]


# ---- whatever happens -------------------------------------------------------------------------------------

KEYS = st.sampled_from([b"a", b"ab", b"b", b"ba", b"c", b"ca", b"d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(KEYS, min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("delete"), st.lists(KEYS, min_size=1, max_size=2, unique=True)),
        st.tuples(st.just("turn"), st.just([])),
        st.tuples(st.just("drain"), st.just([])),
        st.tuples(st.just("install"), st.just([])),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(STEPS, STEPS, st.booleans(), st.sampled_from([ALL, KeyRange(b"ab", b"c"), KeyRange.of_prefix(b"c")]))
def test_what_was_delivered_adds_up_to_the_state(
    before: list[tuple[str, list[bytes]]],
    after: list[tuple[str, list[bytes]]],
    snapshot: bool,
    keys: KeyRange,
) -> None:
    """Replaying a watch's events over what it began with gives the state, whatever happened meanwhile.

    Also: revisions grow, none comes twice, and caught_up comes once, at a slice whose state is exact.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(watch_hub, "PAGE_KEYS", 2)
        patched.setattr(watch_hub, "SLICE_BYTES", 70)
        patched.setattr(watch_hub, "REPLAY_EVENTS", 2)
        stage = Stage()
        states: dict[int, dict[bytes, bytes]] = {0: {}}

        def run(steps: list[tuple[str, list[bytes]]], receiver: Receiver | None) -> None:
            for act, named in steps:
                if act in ("write", "delete"):
                    present = [key for key in named if act == "write" or key in stage.source.records]
                    if present:
                        kind = EventKind.PUT if act == "write" else EventKind.DELETED
                        stage.write(*present, value=b"%d" % stage.source.revision, kind=kind)
                        states[stage.source.revision] = dict(stage.source.records)
                elif act == "turn":
                    stage.hub.turn()
                elif act == "install":
                    stage.hub.reinstalled()
                elif receiver is not None:
                    receiver.drain()

        run(before, None)
        began = stage.source.revision
        receiver = stage.watch(keys, point=None if snapshot else began, or_snapshot=snapshot)
        run(after, receiver)
        stage.settle(receiver)

    held = {} if snapshot else {k: HEADER.unpack_from(r)[1] for k, r in states[began].items() if k in keys}
    last = 0
    for piece in receiver.slices:
        for event in piece.events:
            kind, key, revision, *_ = event.split(b"|")
            if kind != b"5":
                assert int(revision) >= last, "revisions grow"
                last = int(revision)
            assert held.get(key) != int(revision), "nothing comes twice"
            if kind == b"2":
                del held[key]
            else:
                held[key] = int(revision)
        if piece.revision is not None:
            truth = states[piece.revision].items()
            assert held == {k: HEADER.unpack_from(r)[1] for k, r in truth if k in keys}
    assert sum(piece.caught_up for piece in receiver.slices) == snapshot
    assert sum(piece.started for piece in receiver.slices) == 1
    final = stage.source.records.items()
    assert held == {k: HEADER.unpack_from(r)[1] for k, r in final if k in keys}
