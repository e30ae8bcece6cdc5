"""The agent: what a node tells of itself, and what it does when it is told."""

from __future__ import annotations

import logging

import pytest
from holdfast_node import talk
from holdfast_node.agent import REPORT_EVERY, STALENESS_MS_MAX
from holdfast_node.cache.seal import Target
from holdfast_node.talk import (
    AbortOrder,
    CopyReport,
    DropCopyOrder,
    MapNews,
    ReplicaReport,
    Report,
    RetireOrder,
    SealOrder,
    SnapshotOrder,
    TransferOrder,
    UnsealOrder,
)

from tests.unit.holdfast_node.cores import HALVES, LEFT, PLAN, SOURCE, Core, Cores, copy_of, moved_to


def heard_by(node: Core) -> list[tuple[int, Report]]:
    """The reports that reach a node, from now on; everybody reports to it."""
    found: list[tuple[int, Report]] = []
    node.core.agent.take_report = lambda sender, report: found.append((sender, report))
    for other in node.cluster.on():
        other.core.book.placement = (node.number,)
    return found


def told_by(node: Core) -> Report:
    return node.core.agent._made()


def replica_of(node: Core, group: int = SOURCE) -> ReplicaReport:
    return next(r for r in told_by(node).replicas if r.group == group)


# ---- reports -------------------------------------------------------------------------------------------


def test_every_node_reports_to_the_placement_group_all_the_time() -> None:
    """Its own node too, without a message."""
    cluster = Cores()
    found = heard_by(cluster.nodes[1])

    cluster.world.run_for(3 * REPORT_EVERY)

    assert {sender for sender, _ in found} == {1, 2, 3}
    assert {report.incarnation for sender, report in found if sender == 2} == {102}
    assert sum(sender == 3 for sender, _ in found) >= 3


def test_a_change_is_told_soon_and_once() -> None:
    """Several that come together make one report, long before the next would be due."""
    cluster = Cores()
    cluster.led()
    cluster.world.run_for(REPORT_EVERY)
    found = heard_by(cluster.nodes[1])

    cluster.seal()
    cluster.world.run_for(0.05)

    mine = [report for sender, report in found if sender == 1]
    assert 1 <= len(mine) <= 4
    assert {r.group for r in mine[-1].replicas} == {SOURCE, 10, 11}


def test_a_new_leader_is_told_of_soon_and_again_once_a_majority_has_confirmed_it() -> None:
    """Verbs are refused for a shard without a proven leader: nobody waits for the next round of reports."""
    cluster = Cores()
    leader = cluster.led(SOURCE)
    successor = next(node for node in cluster.on() if node.number != leader.number)
    found = heard_by(cluster.nodes[1])

    cluster.told(TransferOrder(SOURCE, successor.number), SOURCE)

    def proven() -> bool:
        said = [r for sender, report in found if sender == successor.number for r in report.replicas]
        return any(r.group == SOURCE and r.leads and r.has_quorum for r in said)

    assert cluster.world.run_until(proven, REPORT_EVERY / 2)


def test_a_report_says_where_each_replica_stands() -> None:
    """Who leads tells the load's figures too."""
    cluster = Cores()
    cluster.write(b"a")
    leader = cluster.led()
    follower = next(node for node in cluster.on() if node is not leader)
    cluster.world.run_for(0.3)

    said, other = replica_of(leader), replica_of(follower)

    assert (said.leads, said.has_quorum, said.stands, said.keys) == (True, True, True, 1)
    assert (other.leads, other.keys, other.sealed) == (False, 0, 0)
    assert 0 <= other.staleness_ms < 1000


def test_a_report_says_how_the_log_has_judged() -> None:
    """Seal, its place, and the floor: proof, whoever says it."""
    cluster = Cores()
    cluster.told(AbortOrder(PLAN - 1, SOURCE))
    cluster.until(lambda: replica_of(cluster.led()).floor == PLAN - 1)

    cluster.seal()

    said = {(r.sealed, r.seal_index, r.seal_term) for r in map(replica_of, cluster.on())}
    sealed = cluster.nodes[1].hosted(SOURCE).state.sealed
    assert sealed is not None
    assert said == {(PLAN, sealed.index, sealed.term)}
    assert not replica_of(cluster.nodes[1], LEFT).stands


def test_a_replica_that_nobody_leads_tells_no_age_for_ever() -> None:
    """What is very old is only old: the report can always be written."""
    cluster = Cores()
    node = cluster.nodes[1]
    node.hosted(SOURCE).group.staleness_ms = lambda: 1 << 40  # type: ignore[method-assign]

    assert talk.read(talk.write(told_by(node))) == told_by(node)
    assert replica_of(node).staleness_ms == STALENESS_MS_MAX


def test_a_copy_is_durable_only_by_fresh_word() -> None:
    """What the source said long ago does not tell how far behind the copy is now."""
    cluster = Cores(nodes=4)
    cluster.write(b"a")
    node = cluster.nodes[4]
    node.core.agent.obey(copy_of(moved_to(4, 1, 2)))
    assert told_by(node).copies[0] == CopyReport(LEFT)
    cluster.until(lambda: told_by(node).copies[0].durable)

    cluster.isolate(node)
    cluster.world.run_for(3.0)

    [copy] = told_by(node).copies
    assert (copy.durable, copy.begun, bool(copy.problem)) == (False, True, True)


def test_a_copy_of_an_earlier_process_is_told_as_not_begun() -> None:
    """So that it is ordered again, or dropped."""
    cluster = Cores(nodes=4)
    cluster.write(b"a")
    node = cluster.nodes[4]
    node.core.agent.obey(copy_of(moved_to(4, 1, 2)))
    cluster.until(lambda: told_by(node).copies[0].durable)
    node.restart()

    assert told_by(node).copies == (CopyReport(LEFT, begun=False),)
    node.core.agent.obey(DropCopyOrder(LEFT))
    assert told_by(node).copies == ()


def test_a_defect_in_a_report_does_not_end_all_reports() -> None:
    """The next one comes at its time."""
    cluster = Cores()
    cluster.led()
    cluster.world.run_for(1.0)
    node = cluster.nodes[1]
    node.core.agent.take_report = lambda *_: (_ for _ in ()).throw(ValueError("a defect"))
    node.core.book.placement = (1,)
    with pytest.raises(ValueError, match="a defect"):
        cluster.world.run_for(2 * REPORT_EVERY)
    found = heard_by(node)

    cluster.world.run_for(4 * REPORT_EVERY)

    assert sum(sender == 1 for sender, _ in found) >= 3


# ---- orders --------------------------------------------------------------------------------------------


def test_only_the_leader_proposes() -> None:
    """An order that comes to another, or for a group that is not here, is left undone."""
    cluster = Cores()
    leader = cluster.led()
    follower = next(node for node in cluster.on() if node is not leader)
    for order in (SealOrder(PLAN, SOURCE, True, HALVES, ()), AbortOrder(PLAN, 99), TransferOrder(99, 1)):
        follower.core.agent.obey(order)
    cluster.world.run_for(1.0)

    assert follower.hosted(SOURCE).state.sealed is None


def test_an_order_that_is_said_again_is_done_once() -> None:
    """While it is under way, and when it is done."""
    cluster = Cores()
    leader = cluster.led()
    before = leader.hosted(SOURCE).group.applied_index
    for _ in range(5):
        cluster.told(SealOrder(PLAN, SOURCE, True, HALVES, ()))
    cluster.until(lambda: leader.hosted(SOURCE).state.sealed is not None)
    for order in (SealOrder(PLAN, SOURCE, True, HALVES, ()), SealOrder(PLAN + 1, SOURCE, True, HALVES, ())):
        cluster.told(order)
    cluster.world.run_for(0.5)

    sealed = leader.hosted(SOURCE).state.sealed
    assert sealed is not None
    assert sealed.plan == PLAN
    assert leader.hosted(SOURCE).group.applied_index == before + 1


def test_an_abort_keeps_the_seal_of_its_plan_out() -> None:
    """Said again, neither is proposed; a later plan's Seal is."""
    cluster = Cores()
    cluster.told(AbortOrder(PLAN, SOURCE))
    cluster.until(lambda: cluster.led().hosted(SOURCE).state.floor == PLAN)
    index = cluster.led().hosted(SOURCE).group.applied_index
    cluster.told(AbortOrder(PLAN, SOURCE))
    cluster.told(SealOrder(PLAN, SOURCE, True, HALVES, ()))
    cluster.told(UnsealOrder(PLAN, SOURCE))
    cluster.world.run_for(0.3)
    assert cluster.led().hosted(SOURCE).group.applied_index == index

    cluster.seal(plan=PLAN + 1)


def test_a_proposal_without_an_outcome_is_tried_again() -> None:
    """A leader that was cut off says it once more when it is asked once more."""
    cluster = Cores()
    leader = cluster.led()
    cluster.isolate(leader)
    leader.core.agent.obey(SealOrder(PLAN, SOURCE, True, HALVES, ()))
    cluster.world.run_for(5.0)
    cluster.rejoin(leader)

    cluster.seal()

    assert cluster.have(LEFT, 1, 2, 3)


def test_a_leadership_is_handed_over() -> None:
    """To whom the order says."""
    cluster = Cores()
    leader = cluster.led()
    to = next(node.number for node in cluster.on() if node is not leader)
    cluster.world.run_for(1.0)

    leader.core.agent.obey(TransferOrder(SOURCE, to))

    cluster.until(lambda: cluster.nodes[to].hosted(SOURCE).is_leader)


def test_a_replica_that_is_needed_is_not_retired_and_why_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The report shows it is still there; the order comes again."""
    caplog.set_level(logging.INFO)
    cluster = Cores()
    cluster.seal()
    agent = cluster.nodes[1].core.agent

    agent.obey(RetireOrder(SOURCE))
    agent.obey(RetireOrder(99))

    assert cluster.have(SOURCE, 1)
    assert "group 2 is not retired: group 10 has no snapshot" in caplog.text
    for group in (10, 11, 99):
        agent.obey(SnapshotOrder(group))
    cluster.until(lambda: all(replica_of(cluster.nodes[1], group).stands for group in (10, 11)))
    agent.obey(RetireOrder(SOURCE))
    assert not cluster.have(SOURCE, 1)


def test_words_of_others_go_where_they_belong(caplog: pytest.LogCaptureFixture) -> None:
    """Orders are obeyed, news taken, reports handed on; what cannot be read is logged, and nothing breaks."""
    cluster = Cores()
    cluster.led()
    node = cluster.nodes[2]
    taken: list[MapNews] = []
    node.core.agent._take_news = taken.append
    reports: list[tuple[int, Report]] = []
    sender = cluster.nodes[1].driver
    assert sender is not None
    news = cluster.beginning.news
    words = (SealOrder(PLAN, SOURCE, True, (Target(9, b"", b"", (1,)),), ()), news, Report(1, 2, ()))
    for word in words:
        sender.tell(2, talk.write(word))
    cluster.world.run_for(0.2)
    assert [t.placement for t in taken] == [news.placement]
    assert reports == []

    node.core.agent.take_report = lambda who, report: reports.append((who, report))
    sender.tell(2, talk.write(Report(1, 2, ())))
    sender.tell(2, b"\xff\xff")
    cluster.world.run_for(0.2)

    assert reports == [(1, Report(1, 2, ()))]
    assert "node 1: a node's word cannot be read" in caplog.text
