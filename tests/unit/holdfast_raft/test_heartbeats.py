"""What nodes learn of each other's clocks on the way of their heartbeats."""

from __future__ import annotations

from holdfast_raft.heartbeats import HeartbeatExchange
from holdfast_raft.messages import HeartbeatReplies, Heartbeats

WALL_MS = 1_700_000_000_000


class Clock:
    """Both clocks stand wherever the test puts them."""

    def __init__(self) -> None:
        self.now = 64.0
        self.wall = WALL_MS

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return self.wall


def test_a_jump_of_the_own_wall_clock_moves_nothing_that_is_known_of_the_peers() -> None:
    """Else all of them seem to agree with a clock that has just jumped: a majority for a wrong hour."""
    clock = Clock()
    exchange = HeartbeatExchange({}, clock, lambda *_: True)
    exchange.take(2, Heartbeats(1, 0, WALL_MS + 40, ()))
    exchange.take_replies(3, HeartbeatReplies(1, 1, WALL_MS - 70, (), ()))

    clock.wall += 3_600_000
    at_once = exchange.walls_ms()
    clock.now += 2.5

    assert at_once == {2: WALL_MS + 40, 3: WALL_MS - 70}
    assert exchange.walls_ms() == {2: WALL_MS + 2540, 3: WALL_MS + 2430}


def test_a_peers_jump_is_known_with_its_next_word() -> None:
    """What counts of a peer's clock is the last that it said."""
    clock = Clock()
    exchange = HeartbeatExchange({}, clock, lambda *_: True)
    exchange.take(2, Heartbeats(1, 0, WALL_MS, ()))

    exchange.take(2, Heartbeats(2, 0, WALL_MS - 3_600_000, ()))

    assert exchange.walls_ms() == {2: WALL_MS - 3_600_000}
