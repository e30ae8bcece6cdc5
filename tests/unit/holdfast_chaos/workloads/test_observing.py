"""What replicas say: leaders once a term, digests, entries of a WAL's dump."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from holdfast_chaos.cluster.admin import Replica, equal_at_one_index
from holdfast_chaos.cluster.wal_dump import Entry
from holdfast_chaos.workloads import observing
from holdfast_chaos.workloads.observing import ENTRIES_MAX, Observer, _differing

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


def test_a_cluster_is_given_time_and_then_what_is_wrong_with_it_is_noted(tmp_path: Path, monkeypatch) -> None:
    """Complaints of `holdfast cluster check`, whatever else it says, and plans that stand."""
    monkeypatch.setattr(observing, "WELL_WITHIN_S", 0.05)
    monkeypatch.setattr(observing, "AGAIN_S", 0.01)

    def noted(
        name: str, *answers: tuple[int, str], plans: Sequence[str] = (), left: Sequence[str] = ()
    ) -> list[str]:
        told = list(answers)

        async def cli(*words: str) -> tuple[int, bytes]:
            assert words[2:4] == ("--endpoints", "here:1")
            status, text = told.pop(0) if len(told) > 1 else told[0]
            return status, text.encode()

        async def told_of(what: Sequence[str]) -> list[str]:
            return list(what)

        monkeypatch.setattr(observing, "cli", cli)
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name)
        admin = SimpleNamespace(open_plans=lambda: told_of(plans), leftovers=lambda: told_of(left))
        cluster: Any = SimpleNamespace(endpoints="here:1", admin=admin)
        asyncio.run(Observer(cluster, desk.recorder).note_health())
        return [event.value["text"] for event in desk.events()]

    ill = (1, '[{"complaints": ["no leader"]}, {"complaints": []}]\nskew was not checked')
    well = (0, '[{"complaints": []}]')
    assert noted("a", ill, well) == []
    assert noted("b", ill, plans=["plan 3"], left=["group 7"]) == ["no leader", "plan 3", "group 7"]
    assert noted("c", (1, "Error: nobody answers\n")) == ["Error: nobody answers"]


def test_all_of_the_logs_is_compared():
    """What one log no longer holds says nothing; what two hold must be one entry, however old it is."""
    old, other, new = Entry(1, 1, 7), Entry(1, 1, 8), Entry(2 + ENTRIES_MAX, 1, 9)

    assert _differing([[old, new], [old, new], [new]]) == []
    assert _differing([[old, new], [other, new], [new]]) == [1]
    assert _differing([[old], [replace(old, term=2)]]) == [1]
