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


def test_a_word_that_lay_in_a_socket_does_not_set_a_peers_clock_back() -> None:
    """A process that was stopped reads what came before: by that, all clocks but its own would be late."""
    clock = Clock()
    exchange = HeartbeatExchange({}, clock, lambda *_: True)
    exchange.take_replies(2, HeartbeatReplies(int(63.99e9), 1, WALL_MS, (), ()))

    clock.now += 2.0
    exchange.take_replies(2, HeartbeatReplies(int(64.01e9), 2, WALL_MS + 20, (), ()))
    exchange.take(2, Heartbeats(1, 2, WALL_MS + 30, ()))

    assert exchange.walls_ms() == {2: WALL_MS + 2000}


def test_what_is_known_of_a_clock_gives_way_to_what_is_new() -> None:
    """Over a network that has become slow no word is as certain as the first; clocks may have moved since."""
    clock = Clock()
    exchange = HeartbeatExchange({}, clock, lambda *_: True)
    exchange.take_replies(2, HeartbeatReplies(int(63.99e9), 1, WALL_MS, (), ()))

    clock.now += 6.0
    exchange.take_replies(2, HeartbeatReplies(int(69.75e9), 2, WALL_MS - 500, (), ()))

    assert exchange.walls_ms() == {2: WALL_MS - 500}


def test_a_connection_that_ends_takes_along_what_is_known_of_the_clock() -> None:
    """The peer's process may be another one behind the next."""
    exchange = HeartbeatExchange({}, Clock(), lambda *_: True)
    exchange.take(2, Heartbeats(1, 0, WALL_MS, ()))

    exchange.disconnected(2)

    assert exchange.walls_ms() == {}
