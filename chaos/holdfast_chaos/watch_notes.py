"""Watches in a record: the notes that tell of them, made into what `watching.py` judges.

Notes, each with the watch's name in `value["watch"]` but the last:
- `watch-open`: `{"start": key, "end": key, "points": [[group, revision, start, end]]}`;
- `watch-event`: key, group and revision of the line; `{"kind": text, "value": text}`;
- `watch-mark`: a progress mark: revision of the line; `{"start": key, "end": key}`: the keys it tells of, all
  that there are when it does not say;
- `watch-lost`: the connection broke; `watch-resume`: `{"points": [...]}`, taken up again by its caller;
- `watch-caught-up`: `{"points": [point]}`, the end of a snapshot;
- `change`: a change out of a shard's log: key, group, revision; `{"kind": text, "value": text}`;
- `changes-gone`: `{"text": text}`: the log no longer had them all, so that there is nothing to judge by;
- `changes-stuck`: `{"text": text}`: a watch from the beginning did not come to its end, of a healed cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast_chaos.record import Event, RecordError
from holdfast_chaos.watching import CaughtUp, Change, Cut, Item, Point, Resumed, Watched

PREFIX = "watch-"


def watches_of(notes: Iterable[Event]) -> tuple[Watched, ...]:
    """Every watch with all that it showed. Raises RecordError."""
    opened: dict[str, Watched] = {}
    items: dict[str, list[Item]] = {}
    for note in notes:
        if not note.f.startswith(PREFIX):
            continue
        try:
            name = note.value["watch"]
            if note.f == "watch-open":
                start, end = note.value.get("start", ""), note.value.get("end", "")
                opened[name] = Watched(name, start, end, _points(note), ())
                items[name] = []
                continue
            item = _item(note)
            if item is not None:
                items[name].append(item)
        except (KeyError, TypeError, ValueError) as problem:
            raise RecordError(note.line, f"no {note.f}: {problem!r}") from None
    return tuple(watched._replace(items=tuple(items[name])) for name, watched in opened.items())


def changes_of(notes: Iterable[Event]) -> tuple[Change, ...]:
    """The reference."""
    return tuple(_change(note) for note in notes if note.f == "change")


def gone(notes: Iterable[Event]) -> str:
    """Why there is no reference; empty: there is."""
    return _text(notes, "changes-gone")


def stuck(notes: Iterable[Event]) -> str:
    """Where the watch that was to show the reference stood still; empty: it did not."""
    return _text(notes, "changes-stuck")


def _text(notes: Iterable[Event], name: str) -> str:
    return next((note.value["text"] for note in notes if note.f == name), "")


def _item(note: Event) -> Item | None:
    match note.f:
        case "watch-event":
            return _change(note)
        case "watch-mark":
            return Point(note.revision or 0, note.value.get("start", ""), note.value.get("end", ""))
        case "watch-lost":
            return Cut.LOST
        case "watch-resume":
            return Resumed(_points(note))
        case "watch-caught-up":
            return CaughtUp(_points(note)[0])
    return None  # of a later format


def _change(note: Event) -> Change:
    return Change(note.revision or 0, note.key or "", note.value["kind"], note.value.get("value"))


def _points(note: Event) -> tuple[Point, ...]:
    """A group serves the keys of a point, which one says nothing of what was seen."""
    return tuple(Point(*point) for _, *point in note.value.get("points") or ())
