"""How the simulated network carries, breaks, stalls and comes back."""

from __future__ import annotations

import pytest
from holdfast_raft.messages import Addressed, NodeMessage, Payload
from holdfast_raft.sim import SimNetwork, SimTransport, World


def note(number: int, group: int = 2, size: int = 0) -> NodeMessage:
    return Addressed(group, number, Payload(bytes(size)))


class End:
    """A process that writes down what it is told, and the number of the event in which it was."""

    def __init__(self, network: SimNetwork, node: int) -> None:
        self.world = network.world
        self.node = node
        self.told: list[tuple[object, ...]] = []
        self.times: list[float] = []
        self.steps: list[int] = []
        self.world.boot(node)
        self.transport = SimTransport(network, node)
        self.transport.attach(self)
        network.join(self.transport)

    def connected(self, peer: int) -> None:
        self.told.append(("connected", peer))

    def disconnected(self, peer: int, closed_by_peer: bool) -> None:
        self.told.append(("closed" if closed_by_peer else "broken", peer))
        self.times.append(self.world.now)

    def received(self, peer: int, message: NodeMessage) -> None:
        assert isinstance(message, Addressed)
        self.told.append((peer, message.term))
        self.times.append(self.world.now)
        self.steps.append(self.world.steps)

    def say(self, peer: int, *numbers: int, bulk: bool = False, size: int = 0) -> None:
        for number in numbers:
            self.transport.send(peer, note(number, size=size), bulk=bulk)
        self.transport.flush()

    def hears(self) -> list[tuple[object, ...]]:
        """What it was told since the last time."""
        told, self.told = self.told, []
        return told


class Pair:
    """Two connected processes, 1 and 2."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.network = SimNetwork(self.world)
        self.one, self.two = End(self.network, 1), End(self.network, 2)
        self.world.run_for(0.1)
        assert self.hear() == ([("connected", 2)], [("connected", 1)])

    def hear(self) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        return self.one.hears(), self.two.hears()

    def counts(self) -> tuple[int, int]:
        return self.network.delivered, self.network.lost


@pytest.fixture
def pair() -> Pair:
    return Pair()


def from_one(*numbers: int) -> list[tuple[object, ...]]:
    return [(1, number) for number in numbers]


def test_messages_of_a_lane_arrive_in_order_each_once():
    """Whatever the delays, and however many come together or in pieces."""
    for coalesce, split in ((0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)):
        pair = Pair()
        pair.network.coalesce, pair.network.split = coalesce, split
        for number in range(0, 200, 2):
            pair.one.say(2, number, number + 1, size=(number % 8) * 400)
            pair.world.run_for(0.0003)
        pair.world.run_for(1)

        assert pair.two.hears() == from_one(*range(200))
        assert pair.counts() == (200, 0)


def test_the_two_lanes_do_not_wait_for_each_other(pair):
    """A large message on the bulk lane holds up no other."""
    pair.network.split = 1.0
    pair.network.delay_seconds = (0.01, 0.01)
    pair.one.say(2, 1, bulk=True, size=5000)
    pair.one.say(2, 2)
    pair.world.run_for(1)

    assert pair.two.hears() == from_one(2, 1)


def test_a_large_message_takes_its_delay_twice(pair):
    """Its frame came in pieces; a message of 1 KiB and less has one piece."""
    pair.network.split = 1.0
    pair.network.delay_seconds = (0.01, 0.01)
    sent = pair.world.now
    pair.one.say(2, 1, size=1024)
    pair.one.say(2, 2, size=1025)
    pair.world.run_for(1)

    assert [round(when - sent, 4) for when in pair.two.times] == [0.01, 0.02]
    assert pair.network.splits == 1


def test_messages_come_together_in_one_event(pair):
    """As a frame with several of them: the receiver gets no turn in between."""
    pair.network.coalesce = 1.0
    pair.one.say(2, 1, 2, 3)
    pair.world.run_for(1)
    assert pair.two.hears() == from_one(1, 2, 3)
    assert len(set(pair.two.steps)) == 1
    assert pair.network.coalesced == 2

    pair.one.say(2, 4)
    pair.world.run_for(1)
    assert pair.two.hears() == from_one(4)
    assert pair.network.coalesced == 2


def test_no_message_joins_one_that_has_arrived(pair):
    """Even at the very moment of the arrival."""
    pair.network.coalesce = 1.0
    pair.network.delay_seconds = (0.0, 0.0)
    pair.one.say(2, 1)
    pair.world.run_for(0)
    pair.one.say(2, 2)
    pair.world.run_for(0)

    assert pair.two.hears() == from_one(1, 2)
    assert pair.network.coalesced == 0


def test_coming_together_makes_no_message_faster_than_its_link(pair):
    """A message joins only one that arrives no sooner than it could itself."""
    pair.network.coalesce = 1.0
    pair.network.delay_seconds = (0.01, 0.01)
    pair.one.say(2, 1)
    pair.world.run_for(0.005)
    pair.one.say(2, 2)
    sent = pair.world.now
    pair.world.run_for(1)

    assert pair.network.coalesced == 0
    assert pair.two.times[1] == pytest.approx(sent + 0.01)


def test_a_cut_loses_what_is_under_way_and_lasts_until_it_heals(pair):
    """Both ends are told at once; nothing comes up while the cut lasts."""
    pair.one.say(2, 1, 2)
    pair.two.say(1, 3)
    pair.network.cut(1, 2)
    pair.world.run_for(10)
    assert pair.hear() == ([("broken", 2)], [("broken", 1)])
    assert not pair.one.transport.send(2, note(4))
    assert pair.counts() == (0, 3)

    pair.network.heal(1, 2)
    pair.world.run_for(1)
    assert pair.hear() == ([("connected", 2)], [("connected", 1)])


def test_an_end_believes_in_its_connection_until_it_is_told(pair):
    """What it says meanwhile is lost; it is told before the next connection comes up, and once."""
    pair.network.notice_seconds = (1.0, 1.0)
    pair.network.cut(1, 2)
    pair.world.run_for(0.5)
    assert pair.one.transport.is_connected(2)
    pair.one.say(2, 1)
    pair.network.heal(1, 2)
    pair.one.say(2, 2)
    pair.world.run_for(10)

    assert pair.hear() == ([("broken", 2), ("connected", 2)], [("broken", 1), ("connected", 1)])
    assert pair.counts() == (0, 2)


def test_a_process_is_not_told_what_concerned_the_one_before(pair):
    """A late notice for a process that is gone reaches nobody."""
    pair.network.notice_seconds = (1.0, 1.0)
    pair.network.cut(1, 2)
    pair.network.leave(1)
    again = End(pair.network, 1)
    pair.network.heal(1, 2)
    pair.world.run_for(10)

    assert pair.one.hears() == []
    assert again.hears() == [("connected", 2)]
    assert pair.two.hears() == [("broken", 1), ("connected", 1)]


def test_a_process_that_ends_closes_its_connections(pair):
    """The peer is told that the process closed it."""
    pair.network.leave(1)
    pair.world.run_for(1)

    assert pair.two.hears() == [("closed", 1)]


def test_a_reset_breaks_at_once_and_comes_back_by_itself(pair):
    """Everything under way in both directions is lost; each end is told of the end and the new one."""
    pair.one.say(2, 1, 2)
    pair.two.say(1, 3)
    began = pair.world.now
    pair.network.reset(1, 2)
    assert pair.network.connection(1, 2) == 0
    assert pair.world.run_until(lambda: pair.network.connection(1, 2) != 0, within=1)
    low, high = pair.network.reconnect_seconds
    assert low <= pair.world.now - began <= high
    pair.world.run_for(1)

    assert pair.hear() == (
        [("broken", 2), ("connected", 2)],
        [("broken", 1), ("connected", 1)],
    )
    assert pair.counts() == (0, 3)


@pytest.mark.parametrize("obstacle", ["cut", "stall", "gone"])
def test_a_reset_connection_does_not_come_back_through_an_obstacle(pair, obstacle):
    """A cut, a stall in either direction or a missing process keep it down."""
    pair.network.reset(1, 2)
    if obstacle == "cut":
        pair.network.cut(1, 2)
    elif obstacle == "stall":
        pair.network.stall(2, 1)
    else:
        pair.network.leave(2)
    pair.world.run_for(10)

    assert pair.one.hears() == [("broken", 2)]
    assert pair.network.connection(1, 2) == 0


def test_what_is_sent_into_a_stall_arrives_in_order_after_it(pair):
    """The other direction, and what was under way, pass meanwhile; nobody is told of anything."""
    pair.network.keepalive_seconds = (1.0, 1.0)
    pair.one.say(2, 1)
    pair.network.stall(1, 2)
    pair.one.say(2, 2, 3)
    pair.two.say(1, 9)
    pair.world.run_for(0.5)
    assert pair.hear() == ([(2, 9)], from_one(1))
    pair.one.say(2, 4)

    pair.network.unstall(1, 2)
    pair.one.say(2, 5)
    pair.world.run_for(10)

    assert pair.hear() == ([], from_one(2, 3, 4, 5))
    assert pair.counts() == (6, 0)


def test_a_stall_longer_than_the_keepalive_breaks_the_connection_until_it_ends(pair):
    """What waited is lost, both ends are told, and nothing comes up before the hole is gone."""
    pair.network.keepalive_seconds = (1.0, 1.0)
    pair.network.stall(1, 2)
    pair.one.say(2, 1, 2, bulk=True, size=100)
    pair.world.run_for(0.9)
    assert pair.hear() == ([], [])
    pair.world.run_for(0.2)
    assert pair.hear() == ([("broken", 2)], [("broken", 1)])
    assert pair.one.transport.queued_bytes(2) == 0
    assert pair.counts() == (0, 2)

    pair.network.heal(1, 2)
    pair.world.run_for(10)
    assert pair.network.connection(1, 2) == 0
    pair.network.unstall(1, 2)
    pair.world.run_for(1)
    assert pair.hear() == ([("connected", 2)], [("connected", 1)])


def test_a_connection_needs_both_directions(pair):
    """With holes in both, the end of one is not enough."""
    pair.network.stall(1, 2)
    pair.network.stall(2, 1)
    pair.world.run_for(10)
    pair.network.unstall(1, 2)
    pair.world.run_for(1)
    assert pair.network.connection(1, 2) == 0

    pair.network.unstall(2, 1)
    assert pair.network.connection(1, 2) != 0


def test_a_stall_that_ended_breaks_nothing_later(pair):
    """Its keepalive ends with it, also when another stall has begun."""
    pair.network.keepalive_seconds = (1.0, 1.0)
    pair.network.stall(1, 2)
    pair.world.run_for(0.9)
    pair.network.unstall(1, 2)
    pair.network.stall(1, 2)
    pair.world.run_for(0.9)

    assert pair.hear() == ([], [])


def test_the_keepalive_time_differs_from_stall_to_stall():
    """Between the bounds, by chance."""
    times = set()
    for seed in range(20):
        pair = Pair(seed)
        began = pair.world.now
        pair.network.stall(1, 2)
        assert pair.world.run_until(lambda pair=pair: bool(pair.one.told), within=3)
        times.add(pair.world.now - began)

    assert len(times) == 20
    assert all(0.5 <= time <= 2.0 for time in times)


def test_a_process_that_ends_behind_a_stall_is_missed_by_keepalive_only(pair):
    """Its last word does not pass the hole: to the peer the connection broke."""
    pair.network.keepalive_seconds = (1.0, 1.0)
    pair.network.stall(1, 2)
    pair.network.leave(1)
    pair.world.run_for(0.9)
    assert pair.two.hears() == []

    pair.world.run_for(0.2)
    assert pair.two.hears() == [("broken", 1)]


def test_a_stall_fills_the_senders_bulk_queue(pair):
    """What flow control asks grows with what a stall holds back, on the bulk lane."""
    pair.one.say(2, 1, bulk=True, size=5000)
    assert pair.one.transport.queued_bytes(2) == 0
    pair.network.stall(1, 2)
    pair.one.say(2, 2, bulk=True, size=5000)
    pair.one.say(2, 3, size=700)
    assert pair.one.transport.queued_bytes(2) == 5000
    assert pair.two.transport.queued_bytes(1) == 0

    pair.network.unstall(1, 2)
    assert pair.one.transport.queued_bytes(2) == 0


def test_what_is_lost_counts_as_lost(pair):
    """Tampered away, cut off, or on its way to a process that ended: each message has one fate."""
    pair.network.tamper = lambda _, __, message: None
    pair.one.say(2, 1)
    assert pair.counts() == (0, 1)
    pair.network.tamper = None
    pair.one.say(2, 2)
    pair.world.run_for(1)
    pair.one.say(2, 3, 4)
    pair.network.leave(2)
    pair.world.boot(2)
    pair.one.say(2, 5)
    pair.world.run_for(1)

    assert pair.counts() == (1, 4)


def test_what_an_observer_sees_is_what_was_said(pair):
    """Every message put on its way, before it is tampered with, also when it is lost."""
    seen = []
    pair.network.observe = lambda source, target, message: seen.append((source, target, message.term))
    pair.network.tamper = lambda _, __, message: message._replace(term=7)
    pair.one.say(2, 1)
    pair.world.run_for(1)
    pair.network.cut(1, 2)
    pair.one.say(2, 2)

    assert seen == [(1, 2, 1), (1, 2, 2)]
    assert pair.two.hears() == from_one(7)


def test_the_network_does_not_draw_from_the_schedules_generator():
    """Another delay or reset leaves the schedule as it was."""
    quiet, busy = Pair(5), Pair(5)
    busy.one.say(2, *range(10))
    busy.network.reset(1, 2)
    busy.network.stall(1, 2)
    busy.world.run_for(1)

    assert busy.world.rng.random() == quiet.world.rng.random()
