"""The pauses that the SDK chooses: what a test looks at instead of a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import holdfast


def of_session(client: holdfast.Client) -> list[float]:
    """Of each attempt that fails from now on: how long the session lets it wait, in seconds; 0: at once."""
    room: Any = client._backend._waiting
    chosen: list[float] = []
    put = room.put

    def noted(call: Any, after_s: float, **more: Any) -> None:
        chosen.append(after_s)
        put(call, after_s, **more)

    room.put = noted
    return chosen


def of_watches(client: holdfast.Client) -> list[float]:
    """Of each part that is placed anew from now on, and not at once: how long it waits, in seconds."""
    watches: Any = client._watches
    watches._loop = _Noted(watches._loop)
    return watches._loop.chosen


class _Noted:
    """The loop as the watches see it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.time = loop.time
        self.chosen: list[float] = []

    def call_later(self, after_s: float, act: Callable[..., None], *given: Any) -> asyncio.TimerHandle:
        self.chosen.append(after_s)
        return self._loop.call_later(after_s, act, *given)
