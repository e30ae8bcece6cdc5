"""One client of a run: asks what the generator says, waits, and writes both ends down.

A client has several hands, each a process of the record: what they ask at one moment goes into one frame.
They are one session, so what overlaps in it is not ordered, and what does not is.

Invariants: one operation of a hand in flight; its invoke is in the file before it is sent; after an outcome
that is not known its process is retired and the hand goes on under a new number, in the same session. A
crashed client leaves its operations open and comes back as another session that has the token of the one
before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import holdfast

from holdfast_chaos.asks import SEEN, Ask, Generator
from holdfast_chaos.operation import WRITES
from holdfast_chaos.outcomes import closing_type, present_revision, reason_text
from holdfast_chaos.record import Event, Type
from holdfast_chaos.workloads.recorder import Recorder
from holdfast_chaos.workloads.sdk_calls import Calls

TIMEOUT_S: Final = 3.0
AGAIN_S: Final = 0.1
Connect = Callable[..., Awaitable[holdfast.Client]]
SEEN_MAX: Final = 2000
"""Revisions a client remembers, for conditions."""


class Process:
    """See the module docstring. Make it with `opened`."""

    def __init__(
        self,
        slot: int,
        endpoints: str,
        recorder: Recorder,
        generator: Generator,
        *,
        groups_stand: bool,
        fresh_number: Callable[[], int],
        hands: int = 1,
        connect: Connect = holdfast.connect,
    ) -> None:
        """slot: 1 or above, for ever; fresh_number: of a further hand, or one that was retired."""
        self._connect = connect
        self.slot = slot
        self.numbers = [slot, *(fresh_number() for _ in range(hands - 1))]
        self.crashes = 0
        self._endpoints = endpoints
        self._recorder = recorder
        self._generator = generator
        self._groups_stand = groups_stand
        self._fresh_number = fresh_number
        self._seen: dict[str, int] = {}
        self._client: holdfast.Client | None = None
        self._calls: Calls | None = None
        # In the order of their invokes, in which a crash ends them.
        self._under_way: dict[asyncio.Task[dict[str, Any]], None] = {}
        self._ended_by_crash: set[asyncio.Task[dict[str, Any]]] = set()
        self._is_open = asyncio.Event()

    @property
    def session(self) -> str:
        """Whose promises its operations stand under."""
        return f"s{self.slot}" if not self.crashes else f"s{self.slot}.{self.crashes}"

    @property
    def client(self) -> holdfast.Client:
        """The SDK's; opened."""
        assert self._client is not None
        return self._client

    async def open(self, token: bytes | None = None) -> None:
        """Connects. Raises HoldfastError."""
        self._client = await self._connect(
            self._endpoints, timeout_s=TIMEOUT_S, session=token, name=f"chaos-{self.slot}"
        )
        self._calls = Calls(self._client, groups_stand=self._groups_stand)
        self._is_open.set()

    async def close(self) -> None:
        """Hangs up."""
        if self._client is not None:
            await self._client.aclose()

    async def ask(self, ask: Ask, hand: int = 0) -> bool:
        """One operation, from its invoke to what closes it. True: it succeeded."""
        await self._is_open.wait()
        invoke = self._invoke(ask, hand)
        is_write = ask.f in WRITES
        assert self._calls is not None
        doing = asyncio.ensure_future(self._calls.do(invoke))
        self._under_way[doing] = None
        try:
            facts = await doing
        except asyncio.CancelledError:
            self._close(ask, hand, Type.INFO if is_write else Type.FAIL, {"error": "CRASHED"})
            if doing not in self._ended_by_crash:  # but by the end of the run
                raise
            return False
        except Exception as problem:  # noqa: BLE001 - whatever it is, it closes the operation
            self._failed(ask, hand, problem, is_write=is_write)
            return False
        finally:
            self._under_way.pop(doing, None)
            self._ended_by_crash.discard(doing)
        self._recorder.write(self.numbers[hand], Type.OK, ask.f, key=ask.key, **_told(facts))
        self._remember(ask, facts)
        return True

    def _invoke(self, ask: Ask, hand: int) -> Event:
        value, expect = ask.value, ask.expect
        if expect == SEEN:
            expect = self._seen.get(ask.key, 0)
            if ask.f == "delete" and not expect:
                expect = None  # no revision to ask for
        if ask.f == "txn":
            compares = [
                [key, self._seen.get(key, 0) if how == SEEN else how]
                for key, how in ask.value.get("compares", ())
            ]
            value = {**ask.value, "compares": compares}
        return self._recorder.write(
            self.numbers[hand],
            Type.INVOKE,
            ask.f,
            **ask._replace(value=value, expect=expect).asked(),
            session=self.session,
        )

    def _failed(self, ask: Ask, hand: int, problem: Exception, *, is_write: bool) -> None:
        told = closing_type(problem, is_write=is_write)
        facts: dict[str, Any] = {"error": reason_text(problem)}
        revision = present_revision(problem)
        # That a condition of several keys failed says nothing of one revision.
        if revision is not None and ask.f in ("put", "delete"):
            facts["revision"] = revision
        self._close(ask, hand, told, facts)

    def _close(self, ask: Ask, hand: int, told: Type, facts: dict[str, Any]) -> None:
        self._recorder.write(self.numbers[hand], told, ask.f, key=ask.key, **facts)
        if told is Type.INFO:
            self._generator.ended_open(ask)
            self.numbers[hand] = self._fresh_number()

    def _remember(self, ask: Ask, facts: dict[str, Any]) -> None:
        found: dict[str, int] = {}
        if ask.f in ("get", "put"):
            found = {ask.key: facts.get("revision") or 0}
        elif ask.f == "scan":
            found = {key: revision for key, _, revision in facts["value"]}
        self._seen.update(found)
        while len(self._seen) > SEEN_MAX:
            self._seen.pop(next(iter(self._seen)))

    def take_token(self, other: Process) -> None:
        """From here on it has seen what another session has seen."""
        self.client.merge_token(other.client.token)
        self._recorder.note("token", {"from": other.session, "to": self.session})

    async def crash(self) -> bool:
        """Ends the client where it stands; another takes over. True: an operation was in flight."""
        token, before = self.client.token, self.session
        was_asking = bool(self._under_way)
        self._is_open.clear()
        self._ended_by_crash.update(self._under_way)
        for doing in self._under_way:
            doing.cancel()
        await self.close()
        self.crashes += 1
        self._seen.clear()
        # It has the old one's token from its first operation on, so the note comes before any of them.
        self._recorder.note("token", {"from": before, "to": self.session})
        while True:
            try:
                await self.open(token)
            except holdfast.HoldfastError:
                await asyncio.sleep(AGAIN_S)  # no node answers just now
            else:
                return was_asking

    def __repr__(self) -> str:
        return f"<Process {self.numbers}, session {self.session}>"


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
