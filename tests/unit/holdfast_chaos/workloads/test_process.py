"""One client: both ends of every operation, retirement, crashes, tokens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from holdfast.errors import Reason
from holdfast.types import Outcome
from holdfast_chaos.asks import SEEN, Ask
from holdfast_chaos.operation import pair
from holdfast_chaos.record import Event, Type

from tests.unit.holdfast_chaos.runs import Desk


def test_an_operation_leaves_both_of_its_ends(tmp_path: Path) -> None:
    """What was asked, under which session, and what came back, with who answered."""

    async def act() -> None:
        process = await desk.process()
        assert await process.ask(Ask("put", "k", "v"))
        assert await process.ask(Ask("get", "k", level="LINEARIZABLE"))

    desk = Desk(tmp_path)
    asyncio.run(act())
    asked, told, _, read = desk.events()

    assert (asked.type, asked.f, asked.value, asked.session) == (Type.INVOKE, "put", "v", "s1")
    assert (told.type, told.revision) == (Type.OK, 1)
    assert (read.value, read.revision, read.node, read.level) == ("v", 1, 1, "LINEARIZABLE")
    assert read.group == 2


def test_a_write_of_unknown_outcome_retires_its_process(tmp_path: Path) -> None:
    """The client goes on under another number, in the same session; the record pairs."""

    async def act() -> None:
        process = await desk.process()
        desk.client.fail_next("put", Outcome.UNKNOWN)
        assert not await process.ask(Ask("put", "k", "v"))
        assert await process.ask(Ask("put", "k", "w"))

    desk = Desk(tmp_path)
    asyncio.run(act())
    events = desk.events()

    assert [event.process for event in events] == [1, 1, 100, 100]
    assert events[1].type is Type.INFO
    assert events[2].session == "s1"
    assert len(pair(events)) == 2


@pytest.mark.parametrize(("f", "told"), [("get", Type.FAIL), ("put", Type.FAIL)])
def test_a_refusal_is_no_effect(tmp_path: Path, f: str, told: Type) -> None:
    """A refused write and a read that failed are closed, and the process goes on."""

    async def act() -> None:
        process = await desk.process()
        desk.client.fail_next(f, Reason.NO_QUORUM)
        await process.ask(Ask(f, "k", "v" if f == "put" else None))

    desk = Desk(tmp_path)
    asyncio.run(act())

    assert [(e.process, e.type, e.error) for e in desk.events()][1] == (1, told, "NO_QUORUM")


def test_a_condition_takes_the_revision_that_was_seen(tmp_path: Path) -> None:
    """SEEN becomes the number that this client last saw, and a failed condition says the present one."""

    async def act() -> None:
        process, other = await desk.process(), await desk.process(2)
        await process.ask(Ask("put", "k", "a", expect=SEEN))
        await other.ask(Ask("put", "k", "b"))
        await process.ask(Ask("put", "k", "c", expect=SEEN))

    desk = Desk(tmp_path)
    asyncio.run(act())
    events = desk.events()

    assert events[0].expect == 0
    assert events[4].expect == 1
    assert (events[5].type, events[5].error, events[5].revision) == (Type.FAIL, "CONDITION_FAILED", 2)


def test_a_crash_leaves_an_operation_open_and_hands_the_token_on(tmp_path: Path) -> None:
    """The operation in flight is unknown; the next session begins with what the one before had seen."""

    async def act() -> None:
        process = await desk.process()
        release = asyncio.Event()

        async def never(*_: object) -> dict[str, object]:
            await release.wait()
            return {}

        assert process._calls is not None
        process._calls.do = never  # type: ignore[method-assign]
        asking = asyncio.ensure_future(process.ask(Ask("put", "k", "v")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        desk.client.aclose = nothing  # type: ignore[method-assign]
        assert await process.crash()
        assert not await asking
        assert await process.ask(Ask("put", "k", "w"))

    async def nothing() -> None:
        """The fake is shared by both sessions."""

    desk = Desk(tmp_path)
    asyncio.run(act())
    events = desk.events()

    assert sorted(e.type for e in events) == ["info", "invoke", "invoke", "note", "ok"]
    assert [e.session for e in events if e.type is Type.INVOKE] == ["s1", "s1.1"]
    assert {"from": "s1", "to": "s1.1"} in [e.value for e in events]
    assert len(pair(events)) == 2


def test_the_hands_of_a_client_are_one_session(tmp_path: Path) -> None:
    """They ask side by side, each a process of its own; a crash ends what all of them have in flight."""

    async def act() -> None:
        process = await desk.process(hands=2)
        assert process._calls is not None
        do, release = process._calls.do, asyncio.Event()

        async def later(ask: Event) -> dict[str, object]:
            await release.wait()
            return await do(ask)

        process._calls.do = later  # type: ignore[method-assign]
        both = [asyncio.ensure_future(process.ask(Ask("put", f"k{hand}", "v"), hand)) for hand in (0, 1)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        desk.client.aclose = nothing  # type: ignore[method-assign]
        assert await process.crash()
        assert await asyncio.gather(*both) == [False, False]
        assert await process.ask(Ask("put", "k1", "w"), 1)

    async def nothing() -> None:
        """The fake is shared by both sessions."""

    desk = Desk(tmp_path)
    asyncio.run(act())
    events = desk.events()
    asked = [(e.process, e.session) for e in events if e.type is Type.INVOKE]

    assert asked == [(1, "s1"), (100, "s1"), (102, "s1.1")]
    assert [e.process for e in events if e.type is Type.INFO] == [1, 100]
    assert len(pair(events)) == 3


def test_a_token_is_noted_when_it_is_taken(tmp_path: Path) -> None:
    """Whoever judges knows what a session has seen by another's eyes."""

    async def act() -> None:
        process, other = await desk.process(), await desk.process(2)
        await process.ask(Ask("put", "k", "a"))
        other.take_token(process)

    desk = Desk(tmp_path)
    asyncio.run(act())

    assert desk.events()[-1].value == {"from": "s1", "to": "s2"}
