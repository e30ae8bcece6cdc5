"""A node's core: what it begins with, what news change, and a whole reshape by the cluster's own hand."""

from __future__ import annotations

from typing import Any

from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.types import Level
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import Namespace, Planning
from holdfast_node.placement.cluster import Policy as Planner
from holdfast_node.placement.commands import (
    CancelPlan,
    CreateNamespace,
    DeleteNamespace,
    JoinNode,
    SetNamespace,
    SetPlanning,
    StartPlan,
)
from holdfast_node.placement.plan import Kind, Phase, Plan
from holdfast_node.placement.shape import Part, Shape

from tests.unit.holdfast_node.cores import SOURCE, Core, Cores

HERE = (1, 2, 3)
AS_IS = Planning(frozenset(), *(0 for _ in Planning()._fields[1:]))
MIB = 1024 * 1024


def planned_by_hand(**more: Any) -> Cores:
    """A cluster whose policies plan nothing."""
    cluster = Cores(placement=True, **more)
    cluster.until(lambda: _all_know(cluster))
    assert isinstance(cluster.ask(SetPlanning(tuple(Planner), (), AS_IS)), Answer)
    return cluster


def _all_know(cluster: Cores) -> bool:
    state = cluster.conducting().core.placement.state  # type: ignore[union-attr]
    members = [node for node in cluster.on() if node.driver and node.number in state.nodes]
    return all(node.core.epoch == state.epoch for node in members)


def start(cluster: Cores, kind: Kind, sources: tuple[int, ...], *targets: Part) -> int:
    state = cluster.conducting().core.placement.state  # type: ignore[union-attr]
    answer = cluster.ask(StartPlan(Shape(kind, sources, targets, state.epoch), "a test", 0, by_hand=True))
    assert isinstance(answer, Answer), answer
    assert answer.plan is not None
    return answer.plan.id


def plan(cluster: Cores, number: int) -> Plan:
    found = cluster.conducting().core.placement.state.plan(number)  # type: ignore[union-attr]
    assert found is not None
    return found


def done(cluster: Cores, number: int) -> None:
    """The plan has ended, every node goes by the map and holds nothing else."""
    cluster.until(lambda: not plan(cluster, number).is_open, 20.0)
    assert plan(cluster, number).phase is Phase.DONE
    cluster.until(lambda: _all_know(cluster) and all(_holds_its_own(node) for node in cluster.on()), 20.0)
    cluster.world.run_for(0.1)  # and that is on disk


def _holds_its_own(node: Core) -> bool:
    mine = {s.group for s in node.core.routing.map.shards if any(r.node == node.number for r in s.replicas)}
    return set(node.core.hosting.shards) == mine


# ---- what it begins with -------------------------------------------------------------------------------


def test_a_cluster_is_born_with_what_its_configuration_says() -> None:
    """Shards, and a placement group that makes the same map of it and tells everybody."""
    cluster = Cores(placement=True, splits=("m",))

    cluster.until(lambda: _all_know(cluster))

    core = cluster.nodes[2].core
    assert [s.group for s in core.routing.map.shards] == [2, 3]
    assert core.book.placement == HERE
    assert core.epoch == 1
    assert repr(core).startswith("<NodeCore 2: <Hosting node 2: [2, 3]")


def test_a_restart_begins_with_the_last_news() -> None:
    """Also when the cluster has changed since its configuration was written, and nobody else is there."""
    cluster = planned_by_hand()
    done(cluster, start(cluster, Kind.SPLIT, (SOURCE,), Part(b"", b"m", HERE), Part(b"m", b"", HERE)))
    for node in cluster.on():
        node.kill()

    cluster.nodes[1].start()

    core = cluster.nodes[1].core
    assert [s.range for s in core.routing.map.shards] == [KeyRange(b"", b"m"), KeyRange(b"m", b"")]
    assert sorted(core.hosting.shards) == [s.group for s in core.routing.map.shards]


def test_replicas_go_before_news_that_are_older() -> None:
    """The WAL knows of a split that no news told: nobody is sent to the source that is gone."""
    cluster = planned_by_hand()
    node = cluster.nodes[1]
    old = node.news
    done(cluster, start(cluster, Kind.SPLIT, (SOURCE,), Part(b"", b"m", HERE), Part(b"m", b"", HERE)))
    node.kill()
    node.news = old

    node.start()

    located = node.core.routing.locate("default", b"z")
    assert not isinstance(located, HoldfastError)
    assert located.entry.range == KeyRange(b"m", b"")


def test_after_a_restart_policies_are_those_that_were_told_again() -> None:
    """What an earlier process wrote down may be old: proposed, it could evict what is kept now."""
    cluster = planned_by_hand(budget_bytes=2 * MIB)
    cluster.led()
    node = cluster.nodes[1]
    assert node.core.policy_of("default") == Policy(2 * MIB, Eviction.CLOCK)
    for other in cluster.on():
        other.kill()

    node.start()
    assert node.core.policy_of("default") is None
    assert node.core.epoch == 0, "so that it is told, even if nothing has changed"
    for number in (2, 3):
        cluster.nodes[number].start()

    cluster.until(lambda: node.core.policy_of("default") == Policy(2 * MIB, Eviction.CLOCK))
    assert node.core.policy_of("none") is None


# ---- news ----------------------------------------------------------------------------------------------


def test_a_namespaces_settings_reach_its_shards() -> None:
    """Budget and eviction by an entry of their logs, strict_ttl on every node."""
    cluster = planned_by_hand()
    leader = cluster.led()
    assert isinstance(cluster.ask(SetNamespace("default", 3 * MIB, Eviction.NOEVICT, True)), Answer)

    cluster.until(lambda: leader.hosted(SOURCE).state.policy == Policy(3 * MIB, Eviction.NOEVICT))

    cluster.until(
        lambda: all(node.hosted(SOURCE)._reads.hide_expired_at is not None for node in cluster.on())
    )


def test_a_new_namespace_is_made_on_its_nodes_and_goes_with_them() -> None:
    """With its settings, although the order may come before the news; deleted, its replicas end."""
    cluster = planned_by_hand()
    jobs = Namespace("jobs", 5 * MIB, Eviction.NOEVICT, strict_ttl=True)
    parts = (Part(b"", b"m", HERE), Part(b"m", b"", HERE))
    assert isinstance(cluster.ask(CreateNamespace(jobs, parts)), Answer)
    cluster.until(lambda: cluster.have(3, *HERE) and cluster.have(4, *HERE))
    assert not cluster.write(b"job", 3).error
    cluster.until(lambda: cluster.led(3).hosted(3).state.policy == Policy(5 * MIB, Eviction.NOEVICT))
    cluster.until(lambda: all(node.hosted(3)._reads.hide_expired_at is not None for node in cluster.on()))

    assert isinstance(cluster.ask(DeleteNamespace("jobs")), Answer)

    cluster.until(lambda: all(sorted(node.core.hosting.shards) == [SOURCE] for node in cluster.on()))
    refused = cluster.nodes[1].core.routing.locate("jobs", b"job")
    assert isinstance(refused, HoldfastError)
    assert refused.reason is Reason.UNKNOWN_NAMESPACE


def test_news_are_taken_once_and_never_backwards() -> None:
    """The transport, the disk and whoever waits are told when the map has changed, not else."""
    cluster = Cores()
    core = cluster.nodes[1].core
    told: list[str] = []
    core._remember = lambda _: told.append("disk")
    core._set_peers = lambda peers: told.append(f"peers {sorted(peers)}")
    core.news_waits.add(lambda: told.append("waiter"))
    news = cluster.beginning.news._replace(placement=HERE)

    for _ in range(2):
        core._take_news(news)

    assert told == ["peers [2, 3]", "disk", "waiter"]
    assert core.book.placement == HERE


# ---- plans, from their start to their end ---------------------------------------------------------------


def test_a_split_and_a_merge_leave_the_keys_where_they_were() -> None:
    """Sources are retired everywhere, and a restart of all finds the same."""
    cluster = planned_by_hand()
    for key in (b"a", b"z"):
        cluster.write(key)
    done(cluster, start(cluster, Kind.SPLIT, (SOURCE,), Part(b"", b"m", HERE), Part(b"m", b"", HERE)))
    left, right = sorted(cluster.nodes[1].core.hosting.shards)
    assert not cluster.write(b"b", left).error

    done(cluster, start(cluster, Kind.MERGE, (left, right), Part(b"", b"", HERE)))
    for node in cluster.on():
        node.restart()

    (whole,) = cluster.nodes[1].core.hosting.shards
    cluster.led(whole)
    cluster.until(lambda: all(node.keys(whole) == [b"a", b"b", b"z"] for node in cluster.on()))


def test_a_move_goes_to_a_node_that_joined() -> None:
    """Whoever leaves lets go, whoever comes serves; also after its restart."""
    cluster = planned_by_hand(nodes=4)
    joined = cluster.ask(JoinNode("127.0.0.1:7404", 104))
    assert joined.node is not None
    assert joined.node.id == 4
    cluster.nodes[4].core._take_news(cluster.conducting().core.conductor.news())  # type: ignore[union-attr]
    cluster.write(b"a")

    done(cluster, start(cluster, Kind.MOVE, (SOURCE,), Part(b"", b"", (4, 1, 2))))

    (group,) = cluster.nodes[4].core.hosting.shards
    assert not cluster.write(b"b", group).error
    assert cluster.nodes[3].core.hosting.shards == {}
    cluster.nodes[4].restart()
    cluster.until(lambda: cluster.nodes[4].keys(group) == [b"a", b"b"])
    cluster.until(cluster.nodes[4].hosted(group).group.has_quorum)
    assert cluster.nodes[4].read(group, b"a", Level.LINEARIZABLE).results[0].value == b"v"


def test_a_plan_that_is_taken_back_leaves_everything_as_it_was() -> None:
    """A copy that cannot begin holds it; taken back, its log's floor says so, and it is no more."""
    cluster = planned_by_hand(nodes=4)
    cluster.ask(JoinNode("127.0.0.1:7404", 104))
    number = start(cluster, Kind.MOVE, (SOURCE,), Part(b"", b"", (4, 1, 2)))
    cluster.nodes[4].kill()
    cluster.world.run_for(1.0)
    assert plan(cluster, number).phase is Phase.PREPARE

    assert isinstance(cluster.ask(CancelPlan(number, "a test", 0)), Answer)

    cluster.until(lambda: plan(cluster, number).phase is Phase.CANCELLED)
    assert cluster.led().hosted(SOURCE).state.floor == number
    assert not cluster.write(b"a").error


def test_a_reshape_goes_on_under_the_next_placement_leader() -> None:
    """The one that began it ends right after: the next asks for the facts again."""
    cluster = planned_by_hand()
    cluster.write(b"a")
    number = start(cluster, Kind.SPLIT, (SOURCE,), Part(b"", b"m", HERE), Part(b"m", b"", HERE))
    first = cluster.conducting()
    first.kill()
    cluster.world.run_for(3.0)
    assert plan(cluster, number).phase is Phase.RETIRE, "one node's targets do not stand yet"

    first.start()

    done(cluster, number)
