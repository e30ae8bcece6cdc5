"""The conductor: what it orders, when again, and what it makes of reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from holdfast.units import Units
from holdfast_node import talk
from holdfast_node.cache.seal import Target
from holdfast_node.placement.cluster import Namespace, Planning, Policy
from holdfast_node.placement.commands import (
    AddNode,
    CreateNamespace,
    DeleteNamespace,
    JoinNode,
    SetPlanning,
    StartPlan,
)
from holdfast_node.placement.conductor import (
    MERGE_SEALED_MAX,
    NEWS_AGAIN,
    ORDER_AGAIN,
    SILENT_AFTER,
    Conductor,
)
from holdfast_node.placement.plan import Kind, Phase, Plan
from holdfast_node.placement.replica import PlacementReplica
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.talk import (
    AbortOrder,
    CopyOrder,
    CopyReport,
    CreateOrder,
    DropCopyOrder,
    MapNews,
    ReplicaReport,
    Report,
    RetireOrder,
    SealOrder,
    SnapshotOrder,
    UnsealOrder,
)
from holdfast_raft.errors import Busy

from tests.unit.holdfast_node.placement.test_replica import ENTRY, FIRST
from tests.unit.holdfast_node.scripted import Clock, Group

HERE = (1, 2, 3)
HALVES = (Part(b"", b"m", HERE), Part(b"m", b"", HERE))
SEALED = {"sealed": 1, "seal_index": 9, "seal_term": 2}
AS_IS = Planning(frozenset(), *(0 for _ in Planning()._fields[1:]))


class World:
    """A conductor on the leader of the placement group, and what it says to whom."""

    def __init__(self, *, introduced: bool = True) -> None:
        self.clock = Clock()
        self.replica = PlacementReplica(ENTRY, FIRST, self.clock)
        self.group = Group(self.replica, self.clock)
        self.replica.bind(self.group, self)
        self.replica.turn()
        self.group.committed()
        self.said: list[tuple[int, talk.Word]] = []
        self.timers: list[Callable[[], None]] = []
        self.conductor = Conductor(
            self.replica,
            self.clock,
            call_later=lambda _, act: self.timers.append(act),
            tell=lambda node, word: self.said.append((node, word)),
        )
        if introduced:
            for number in HERE:
                self.do(JoinNode(f"127.0.0.1:740{number}", 100 + number, number))
        self.do(SetPlanning(tuple(Policy), (), AS_IS))

    def do(self, command: Any) -> Any:
        told: list[Any] = []
        self.replica.propose(command, told.append)
        self.group.committed()
        return told[0]

    def plan(self, kind: Kind, sources: tuple[int, ...], *targets: Part) -> Plan:
        shape = Shape(kind, sources, targets, self.replica.state.epoch)
        answer = self.do(StartPlan(shape, "a test", 0, by_hand=True))
        assert answer.plan is not None
        self.conductor.look()
        self.group.committed()
        return answer.plan  # type: ignore[no-any-return]

    def phase(self, number: int = 1) -> Phase:
        plan = self.replica.state.plan(number)
        assert plan is not None
        return plan.phase

    def report(
        self, node: int, *replicas: ReplicaReport, copies: tuple[CopyReport, ...] = (), epoch: int = 1 << 30
    ) -> None:
        """A node's report comes; what is proposed by it is applied at once."""
        self.conductor.take_report(node, Report(100 + node, epoch, replicas, copies))
        self.group.committed()

    def everywhere(self, leader: int = 1, **each: Any) -> None:
        """All nodes report a replica of group 2."""
        for node in HERE:
            self.report(node, ReplicaReport(2, leads=node == leader, staleness_ms=5, has_quorum=True, **each))

    def orders(self) -> list[tuple[int, Any]]:
        """What was ordered since the last look here."""
        found = [(node, word) for node, word in self.said if not isinstance(word, MapNews | Report)]
        self.said.clear()
        return found

    def wait(self, seconds: float) -> None:
        """Time passes, and a look comes."""
        self.clock.now += seconds
        self.conductor.look()
        self.group.committed()


def exact(orders: list[tuple[int, Any]]) -> list[tuple[int, str]]:
    """With their kinds, as orders of two kinds may be equal as tuples."""
    return [(node, repr(order)) for node, order in orders]


def splitting() -> World:
    world = World()
    world.everywhere()
    world.plan(Kind.SPLIT, (2,), *HALVES)
    return world


# ---- plans ---------------------------------------------------------------------------------------------


def test_a_split_is_carried_out_from_seal_to_snapshots() -> None:
    """Seal to the leader, map flipped when it is reported, snapshots, done, the source retired."""
    world = splitting()
    [(node, order)] = world.orders()
    assert (node, type(order), order.plan, order.group, order.decides) == (1, SealOrder, 1, 2, True)
    assert [t.group for t in order.targets] == [3, 4]

    world.everywhere(**SEALED)
    assert world.phase() is Phase.RETIRE
    assert [s.group for s in world.replica.state.shard_map().shards] == [3, 4]
    for node in HERE:
        world.report(node, ReplicaReport(2, **SEALED), ReplicaReport(3), ReplicaReport(4, stands=True))
    assert exact(world.orders()) == exact([(node, SnapshotOrder(3)) for node in HERE])
    for node in HERE:
        world.report(
            node, ReplicaReport(2, **SEALED), ReplicaReport(3, stands=True), ReplicaReport(4, stands=True)
        )

    assert world.phase() is Phase.DONE
    world.wait(0.05)
    assert exact(world.orders()) == exact([(node, RetireOrder(2)) for node in HERE])
    assert world.conductor.progress == {}


def test_targets_are_led_from_where_the_source_is() -> None:
    """It has everything and is warm; who does not stay is not put first."""
    world = World()
    world.everywhere(leader=3)
    world.plan(Kind.SPLIT, (2,), *HALVES)

    [(node, order)] = world.orders()

    assert node == 3
    assert [t.replicas for t in order.targets] == [(3, 1, 2)] * 2


def test_an_order_is_said_again_after_a_while() -> None:
    """Words are lost; the same is said once in a while, not at every look."""
    world = splitting()
    assert len(world.orders()) == 1
    world.wait(ORDER_AGAIN / 2)
    assert world.orders() == []

    world.wait(ORDER_AGAIN)

    assert [type(order) for _, order in world.orders()] == [SealOrder]


def test_a_move_is_copied_at_the_rate_that_is_set() -> None:
    """By whoever comes, from those who have it."""
    world = World()
    world.do(JoinNode("127.0.0.1:7404", 104))
    world.everywhere()
    world.plan(Kind.MOVE, (2,), Part(b"", b"", (4, 1, 2)))
    target = Target(3, b"", b"", (4, 1, 2))

    rate = world.replica.state.planning.copy_bytes_per_s
    assert world.orders() == [(4, CopyOrder(1, "default", target, 2, (2, 3, 1), rate))]
    world.report(4, copies=(CopyReport(3, durable=True),))

    assert world.phase() is Phase.SEAL
    assert "copies" not in world.conductor.progress[1]


def test_a_merge_whose_second_source_cannot_be_sealed_is_taken_back() -> None:
    """The first one's clients wait for that long, and no longer."""
    world = World()
    world.do(CreateNamespace(Namespace("jobs"), HALVES))

    def report(first: dict[str, int], second: dict[str, int], *, leader: bool = True) -> None:
        for node in HERE:
            world.report(
                node,
                ReplicaReport(3, leads=node == 1, staleness_ms=5, **first),
                ReplicaReport(4, leads=leader and node == 2, staleness_ms=5, **second),
            )

    report({}, {})
    world.orders()
    number = world.plan(Kind.MERGE, (3, 4), Part(b"", b"", HERE)).id
    [(node, order)] = world.orders()
    assert (node, order.group, order.decides) == (1, 3, False)
    report(SEALED, {}, leader=False)
    world.wait(MERGE_SEALED_MAX - 0.1)
    report(SEALED, {}, leader=False)
    assert world.phase(number) is Phase.SEAL

    world.wait(0.2)

    assert world.phase(number) is Phase.CANCELLING
    world.orders()
    report(SEALED, {})
    assert exact(world.orders()) == exact([(2, AbortOrder(number, 4))])
    report(SEALED, {"floor": number})
    assert exact(world.orders()) == exact([(1, UnsealOrder(number, 3))])
    report({"floor": number}, {"floor": number})
    assert world.phase(number) is Phase.CANCELLED


def test_a_step_that_raft_refuses_is_tried_at_the_next_look() -> None:
    """A refusal may come within the very call: trying again from there would never end."""
    world = World()
    world.everywhere()
    shape = Shape(Kind.SPLIT, (2,), HALVES, world.replica.state.epoch)
    world.do(StartPlan(shape, "a test", 0, by_hand=True))
    world.group.refusing = Busy("the hand-over of the leadership", 20)

    world.conductor.look()
    assert world.phase() is Phase.PREPARE
    world.group.refusing = None
    world.wait(0.05)

    assert world.phase() is Phase.SEAL


def test_nobody_else_acts() -> None:
    """A follower hears all reports, so that it knows already when it leads."""
    world = splitting()
    world.orders()
    world.group.depose(2)
    world.everywhere(**SEALED)
    world.wait(1.0)
    assert world.orders() == []
    assert world.conductor.progress == {}

    world.group.is_leader = True
    world.wait(0.05)

    assert world.phase() is Phase.RETIRE


def test_a_defect_in_one_look_does_not_end_all_looks() -> None:
    """The next comes at its time."""
    world = World()
    world.everywhere()
    world.conductor._spread_news = lambda _: 1 / 0  # type: ignore[method-assign, assignment, return-value]

    with pytest.raises(ZeroDivisionError):
        world.conductor.start()

    assert len(world.timers) == 1


# ---- what nothing needs, and what is missing -----------------------------------------------------------


def test_only_what_neither_map_nor_plan_names_is_retired() -> None:
    """And only ids that were given out: a newer leader's are not judged by this one's map."""
    world = splitting()
    world.orders()
    future = world.replica.state.next_group

    world.report(1, *(ReplicaReport(number) for number in (1, 2, 3, 4, future)), copies=(CopyReport(4),))
    world.orders()
    world.wait(ORDER_AGAIN)

    assert [order for _, order in world.orders() if isinstance(order, RetireOrder | DropCopyOrder)] == []


def test_what_a_deleted_namespace_left_is_retired() -> None:
    """Replicas everywhere, and copies of plans that are no more."""
    world = World()
    world.do(CreateNamespace(Namespace("jobs"), (Part(b"", b"", HERE),)))
    world.do(DeleteNamespace("jobs"))

    world.report(2, ReplicaReport(2), ReplicaReport(3), copies=(CopyReport(3, begun=False),))

    assert exact(world.orders()) == exact([(2, RetireOrder(3)), (2, DropCopyOrder(3))])


def test_an_empty_shard_is_made_where_it_is_missing() -> None:
    """By what its node reports; a shard that came by a plan has what its sources had, and is not made."""
    world = World()
    world.do(CreateNamespace(Namespace("jobs"), (Part(b"", b"", (1, 2)),)))
    target = Target(3, b"", b"", (1, 2))

    for node in HERE:
        world.report(node, ReplicaReport(2))

    assert world.orders() == [(node, CreateOrder("jobs", target)) for node in (1, 2)]
    world.report(1, ReplicaReport(2), ReplicaReport(3))
    world.wait(ORDER_AGAIN)
    assert world.orders() == [(2, CreateOrder("jobs", target))]


def test_orders_and_map_say_how_a_namespace_is_hashed() -> None:
    """Whoever makes a replica is told with the order, clients and nodes by the map; a hot key is a key."""
    world, units, target = World(), Units(1, b"/", hashed=True), Target(3, b"", b"", (1, 2))
    devices = Namespace("devices", unit_parts=1, hashed=True)
    world.do(CreateNamespace(devices, (Part(b"", b"", (1, 2)),)))
    for node in HERE:
        world.report(node, ReplicaReport(2))
    assert world.orders() == [(node, CreateOrder("devices", target, units)) for node in (1, 2)]
    assert {shard.namespace: shard.units for shard in world.conductor.map().shards} == {
        "default": None, "devices": units,
    }  # fmt: skip
    hot, middle = units.placed(b"dev/x"), units.placed(b"dev/y")
    world.report(1, ReplicaReport(2), ReplicaReport(3, leads=True, middle=middle, hot_key=hot))
    load = world.conductor.loads().shards[3]
    assert (load.hot_key, load.middle) == (b"dev/x", middle[:8])


def test_a_copy_of_a_hashed_shard_is_told_so() -> None:
    """The node that takes it may never have heard of the namespace."""
    world = World()
    world.do(JoinNode("127.0.0.1:7404", 104))
    world.do(CreateNamespace(Namespace("devices", unit_parts=1, hashed=True), (Part(b"", b"", HERE),)))
    for node in HERE:
        world.report(node, ReplicaReport(2), ReplicaReport(3))
    world.plan(Kind.MOVE, (3,), Part(b"", b"", (4, 1, 2)))

    ((_, order),) = [said for said in world.orders() if isinstance(said[1], CopyOrder)]
    assert order.units == Units(1, b"/", hashed=True)


def test_a_target_is_never_made_empty() -> None:
    """Its node has lost it, or not made it yet: an empty one in its place would lose every key."""
    world = splitting()
    world.everywhere(**SEALED)
    world.orders()

    for node in HERE:
        world.report(node)
    world.wait(1.0)

    assert [order for _, order in world.orders() if isinstance(order, CreateOrder)] == []


# ---- nodes ---------------------------------------------------------------------------------------------


def test_a_node_of_the_first_configuration_says_who_it_is_by_its_first_report() -> None:
    """Once; its incarnation is in the log from then on."""
    world = World(introduced=False)
    assert world.replica.state.nodes[2].incarnation == 0

    world.report(2)
    world.report(2)

    assert world.replica.state.nodes[2].incarnation == 102
    assert world.group.proposed == []


def test_silence_counts_from_when_this_leader_began_to_listen() -> None:
    """A node that nobody has heard of yet is not down; one that fell silent is, after four reports."""
    world = World()
    assert world.conductor.loads().node(2).down_ms is None, "it does not lead yet"
    world.report(1)
    assert world.conductor.loads().node(1).down_ms == 0
    assert world.conductor.loads().node(2).down_ms is None

    world.wait(SILENT_AFTER + 0.5)

    loads = world.conductor.loads()
    assert loads.node(1).down_ms == loads.node(2).down_ms == 2500
    world.report(2)
    assert world.conductor.loads().node(2).down_ms == 0


def test_a_report_of_a_moment_ago_counts_for_a_new_leader_too() -> None:
    """Reports go to every replica: whoever leads next need not wait for another round to know who is up."""
    world = World()
    world.group.is_leader = False
    world.report(2)
    world.clock.now += 0.1
    world.group.is_leader = True

    world.wait(0.1)

    assert world.conductor.loads().node(2).down_ms == 0


def test_a_leader_that_fell_silent_does_not_hide_the_present_one() -> None:
    """Of two who say they lead, the fresher word holds: for the map's leaders and for the load."""
    world = World()
    world.report(1)
    world.report(3, ReplicaReport(2, leads=True, keys=1))
    world.clock.now += 1.0
    world.report(1, ReplicaReport(2, leads=True, keys=5))

    assert world.conductor.map().shards[0].leader == 1
    assert (world.conductor.loads().shards[2].leader, world.conductor.loads().shards[2].keys) == (1, 5)


def test_load_is_that_of_the_nodes_replicas() -> None:
    """Bytes count wherever a replica is, cuts only where a unit may be parted."""
    world = World()
    said = ReplicaReport(2, leads=True, size_bytes=100, operations_per_s=7, middle=b"m", hot_key=b"h")
    world.report(1, said)

    loads = world.conductor.loads()

    assert [loads.node(n).bytes for n in HERE] == [100] * 3
    shard = loads.shards[2]
    assert (shard.bytes, shard.ops_per_s, shard.middle, shard.hot_key) == (100, 7, b"m", b"h")


# ---- news ----------------------------------------------------------------------------------------------


def news_to(world: World) -> list[tuple[int, int]]:
    """(node, epoch) of the news said since the last look here."""
    found = [(node, word.map.epoch) for node, word in world.said if isinstance(word, MapNews)]
    world.said.clear()
    return found


def test_news_go_to_whoever_goes_by_an_older_map() -> None:
    """At once, again after a while, and no more once it is known."""
    world = World()
    epoch = world.replica.state.epoch
    world.report(2, epoch=0)
    assert news_to(world) == [(2, epoch)]
    world.wait(NEWS_AGAIN / 2)
    assert news_to(world) == []
    for node in (1, 3):
        world.report(node, epoch=epoch)
    world.wait(NEWS_AGAIN)
    assert news_to(world) == [(2, epoch)]

    for node in HERE:
        world.report(node, epoch=epoch)
    world.wait(NEWS_AGAIN)
    assert news_to(world) == []
    for node in HERE:
        world.report(node, epoch=epoch)
    world.do(JoinNode("127.0.0.1:7404", 104))
    world.wait(0.05)

    assert news_to(world)[:3] == [(node, epoch + 1) for node in HERE]


def test_news_go_to_members_that_are_silent() -> None:
    """They may go by news of long ago and report where the placement group was before it moved."""
    world = World()
    epoch = world.replica.state.epoch
    world.report(1, epoch=epoch)
    world.report(2, epoch=epoch)  # and then starts again, with what it knew before that
    assert news_to(world) == []
    world.clock.now += NEWS_AGAIN

    world.report(1, epoch=epoch)
    world.wait(0.5)
    assert news_to(world) == [(2, epoch), (3, epoch)]
    world.report(1, epoch=epoch)
    world.wait(NEWS_AGAIN)

    assert news_to(world) == [(2, epoch), (3, epoch)]


def test_news_say_who_is_there() -> None:
    """Members, not those that are only expected; namespaces; where the placement group is."""
    world = World()
    world.do(AddNode("127.0.0.1:7409", "", (), 0))
    world.report(1, ReplicaReport(2, leads=True))

    news = world.conductor.news()

    assert [node.id for node in news.nodes] == [1, 2, 3]
    assert news.placement == HERE
    assert [space.name for space in news.namespaces] == ["default"]
    assert news.map.shards[0].leader == 1
    assert talk.read(talk.write(news))
