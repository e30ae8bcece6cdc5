"""Watches out of the notes of a record."""

from __future__ import annotations

import pytest
from holdfast_chaos.record import RecordError
from holdfast_chaos.watch_notes import changes_of, watches_of
from holdfast_chaos.watching import CaughtUp, Change, Cut, Point, Resumed, Watched

from tests.unit.holdfast_chaos.records import Script


def test_notes_become_watches():
    """Each watch with its own items, in order; notes of a later format are ignored."""
    script = Script().note(
        "watch-open", {"watch": "w", "start": "a", "end": "b", "points": [[1, 0, "a", "b"]]}, at=1
    )
    script.note("watch-open", {"watch": "v"}, at=2)
    script.note(
        "watch-event", {"watch": "w", "kind": "PUT", "value": "x"}, at=3, key="a", group=1, revision=2
    )
    script.note("watch-mark", {"watch": "w", "start": "a", "end": "b"}, at=4, group=1, revision=3)
    script.note("watch-lost", {"watch": "w"}, at=5).note("watch-mood", {"watch": "w"}, at=5)
    script.note("watch-resume", {"watch": "w", "points": [[1, 3, "a", "b"]]}, at=6)
    script.note("watch-caught-up", {"watch": "w", "points": [[1, 4, "a", ""]]}, at=7)

    items = (
        Change(2, "a", "PUT", "x"),
        Point(3, "a", "b"),
        Cut.LOST,
        Resumed((Point(3, "a", "b"),)),
        CaughtUp(Point(4, "a")),
    )
    assert watches_of(script.notes) == (
        Watched("w", "a", "b", (Point(0, "a", "b"),), items),
        Watched("v", "", "", (), ()),
    )


def test_the_reference_is_noted_too():
    """Changes out of a shard's log."""
    script = Script().note("change", {"kind": "EXPIRED"}, at=1, key="a", group=1, revision=2)

    assert changes_of(script.notes) == (Change(2, "a", "EXPIRED"),)


def test_a_note_that_tells_too_little_is_damage():
    """Named by its line."""
    with pytest.raises(RecordError, match="line 2: no watch-mark"):
        watches_of(Script().note("watch-mark", {"watch": "never opened"}, at=1, group=1, revision=2).notes)
