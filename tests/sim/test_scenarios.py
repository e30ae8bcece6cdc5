"""Known ways to go wrong, each once: leaders, reads, full disks, stopped groups; simulated."""

from __future__ import annotations

import pytest
from holdfast_raft import replication
from holdfast_raft.errors import DiskFull, RaftError
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.wal import WalOptions

from tests.sim.cluster import Cluster, SimNode

NO_SNAPSHOTS = LogLimits(snapshot_after_bytes=1 << 30)


def barrier(cluster: Cluster, node: SimNode, within: float) -> list[object]:
    out: list[object] = []
    node.group().barrier(cluster.world.now + within, out.append)
    return out


def test_no_age_is_known_while_a_new_leader_has_not_applied_its_own_entry() -> None:
    """Its commit index may lie behind what its predecessor acknowledged: its heartbeats vouch for nothing."""
    cluster = Cluster(seed=3)
    old = cluster.elect()
    cluster.write(b"before")
    cluster.settle()
    voter, far = cluster.others(old)
    cluster.network.cut(old.number, far.number)
    out = cluster.propose(old, b"acknowledged")
    assert cluster.world.run_until(lambda: bool(out), 1)
    acknowledged_at = cluster.world.now
    old.kill()
    assert b"acknowledged" not in voter.tape()
    far.seconds["wal"] = (0.4, 0.4)

    for _ in range(400):
        cluster.world.run_for(0.01)
        age_ms = far.group().staleness_ms()
        if age_ms is not None and b"acknowledged" not in far.tape():
            assert cluster.world.now - age_ms / 1000 <= acknowledged_at
    assert b"acknowledged" in far.tape()


@pytest.mark.parametrize("round_trip", [0.04, 0.08, 0.12, 0.2])
def test_reads_are_confirmed_over_links_slower_than_a_heartbeat(round_trip: float) -> None:
    """A round has the patience of an election, so where writes work, linearizable reads work too."""
    cluster = Cluster(seed=7)
    cluster.network.delay_seconds = (round_trip / 2, round_trip / 2)
    cluster.world.run_for(2)
    assert isinstance(cluster.write(b"w", within=30), Applied)

    out = barrier(cluster, cluster.elect(), within=10)
    cluster.world.run_until(lambda: bool(out), 15)

    assert isinstance(out[0], int)


def test_a_followers_read_is_told_of_a_new_leader_when_the_asked_one_stands_still() -> None:
    """Who was asked leads no more and may never answer: the read does not wait out its deadline."""
    cluster = Cluster(seed=11)
    asked = cluster.elect()
    cluster.write(b"a")
    cluster.settle()
    reader = cluster.others(asked)[0]
    cluster.world.pause(asked.number)

    out = barrier(cluster, reader, within=60)
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, asked), 5)
    assert cluster.world.run_until(lambda: bool(out), 1)

    assert isinstance(out[0], RaftError)


def test_a_follower_with_a_full_disk_takes_no_entries_and_goes_on_voting() -> None:
    """What is left of its last segment is for votes; the node stays up and helps to elect a leader."""
    cluster = Cluster(
        seed=10, wal_options=WalOptions(segment_bytes=16 << 10, segments_max=1000), log_limits=NO_SNAPSHOTS
    )
    leader = cluster.elect()
    cluster.write(b"a")
    cluster.settle()
    full, other = cluster.others(leader)
    full.disk.space = full.disk.used() + (20 << 10)  # one segment more
    for n in range(400):
        assert isinstance(cluster.write(b"q" * 100 + b"%04d" % n), Applied)
    assert full.driver is not None, full.died
    assert full.group().journal.last_index < other.group().journal.last_index

    leader.kill()

    assert cluster.world.run_until(lambda: other.group().engine.is_leader, 5)
    assert full.driver is not None, full.died


def test_a_follower_whose_disk_was_full_catches_up_when_it_has_room() -> None:
    """Entries it did not take come again, without a new connection."""
    cluster = Cluster(
        seed=10, wal_options=WalOptions(segment_bytes=16 << 10, segments_max=1000), log_limits=NO_SNAPSHOTS
    )
    leader = cluster.elect()
    full = cluster.others(leader)[0]
    full.disk.space = full.disk.used() + (20 << 10)
    for n in range(400):
        cluster.write(b"q" * 100 + b"%04d" % n)

    full.disk.space = 1 << 40

    cluster.settle(within=60)


def test_where_all_disks_are_full_leadership_stays_where_it_is() -> None:
    """Nobody is a better leader: it is offered once a minute, not passed round and round."""
    cluster = Cluster(
        seed=20, wal_options=WalOptions(segment_bytes=64 << 10, segments_max=1000), log_limits=NO_SNAPSHOTS
    )
    cluster.elect()
    cluster.write(b"a")
    cluster.settle()
    for node in cluster.nodes.values():
        node.disk.space = node.disk.used()
    outcome: object = None
    while not isinstance(outcome, DiskFull):
        outcome = cluster.write(b"q" * 1000)
    term = cluster.elect().group().term

    cluster.world.run_for(60)

    assert all(node.driver is not None for node in cluster.nodes.values())
    assert max(node.group().term for node in cluster.nodes.values()) <= term + 5


def test_a_stopped_group_does_not_hold_up_the_log_files_of_its_node() -> None:
    """Its entries stay readable, so the WAL can copy them forward and free old segments."""
    cluster = Cluster(
        seed=9,
        groups=(2, 3),
        wal_options=WalOptions(segment_bytes=8 << 10, segments_max=2),
        log_limits=LogLimits(snapshot_after_bytes=1000, trailing_bytes=0),
    )
    cluster.write(b"some", group=3)
    cluster.write(b"more", group=3)
    cluster.settle()
    node = cluster.nodes[2]
    node.group(3).stop("an entry of a newer program")

    for n in range(400):
        cluster.write(b"z" * 60 + b"%04d" % n, group=2)
        cluster.world.run_for(0.02)
    cluster.world.run_for(5)

    assert node.wal.segment_count < 8


def test_the_catch_up_of_many_groups_does_not_overrun_the_lane_to_one_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All groups of a node together queue little more than the bound, and the peer still gets everything."""
    bound = 256 << 10
    monkeypatch.setattr(replication, "BULK_QUEUED_MAX", bound)
    groups = tuple(range(2, 10))
    cluster = Cluster(seed=14, groups=groups, log_limits=NO_SNAPSHOTS)
    cluster.settle()
    behind = cluster.nodes[3]
    cluster.isolate(behind)
    for _ in range(5):
        for group in groups:
            assert isinstance(cluster.write(b"b" * (100 << 10), group), Applied)
    queued = [0]
    for node in cluster.others(behind):
        note_flushes(node, behind.number, queued)

    cluster.rejoin(behind)
    cluster.settle()

    one_append = 500 << 10
    assert bound < max(queued) <= bound + one_append


def note_flushes(node: SimNode, peer: int, queued: list[int]) -> None:
    """Notes how much waits for `peer` at each flush."""
    flush = node.transport.flush

    def noted() -> None:
        queued.append(node.transport.queued_bytes(peer))
        flush()

    node.transport.flush = noted  # type: ignore[method-assign]
