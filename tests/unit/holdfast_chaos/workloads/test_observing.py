"""What replicas say: leaders once a term, digests, entries of a WAL's dump."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from holdfast_chaos.cluster.admin import Replica, equal_at_one_index
from holdfast_chaos.workloads.observing import Observer, _entries

from tests.unit.holdfast_chaos.runs import Desk


def replica(node: int, index: int, *, leads: bool = False, term: int = 1, group: int = 2) -> Replica:
    return Replica(node, group, leads, term, index, index, 0, f"digest {index}")


class Eyes:
    """An Admin that says what it was given, one answer after the other, the last for ever."""

    def __init__(self, *answers: tuple[Replica, ...]) -> None:
        self._answers = list(answers)

    async def all_replicas(self, timeout_s: float = 0.0) -> tuple[Replica, ...]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def observer(desk: Desk, *answers: tuple[Replica, ...]) -> Observer:
    cluster: Any = SimpleNamespace(admin=Eyes(*answers))
    return Observer(cluster, desk.recorder)


def test_a_leader_is_noted_once_a_term(tmp_path: Path) -> None:
    """And again when it leads a later one, or another node claims the same."""
    desk = Desk(tmp_path)
    watching = observer(desk, ())
    watching._note_leaders((replica(1, 5, leads=True), replica(2, 5)))
    watching._note_leaders((replica(1, 6, leads=True),))
    watching._note_leaders((replica(1, 7, leads=True, term=2), replica(3, 7, leads=True, term=2)))

    told = [(event.node, event.value["term"]) for event in desk.events()]
    assert told == [(1, 1), (1, 2), (3, 2)]


def test_the_last_digests_are_taken_when_replicas_have_met(tmp_path: Path) -> None:
    """Final notes wait until all stand at one index."""
    desk = Desk(tmp_path)
    asyncio.run(observer(desk, (replica(1, 5), replica(2, 4)), (replica(1, 5), replica(2, 5))).settle())

    told = desk.events()
    assert [(event.node, event.applied_index) for event in told] == [(1, 5), (2, 5)]
    assert all(event.value["final"] for event in told)


def test_replicas_meet_group_by_group():
    """Each group at its own index; nobody at all is no meeting."""
    assert equal_at_one_index([replica(1, 5), replica(2, 5), replica(1, 9, group=3)])
    assert not equal_at_one_index([replica(1, 5), replica(2, 6)])
    assert not equal_at_one_index([])


def test_entries_are_the_last_written_ones_that_were_not_cut_off():
    """A WAL may hold an index twice, and what a truncation took."""
    lines = [
        {"kind": "entry", "group": 2, "fields": {"index": 1, "term": 1, "bytes": 5}},
        {"kind": "entry", "group": 2, "fields": {"index": 2, "term": 1, "bytes": 6}},
        {"kind": "truncate", "group": 2, "fields": {"from_index": 2}},
        {"kind": "entry", "group": 2, "fields": {"index": 2, "term": 2, "bytes": 7}},
        {"kind": "mark", "group": 0, "fields": {"synced_to": 4}},
    ]
    found = _entries("\n".join(map(json.dumps, lines)).encode())

    assert [(e["index"], e["term"], e["bytes"]) for e in found[2]] == [(1, 1, 5), (2, 2, 7)]
