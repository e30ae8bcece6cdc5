"""Watches: each change once, in order, without a gap, whole, and never said to be further than it is.

Judged against a reference: every change of the shards, as their logs have them. Rules, for each watch:
- *true*: an event is a change that happened, to a key that is watched, with its kind and value;
- *ordered*: within a group revisions do not go down, and no key's changes do;
- *unique*: no change arrives twice;
- *gap*: between the first and the last change that was seen, none is missing; *resumable*: the same, where
  the watch was cut off in between;
- *ahead*: a progress mark comes after everything it covers;
- *atomic*: a revision's changes are all there before its group goes on;
- *snapshot*: a snapshot holds exactly the keys of its range as they stood at its point.

Order is per shard. A key's changes order by (group, revision), since group ids only grow along its life; so
what was seen in a later group covers the earlier ones of that key.

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

Position = tuple[int, int]
"""(group, revision): what a key's changes order by."""


class Change(NamedTuple):
    """A change of a key; in a watch: as it was shown. kind: a name of EventKind."""

    group: int
    revision: int
    key: str
    kind: str
    value: Any = None


class Point(NamedTuple):
    """Everything of [start, end) up to here has been seen. end: empty: to the last key."""

    group: int
    revision: int
    start: str = ""
    end: str = ""

    def covers(self, key: str) -> bool:
        """Whether it tells of this key."""
        return key >= self.start and (not self.end or key < self.end)


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
    """A watch and all that it showed. points: where it was to begin; empty: not known."""

    name: str
    start: str
    end: str
    points: tuple[Point, ...]
    items: tuple[Item, ...]


class Reference:
    """Every change that happened."""

    def __init__(self, changes: Iterable[Change]) -> None:
        """changes: in any order; those of one group are known from its first to its last revision."""
        self.by_name: dict[tuple[int, int, str], Change] = {}
        self.by_group: dict[int, list[Change]] = {}
        self.by_key: dict[str, list[Change]] = {}
        for change in sorted(changes, key=lambda c: (c.group, c.revision, c.key)):
            self.by_name[change[:3]] = change
            self.by_group.setdefault(change.group, []).append(change)
            self.by_key.setdefault(change.key, []).append(change)
        self._revisions = {group: [c.revision for c in own] for group, own in self.by_group.items()}

    def between(self, group: int, after: int, until: int) -> Sequence[Change]:
        """The changes of a group with after < revision <= until."""
        revisions = self._revisions.get(group, [])
        return self.by_group.get(group, [])[bisect_right(revisions, after) : bisect_right(revisions, until)]

    def at(self, key: str, position: Position) -> Change | None:
        """The key's last change up to a position."""
        own = self.by_key.get(key, [])
        at = bisect_right(own, position, key=lambda change: change[:2])
        return own[at - 1] if at else None


class _Judge:
    """Goes through one watch."""

    def __init__(self, watched: Watched, reference: Reference) -> None:
        self._watched = watched
        self._reference = reference
        self._range = Point(0, 0, watched.start, watched.end)
        self._shown: dict[tuple[int, int, str], int] = {}  # change -> place among the items
        self._last: dict[int, int] = {}  # group -> the last revision shown
        self._until: dict[int, int] = {}  # group -> everything up to here has been claimed
        self._first: dict[int, int] = {}  # group -> where it was first heard of
        self._of_key: dict[str, list[Position]] = {}
        self._checked: dict[int, int] = {}  # group -> whole up to here
        self._excused = list(watched.points)  # what lies behind these need not be shown
        self._snapshot: dict[str, Change] = {}
        self._told: set[tuple[int, int, str]] = set()  # missing, and said so
        self._cuts: list[int] = []
        self.found: list[Finding] = []

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
                    self._cuts.append(at)
                    self._take_back(item.points)
                case Cut():
                    self._cuts.append(at)
        self.found += self._gaps()
        return self.found

    def _say(self, rule: str, message: str, key: str = "") -> None:
        self.found.append(Finding(rule, f"watch {self._watched.name}: {message}", key))

    def _change(self, at: int, change: Change) -> None:
        real = self._reference.by_name.get(change[:3])
        if real is None or not self._range.covers(change.key):
            why = "did not happen" if real is None else "is of a key that is not watched"
            self._say("true", f"{_text(change)} {why}", change.key)
            return
        if (real.kind, real.value) != (change.kind, change.value):
            self._say("true", f"{_text(change)} was shown, {_text(real)} happened", change.key)
        if change[:3] in self._shown:
            self._say("unique", f"{_text(change)} was shown twice", change.key)
            return
        group, revision = change.group, change.revision
        last = self._last.get(group, -1)
        seen = self._of_key.setdefault(change.key, [])
        if revision < last or (seen and (group, revision) <= seen[-1]):
            behind = f"revision {last}" if revision < last else f"{seen[-1]}"
            self._say("ordered", f"{_text(change)} was shown after {behind}", change.key)
        if revision > last >= 0:
            self._whole(group, last)
        self._shown[change[:3]] = at
        self._last[group] = max(last, revision)
        self._until[group] = max(self._until.get(group, 0), revision)
        self._first.setdefault(group, revision)
        seen.append((group, revision))

    def _whole(self, group: int, revision: int) -> None:
        """The group goes on: everything of this revision must be there."""
        for change in self._reference.between(group, revision - 1, revision):
            if self._is_missing(change):
                self._say("atomic", f"{_text(change)} is missing when its group goes on", change.key)
                self._told.add(change[:3])

    def _mark(self, point: Point) -> None:
        if point.group in self._last:
            self._whole(point.group, self._last[point.group])
        self._first.setdefault(point.group, point.revision)
        after = self._checked.get(point.group, self._first[point.group] - 1)
        for change in self._reference.between(point.group, after, point.revision):
            if point.covers(change.key) and self._is_missing(change):
                where = f"group {point.group}, revision {point.revision}"
                self._say("ahead", f"{where} is said to be reached, without {_text(change)}", change.key)
                self._told.add(change[:3])
        self._checked[point.group] = max(after, point.revision) if not point.start + point.end else after
        self._until[point.group] = max(self._until.get(point.group, 0), point.revision)

    def _is_missing(self, change: Change) -> bool:
        name = change[:3]
        return name not in self._shown and name not in self._told and self._is_due(change)

    def _is_due(self, change: Change) -> bool:
        """Whether the watch has to show a change, as far as is known by now."""
        if not self._range.covers(change.key) or any(
            point.covers(change.key) and change[:2] <= (point.group, point.revision)
            for point in self._excused
        ):
            return False
        if any(point.covers(change.key) for point in self._excused):
            return True
        # Not known where it began: behind what was first heard of the key's groups.
        groups = {c.group for c in self._reference.by_key.get(change.key, ())}
        heard = [(group, first) for group, first in self._first.items() if group in groups]
        return bool(heard) and change[:2] > min(heard)

    def _caught_up(self, at: int, point: Point) -> None:
        position = (point.group, point.revision)
        wanted = {}
        for key in self._reference.by_key:
            if self._range.covers(key) and point.covers(key):
                last = self._last_put(key, position)
                if last is not None:
                    wanted[key] = (last.revision, last.value)
        held = {key: (c.revision, c.value) for key, c in self._snapshot.items() if point.covers(key)}
        for key in sorted(wanted.keys() | held.keys()):
            if wanted.get(key) != held.get(key):
                message = f"the snapshot at {position} has {held.get(key)}, there was {wanted.get(key)}"
                self._say("snapshot", message, key)
        self._snapshot = {key: c for key, c in self._snapshot.items() if not point.covers(key)}
        self._excused.append(point)
        self._until[point.group] = max(self._until.get(point.group, 0), point.revision)
        self._first.setdefault(point.group, point.revision)
        self._cuts.append(at)

    def _last_put(self, key: str, position: Position) -> Change | None:
        """The put that a key stood at; None: it did not exist. A touch does not change the revision."""
        at = self._reference.at(key, position)
        while at is not None and at.kind == "TOUCHED":
            at = self._reference.at(key, (at.group, at.revision - 1))
        return at if at is not None and at.kind == "PUT" else None

    def _take_back(self, points: Sequence[Point]) -> None:
        """What was shown beyond the points comes again."""
        for name in [name for name in self._shown if self._beyond(name, points)]:
            del self._shown[name]
        for key, seen in self._of_key.items():
            while seen and self._beyond((*seen[-1], key), points):
                seen.pop()
        for point in points:
            if point.group in self._last:
                self._last[point.group] = min(self._last[point.group], point.revision)
            self._until[point.group] = min(self._until.get(point.group, 0), point.revision)
            self._checked.pop(point.group, None)

    def _beyond(self, name: tuple[int, int, str], points: Sequence[Point]) -> bool:
        return any(p.covers(name[2]) and name[:2] > (p.group, p.revision) for p in points) and not any(
            p.covers(name[2]) and name[:2] <= (p.group, p.revision) for p in points
        )

    def _gaps(self) -> Iterator[Finding]:
        for key, own in self._reference.by_key.items():
            if not self._range.covers(key):
                continue
            groups = {change.group for change in own}
            reached = [(group, until) for group, until in self._until.items() if group in groups]
            horizon = max(reached, default=(0, 0))
            for change in own:
                # It may have stopped in the middle of the last revision.
                is_last = change.group == horizon[0] and change.revision == self._last.get(change.group)
                if is_last or change[:2] > horizon or not self._is_missing(change):
                    continue
                rule = "resumable" if self._is_cut_off(change) else "gap"
                message = (
                    f"watch {self._watched.name}: {_text(change)} was never shown, {horizon} was reached"
                )
                yield Finding(rule, message, key)

    def _is_cut_off(self, missing: Change) -> bool:
        """Whether the watch was cut off where a change is missing."""
        own = self._reference.by_group[missing.group]
        at = bisect_left(own, missing[:3], key=lambda change: change[:3])
        before = next((self._shown[c[:3]] for c in reversed(own[:at]) if c[:3] in self._shown), -1)
        after = next(
            (self._shown[c[:3]] for c in own[at:] if c[:3] in self._shown),
            len(self._watched.items),
        )
        return any(before < cut < after for cut in self._cuts)


def _text(change: Change) -> str:
    value = "" if change.value is None else f" {change.value!r}"
    return f"{change.kind} {change.key}{value} @{change.group}/{change.revision}"


def check(watches: Iterable[Watched], changes: Iterable[Change]) -> Judgement:
    """Judges every watch. Without a change that was shown the run says nothing: VOID."""
    reference = Reference(changes)
    broken: list[Finding] = []
    shown = cuts = count = 0
    for watched in watches:
        count += 1
        shown += sum(isinstance(item, Change) for item in watched.items)
        cuts += sum(isinstance(item, Cut | Resumed) for item in watched.items)
        broken += _Judge(watched, reference).judged()
    missing = [] if shown else [Finding("nothing shown", "no watch has shown a change")]
    figures = {"watches": count, "events": shown, "cut_off": cuts, "changes": len(reference.by_name)}
    return judge("watch", broken=broken, missing=missing, figures=figures)
