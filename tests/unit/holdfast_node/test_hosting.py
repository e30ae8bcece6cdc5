"""Hosting: every way in which a replica comes to be, is opened again, and ends."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard
from holdfast.types import Level
from holdfast.units import Units
from holdfast_node.cache.decoding import decode_operation
from holdfast_node.cache.seal import OtherSource, Target
from holdfast_node.following import Following
from holdfast_node.placement.cluster import PLACEMENT_GROUP
from holdfast_node.placement.state import PlacementState
from holdfast_node.talk import CopyOrder, CreateOrder, SealOrder, UnsealOrder
from holdfast_raft.machine import CorruptImage

from tests.unit.holdfast_node.cores import HALVES, LEFT, PLAN, RIGHT, SOURCE, Cores, copy_of, moved_to
from tests.unit.holdfast_node.scripted import get, put

LOW, HIGH, WHOLE = 2, 3, 10
MERGED = (Target(WHOLE, b"", b"", (1, 2, 3)),)


def written(cluster: Cores) -> Cores:
    for key in (b"a", b"z"):
        assert not cluster.write(key).error
    return cluster


def split(cluster: Cores) -> Cores:
    """Two keys, one in each half, and the halves stand beside the sealed source."""
    written(cluster).seal()
    return cluster


def stood(cluster: Cores, *groups: int) -> None:
    """Snapshots of their own everywhere."""
    nodes = [node for node in cluster.on() if node.driver]
    for node in nodes:
        for group in groups:
            node.core.hosting.snapshot(group)
    cluster.until(
        lambda: all(
            n.core.hosting.stands(group) for n in nodes for group in groups if group in n.core.hosting.shards
        )
    )


def copied(cluster: Cores, *, to: int = 4) -> Target:
    """A node that has no replica of the source follows it closely."""
    target = moved_to(to, 1, 2)
    written(cluster)
    node = cluster.nodes[to]
    node.core.hosting.copy(copy_of(target))
    cluster.until(
        lambda: node.core.hosting.copies[LEFT].durable_index >= cluster.led().hosted(2).group.applied_index
    )
    return target


# ---- at a start ----------------------------------------------------------------------------------------


def test_a_restart_opens_what_the_wal_knows() -> None:
    """The Born record says range and replicas; configuration is not asked again."""
    cluster = written(Cores(splits=("m",)))
    for node in cluster.on():
        node.restart()

    cluster.led()
    assert [sorted(node.core.hosting.shards) for node in cluster.on()] == [[2, 3]] * 3
    entry = cluster.nodes[1].hosted(3).entry
    assert (entry.namespace, entry.range, [r.node for r in entry.replicas]) == (
        "default",
        KeyRange(b"m", b""),
        [2, 3, 1],
    )


def test_a_first_start_that_was_cut_off_is_finished() -> None:
    """Between the Born records and the note of them the process may end: what was born is opened."""
    cluster = Cores(splits=("m",), placement=True)
    node = cluster.nodes[1]
    node.kill()
    node.creates = True  # the note was never written

    node.start()

    assert sorted(node.core.hosting.shards) == [2, 3]
    assert node.core.conductor is not None
    assert cluster.led(2)


def test_targets_without_snapshots_are_made_again_from_their_source() -> None:
    """All nodes end right after the seal: what was written to a target then is not lost."""
    cluster = split(Cores())
    assert not cluster.write(b"b", LEFT).error
    for node in cluster.on():
        node.kill()
    for node in cluster.on():
        node.start()

    cluster.led(LEFT)
    cluster.led(RIGHT)
    cluster.until(lambda: all(n.keys(LEFT) == [b"a", b"b"] and n.keys(RIGHT) == [b"z"] for n in cluster.on()))


def test_targets_are_made_again_from_a_source_whose_snapshot_is_sealed() -> None:
    """The seal may be in the source's snapshot already: then no entry tells it any more."""
    cluster = split(Cores())
    stood(cluster, SOURCE)
    for node in cluster.on():
        node.driver.groups[SOURCE].want_snapshot()  # type: ignore[union-attr]
    cluster.until(lambda: all(n.driver.groups[SOURCE].own_snapshot() is not None for n in cluster.on()))  # type: ignore[union-attr]
    for node in cluster.on():
        node.restart()

    cluster.led(LEFT)
    assert all(node.core.hosting.waiting == {} for node in cluster.on())
    cluster.until(lambda: all(node.keys(LEFT) == [b"a"] for node in cluster.on()))


def test_generations_that_wait_for_each_other_open_in_order() -> None:
    """A target that was ended before it had a snapshot is a source that waits for its own."""
    cluster = split(Cores())
    cluster.seal((Target(20, b"", b"c", (1, 2, 3)), Target(21, b"c", b"m", (1, 2, 3))), LEFT, PLAN + 1)
    assert not cluster.write(b"b", 20).error
    for node in cluster.on():
        node.restart()

    cluster.led(20)
    cluster.until(lambda: all(node.keys(20) == [b"a", b"b"] for node in cluster.on()))
    assert all(sorted(n.core.hosting.shards) == [SOURCE, LEFT, RIGHT, 20, 21] for n in cluster.on())


def test_a_node_that_lost_a_source_it_needs_does_not_start() -> None:
    """Nothing is left out in silence: the start is refused, and says what to do."""
    cluster = split(Cores())
    node = cluster.nodes[1]
    node.driver.retire_group(SOURCE)  # type: ignore[union-attr] - past hosting's guard
    cluster.world.run_for(0.2)
    node.kill()

    with pytest.raises(CorruptImage, match="was made here from others"):
        node.start()


# ---- in place ------------------------------------------------------------------------------------------


def test_a_seal_makes_the_targets_in_the_call_that_applies_it() -> None:
    """No request sees a state in between: sealed source and targets appear together."""
    cluster = written(Cores())
    seen: list[bool] = []
    node = cluster.nodes[2]
    hosting, learn = node.core.hosting, node.core.routing.learn

    def learned(entries: Iterable[Shard]) -> None:
        seen.append(cluster.have(LEFT, 2) and hosting.shards[SOURCE].moved is not None)
        learn(entries)

    hosting._learned = learned

    cluster.seal()

    assert seen[-1]
    located = node.core.routing.locate("default", b"a")
    assert not isinstance(located, HoldfastError)
    assert located.entry.group == LEFT
    assert [node.keys(LEFT), node.keys(RIGHT)] == [[b"a"], [b"z"]]


def test_a_merge_begins_when_every_source_here_is_sealed() -> None:
    """The first source answers BUSY and makes nothing; the one that decides makes the whole."""
    cluster = Cores(splits=("m",))
    cluster.write(b"a", LOW)
    cluster.write(b"z", HIGH)
    cluster.told(SealOrder(PLAN, LOW, False, MERGED, ()), LOW)
    cluster.until(lambda: all(n.hosted(LOW).moved is not None for n in cluster.on()))
    assert cluster.write(b"b", LOW).reason is Reason.BUSY
    assert not cluster.have(WHOLE, 1)

    first = cluster.nodes[1].hosted(LOW).state.sealed
    assert first is not None
    others = (OtherSource(LOW, first.index, first.term),)
    cluster.told(SealOrder(PLAN, HIGH, True, MERGED, others), HIGH)

    cluster.until(lambda: cluster.have(WHOLE))
    assert cluster.nodes[3].keys(WHOLE) == [b"a", b"z"]
    assert cluster.write(b"b", LOW).reason is Reason.BUSY
    assert cluster.write(b"y", HIGH).reason is Reason.WRONG_SHARD
    assert not cluster.write(b"b", WHOLE).error


def test_a_source_that_is_released_serves_again() -> None:
    """After an Unseal nothing of the merge is left."""
    cluster = Cores(splits=("m",))
    cluster.write(b"a", LOW)
    cluster.told(SealOrder(PLAN, LOW, False, MERGED, ()), LOW)
    cluster.until(lambda: all(n.hosted(LOW).moved is not None for n in cluster.on()))

    cluster.told(UnsealOrder(PLAN, LOW), LOW)

    cluster.until(lambda: all(n.hosted(LOW).moved is None for n in cluster.on()))
    assert not cluster.write(b"b", LOW).error
    assert cluster.nodes[1].hosted(LOW).state.floor == PLAN


# ---- copies --------------------------------------------------------------------------------------------


def test_a_copy_is_born_at_the_seal() -> None:
    """The newcomer and those who stay have one state, and the range's new nodes serve it at once."""
    cluster = Cores(nodes=4)
    target = copied(cluster)
    cluster.write(b"b")

    cluster.seal((target,))

    cluster.until(lambda: cluster.have(LEFT, 1, 2, 4))
    assert not cluster.write(b"c", LEFT).error
    cluster.until(lambda: all(n.keys(LEFT) == [b"a", b"b", b"c", b"z"] for n in cluster.on(1, 2, 4)))
    assert not cluster.have(LEFT, 3)
    located = cluster.nodes[4].core.routing.locate("default", b"a")
    assert not isinstance(located, HoldfastError), "no map says so yet, but the replica is here"


def test_a_copied_replica_starts_again_by_itself() -> None:
    """It has no source here: what it copied and followed is its own state."""
    cluster = Cores(nodes=4)
    target = copied(cluster)
    cluster.write(b"b")
    cluster.seal((target,))
    cluster.until(lambda: cluster.have(LEFT, 1, 2, 4))
    cluster.write(b"c", LEFT)
    cluster.until(lambda: cluster.nodes[4].keys(LEFT) == [b"a", b"b", b"c", b"z"])

    cluster.nodes[4].restart()

    assert cluster.nodes[4].keys(LEFT)[:2] == [b"a", b"b"], (
        "as it was at its birth, before it hears of anybody"
    )
    cluster.until(lambda: cluster.nodes[4].keys(LEFT) == [b"a", b"b", b"c", b"z"])


def test_a_replica_stands_only_once_its_birth_is_on_disk() -> None:
    """Others let go of their sources by this word, so it must outlive the process that says it."""
    cluster = Cores(nodes=4)
    target = copied(cluster)
    node = cluster.nodes[4]
    node.seconds["wal"] = (1.0, 1.0)
    cluster.seal((target,))
    cluster.until(lambda: cluster.have(LEFT, 4))
    assert not node.core.hosting.stands(LEFT)

    cluster.world.run_for(3.0)

    assert node.core.hosting.stands(LEFT)


def test_a_copy_that_was_not_born_begins_anew() -> None:
    """What an earlier process left is reported as not begun, until it is ordered again."""
    cluster = Cores(nodes=4)
    copied(cluster)
    node = cluster.nodes[4]
    node.restart()
    assert node.core.hosting.copies == {}
    assert node.core.driver.unfinished_copies() == {LEFT: SOURCE}

    node.core.hosting.copy(copy_of(moved_to(4, 1, 2)))

    cluster.until(lambda: node.core.hosting.copies[LEFT].durable_index > 0)


def test_a_dropped_copy_never_comes_back() -> None:
    """A late order for it does nothing: its id has ended here."""
    cluster = Cores(nodes=4)
    target = copied(cluster)
    hosting = cluster.nodes[4].core.hosting

    hosting.drop_copy(LEFT)
    hosting.drop_copy(LEFT)
    hosting.copy(copy_of(target))

    assert hosting.copies == {}
    assert cluster.nodes[4].core.driver.retired(LEFT)


def test_a_copy_left_by_an_earlier_process_can_be_dropped() -> None:
    """Its plan was taken back while the node was away."""
    cluster = Cores(nodes=4)
    copied(cluster)
    node = cluster.nodes[4]
    node.restart()

    node.core.hosting.drop_copy(LEFT)

    assert node.core.driver.unfinished_copies() == {}


# ---- empty shards --------------------------------------------------------------------------------------


def test_an_empty_shard_is_made_once() -> None:
    """Orders are said again; a replica that has ended is never made again."""
    cluster = Cores()
    order = CreateOrder("jobs", Target(30, b"", b"", (1, 2, 3)))
    for node in cluster.on():
        node.core.agent.obey(order)
        node.core.agent.obey(order)
    assert not cluster.write(b"job", 30).error
    assert [r.address for r in cluster.nodes[1].hosted(30).entry.replicas] == [
        f"127.0.0.1:740{n}" for n in (1, 2, 3)
    ]

    assert cluster.nodes[1].core.hosting.retire(30) == ""
    cluster.nodes[1].core.agent.obey(order)

    assert not cluster.have(30, 1)


# ---- the end -------------------------------------------------------------------------------------------


def test_a_source_stays_while_a_target_here_needs_it() -> None:
    """Whoever asks: the node knows what its replicas would start from."""
    cluster = split(Cores())
    hosting = cluster.nodes[1].core.hosting
    assert "group 10 has no snapshot of its own" in hosting.retire(SOURCE)

    stood(cluster, LEFT, RIGHT)

    assert hosting.retire(SOURCE) == ""
    assert hosting.retire(SOURCE) == "", "again: nothing"
    assert sorted(hosting.shards) == [LEFT, RIGHT]
    assert cluster.nodes[1].core.driver.retired(SOURCE)
    cluster.world.run_for(0.1)
    cluster.nodes[1].restart()
    assert sorted(cluster.nodes[1].core.hosting.shards) == [LEFT, RIGHT]


def test_a_target_that_ended_without_ever_standing_goes_before_its_source() -> None:
    """Source, target, target's target: they go from the middle on, once the last stands."""
    cluster = split(Cores())
    cluster.seal((Target(20, b"", b"m", (1, 2, 3)),), LEFT, PLAN + 1)
    stood(cluster, RIGHT)
    hosting = cluster.nodes[1].core.hosting
    assert hosting.retire(SOURCE)
    assert hosting.retire(LEFT), "20 is made from it at a restart"

    stood(cluster, 20)

    assert hosting.retire(SOURCE), "LEFT would start from it"
    assert hosting.retire(LEFT) == ""
    assert hosting.retire(SOURCE) == ""
    cluster.world.run_for(0.1)
    cluster.nodes[1].restart()
    assert sorted(cluster.nodes[1].core.hosting.shards) == [RIGHT, 20]


def test_a_retired_replica_is_served_no_more() -> None:
    """Who still waits for it is told."""
    cluster = written(Cores())
    node = cluster.led()
    told: list[object] = []
    shard = node.hosted(SOURCE)
    shard.read(Level.LINEARIZABLE, 0, False, [get(b"a")], None, node.monotonic() + 5, told.append)

    node.core.hosting.retire(SOURCE)

    assert isinstance(told[0], HoldfastError)
    assert told[0].reason is Reason.STOPPED
    assert isinstance(node.core.routing.locate("default", b"a"), HoldfastError)


def test_an_entry_names_the_replicas_with_their_addresses() -> None:
    """Clients of the sealed source are told where the targets are, before any map says so."""
    cluster = split(Cores())

    moved = cluster.nodes[1].hosted(SOURCE).moved

    assert moved is not None
    replicas = tuple(Replica(n, f"127.0.0.1:740{n}") for n in (1, 2, 3))
    assert [(s.group, s.range) for s in moved.shards] == [(t.group, KeyRange(t.start, t.end)) for t in HALVES]
    assert all(isinstance(s, Shard) and set(s.replicas) == set(replicas) for s in moved.shards)


# ---- hashed namespaces ---------------------------------------------------------------------------------

UNITS = Units(1, hashed=True)
HASHED, FIRST_HALF, SECOND_HALF, MOVED = 30, 31, 32, 33
HASH_HALVES = (Target(FIRST_HALF, b"", b"\x80", (1, 2, 3)), Target(SECOND_HALF, b"\x80", b"", (1, 2, 3)))


def with_devices(cluster: Cores) -> Cores:
    for node in cluster.on(1, 2, 3):
        node.core.hosting.create_empty(CreateOrder("devices", Target(HASHED, b"", b"", (1, 2, 3)), UNITS))
    cluster.led(HASHED)
    return cluster


def units_on(cluster: Cores, group: int, *nodes: int) -> set[Units | None]:
    return {cluster.nodes[node].hosted(group).entry.units for node in nodes}


def test_a_replica_knows_from_its_birth_how_its_keys_are_placed() -> None:
    """By the order that made it, before any map or news; and by its record after a restart."""
    cluster = with_devices(Cores())
    assert units_on(cluster, HASHED, 1, 2, 3) == {UNITS}
    assert units_on(cluster, SOURCE, 1, 2, 3) == {None}
    for node in cluster.on():
        node.restart()

    assert units_on(cluster, HASHED, 1, 2, 3) == {UNITS}


def test_targets_in_place_are_hashed_as_their_source_was() -> None:
    """No order says it: they are made of the source, also once more after a restart; clients are told so too.

    What was written before stands at its place on every replica: followers place by the entry.
    """
    cluster = with_devices(Cores())
    leader = cluster.led(HASHED)
    data = put(b"dev/x", stamp_ms=leader.hosted(HASHED).stamp_ms()).SerializeToString()
    op = decode_operation(data, UNITS)
    leader.hosted(HASHED).write(b"", 0, [data], [op], leader.monotonic() + 5, lambda *_: None)
    cluster.until(lambda: all(n.keys(HASHED) == [UNITS.placed(b"dev/x")] for n in cluster.on()))
    cluster.seal(HASH_HALVES, HASHED)
    told = cluster.nodes[1].hosted(HASHED).moved
    assert told is not None
    assert {entry.units for entry in told.shards} == {UNITS}
    assert units_on(cluster, FIRST_HALF, 1, 2, 3) == units_on(cluster, SECOND_HALF, 1, 2, 3) == {UNITS}
    for node in cluster.on():
        node.restart()
    cluster.until(lambda: cluster.have(FIRST_HALF, 1, 2, 3))

    assert units_on(cluster, FIRST_HALF, 1, 2, 3) == {UNITS}


def test_a_copy_is_hashed_as_its_order_says() -> None:
    """A node that never had a replica of the namespace, nor heard of it."""
    cluster = with_devices(Cores(nodes=4))
    target = Target(MOVED, b"", b"", (4, 1, 2))
    cluster.nodes[4].core.hosting.copy(CopyOrder(PLAN, "devices", target, HASHED, (1, 2, 3), 1 << 30, UNITS))
    leader = cluster.led(HASHED).hosted(HASHED)
    cluster.until(
        lambda: cluster.nodes[4].core.hosting.copies[MOVED].durable_index >= leader.group.applied_index
    )
    cluster.told(SealOrder(PLAN, HASHED, True, (target,), ()), HASHED)
    cluster.until(lambda: cluster.have(MOVED, 4, 1, 2))

    assert units_on(cluster, MOVED, 4, 1, 2) == {UNITS}


def test_a_placement_group_that_was_born_without_a_word_is_opened() -> None:
    """Programs that could not move it said nothing about it: its nodes are those of its birth."""
    cluster = Cores()
    node = cluster.nodes[1]
    assert node.driver is not None
    node.driver.create_group(PLACEMENT_GROUP, (1, 2, 3), Following(PlacementState()))
    cluster.world.run_for(0.1)

    node.restart()

    assert node.core.placement is not None
    assert [replica.node for replica in node.core.placement.entry.replicas] == [1, 2, 3]
    assert PLACEMENT_GROUP not in node.core.hosting.shards
