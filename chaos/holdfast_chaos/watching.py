"""Watches: each change once, in order, without a gap, whole, and never said to be further than it is.

Judged against a reference: every change of the shards, as their logs have them. Rules, for each watch:
- *true*: an event is a change that happened, to a key that is watched, with its kind and value;
- *ordered*: within a shard revisions do not go down, and no key's changes do;
- *unique*: no change arrives twice;
- *gap*: between the first and the last change that was seen, none is missing; *resumable*: the same, where
  the watch was cut off in between;
- *ahead*: a progress mark comes after everything it covers;
- *atomic*: a revision's changes are all there before its shard goes on;
- *snapshot*: a snapshot holds exactly the keys of its range as they stood at its point.

Shards split, merge and move while a watch looks at them, and a group's changes may be told by the group that
came from it. So nothing is judged by groups: the keys are cut into spans wherever a point of any watch begins
or ends, which no shard ever divides in what was seen. A span's revisions only grow, whoever serves it, so
that (revision, key) names a change, and what was seen at a revision covers all below it in its span.

Where a watch begins is known by its points; without them it is judged from what it first showed. A caller
that takes up a watch again at `points` gets again what it had of a revision it had not finished.
`watch_notes.py` makes watches and the reference out of a record.

Source: contract, Watch; etcd tests/robustness/validate/watch.go, one rule for each documented guarantee.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

from holdfast_chaos.verdict import Finding, Judgement, judge

Name = tuple[int, str]
"""(revision, key) of a change."""


class Change(NamedTuple):
    """A change of a key; in a watch: as it was shown. kind: a name of EventKind."""

    revision: int
    key: str
    kind: str
    value: Any = None

    @property
    def name(self) -> Name:
        return self.revision, self.key


class Point(NamedTuple):
    """Everything of [start, end) up to this revision has been seen. end: empty: to the last key."""

    revision: int
    start: str = ""
    end: str = ""


class Cut(Enum):
    """What may stand between the changes of a watch, besides points."""

    LOST = "lost"  # the connection broke, and the watch goes on by itself


class Resumed(NamedTuple):
    """The caller has taken the watch up again, at these points."""

    points: tuple[Point, ...]


class CaughtUp(NamedTuple):
    """A snapshot of the point's keys is complete; what follows is what came after the point."""

    point: Point


Item = Change | Point | Cut | Resumed | CaughtUp
"""What a watch shows. A Point alone is a progress mark."""


class Watched(NamedTuple):
    """A watch of [start, end) and all that it showed. points: where it was to begin; empty: not known."""

    name: str
    start: str
    end: str
    points: tuple[Point, ...]
    items: tuple[Item, ...]

    def all_points(self) -> Iterator[Point]:
        """Every one that is told in it."""
        yield from self.points
        for item in self.items:
            match item:
                case Point():
                    yield item
                case Resumed():
                    yield from item.points
                case CaughtUp():
                    yield item.point


class Reference:
    """Every change that happened, span by span.

    Attributes:
        spans: the changes of each, by revision and key; spans are numbered in the order of their keys.
        by_key: each key's changes.
    """

    def __init__(self, changes: Iterable[Change], cuts: Iterable[str]) -> None:
        """changes: in any order, all there were. cuts: keys at which a span begins."""
        self._cuts = sorted({"", *cuts})
        self.spans: list[list[Change]] = [[] for _ in self._cuts]
        self.by_key: dict[str, list[Change]] = {}
        self._by_name: dict[Name, Change] = {}
        for change in sorted(changes, key=lambda change: change.name):
            self._by_name[change.name] = change
            self.spans[self.span_of(change.key)].append(change)
            self.by_key.setdefault(change.key, []).append(change)
        self._revisions = [[change.revision for change in span] for span in self.spans]

    def span_of(self, key: str) -> int:
        """The number of the span that holds a key."""
        return bisect_right(self._cuts, key) - 1

    def spans_in(self, start: str, end: str) -> range:
        """The spans of a range that begins and ends at cuts. end: empty: to the last key."""
        return range(self.span_of(start), bisect_left(self._cuts, end) if end else len(self._cuts))

    def find(self, name: Name) -> Change | None:
        """What happened by that name."""
        return self._by_name.get(name)

    def between(self, span: int, after: int, until: int) -> Sequence[Change]:
        """The changes of a span with after < revision <= until."""
        revisions = self._revisions[span]
        return self.spans[span][bisect_right(revisions, after) : bisect_right(revisions, until)]

    def at(self, key: str, revision: int) -> Change | None:
        """The key's last change up to a revision."""
        own = self.by_key.get(key, [])
        at = bisect_right(own, revision, key=lambda change: change.revision)
        return own[at - 1] if at else None


class _Seen:
    """What a watch has shown and claimed of one span.

    Attributes:
        shown: change -> place among the items.
        told: changes that are missing, and were said to be.
        last: the last revision shown; -1: none.
        until: everything up to here has been claimed; -1: nothing.
        first: the revision it was first heard of at; None: it was not.
        checked: a mark has covered everything up to here.
        begun: it was to begin behind this revision; None: not known.
        of_key: revisions shown, by key, in the order of their coming.
    """

    def __init__(self) -> None:
        self.shown: dict[Name, int] = {}
        self.told: set[Name] = set()
        self.last = -1
        self.until = -1
        self.first: int | None = None
        self.checked = -1
        self.begun: int | None = None
        self.of_key: dict[str, list[int]] = {}

    def reach(self, revision: int) -> None:
        """All up to here is claimed."""
        self.until = max(self.until, revision)
        if self.first is None:
            self.first = revision

    def is_missing(self, change: Change) -> bool:
        """Whether the watch had to show a change, as far as is known by now, and did not."""
        if change.name in self.shown or change.name in self.told:
            return False
        # Not known where it began: behind what was first heard.
        after = self.begun if self.begun is not None else self.first
        return after is not None and change.revision > after

    def take_back(self, revision: int) -> None:
        """What was shown beyond comes again."""
        for name in [name for name in self.shown if name[0] > revision]:
            del self.shown[name]
        for seen in self.of_key.values():
            while seen and seen[-1] > revision:
                seen.pop()
        self.last = min(self.last, revision)
        self.until = min(self.until, revision)
        self.checked = min(self.checked, revision)


class _Judge:
    """Goes through one watch."""

    def __init__(self, watched: Watched, reference: Reference) -> None:
        self._watched = watched
        self._reference = reference
        self._spans = reference.spans_in(watched.start, watched.end)
        self._seen = {span: _Seen() for span in self._spans}
        self._snapshot: dict[str, Change] = {}
        self._cuts: list[int] = []
        self.found: list[Finding] = []
        for point in watched.points:
            for span in self._of(point):
                self._begin_behind(span, point.revision)

    def _of(self, point: Point) -> Iterator[int]:
        """The watched spans that a point tells of."""
        return (span for span in self._reference.spans_in(point.start, point.end) if span in self._seen)

    def _begin_behind(self, span: int, revision: int) -> None:
        seen = self._seen[span]
        seen.begun = revision if seen.begun is None else max(seen.begun, revision)

    def judged(self) -> list[Finding]:
        for at, item in enumerate(self._watched.items):
            match item:
                case Change(kind="SNAPSHOT"):
                    self._snapshot[item.key] = item
                case Change():
                    self._change(at, item)
                case Point():
                    self._mark(item)
                case CaughtUp():
                    self._caught_up(at, item.point)
                case Resumed():
                    self._resumed(at, item.points)
                case Cut():
                    self._cuts.append(at)
        self.found += [finding for span in self._spans for finding in self._gaps(span)]
        return self.found

    def _say(self, rule: str, message: str, key: str = "") -> None:
        self.found.append(Finding(rule, f"watch {self._watched.name}: {message}", key))

    def _change(self, at: int, change: Change) -> None:
        real = self._reference.find(change.name)
        span = self._reference.span_of(change.key)
        if real is None or span not in self._seen:
            why = "did not happen" if real is None else "is of a key that is not watched"
            self._say("true", f"{_text(change)} {why}", change.key)
            return
        if (real.kind, real.value) != (change.kind, change.value):
            self._say("true", f"{_text(change)} was shown, {_text(real)} happened", change.key)
        seen = self._seen[span]
        if change.name in seen.shown:
            self._say("unique", f"{_text(change)} was shown twice", change.key)
            return
        revision = change.revision
        of_key = seen.of_key.setdefault(change.key, [])
        if revision < seen.last or (of_key and revision <= of_key[-1]):
            self._say("ordered", f"{_text(change)} was shown after revision {seen.last}", change.key)
        if revision > seen.last >= 0:
            self._whole(span, seen.last)
        seen.shown[change.name] = at
        seen.last = max(seen.last, revision)
        seen.reach(revision)
        of_key.append(revision)

    def _whole(self, span: int, revision: int) -> None:
        """The span goes on: everything of this revision must be there."""
        seen = self._seen[span]
        for change in self._reference.between(span, revision - 1, revision):
            if seen.is_missing(change):
                self._say("atomic", f"{_text(change)} is missing when its shard goes on", change.key)
                seen.told.add(change.name)

    def _mark(self, point: Point) -> None:
        for span in self._of(point):
            seen = self._seen[span]
            if seen.last >= 0:
                self._whole(span, seen.last)
            seen.reach(point.revision)
            for change in self._reference.between(span, seen.checked, point.revision):
                if seen.is_missing(change):
                    message = f"revision {point.revision} is said to be reached, without {_text(change)}"
                    self._say("ahead", message, change.key)
                    seen.told.add(change.name)
            seen.checked = max(seen.checked, point.revision)

    def _resumed(self, at: int, points: Iterable[Point]) -> None:
        self._cuts.append(at)
        for point in points:
            for span in self._of(point):
                self._seen[span].take_back(point.revision)

    def _caught_up(self, at: int, point: Point) -> None:
        spans = set(self._of(point))
        wanted = {}
        for key in self._reference.by_key:
            last = self._last_put(key, point.revision) if self._reference.span_of(key) in spans else None
            if last is not None:
                wanted[key] = (last.revision, last.value)
        held = {
            key: (change.revision, change.value)
            for key, change in self._snapshot.items()
            if self._reference.span_of(key) in spans
        }
        for key in sorted(wanted.keys() | held.keys()):
            if wanted.get(key) != held.get(key):
                message = (
                    f"the snapshot at revision {point.revision} has {held.get(key)}, there was"
                    f" {wanted.get(key)}"
                )
                self._say("snapshot", message, key)
        self._snapshot = {key: change for key, change in self._snapshot.items() if key not in held}
        for span in spans:
            self._begin_behind(span, point.revision)
            self._seen[span].reach(point.revision)
        self._cuts.append(at)

    def _last_put(self, key: str, revision: int) -> Change | None:
        """The put that a key stood at; None: it did not exist. A touch does not change the revision."""
        at = self._reference.at(key, revision)
        while at is not None and at.kind == "TOUCHED":
            at = self._reference.at(key, at.revision - 1)
        return at if at is not None and at.kind == "PUT" else None

    def _gaps(self, span: int) -> Iterator[Finding]:
        seen = self._seen[span]
        names = sorted(seen.shown)
        for change in self._reference.between(span, -1, seen.until):
            # It may have stopped in the middle of the last revision.
            if change.revision == seen.until == seen.last or not seen.is_missing(change):
                continue
            at = bisect_left(names, change.name)
            before = seen.shown[names[at - 1]] if at else -1
            after = seen.shown[names[at]] if at < len(names) else len(self._watched.items)
            is_cut_off = any(before < cut < after for cut in self._cuts)
            yield Finding(
                "resumable" if is_cut_off else "gap",
                f"watch {self._watched.name}: {_text(change)} was never shown, revision {seen.until} was"
                " reached",
                change.key,
            )


def _text(change: Change) -> str:
    value = "" if change.value is None else f" {change.value!r}"
    return f"{change.kind} {change.key}{value} @{change.revision}"


def check(watches: Iterable[Watched], changes: Iterable[Change]) -> Judgement:
    """Judges every watch. Without a change that was shown the run says nothing: VOID."""
    every = tuple(watches)
    ends = {end for watched in every for end in (watched.start, watched.end)}
    ends.update(
        end for watched in every for point in watched.all_points() for end in (point.start, point.end)
    )
    reference = Reference(changes, ends)
    broken: list[Finding] = []
    shown = cuts = 0
    for watched in every:
        shown += sum(isinstance(item, Change) for item in watched.items)
        cuts += sum(isinstance(item, Cut | Resumed) for item in watched.items)
        broken += _Judge(watched, reference).judged()
    missing = [] if shown else [Finding("nothing shown", "no watch has shown a change")]
    figures = {
        "watches": len(every),
        "events": shown,
        "cut_off": cuts,
        "changes": sum(map(len, reference.spans)),
    }
    return judge("watch", broken=broken, missing=missing, figures=figures)
