"""Known ways to go wrong, each once: snapshots over slow, full and damaged disks on the simulated network."""

from __future__ import annotations

import errno
from collections.abc import Callable

from holdfast_raft.messages import Addressed, NodeMessage, SnapshotChunk
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.snapshot_stream import SnapshotReceiving

from tests.sim.cluster import Cluster, SimNode

OFTEN = LogLimits(snapshot_after_bytes=100, trailing_bytes=0)
ON_REQUEST = LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0)
CHUNKS_MAX = 200
"""In five seconds, where one snapshot has some twenty: more is sending without a pause."""


def behind_the_log(cluster: Cluster, writes: int = 60) -> tuple[SimNode, SimNode, SimNode]:
    """The leader, a follower, and one cut off whose next entries only a snapshot holds."""
    leader = cluster.elect()
    cluster.settle()
    other, behind = cluster.others(leader)
    cluster.isolate(behind)
    for n in range(writes):
        assert isinstance(cluster.write(b"x%04d" % n), Applied)
    leader.group().want_snapshot()
    cluster.world.run_for(1.0)
    assert leader.group().journal.base_index > behind.group().journal.last_index
    return leader, other, behind


def receiving(node: SimNode) -> SnapshotReceiving | None:
    return node.group()._replication._receiving


def is_finishing(node: SimNode) -> bool:
    """All chunks are there; the file is being synced."""
    under_way = receiving(node)
    return under_way is not None and under_way.finishing


def count_chunks(cluster: Cluster) -> list[int]:
    """Numbers of the chunks sent from now on."""
    sent: list[int] = []

    def count(source: int, target: int, message: NodeMessage) -> NodeMessage:
        if isinstance(message, Addressed) and isinstance(message.body, SnapshotChunk):
            sent.append(message.body.number)
        return message

    cluster.network.tamper = count
    return sent


def failing(code: int, calls: tuple[str, ...], times: int = 1 << 30) -> Callable[[str, str], None]:
    """Lets calls on snapshot files fail, so many times."""
    left = [times]

    def fail(what: str, path: str) -> None:
        if what in calls and path.startswith("snapshots/") and left[0]:
            left[0] -= 1
            raise OSError(code, "injected", path)

    return fail


def test_a_new_leader_feeds_a_follower_that_finishes_the_old_leaders_snapshot() -> None:
    """Whoever leads when the file stands hears that it stands; so a majority of two gets on."""
    cluster = Cluster(seed=5, log_limits=OFTEN)
    leader, other, behind = behind_the_log(cluster)
    behind.seconds["files"] = (1.5, 1.5)
    cluster.rejoin(behind)
    assert cluster.world.run_until(lambda: is_finishing(behind), 120)

    leader.kill()
    assert cluster.world.run_until(lambda: other.group().engine.is_leader, 5)
    behind.seconds["files"] = (0.001, 0.001)

    cluster.settle(within=60)


def test_an_older_snapshot_that_finishes_late_does_not_stop_the_newer_one() -> None:
    """After a short cut the leader has a newer snapshot than the one being synced: that comes too."""
    cluster = Cluster(seed=6, log_limits=OFTEN)
    _, _, behind = behind_the_log(cluster)
    behind.seconds["files"] = (0.5, 0.5)
    cluster.rejoin(behind)
    assert cluster.world.run_until(lambda: is_finishing(behind), 120)
    cluster.isolate(behind)
    for n in range(60):
        cluster.write(b"y%04d" % n)
    cluster.world.run_for(0.2)
    assert receiving(behind) is not None

    cluster.rejoin(behind)

    cluster.settle(within=60)


def test_the_late_end_of_a_snapshot_that_was_given_up_counts_for_nothing() -> None:
    """A snapshot in its last sync gives way to the leader's: the log goes by that one, also at a restart."""
    cluster = Cluster(seed=12, log_limits=ON_REQUEST)
    leader = cluster.elect()
    for n in range(10):
        cluster.write(b"w%04d" % n)
    leader, _, behind = behind_the_log(cluster, writes=30)
    behind.seconds["files"] = (0.3, 0.3)
    behind.group().want_snapshot()
    behind.group().turn()
    cluster.rejoin(behind)
    base_index = leader.group().journal.base_index
    assert cluster.world.run_until(lambda: behind.group()._replication.snapshot_index >= base_index, 60)
    out = cluster.propose(leader, b"z")
    assert cluster.world.run_until(lambda: bool(out) and b"z" in behind.tape(), 5)
    behind.group().want_snapshot()
    cluster.world.run_for(3)

    assert behind.driver is not None
    latest = behind.driver.store.latest(2)
    assert latest is not None
    assert latest.index >= behind.group().journal.base_index
    behind.kill()
    behind.start()
    cluster.settle()


def test_an_unreadable_snapshot_costs_the_leader_neither_its_group_nor_its_turns() -> None:
    """A follower that needs the file waits; writes go on with the others."""
    cluster = Cluster(seed=8, log_limits=OFTEN)
    leader, _, behind = behind_the_log(cluster)
    leader.disk.fail = failing(errno.EIO, ("read", "open"))
    cluster.rejoin(behind)
    cluster.world.run_for(2)

    for n in range(5):
        assert isinstance(cluster.write(b"after%d" % n), Applied)
        cluster.world.run_for(2)
    assert not leader.group().stopped
    leader.disk.fail = None
    cluster.settle(within=60)


def test_one_failed_read_of_a_snapshot_does_not_end_the_leaders_replica() -> None:
    """The next attempt takes a new snapshot, and the follower gets it."""
    cluster = Cluster(seed=8, log_limits=OFTEN)
    leader, _, behind = behind_the_log(cluster)
    leader.disk.fail = failing(errno.EIO, ("read",), times=1)
    cluster.rejoin(behind)

    cluster.settle(within=60)

    assert not leader.group().stopped


def test_a_damaged_snapshot_of_an_idle_group_is_taken_anew() -> None:
    """Also at the index where the damaged one stands; and it is not sent again and again meanwhile."""
    cluster = Cluster(seed=22, log_limits=ON_REQUEST)
    leader, _, behind = behind_the_log(cluster)
    leader.disk.damage(".snap", 200)
    sent = count_chunks(cluster)

    cluster.rejoin(behind)
    cluster.world.run_for(5)

    assert behind.group().applied_index == leader.group().applied_index
    assert len(sent) < CHUNKS_MAX


def test_a_follower_with_no_room_for_a_snapshot_is_asked_again_with_pauses() -> None:
    """The leader does not send all of it anew as fast as the network carries it; with room it gets there."""
    cluster = Cluster(seed=21, log_limits=OFTEN)
    _, _, behind = behind_the_log(cluster)
    behind.disk.fail = failing(errno.ENOSPC, ("create", "write"))
    sent = count_chunks(cluster)

    cluster.rejoin(behind)
    cluster.world.run_for(5)

    assert len(sent) < CHUNKS_MAX
    behind.disk.fail = None
    cluster.settle(within=60)


def test_chunks_do_not_pile_up_before_a_slow_disk() -> None:
    """A chunk is acknowledged when it left memory, so few of them wait there."""
    cluster = Cluster(seed=23, log_limits=OFTEN)
    _, _, behind = behind_the_log(cluster, writes=200)
    behind.seconds["files"] = (0.5, 0.5)
    cluster.rejoin(behind)

    most = 0
    for _ in range(300):
        cluster.world.run_for(0.005)
        under_way = receiving(behind)
        most = max(most, under_way._writing._pending if under_way is not None else 0)

    assert 0 < most <= 8


def test_a_snapshot_that_waits_for_its_disk_takes_no_turns() -> None:
    """A turn comes when a write has ended, not over and over until it has."""
    cluster = Cluster(seed=13, log_limits=LogLimits(snapshot_after_bytes=300, trailing_bytes=0))
    leader = cluster.elect()
    leader.seconds["files"] = (0.2, 0.2)
    assert leader.driver is not None
    turn = leader.driver.turn
    turns = [0]

    def counted() -> None:
        turns[0] += 1
        turn()

    leader.driver.turn = counted  # type: ignore[method-assign]
    for n in range(60):
        cluster.propose(leader, b"x%04d" % n)
    cluster.world.run_for(1.0)

    assert 0 < turns[0] < 1000
