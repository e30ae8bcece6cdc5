"""A replica among its peers: reads, snapshots, stops; on the simulated network."""

from __future__ import annotations

import copy
import errno

import pytest
from holdfast_raft.errors import DiskFull, NotLeader, RaftError, Stopped, StoppedMidway
from holdfast_raft.messages import Addressed, Append, NodeMessage, SnapshotChunk
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.sim import SimDisk
from holdfast_raft.wal import WalOptions

from tests.sim.cluster import Cluster, SimNode
from tests.sim.tape import Tape

SMALL = LogLimits(snapshot_after_bytes=300, trailing_bytes=100)


def barrier(cluster: Cluster, node: SimNode, within: float = 1.0) -> list[object]:
    out: list[object] = []
    node.group().barrier(cluster.world.now + within, out.append)
    return out


def isolate(cluster: Cluster, node: SimNode) -> None:
    for other in cluster.nodes:
        if other != node.number:
            cluster.network.cut(node.number, other)


def rejoin(cluster: Cluster, node: SimNode) -> None:
    for other in cluster.nodes:
        if other != node.number:
            cluster.network.heal(node.number, other)


def test_a_barrier_covers_every_write_acknowledged_before_it() -> None:
    """On the leader and on followers alike the point lies at or behind the last acknowledged entry."""
    cluster = Cluster(seed=41)
    for n in range(10):
        done = cluster.write(b"v%d" % n)
        assert isinstance(done, Applied)
        for node in cluster.nodes.values():
            out = barrier(cluster, node)
            assert cluster.world.run_until(lambda out=out: bool(out), 2)
            assert isinstance(out[0], int)
            assert out[0] >= done.index


def test_a_leader_cut_off_confirms_no_read() -> None:
    """Until it knows that it is deposed it has nothing to answer with; then it says so."""
    cluster = Cluster(seed=42)
    old = cluster.elect()
    cluster.write(b"v")
    isolate(cluster, old)

    out = barrier(cluster, old, within=5)
    assert cluster.world.run_until(lambda: bool(out), 6)

    assert isinstance(out[0], RaftError)


def test_a_leader_that_was_stopped_confirms_no_read_it_should_not() -> None:
    """A paused leader answers a read asked before the pause only with a point that others confirmed."""
    cluster = Cluster(seed=43)
    old = cluster.elect()
    cluster.settle()
    out = barrier(cluster, old, within=20)
    cluster.world.pause(old.number)
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, old), 5)
    cluster.write(b"newer")
    late = barrier(cluster, old, within=20)
    cluster.world.resume(old.number)
    assert cluster.world.run_until(lambda: bool(out) and bool(late), 5)

    assert isinstance(late[0], NotLeader)


def test_a_follower_without_a_leader_refuses_reads_at_once() -> None:
    """No hanging until the deadline when nobody is there to ask."""
    cluster = Cluster(seed=44)
    leader = cluster.elect()
    cluster.settle()
    node = next(n for n in cluster.nodes.values() if n is not leader)
    isolate(cluster, node)
    cluster.world.run_for(0.01)

    out = barrier(cluster, node)

    assert isinstance(out[0], NotLeader)


def test_a_new_leaders_reads_wait_for_its_first_entry() -> None:
    """Only then is everything of earlier terms known to be applied; the read is held, not refused."""
    cluster = Cluster(seed=45)
    assert cluster.world.run_until(lambda: any(n.group().engine.is_leader for n in cluster.nodes.values()), 5)
    leader = next(n for n in cluster.nodes.values() if n.group().engine.is_leader)
    assert not leader.group().is_leader

    out = barrier(cluster, leader)
    assert out == []
    assert cluster.world.run_until(lambda: bool(out), 2)

    assert out[0] >= leader.group().engine.noop_index


def test_a_follower_behind_the_log_catches_up_by_a_snapshot_and_goes_on() -> None:
    """What the log no longer holds comes as a snapshot, chunk by chunk; the rest as entries."""
    cluster = Cluster(seed=46, log_limits=SMALL)
    leader = cluster.elect()
    away = next(n for n in cluster.nodes.values() if n is not leader)
    away.kill()
    for n in range(60):
        cluster.write(b"value%03d" % n)
    chunks: list[int] = []

    def count(_: int, __: int, message: NodeMessage) -> NodeMessage:
        if isinstance(message, Addressed) and isinstance(message.body, SnapshotChunk):
            chunks.append(message.body.number)
        return message

    cluster.network.tamper = count
    away.start()
    cluster.settle()
    for n in range(60, 70):
        cluster.write(b"value%03d" % n)
    cluster.settle()

    assert away.tape() == [b"value%03d" % n for n in range(70)]
    assert max(chunks) > 3


def test_a_snapshot_cut_off_midway_starts_over() -> None:
    """The connection breaks while chunks are on their way: the next one brings the whole."""
    cluster = Cluster(seed=47, log_limits=SMALL)
    leader = cluster.elect()
    away = next(n for n in cluster.nodes.values() if n is not leader)
    away.kill()
    for n in range(60):
        cluster.write(b"value%03d" % n)
    broken: list[bool] = []

    def cut_once(source: int, target: int, message: NodeMessage) -> NodeMessage | None:
        chunk = isinstance(message, Addressed) and isinstance(message.body, SnapshotChunk)
        if chunk and message.body.number == 3 and not broken:
            broken.append(True)
            cluster.world.at(cluster.world.now, lambda: cluster.network.cut(source, target))
            cluster.world.at(cluster.world.now + 0.1, lambda: cluster.network.heal(source, target))
            return None
        return message

    cluster.network.tamper = cut_once
    away.start()
    cluster.settle()

    assert broken
    assert away.tape() == [b"value%03d" % n for n in range(60)]


def test_a_restarted_node_stands_where_its_snapshot_and_log_say() -> None:
    """Snapshot, then the log behind it, also after power loss of all nodes."""
    cluster = Cluster(seed=48, log_limits=SMALL)
    for n in range(40):
        cluster.write(b"value%03d" % n)
    cluster.settle()
    for node in cluster.nodes.values():
        node.lose_power()
    for node in cluster.nodes.values():
        node.start()
    cluster.elect()
    cluster.settle()

    assert all(node.tape() == [b"value%03d" % n for n in range(40)] for node in cluster.nodes.values())
    assert cluster.elect().group().status().snapshot_index > 1


def test_a_replica_whose_disk_lost_what_was_synced_stops_and_the_others_go_on() -> None:
    """It does not know it by itself; the leader does, who was told by it that it had these entries."""
    cluster = Cluster(seed=49)
    leader = cluster.elect()
    follower = next(node for node in cluster.nodes.values() if node is not leader)
    cluster.write(b"before")
    cluster.settle()
    follower.lose_power()
    earlier = copy.deepcopy(follower.disk)
    follower.start()
    cluster.settle()
    for n in range(5):
        cluster.write(b"v%d" % n)
    cluster.settle()
    assert cluster.elect() is leader
    follower.lose_power()
    follower.disk = earlier
    follower.start()
    cluster.world.run_until(lambda: bool(follower.group().stopped), 5)

    assert "lost what was synced" in follower.group().stopped
    assert "holdfast node reset" in follower.group().stopped
    assert isinstance(cluster.write(b"after"), Applied)


def test_the_wal_stays_short_while_groups_snapshot() -> None:
    """Segments that nothing needs are freed, also those an idle group would keep."""
    options = WalOptions(segment_bytes=8 << 10, segments_max=3)
    cluster = Cluster(seed=49, groups=(2, 3), wal_options=options, log_limits=LogLimits(10_000, 1000))
    cluster.write(b"idle", group=3)
    for n in range(150):
        cluster.write(b"value%03d" % n + b"." * 500)
        cluster.world.run_for(0.05)
    cluster.world.run_for(5)

    for node in cluster.nodes.values():
        assert len(node.disk.names("wal")) <= 8
    assert cluster.nodes[1].tape(3) == [b"idle"]


def test_a_full_disk_refuses_writes_gives_up_the_leadership_and_still_votes() -> None:
    """protocols.md 5: somebody with room leads; the full node follows."""
    options = WalOptions(segment_bytes=8 << 10, segments_max=3)
    cluster = Cluster(seed=50, wal_options=options)
    full = cluster.elect()

    def no_room(what: str, _: str) -> None:
        if what == "create":
            raise OSError(errno.ENOSPC, "planted")

    full.disk.fail = no_room
    for n in range(40):
        assert isinstance(cluster.write(b"v%02d" % n + b"." * 300), Applied | RaftError)
        if cluster.leader() is not full:
            break
        cluster.world.run_for(0.1)
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, full), 10)

    refused = cluster.propose(full, b"v")
    assert isinstance(refused[0], NotLeader | DiskFull)
    assert full.died is None


def test_a_stopped_replica_answers_everyone() -> None:
    """Callers of a replica that stopped are told why, at once."""
    cluster = Cluster(seed=51)
    leader = cluster.elect()
    waiting: list[object] = []
    leader.group().wait_applied(99, cluster.world.now + 60, waiting.append)

    leader.group().stop("the test says so")

    assert isinstance(waiting[0], Stopped)
    assert isinstance(cluster.propose(leader, b"v")[0], Stopped)
    assert isinstance(barrier(cluster, leader)[0], Stopped)


def test_a_defect_in_one_groups_machine_ends_that_replica_alone() -> None:
    """The node's other groups go on serving, and the proposer is told."""
    cluster = Cluster(seed=56, groups=(2, 3))
    leader = cluster.elect(2)
    cluster.elect(3)

    def failing() -> None:
        raise RuntimeError("planted")

    leader.machines[2].turn = failing  # type: ignore[method-assign]
    cluster.propose(leader, b"v", group=2)
    cluster.world.run_for(0.1)

    assert "planted" in leader.group(2).stopped
    assert isinstance(cluster.write(b"w", group=3), Applied)


def test_a_replica_that_cannot_apply_an_entry_stops_before_the_proposer_is_answered() -> None:
    """A read may wait for that answer: it must find a replica that refuses, not half an entry's state."""
    cluster = Cluster(seed=57)
    leader = cluster.elect()
    machine, group = leader.machines[2], leader.group()
    assert isinstance(machine, Tape)
    machine.poison = b"poison"
    happened: list[object] = []
    machine.close = lambda: happened.append("closed")  # type: ignore[method-assign]

    def answered(outcome: object) -> None:
        group.barrier(cluster.world.now + 1, happened.append)
        happened.append(outcome)

    group.propose(b"poison", None, cluster.world.now + 5, answered)
    assert cluster.world.run_until(lambda: len(happened) == 3, 1)

    assert [type(each) for each in happened] == [str, Stopped, StoppedMidway]
    assert "cannot be applied: poison" in group.stopped


def test_a_replica_that_stops_closes_its_machine_before_anyone_is_answered() -> None:
    """Also those behind the entry at fault: what waits for them would read its state."""
    cluster = Cluster(seed=58)
    leader = cluster.elect()
    machine, group = leader.machines[2], leader.group()
    assert isinstance(machine, Tape)
    machine.poison = b"poison"
    happened: list[str] = []
    machine.close = lambda: happened.append("closed")  # type: ignore[method-assign]
    for data in (b"poison", b"behind it"):
        group.propose(data, None, cluster.world.now + 5, lambda _, data=data: happened.append(data.decode()))
    assert cluster.world.run_until(lambda: len(happened) == 3, 1)

    assert happened == ["closed", "behind it", "poison"]


def test_no_message_creates_a_replica() -> None:
    """protocols.md 6: a node without a Born record for a group drops what is said to it."""
    cluster = Cluster(seed=52, groups=(2,))
    leader = cluster.elect()
    node = cluster.nodes[1 if leader.number != 1 else 2]
    assert node.driver is not None

    node.driver.received(leader.number, Addressed(77, 1, Append(1, 0, 1, ((1, b"\0x"),))))
    cluster.world.run_for(0.1)

    assert list(node.driver.groups) == [2]
    assert 77 not in node.wal.recovered


def test_the_first_member_of_a_new_group_leads_it_also_when_it_comes_last() -> None:
    """So leaders spread over the nodes as the map says, in whatever order they start."""
    cluster = Cluster(seed=53)
    fresh = Cluster(seed=53, groups=(2,))
    late = fresh.nodes[1]
    late.lose_power()
    late.disk = SimDisk(fresh.world.rng)
    late.creates = True
    fresh.world.at(fresh.world.now + 1.0, late.start)

    assert cluster.elect().number == 1
    assert fresh.elect().number == 1


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_a_killed_leader_is_replaced_by_its_closed_connection(nodes: int) -> None:
    """The others stand without waiting for the election timeout; a group of one comes back itself."""
    cluster = Cluster(seed=54, nodes=nodes)
    leader = cluster.elect()
    cluster.settle()
    leader.kill()
    if nodes == 1:
        leader.start()

    assert cluster.world.run_until(lambda: cluster.leader() is not None, 0.25)


def test_bounded_staleness_is_known_on_followers_and_grows_when_cut_off() -> None:
    """A follower proves its age by its own clock; without its leader the proof ages."""
    cluster = Cluster(seed=55)
    leader = cluster.elect()
    cluster.settle()
    cluster.world.run_for(0.3)
    node = next(n for n in cluster.nodes.values() if n is not leader)
    fresh = node.group().staleness_ms()
    assert fresh is not None
    assert fresh < 200
    isolate(cluster, node)
    cluster.world.run_for(2)

    aged = node.group().staleness_ms()

    assert aged is None or aged >= 2000
    rejoin(cluster, node)
