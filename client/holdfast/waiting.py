"""Operations between two attempts: until when each waits, and who waits behind whom.

Invariants: operations that become due together leave together, in the order in which they were asked. While
a write is being tried again, the next ones of its key go the same way with it or wait for its outcome, so a
change of leader or shard does not turn the order of writes to a key round.

Knows no nodes and makes no decisions: how long somebody waits is `retry.py`'s, where they go then
`session.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from holdfast.stream import WRITE, Call

SLOT_S: Final = 0.005  # what is due within one slot leaves together

_SEQUENCE = attrgetter("sequence")


class WaitingRoom:
    """Who waits for another attempt. `send` takes those who are due, in the order of their sequences."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[list[Call]], None]) -> None:
        # By (namespace, key): the write that is being tried again, until its outcome; who waits for that.
        self.fronts: dict[tuple[str, bytes], Call] = {}
        self._behind: dict[tuple[str, bytes], list[Call]] = {}
        self._loop = loop
        self._send = send
        self._slots: dict[int, list[Call]] = {}  # 0: due at once

    def put(self, call: Call, after_s: float, *, hinted: bool = False) -> None:
        """Lets a call wait, and longer when an earlier write of its key is being tried again.

        hinted: it goes where an answer said, with all that were told the same: none can overtake another.
        """
        if call.level == WRITE and call.key and not self._leads(call) and not hinted:
            self.takes(call)
            return
        slot = int((self._loop.time() + after_s) / SLOT_S) + 1 if after_s > 0 else 0
        waiting = self._slots.get(slot)
        if waiting is not None:
            waiting.append(call)
            return
        self._slots[slot] = [call]
        if slot:
            self._loop.call_at(slot * SLOT_S, self._due, slot)
        else:
            self._loop.call_soon(self._due, 0)

    def _leads(self, call: Call) -> bool:
        """Whether no earlier write of its key is being tried again."""
        front = self.fronts.setdefault((call.namespace, call.key), call)
        if front is call:
            call.remove_done_callback(self._outcome)
            call.add_done_callback(self._outcome)
        return call.sequence <= front.sequence

    def takes(self, call: Call) -> bool:
        """Whether the write must wait for the outcome of another one of its key; then it does."""
        name = call.namespace, call.key
        if name not in self.fronts:
            return False
        self._behind.setdefault(name, []).append(call)
        return True

    def _outcome(self, front: Any) -> None:
        """The write has its outcome: those behind it go on, together."""
        name = front.namespace, front.key
        if self.fronts.get(name) is front:
            del self.fronts[name]
            self._send_on(self._behind.pop(name, []))

    def settle(self) -> None:
        """Sends those on who need not wait: all answers that came with theirs have been read."""
        if 0 in self._slots:
            self._due(0)

    def _due(self, slot: int) -> None:
        self._send_on(self._slots.pop(slot, []))

    def _send_on(self, calls: list[Call]) -> None:
        if calls:
            calls.sort(key=_SEQUENCE)
            self._send(calls)

    def __repr__(self) -> str:
        waiting = sum(map(len, self._slots.values())) + sum(map(len, self._behind.values()))
        return f"<WaitingRoom, {waiting} waiting>"
