"""Each deviation of PySyncObj from Raft, and the cure that closes it, by its number in decision 0002.

D1 to D15 here; the others in test_engine_deviations_life.py.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pysyncobj.syncobj
import pytest
from holdfast_raft.engine import Engine, UnauditedCoreError, check_core
from holdfast_raft.errors import LeadershipLost
from holdfast_raft.guard import Broken
from holdfast_raft.messages import (
    Addressed,
    Append,
    AppendReply,
    NodeMessage,
    SnapshotChunk,
    SnapshotReply,
    Vote,
    VoteReply,
)
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.status import Role

from tests.sim.cluster import Cluster
from tests.unit.holdfast_raft.memory_wal import journal_of

MEMBERS = (1, 2, 3)


def follower(*terms: int, base: tuple[int, int] = (1, 0)) -> Engine:
    """Node 1 with a log of these terms."""
    return Engine(1, MEMBERS, journal_of(*terms, base=base))


def append(prev_index: int, prev_term: int, *terms: int, commit: int = 1) -> Append:
    """Entries of these terms behind (prev_index, prev_term)."""
    entries = tuple((term, b"\0n%d" % (prev_index + 1 + n)) for n, term in enumerate(terms))
    return Append(prev_index, prev_term, commit, entries)


def test_only_the_audited_core_is_accepted(tmp_path: Path) -> None:
    """Any other syncobj.py is refused with the way on."""
    source = Path(pysyncobj.syncobj.__file__)
    check_core(source)
    changed = tmp_path / "syncobj.py"
    changed.write_bytes(source.read_bytes() + b"\n")

    with pytest.raises(UnauditedCoreError, match=r"pip install pysyncobj==0\.3\.17"):
        check_core(changed)


def test_d1_a_repeated_append_does_not_truncate_what_was_acknowledged() -> None:
    """D1: entries behind a message that brings nothing new stay."""
    engine = follower()
    assert engine.take_append(2, 1, append(1, 0, 1, 1, 1, 1)) == AppendReply(True, 5)

    assert engine.take_append(2, 1, append(1, 0, 1, 1)) == AppendReply(True, 3)
    assert engine.take_append(2, 1, append(3, 1)) == AppendReply(True, 3)
    assert engine.journal.last_index == 5


def test_d1_a_real_conflict_is_truncated_from_its_first_entry() -> None:
    """The cure of D1 keeps Raft's own rule: a conflicting tail goes, the matching prefix stays."""
    engine = follower(1, 1, 1)

    assert engine.take_append(2, 2, append(1, 0, 1, 2)) == AppendReply(True, 3)
    assert [engine.journal.term_at(i) for i in (2, 3, 4)] == [1, 2, None]


def test_a_leader_that_contradicts_a_committed_entry_stops_the_replica() -> None:
    """State machine safety: a committed entry is never overwritten."""
    engine = follower(1, 1)
    engine.take_append(2, 1, append(1, 0, 1, 1, commit=3))

    assert isinstance(engine.take_append(3, 2, append(2, 1, 2)), Broken)
    assert engine.journal.term_at(3) == 1


def test_d3_a_heartbeat_commits_nothing_the_leader_has_not_verified() -> None:
    """D3: a commit index covers only what was matched against this leader in this term."""
    engine = follower(1, 1, 1)
    engine.hear_leader(2, 2)

    engine.hear_commit(4)

    assert engine.commit_index == 1


def test_d3_an_old_leaders_tail_is_not_committed_when_a_snapshot_begins() -> None:
    """D3: four dead entries of a cut-off leader are erased by the snapshot, never answered as success."""
    cluster = Cluster(seed=3, log_limits=LogLimits(snapshot_after_bytes=60, trailing_bytes=0))
    old = cluster.elect()
    for other in cluster.nodes.values():
        if other is not old:
            cluster.network.cut(old.number, other.number)
    dead = [cluster.propose(old, b"lost%d" % n, timeout=60) for n in range(4)]
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, old), 5)
    for n in range(20):
        assert isinstance(cluster.write(b"kept%02d" % n), Applied)

    for other in cluster.nodes.values():
        if other is not old:
            cluster.network.heal(old.number, other.number)
    cluster.settle()

    assert [type(outcome[0]) for outcome in dead] == [LeadershipLost] * 4
    assert old.tape() == cluster.elect().tape()
    assert not [item for item in old.tape() if item.startswith(b"lost")]


def test_d4_a_snapshot_newer_than_the_logs_head_keeps_the_entries_behind_it() -> None:
    """D4: a crash between the snapshot's rename and the log's trimming loses no acknowledged entry."""
    cluster = Cluster(seed=4, nodes=1, log_limits=LogLimits(snapshot_after_bytes=50, trailing_bytes=0))
    node = cluster.elect()
    node.wal.base = lambda *_, **__: node.wal.appended_lsn  # type: ignore[method-assign]  # dies before it
    for n in range(12):
        assert isinstance(cluster.write(b"value%02d" % n), Applied)
    assert node.group().status().snapshot_index > 1

    node.lose_power()
    node.start()
    cluster.elect()

    assert node.tape() == [b"value%02d" % n for n in range(12)]


def test_d5_a_reply_of_an_earlier_term_counts_for_nothing() -> None:
    """D5: an acknowledgement counts only in the term in which it was said."""
    cluster = Cluster(seed=5)
    leader = cluster.elect()
    group = leader.group()
    others = [n for n in MEMBERS if n != leader.number]
    for other in others:
        cluster.network.cut(leader.number, other)
    outcome = cluster.propose(leader, b"alone")
    cluster.world.run_for(0.01)

    for other in others:
        group.receive(other, Addressed(2, group.term - 1, AppendReply(True, group.journal.last_index)))
    cluster.world.run_for(0.05)

    assert outcome == []
    assert group.commit_index < group.journal.last_index


def test_d6_an_obsolete_snapshot_rolls_nothing_back() -> None:
    """D6: a snapshot of what is already committed is answered, not installed."""
    cluster = Cluster(seed=6)
    for n in range(5):
        cluster.write(b"v%d" % n)
    cluster.settle()
    leader = cluster.elect()
    node = next(n for n in cluster.nodes.values() if n is not leader)
    before = list(node.tape())
    applied = node.group().applied_index
    sent: list[object] = []
    cluster.network.tamper = lambda source, _, message: _remember(sent, source, node.number, message)

    chunk = SnapshotChunk(applied - 2, leader.group().term, applied, 0, b"end0", last=True)
    node.group().receive(leader.number, Addressed(2, leader.group().term, chunk))
    cluster.world.run_for(0.2)

    assert node.tape() == before
    assert node.group().applied_index >= applied
    assert SnapshotReply(applied - 2, 0, True, False) in sent


def _remember(sent: list[object], source: int, wanted: int, message: NodeMessage) -> NodeMessage:
    if source == wanted and isinstance(message, Addressed):
        sent.append(message.body)
    return message


def test_d7_a_snapshot_that_does_not_add_up_is_refused_and_never_installed() -> None:
    """D7: a corrupt transfer is reported as refused; the state stays."""
    cluster = Cluster(seed=7)
    cluster.write(b"v")
    cluster.settle()
    leader = cluster.elect()
    node = next(n for n in cluster.nodes.values() if n is not leader)
    sent: list[object] = []
    cluster.network.tamper = lambda source, _, message: _remember(sent, source, node.number, message)

    chunk = SnapshotChunk(500, leader.group().term, 1, 0, b"end7", last=True)
    node.group().receive(leader.number, Addressed(2, leader.group().term, chunk))
    cluster.world.run_for(0.2)

    assert node.tape() == [b"v"]
    assert SnapshotReply(500, 0, False, True) in sent
    assert not any(isinstance(body, SnapshotReply) and body.installed for body in sent)


def test_d8_a_duplicated_vote_elects_nobody() -> None:
    """D8: voters are counted, not votes; strangers are not counted at all."""
    engine = Engine(1, (1, 2, 3, 4, 5), journal_of())
    engine.campaign()

    for voter in (2, 2, 2):
        engine.take_vote(voter, engine.term)
    assert engine.role is Role.CANDIDATE

    engine.take_vote(3, engine.term)
    assert engine.is_leader


def test_d11_nothing_is_acknowledged_before_a_majority_has_synced_it() -> None:
    """D11: with the followers' disks standing still no write succeeds, although all have received it."""
    cluster = Cluster(seed=11)
    leader = cluster.elect()
    cluster.settle()
    for node in cluster.nodes.values():
        if node is not leader:
            node.seconds["wal"] = (5.0, 5.0)

    outcome = cluster.propose(leader, b"v", timeout=60)
    cluster.world.run_for(0.2)
    assert outcome == []
    assert all(
        n.group().journal.last_index == leader.group().journal.last_index for n in cluster.nodes.values()
    )

    assert cluster.world.run_until(lambda: bool(outcome), 20)


def test_d11_a_leader_counts_itself_only_by_its_own_disk() -> None:
    """D11: with the leader's disk and one follower's standing still, one synced follower is no majority."""
    cluster = Cluster(seed=12)
    leader = cluster.elect()
    cluster.settle()
    slow = [leader, next(n for n in cluster.nodes.values() if n is not leader)]
    for node in slow:
        node.seconds["wal"] = (5.0, 5.0)

    outcome = cluster.propose(leader, b"v", timeout=60)
    cluster.world.run_for(0.3)

    assert outcome == []


def test_a_failed_sync_ends_the_node_and_acknowledges_nothing() -> None:
    """A failed fsync is never retried: the node stops (ATC'20)."""
    cluster = Cluster(seed=13)
    leader = cluster.elect()
    cluster.settle()

    def broken(what: str, _: str) -> None:
        if what == "sync":
            raise OSError(errno.EIO, "planted")

    leader.disk.fail = broken
    outcome = cluster.propose(leader, b"v")
    cluster.world.run_for(0.1)

    assert isinstance(leader.died, OSError)
    assert not any(isinstance(o, Applied) for o in outcome)


def test_d12_d13_commit_and_applied_start_at_the_snapshot() -> None:
    """D12, D13: after a restart neither index claims more than the snapshot, nor less."""
    engine = follower(3, 3, base=(10, 2))

    assert (engine.commit_index, engine.applied_index) == (10, 10)


def test_d14_a_divergent_tail_over_many_messages_converges() -> None:
    """D14: an old leader with a long dead tail catches up without a snapshot."""
    cluster = Cluster(seed=14)
    old = cluster.elect()
    for other in MEMBERS:
        if other != old.number:
            cluster.network.cut(old.number, other)
    for n in range(30):
        cluster.propose(old, b"dead%02d" % n + b"." * 40_000)
        cluster.world.run_for(0.002)
    assert cluster.world.run_until(lambda: cluster.leader() not in (None, old), 5)
    for n in range(30):
        cluster.write(b"live%02d" % n + b"." * 70_000)

    for other in MEMBERS:
        if other != old.number:
            cluster.network.heal(old.number, other)
    cluster.settle()

    assert [item[:4] for item in old.tape()] == [b"live"] * 30
    assert old.group().status().snapshot_index == 1


def test_d15_a_reply_of_a_stranger_harms_nobody() -> None:
    """D15, D21: messages of nodes that are not members are dropped."""
    cluster = Cluster(seed=15)
    leader = cluster.elect()
    term = leader.group().term

    leader.group().receive(9, Addressed(2, term, AppendReply(True, 99)))
    leader.group().receive(9, Addressed(2, term + 50, Vote(99, term + 49, transfer=True)))

    assert leader.group().term == term
    assert leader.group().is_leader


def test_votes_of_strangers_are_not_counted() -> None:
    """D8: a vote reply of a node that is not a member elects nobody."""
    engine = follower()
    engine.campaign()
    term = engine.term

    engine.take_vote(7, term)
    assert not engine.is_leader
    assert VoteReply(granted=True).granted
