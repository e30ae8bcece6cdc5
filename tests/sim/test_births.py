"""Copies that become replicas: births, crashes around them, and how copies end."""

from __future__ import annotations

import pytest
from holdfast_raft.machine import CorruptImage
from holdfast_raft.messages import Addressed, CopyChunk, CopyEntries, CopyPull, GroupMessage, NodeMessage
from holdfast_raft.replicas import GroupIdUsedError
from holdfast_raft.replication import LogLimits

from tests.sim.copying_acts import OFTEN, items, power_fails_at, pulls, write
from tests.sim.moves import COPIES, SOURCE, SOURCE_NODES, TARGET, Moves
from tests.sim.tape import Tape

# ---- births -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snapshots", [False, True])
def test_after_power_loss_of_all_the_target_has_its_state_and_log(snapshots: bool) -> None:
    """A replica that was copied needs its source no more: all that it is stands in its own files."""
    cluster = Moves(18, OFTEN if snapshots else None)
    write(cluster, 20)
    cluster.order()
    cluster.run_until_caught_up()
    write(cluster, 5, first=20)
    tape = cluster.finish()
    write(cluster, 30 if snapshots else 3, first=100, group=TARGET)
    tape = cluster.agree()
    cluster.world.run_for(1.0)
    for node in cluster.nodes.values():
        node.lose_power()
    for number in COPIES:  # without the nodes of the source
        cluster.boot(cluster.nodes[number])

    cluster.elect(TARGET)
    write(cluster, 3, first=200, group=TARGET)
    assert cluster.nodes[4].tape(TARGET) == [*tape, *items(3, 200)]
    for number in SOURCE_NODES:
        cluster.boot(cluster.nodes[number])
    assert cluster.agree() == [*tape, *items(3, 200)]


def test_a_replica_that_was_a_copy_opens_without_a_replay_too() -> None:
    """Where source and target are one kind of machine, the log up to the birth is applied by its turns."""
    cluster = Moves(19)
    write(cluster, 10)
    driver = cluster.nodes[4].driver
    copied = Tape(cluster.agreed[SOURCE])
    copy = driver.start_copy(TARGET, SOURCE, copied, SOURCE_NODES, 1 << 30)
    assert cluster.world.run_until(lambda: len(copied.items) == 10, 5)
    write(cluster, 5, first=10)
    assert cluster.world.run_until(lambda: len(copied.items) == 15, 5)
    place = (copy.index, copy.term)

    group = driver.birth(TARGET, (4,))
    assert (copy.ended, group.machine, group.applied_index, group.commit_index) == (
        True,
        copied,
        place[0],
        place[0],
    )
    assert cluster.world.run_until(lambda: group.is_leader, 1)
    assert group.term == place[1] + 1
    cluster.nodes[4].lose_power()
    cluster.nodes[4].start()
    driver, tape = cluster.nodes[4].driver, Tape(cluster.agreed[SOURCE])
    assert driver.born(TARGET)[2:4] == place
    group = driver.open_group(TARGET, tape)
    assert group.commit_index == place[0]
    cluster.world.run_for(0.01)

    assert tape.items == items(15)


def test_a_copy_begun_after_the_seal_is_born_at_the_seal() -> None:
    """The source's snapshot may stand further on: its state has not changed since, the target's log has
    begun there."""
    cluster = Moves(20, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0))
    write(cluster, 20)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    cluster.propose(cluster.elect(SOURCE), b"seal", SOURCE)
    cluster.world.run_for(1.0)
    sealed = cluster.nodes[2].machines[SOURCE].sealed
    for n in range(5):
        cluster.propose(cluster.elect(SOURCE), b"ignored%d" % n, SOURCE)
    cluster.world.run_for(0.5)
    for number in SOURCE_NODES:
        cluster.nodes[number].group(SOURCE).want_snapshot()
    cluster.world.run_for(0.5)
    write(cluster, 3, first=100, group=TARGET)
    cluster.order(5)
    tape = cluster.agree()

    driver = cluster.nodes[5].driver
    assert tape == [*items(20), b"moved", *items(3, 100)]
    assert driver.born(TARGET)[2:4] == sealed
    cluster.nodes[5].lose_power()
    cluster.boot(cluster.nodes[5])
    assert cluster.agree() == tape


def test_what_was_copied_is_never_given_on_as_the_targets_own() -> None:
    """Below its birth a replica holds another group's state: who copies the target gets the target's."""
    cluster = Moves(21)
    write(cluster, 10)
    cluster.order()
    cluster.run_until_caught_up()
    tape = cluster.finish()
    second = Tape(cluster.agreed[TARGET])
    driver = cluster.nodes[2].driver
    copy = driver.start_copy(30, TARGET, second, (4,), 1 << 30)
    write(cluster, 3, first=100, group=TARGET)

    assert cluster.world.run_until(lambda: len(second.items) == len(tape) + 3, 5)
    assert second.items == [*tape, *items(3, 100)]
    born = cluster.nodes[4].driver.born(TARGET)
    assert copy.journal.base_index >= born.base_index
    serving = cluster.nodes[4]
    below = born.base_index - 1
    assert serving.group(TARGET).journal.base_index <= below  # it holds such entries
    given: list[GroupMessage] = []

    def observe(source: int, target: int, message: NodeMessage) -> None:
        if isinstance(message, Addressed) and isinstance(message.body, CopyChunk | CopyEntries):
            given.append(message.body)

    cluster.network.observe = observe
    term = serving.group(TARGET).journal.term_at(below) or 0
    serving.driver.received(3, Addressed(TARGET, 0, CopyPull(31, below, term, 0, 0, 1000)))
    cluster.world.run_for(0.2)
    assert [type(each) for each in given if each.copy == 31] == [CopyChunk]


def test_a_follower_that_needs_a_snapshot_gets_the_targets_own() -> None:
    """A leader that was a copy does not send it what it was copied from."""
    cluster = Moves(22, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0))
    write(cluster, 10)
    cluster.order()
    cluster.run_until_caught_up()
    cluster.finish()
    away = cluster.nodes[5]
    away.kill()
    write(cluster, 10, first=100, group=TARGET)
    for number in (1, 4):
        cluster.nodes[number].group(TARGET).want_snapshot()
    cluster.world.run_for(1.0)
    assert cluster.nodes[4].group(TARGET).own_snapshot() is not None
    write(cluster, 3, first=110, group=TARGET)
    cluster.boot(away)

    assert cluster.agree() == [*items(10), b"moved", *items(13, 100)]


def test_a_machine_that_cannot_apply_an_entry_ends_the_copy_in_good_order() -> None:
    """It says which; it waits to be dropped, and the node lives."""
    cluster = Moves(23)
    write(cluster, 10)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    copy = cluster.copies[4]
    copy.machine.poison = b"value010"
    write(cluster, 3, first=10)
    cluster.world.run_for(1.0)

    assert copy.failed
    assert "cannot be applied: poison" in copy.problem
    assert copy.machine.items == items(10)
    copy.want_snapshot()
    cluster.nodes[4].driver.drop_copy(TARGET)
    cluster.world.run_for(0.5)
    assert cluster.nodes[4].died is None


# ---- crashes ----------------------------------------------------------------------------------------------

CHANGES = frozenset(("create", "write", "sync", "rename", "unlink", "sync_dir"))


@pytest.mark.parametrize("limits", [None, OFTEN], ids=["one snapshot", "many snapshots"])
@pytest.mark.parametrize("first", range(6))
def test_power_loss_of_a_copying_node_at_any_moment_costs_nothing(
    first: int, limits: LogLimits | None
) -> None:
    """After any call on its disk: it begins anew, or is a replica with all that the others have."""
    call, fates = first + 1, set()
    while True:
        cluster = Moves(100 + call, limits)
        write(cluster, 15)
        node = cluster.nodes[4]
        counted = power_fails_at(node, call, CHANGES)
        cluster.order()
        write(cluster, 10, first=15)
        cluster.world.run_until(
            lambda cluster=cluster, node=node: node.driver is None or cluster.caught_up(), 3
        )
        cluster.propose(cluster.elect(SOURCE), b"seal", SOURCE)
        cluster.world.run_for(0.5)
        if node.driver is not None:  # the last call of all is behind us
            assert counted[0] < call
            break
        cluster.boot(node)
        fates.add(TARGET in node.driver.groups)

        assert cluster.finish()[:25] == items(25), f"at call {call}"
        write(cluster, 2, first=100, group=TARGET)
        call += 6

    assert False in fates


@pytest.mark.parametrize("seed", range(8))
def test_power_loss_of_all_nodes_around_the_seal_loses_nothing(seed: int) -> None:
    """Whatever of the births was durable; what was acknowledged is there."""
    cluster = Moves(200 + seed)
    write(cluster, 10)
    cluster.order()
    cluster.run_until_caught_up()
    cluster.propose(cluster.elect(SOURCE), b"seal", SOURCE)
    cluster.world.run_for(0.0007 * seed)
    for node in cluster.nodes.values():
        node.lose_power()
    for node in cluster.nodes.values():
        cluster.boot(node)

    assert cluster.world.run_until(
        lambda: cluster.leader(SOURCE) is not None or cluster.leader(TARGET) is not None, 10
    )
    cluster.world.run_for(2.0)
    assert cluster.finish() == [*items(10), b"moved"]


@pytest.mark.parametrize("seed", range(6))
def test_copies_over_a_network_that_breaks_get_there(seed: int) -> None:
    """Resets and stalls in the middle of everything."""
    cluster = Moves(300 + seed, OFTEN)
    rng = cluster.world.rng_of("breaks")
    write(cluster, 20)
    cluster.order()

    def break_something() -> None:
        node, source = rng.choice(COPIES), rng.choice(SOURCE_NODES)
        if rng.random() < 0.5:
            cluster.network.reset(node, source)
        else:
            cluster.network.stall(node, source)
            cluster.world.at(cluster.world.now + rng.random(), lambda: cluster.network.unstall(node, source))

    for n in range(40):
        break_something()
        write(cluster, 1, first=20 + n)
        cluster.world.run_for(0.05)

    assert cluster.finish() == [*items(60), b"moved"]


# ---- ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at once", "midway", "caught up", "after a restart"])
def test_a_copy_that_is_dropped_leaves_nothing(when: str) -> None:
    """No files, nothing in the log, no timer that asks on; its id is not used again."""
    cluster = Moves(24, OFTEN, bytes_per_s=2000 if when == "midway" else 1 << 30)
    write(cluster, 60)
    cluster.order(4)
    node = cluster.nodes[4]
    copy = cluster.copies[4]
    if when == "midway":
        assert cluster.world.run_until(lambda: copy.bytes_copied > 0, 1)
        assert copy.index == 0
    elif when != "at once":
        cluster.run_until_caught_up(4)
    if when == "after a restart":
        node.lose_power()
        node.start()
        assert node.driver.unfinished_copies() == {TARGET: SOURCE}

    node.driver.drop_copy(TARGET)
    node.driver.drop_copy(TARGET)
    cluster.world.run_for(0.5)
    asked = pulls(cluster)
    cluster.world.run_for(2.0)

    assert asked == []
    assert node.disk.names("snapshots/9") == []
    assert (node.driver.retired(TARGET), node.driver.born(TARGET)) == (True, None)
    assert node.driver.unfinished_copies() == {}
    with pytest.raises(GroupIdUsedError):
        cluster.copy(node)
    node.lose_power()
    node.start()
    assert (node.driver.retired(TARGET), node.wal.recovered[TARGET].entries) == (True, [])
    assert node.driver.known_groups() == []


def test_what_is_no_copy_is_not_dropped() -> None:
    """Neither a replica nor what was never here."""
    cluster = Moves(25)
    for group in (SOURCE, 77):
        with pytest.raises(ValueError, match="no copy"):
            cluster.nodes[1].driver.drop_copy(group)
    with pytest.raises(GroupIdUsedError):
        cluster.nodes[1].driver.start_copy(SOURCE, 3, Tape({}), (2,), 1)


def test_a_node_that_copies_is_no_member_and_says_nothing_as_one() -> None:
    """Until it is born no message makes it vote, follow or confirm."""
    cluster = Moves(26)
    write(cluster, 5)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    driver = cluster.nodes[4].driver

    assert TARGET not in driver.groups
    assert driver.known_groups() == []
    assert not driver.retired(TARGET)


def test_a_missing_snapshot_of_a_replica_that_was_a_copy_stops_the_start() -> None:
    """Its machine would be empty, and its log goes on from the snapshot."""
    cluster = Moves(27)
    write(cluster, 10)
    cluster.order()
    cluster.run_until_caught_up()
    cluster.finish()
    node = cluster.nodes[4]
    node.kill()
    node.disk.power_on()
    for name in node.disk.names("snapshots/9"):
        node.disk.unlink(f"snapshots/9/{name}")
    node.start()

    with pytest.raises(CorruptImage, match="is missing"):
        node.driver.open_group(TARGET, Tape({}))


def test_a_missing_snapshot_is_noticed_also_where_the_log_begins_at_the_birth() -> None:
    """Born at the snapshot itself: nothing in the log tells that there was one, but the birth record does."""
    cluster = Moves(30)
    write(cluster, 10)
    driver = cluster.nodes[4].driver
    tape = Tape(cluster.agreed[SOURCE])
    driver.start_copy(
        TARGET, SOURCE, tape, SOURCE_NODES, 1 << 30, applied=lambda _, __: driver.birth(TARGET, (4,))
    )
    assert cluster.world.run_until(lambda: TARGET in driver.groups, 5)
    cluster.world.run_for(0.1)
    node = cluster.nodes[4]
    node.kill()
    node.disk.power_on()
    for name in node.disk.names("snapshots/9"):
        node.disk.unlink(f"snapshots/9/{name}")
    node.start()

    with pytest.raises(CorruptImage, match="is missing"):
        node.driver.open_group(TARGET, Tape({}))
