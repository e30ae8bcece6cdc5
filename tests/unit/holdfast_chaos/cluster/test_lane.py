"""When pieces leave a wire, by a counted clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from holdfast_chaos.cluster.lane import Lane
from holdfast_chaos.cluster.wires import Wire

from tests import counted_time


class Told:
    """Stands for the transport to the target: what it was given, and when."""

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes, float]] = []
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.pieces.append((data, asyncio.get_running_loop().time()))


def told(act: Callable[[Wire, Lane], Awaitable[None]]) -> tuple[list[bytes], list[float]]:
    """What left a lane, and when, in seconds from the beginning."""

    async def run() -> list[tuple[bytes, float]]:
        wire, target = Wire(2, 1), Told()
        lane: Any = Lane(wire, random.Random(1))
        lane.target = target
        await act(wire, lane)
        await asyncio.sleep(10)
        return target.pieces

    pieces = counted_time.run(run())
    return [data for data, _ in pieces], [at for _, at in pieces]


def test_a_plain_wire_takes_no_time() -> None:
    """Pieces leave as they come."""

    async def act(_: Wire, lane: Lane) -> None:
        lane.push(b"a")
        await asyncio.sleep(0.5)
        lane.push(b"b")

    assert told(act) == ([b"a", b"b"], [0.0, 0.5])


def test_a_delay_makes_each_piece_late() -> None:
    """By the delay, counted from when it was sent: not one after the other."""

    async def act(wire: Wire, lane: Lane) -> None:
        wire.change(delay_s=0.1)
        lane.push(b"a")
        await asyncio.sleep(0.03)
        lane.push(b"b")

    assert told(act) == ([b"a", b"b"], pytest.approx([0.1, 0.13]))


def test_a_jitter_makes_later_still_and_keeps_the_order() -> None:
    """Each piece is late by the delay and up to the jitter more, and none overtakes another."""
    letters = [bytes([letter]) for letter in b"abcdefgh"]

    async def act(wire: Wire, lane: Lane) -> None:
        wire.change(delay_s=0.1, jitter_s=0.1)
        for letter in letters:
            lane.push(letter)
            await asyncio.sleep(0.005)

    pieces, times = told(act)
    late = [at - 0.005 * n for n, at in enumerate(times)]
    assert pieces == letters
    assert times == sorted(times)
    assert 0.1 <= min(late) < max(late) <= 0.2
    assert len(set(times)) < len(times)  # some were held up by those before them


def test_bytes_take_their_time() -> None:
    """A bound of bytes a second holds up a piece by its size."""

    async def act(wire: Wire, lane: Lane) -> None:
        wire.change(bytes_per_s=10_000)
        lane.push(bytes(2_000))

    assert told(act)[1] == pytest.approx([0.2])


def test_what_waits_for_a_target_that_hung_up_is_dropped() -> None:
    """A wire that is healed has nobody left to tell, and the other wires are still to be healed."""

    async def act(wire: Wire, lane: Any) -> None:
        wire.change(is_cut=True)
        lane.push(b"a")
        lane.target.closed = True
        wire.change(is_cut=False)
        lane.push(b"b")

    assert told(act) == ([], [])
