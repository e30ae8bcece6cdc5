"""A node's loop: when the next turn comes, and what a turn does not cost."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from holdfast_raft.driver import Driver
from holdfast_raft.election import Timing
from holdfast_raft.journal import BASE_COMMAND
from holdfast_raft.messages import Heartbeats, NodeMessage
from holdfast_raft.sim import SimDisk
from holdfast_raft.snapshots import SnapshotStore
from holdfast_raft.transport import Receiver
from holdfast_raft.wal import Wal

from tests.sim.tape import Tape


class Clock:
    """Stands still until it is set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return 1_700_000_000_000


class Loop:
    """A runner that remembers what it was asked for; `step` runs the turns, jobs run when told to."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []
        self.syncs: list[tuple[Callable[[], object], Callable[[BaseException | None], None]]] = []

    def soon(self, act: Callable[[], None]) -> None:
        self.asked.append(act)

    def later(self, delay: float, act: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def on_wal_thread(self, job: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        self.syncs.append((job, done))

    on_file_thread = on_wal_thread

    def step(self) -> None:
        asked, self.asked = self.asked, []
        for act in asked:
            act()

    def end_sync(self) -> None:
        job, done = self.syncs.pop(0)
        job()
        done(None)


class Wires:
    """A transport to the peers that are up; nothing arrives there."""

    def __init__(self) -> None:
        self.up = {2}

    def attach(self, receiver: Receiver) -> None: ...

    def is_connected(self, peer: int) -> bool:
        return peer in self.up

    def send(self, peer: int, message: NodeMessage, *, bulk: bool = False) -> bool:
        return self.is_connected(peer)

    def flush(self) -> None: ...

    def queued_bytes(self, peer: int) -> int:
        return 0


def driver_on(loop: Loop, wires: Wires, clock: Clock, timing: Timing | None = None) -> Driver:
    """A driver without a group, on an empty disk."""
    disk = SimDisk(random.Random(1))
    return Driver(
        1,
        clock=clock,
        wal=Wal.open(disk),
        store=SnapshotStore(disk),
        transport=wires,
        runner=loop,
        rng=random.Random(2),
        fatal=lambda _: None,
        timing=timing,
    )


class Node:
    """One driver with one group, idle."""

    def __init__(self, timing: Timing | None = None) -> None:
        self.clock, self.loop, self.wires, self.turns = Clock(), Loop(), Wires(), 0
        self.driver = driver_on(self.loop, self.wires, self.clock, timing)
        machine = Tape({})
        machine.turn = self._turned  # type: ignore[method-assign]
        self.group = self.driver.create_group(2, (1, 2, 3), machine)
        while self.loop.asked or self.loop.syncs:
            self.loop.step()
            if self.loop.syncs:
                self.loop.end_sync()
        self.turns = 0

    def _turned(self) -> None:
        self.turns += 1

    def mark(self) -> None:
        self.driver.mark(self.group)


def test_a_group_marked_outside_a_turn_asks_for_one() -> None:
    """Whoever marks a group from the loop need not wake the driver."""
    node = Node()

    node.mark()
    node.mark()
    assert len(node.loop.asked) == 1
    node.loop.step()

    assert (node.turns, node.loop.asked) == (1, [])


def test_a_group_marked_early_in_a_turn_has_its_own_in_it_and_costs_no_second() -> None:
    """What arrives or is due marks groups that this turn comes to anyway; an empty turn would follow each."""
    node = Node()
    node.driver.call_at(0.0, node.mark)

    node.driver.turn()

    assert (node.turns, node.loop.asked) == (1, [])


def test_a_group_marked_after_its_turn_has_another_in_the_next() -> None:
    """What a group's own turn leaves to be done is not forgotten."""
    node = Node()
    machine = node.group.machine
    machine.turn = lambda: (node._turned(), node.turns == 1 and node.mark())  # type: ignore[method-assign]
    node.mark()
    node.loop.step()
    assert (node.turns, len(node.loop.asked)) == (1, 1)

    node.loop.step()

    assert (node.turns, node.loop.asked) == (2, [])


@pytest.mark.parametrize("by", ["the group's entry", "who waits for it"])
def test_a_group_marked_by_the_end_of_a_sync_costs_no_second_turn(by: str) -> None:
    """A sync's end runs a turn by itself: with one more after each, half of all turns would be empty."""
    node = Node()
    journal = node.group.journal
    if by == "the group's entry":
        journal.add(BASE_COMMAND, 2, 1)
    else:
        node.driver.when_durable(node.driver._wal.hard_state(2, 1, None), node.mark)
    node.driver.turn()
    node.loop.asked.clear()
    node.turns = 0

    node.loop.end_sync()

    assert (node.turns, node.loop.asked) == (1, [])


def test_the_clock_of_a_peer_that_is_not_connected_is_not_told() -> None:
    """What it said last may be hours old, and a majority of clocks is one of those that can be heard."""
    node = Node()
    for peer in (2, 3):
        node.driver.received(peer, Heartbeats(1, 0, 1_700_000_000_500, ()))
    node.loop.step()

    assert node.driver.peer_walls_ms() == {2: 1_700_000_000_500}


def test_a_tick_that_comes_late_is_told_once_with_how_late() -> None:
    """What stops the loop stops its heartbeats, and shows in the metrics; how long opening took does not."""
    node, told = Node(), []
    node.driver.on_stall = told.append
    heartbeat = node.driver.timing.heartbeat

    for late in (0.0, 0.009, 0.03, 0.0, 0.25, 0.25, 0.0, 0.09):
        node.clock.now += heartbeat + late
        node.driver.turn()
        node.driver.turn()

    assert told == pytest.approx([0.03, 0.25, 0.25 + heartbeat / 2, 0.09])


def test_a_turn_that_is_late_for_something_else_is_no_stall_of_a_tick_to_come() -> None:
    """It puts the tick off; by the tick's old time the next turn would be late by less than nothing."""
    node, told = Node(timing=Timing(2.0, 4.0, 0.5)), []
    node.driver.on_stall = told.append
    node.driver.turn()
    node.driver.call_later(0.38, lambda: None)

    for step in (0.49, 0.03, 0.15, 0.2):
        node.clock.now += step
        node.driver.turn()

    assert told == pytest.approx([0.13])


def test_a_loop_that_is_late_in_each_turn_still_ticks() -> None:
    """Late turns put a tick off, but not for ever: a leader that is slow must go on to say that it lives."""
    node = Node()
    ticked: list[float] = []
    node.group.tick = ticked.append  # type: ignore[method-assign] - counted instead of done

    for _ in range(20):
        node.clock.now += 0.15 + node.driver.timing.heartbeat
        node.driver.turn()

    assert len(ticked) == 10


def test_the_time_before_the_first_tick_is_no_stall() -> None:
    """A node reads its snapshots before its loop turns."""
    clock, told = Clock(), []
    driver = driver_on(Loop(), Wires(), clock)
    driver.on_stall = told.append

    clock.now += 7
    driver.turn()

    assert told == []
