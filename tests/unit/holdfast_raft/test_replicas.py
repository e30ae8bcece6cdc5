"""How a node's replicas come to be, are opened again, and end; on the simulated network."""

from __future__ import annotations

import pytest
from holdfast_raft.driver import TOLD_BYTES_MAX
from holdfast_raft.machine import CorruptImage
from holdfast_raft.messages import Addressed, Gone, Here, Vote, VoteReply
from holdfast_raft.replicas import GroupIdUsedError
from holdfast_raft.replication import LogLimits

from tests.sim.cluster import Cluster
from tests.sim.tape import Tape
from tests.unit.holdfast_raft.births import BASE, GROUP, MEMBERS, Births

# ---- births -----------------------------------------------------------------------------------------------


def test_a_replica_says_that_it_is_here_only_once_its_birth_is_durable() -> None:
    """Who hears of it counts on its vote; a node that loses power in the sync has never been."""
    cluster = Births(seed=4)
    cluster.nodes[1].seconds["wal"] = (0.05, 0.05)
    said = cluster.watch(Here)
    cluster.give_birth(1)
    cluster.world.run_for(0.04)
    assert said == []

    cluster.world.run_for(0.1)

    assert sorted((source, target) for source, target, _ in said) == [(1, 2), (1, 3)]


def test_an_empty_group_says_nothing_of_its_birth() -> None:
    """Nobody waits for it: its members give the first of them time, wherever the others are."""
    cluster = Births(seed=7)
    said = cluster.watch(Here)
    for number in MEMBERS:
        cluster.nodes[number].driver.create_group(8, MEMBERS, Tape({}))
    cluster.world.run_for(1.0)

    assert said == []


def test_a_replica_takes_a_snapshot_of_the_state_it_was_born_with() -> None:
    """Alone too, with nothing applied since: then it needs no other's state at its next start."""
    cluster = Births(seed=27)
    cluster.give_birth(2)
    group = cluster.nodes[2].group(GROUP)
    assert group.own_snapshot() is None
    group.want_snapshot()
    cluster.world.run_for(0.2)

    assert group.own_snapshot().index == BASE[0]


def test_a_group_whose_id_was_used_is_not_created() -> None:
    """Born or retired, in this process or an earlier one: an id means one group for ever."""
    cluster = Births(seed=8)
    cluster.give_birth_to_all()
    node = cluster.nodes[1]
    with pytest.raises(GroupIdUsedError):
        cluster.give_birth(1)

    node.driver.retire_group(GROUP)
    with pytest.raises(GroupIdUsedError):
        cluster.give_birth(1)
    cluster.world.run_for(0.1)
    node.lose_power()
    node.start()
    with pytest.raises(GroupIdUsedError):
        cluster.give_birth(1)


def test_what_is_about_a_replica_is_known_after_a_restart_and_after_its_end() -> None:
    """A node knows its replicas from the WAL alone."""
    cluster = Births(seed=9)
    driver = cluster.nodes[1].driver
    assert driver.born(GROUP) is None
    cluster.give_birth_to_all()
    assert driver.born(GROUP).about == b"a target"
    cluster.restart_all()
    driver = cluster.nodes[1].driver
    assert driver.known_groups() == [GROUP]
    assert (driver.born(GROUP).base_index, driver.born(GROUP).base_term) == BASE

    driver.retire_group(GROUP)

    assert driver.born(GROUP).about == b"a target"
    assert driver.known_groups() == []


# ---- opening ----------------------------------------------------------------------------------------------


def test_a_group_without_a_snapshot_is_opened_on_the_state_of_its_base() -> None:
    """Its log begins there: what the machine holds already is not applied again, what follows is."""
    cluster = Births(seed=10)
    cluster.give_birth_to_all()
    cluster.write(b"v", GROUP)
    cluster.settle()

    cluster.restart_all()
    cluster.elect(GROUP)
    cluster.settle()

    assert [node.tape(GROUP) for node in cluster.nodes.values()] == [[b"from the source", b"v"]] * 3
    assert cluster.elect(GROUP).group(GROUP).term > BASE[1] + 1


def test_a_group_with_a_snapshot_of_its_own_needs_no_other_state() -> None:
    """What the machine held is replaced by it."""
    cluster = Births(seed=11, log_limits=LogLimits(snapshot_after_bytes=20, trailing_bytes=0))
    cluster.give_birth_to_all()
    for n in range(10):
        cluster.write(b"value%d" % n, GROUP)
    cluster.world.run_for(1.0)

    cluster.restart_all()
    cluster.elect(GROUP)
    cluster.settle()

    assert cluster.nodes[1].driver.store.latest(GROUP).index > BASE[0]
    assert cluster.nodes[1].tape(GROUP) == [b"from the source", *(b"value%d" % n for n in range(10))]


def test_what_is_known_to_be_committed_is_applied_without_an_election() -> None:
    """A node alone cannot ask a majority; that its target was born proves how far its source had come."""
    cluster = Cluster(seed=12)
    for n in range(5):
        cluster.write(b"v%d" % n)
    cluster.settle()
    node = cluster.elect()
    applied = node.group().applied_index
    for each in cluster.nodes.values():
        each.kill()
    node.cluster.groups = {}
    node.start()
    tape = Tape(cluster.agreed[2])

    group = node.driver.open_group(2, tape, committed=applied - 1)
    assert (group.commit_index, tape.items) == (applied - 1, [])
    group.catch_up()

    assert tape.items == [b"v%d" % n for n in range(4)]
    assert group.applied_index == group.commit_index == applied - 1


def test_what_is_known_to_be_committed_is_applied_by_the_turns_too() -> None:
    """As far as the log goes: what it lacks comes from the leader."""
    cluster = Cluster(seed=13)
    cluster.write(b"v")
    cluster.settle()
    node = cluster.elect()
    for each in cluster.nodes.values():
        each.kill()
    node.cluster.groups = {}
    node.start()
    tape = Tape(cluster.agreed[2])

    group = node.driver.open_group(2, tape, committed=10**6)
    cluster.world.run_for(0.01)

    assert tape.items == [b"v"]
    assert group.commit_index == group.journal.last_index


# ---- ends -------------------------------------------------------------------------------------------------


def test_a_retired_replica_has_stopped_and_leaves_no_files() -> None:
    """Its snapshots go once the tombstone is durable, not before."""
    cluster = Births(seed=14, log_limits=LogLimits(snapshot_after_bytes=20, trailing_bytes=0))
    cluster.give_birth_to_all()
    for n in range(10):
        cluster.write(b"value%d" % n, GROUP)
    cluster.world.run_for(1.0)
    node = cluster.nodes[1]
    group = node.group(GROUP)
    node.seconds["wal"] = (0.05, 0.05)

    node.driver.retire_group(GROUP)
    node.driver.retire_group(GROUP)

    assert (group.stopped, node.driver.groups, node.driver.retired(GROUP)) == ("retired", {}, True)
    cluster.world.run_for(0.03)
    assert node.disk.names("snapshots/7") != []
    cluster.world.run_for(0.2)
    assert node.disk.names("snapshots/7") == []


def test_files_of_a_retired_replica_that_outlived_its_process_go_at_the_next_start() -> None:
    """A crash between the tombstone and the removal leaves nothing for ever."""
    cluster = Births(seed=15, log_limits=LogLimits(snapshot_after_bytes=20, trailing_bytes=0))
    cluster.give_birth_to_all()
    for n in range(10):
        cluster.write(b"value%d" % n, GROUP)
    cluster.world.run_for(1.0)
    node = cluster.nodes[1]
    node.seconds["files"] = (10.0, 10.0)
    node.driver.retire_group(GROUP)
    cluster.world.run_for(0.1)
    node.lose_power()
    assert node.disk.durable_names("snapshots/7") != []

    node.seconds["files"] = (0.001, 0.001)
    node.start()
    cluster.world.run_for(3.0)

    assert node.disk.names("snapshots/7") == []


@pytest.mark.parametrize("restarted", [False, True])
def test_who_speaks_to_a_retired_group_is_told_now_and_then_that_it_is_gone(restarted: bool) -> None:
    """The others' replicas go on asking for support: one answer a second for each is enough."""
    cluster = Births(seed=16)
    cluster.give_birth_to_all()
    node = cluster.nodes[1]
    node.driver.retire_group(GROUP)
    if restarted:
        cluster.world.run_for(0.1)
        node.lose_power()
        node.start()
    cluster.world.run_for(1.1)
    said = cluster.watch(Gone)
    for _ in range(350):
        for peer in (2, 3):
            node.driver.received(peer, Addressed(GROUP, 9, Here()))
        cluster.world.run_for(0.01)

    assert sorted((source, target) for source, target, _ in said) == [(1, 2)] * 4 + [(1, 3)] * 4


def test_two_retired_replicas_do_not_tell_each_other_for_ever() -> None:
    """Gone is the last word."""
    cluster = Births(seed=17)
    cluster.give_birth_to_all()
    for number in (1, 3):
        cluster.nodes[number].driver.retire_group(GROUP)
    cluster.world.run_for(0.1)
    cluster.nodes[2].kill()
    said = cluster.watch(Gone)
    cluster.nodes[1].driver.received(3, Addressed(GROUP, 0, Gone()))
    cluster.world.run_for(5.0)

    assert said == []


def test_a_retired_replica_never_votes_again() -> None:
    """Not after power loss of all either: the one that is left leads nobody."""
    cluster = Births(seed=18)
    cluster.give_birth_to_all()
    for number in (1, 3):
        cluster.nodes[number].driver.retire_group(GROUP)
    cluster.world.run_for(0.1)
    cluster.restart_all()
    votes = cluster.watch(Vote, VoteReply)
    cluster.world.run_for(5.0)

    assert all(cluster.nodes[number].driver.known_groups() == [] for number in (1, 3))
    assert votes == []
    assert cluster.leader(GROUP) is None


def test_a_tombstone_is_told_of_only_once_it_is_durable() -> None:
    """Who hears that a replica is gone may act on it."""
    cluster = Births(seed=19)
    cluster.give_birth_to_all()
    node = cluster.nodes[1]
    node.seconds["wal"] = (0.05, 0.05)
    said = cluster.watch(Gone)
    node.driver.retire_group(GROUP)
    node.driver.received(2, Addressed(GROUP, 9, Here()))
    cluster.world.run_for(0.04)
    assert said == []

    cluster.world.run_for(0.2)

    assert said != []


def test_a_replica_may_be_retired_in_the_call_that_applies_an_entry() -> None:
    """That is where an owner learns that it is no longer needed."""
    cluster = Births(seed=20)
    cluster.give_birth_to_all()
    leader = cluster.elect(GROUP)
    tape = leader.machines[GROUP]
    apply = tape.apply

    def apply_and_retire(index: int, term: int, data: bytes, context: object | None) -> object:
        result = apply(index, term, data, context)
        leader.driver.retire_group(GROUP)
        return result

    tape.apply = apply_and_retire
    out = cluster.propose(leader, b"last", GROUP)

    assert cluster.world.run_until(lambda: bool(out), 1.0)
    assert out[0].result == 2
    cluster.world.run_for(1.0)
    assert leader.died is None


def test_a_group_that_was_never_here_is_not_retired() -> None:
    """A tombstone is for what was: anything else is a mistake of the caller's."""
    cluster = Births(seed=21)

    with pytest.raises(ValueError, match="not born"):
        cluster.nodes[1].driver.retire_group(GROUP)
    assert not cluster.nodes[1].driver.retired(GROUP)


def test_a_snapshot_that_the_log_needs_and_that_is_missing_stops_the_start() -> None:
    """The state between the base of the birth and that of the log is nowhere else on this node."""
    cluster = Births(seed=22, log_limits=LogLimits(snapshot_after_bytes=20, trailing_bytes=0))
    cluster.give_birth_to_all()
    for n in range(10):
        cluster.write(b"value%d" % n, GROUP)
    cluster.world.run_for(1.0)
    node = cluster.nodes[1]
    node.kill()
    node.disk.power_on()
    for name in node.disk.names("snapshots/7"):
        node.disk.unlink(f"snapshots/7/{name}")

    with pytest.raises(CorruptImage, match="is missing"):
        node.start()


# ---- words between nodes ----------------------------------------------------------------------------------


def test_what_one_node_tells_another_arrives_there_in_order() -> None:
    """Both lanes; also from outside a turn, without waiting for the next heartbeat."""
    cluster = Cluster(seed=23, groups=())
    cluster.world.run_for(1.0)
    heard: list[tuple[int, bytes]] = []
    cluster.nodes[2].driver.on_told = lambda node, data: heard.append((node, data))
    for n in range(20):
        assert cluster.nodes[1].driver.tell(2, b"word %d" % n)
        assert cluster.nodes[3].driver.tell(2, b"much %d" % n, bulk=True)
        cluster.world.run_for(0.005)
        assert len(heard) == 2 * n + 2
        cluster.world.run_for(0.004)

    assert [data for node, data in heard if node == 1] == [b"word %d" % n for n in range(20)]
    assert [data for node, data in heard if node == 3] == [b"much %d" % n for n in range(20)]


def test_telling_a_node_that_is_not_connected_says_so() -> None:
    """Nothing is queued for it."""
    cluster = Cluster(seed=24, groups=())
    cluster.world.run_for(0.1)
    cluster.network.cut(1, 2)
    cluster.world.run_for(0.01)

    assert not cluster.nodes[1].driver.tell(2, b"word")


def test_an_error_of_who_is_told_does_not_end_the_turn(caplog: pytest.LogCaptureFixture) -> None:
    """The groups of the node go on; also where nobody listens."""
    cluster = Cluster(seed=25)
    cluster.elect()

    def failing(node: int, data: bytes) -> None:
        raise RuntimeError("planted")

    cluster.nodes[2].driver.on_told = failing
    for node in (2, 3):
        cluster.nodes[1].driver.tell(node, b"word")
    cluster.world.run_for(0.1)

    assert "planted" in caplog.text
    cluster.write(b"v")


def test_what_is_told_at_once_is_bounded() -> None:
    """A map of the most shards with the longest keys fits; more is the caller's to cut."""
    with pytest.raises(AssertionError, match="told at once"):
        Cluster(seed=26, groups=()).nodes[1].driver.tell(2, bytes(TOLD_BYTES_MAX + 1))
