"""One run of a plan of the profile `reshape`: whole nodes, whose shards split, merge and move meanwhile,
and in half of the runs the placement group itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from holdfast_node.cache.policy import Policy
from holdfast_node.placement import namespaces
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import Planning
from holdfast_node.placement.cluster import Policy as Planned
from holdfast_node.placement.commands import SetPlanning
from holdfast_node.placement.state import PlacementState

from tests.sim.clients import Client
from tests.sim.cluster import SimNode
from tests.sim.core_cluster import CoreCluster, CoreNode
from tests.sim.faults import FAULTS, Fault
from tests.sim.lineage import LineageBook
from tests.sim.plan import PROFILES, Act, Plan, Profile
from tests.sim.reshapes import ACTS
from tests.sim.roaming import Roamer
from tests.sim.schedule import PIECES, Report, Schedule

NODES = {1: 3, 3: 4, 5: 5}
"""Nodes of a cluster, by the plan's `replicas`: there must be somewhere to move to."""
SLOW_COPY = 64 * 1024
"""Bytes a second, the least there may be."""


class ReshapeSchedule(Schedule):
    """See the module docstring."""

    cluster: CoreCluster

    def __init__(self, plan: Plan, trace: Callable[[str], None] | None = None) -> None:
        super().__init__(plan, trace)
        self._pause_policies()

    def run(self) -> Report:
        """Raises Violation."""
        known = namespaces._BOUNDS["budget_bytes"]
        namespaces._BOUNDS["budget_bytes"] = (1, known[1])  # a budget that a few keys can pass
        try:
            return super().run()
        finally:
            namespaces._BOUNDS["budget_bytes"] = known

    def _make_cluster(self, profile: Profile) -> CoreCluster:
        rng, plan = random.Random(f"{self.plan.seed}/cluster"), self.plan
        self._slow_copies = rng.random() < 0.3
        return CoreCluster(
            plan.seed,
            policy=rng.choice((Policy(), Policy(budget_bytes=1500))),
            nodes=NODES[plan.replicas],
            replicas=min(plan.replicas, 3),
            cuts=(rng.choice((b"k03", b"k06", b"n0")),) if plan.groups > 1 else (),
            together=rng.random() < 0.6,
            log_limits=replace(profile.log_limits, **PIECES[plan.pieces]),
            wal_options=profile.wal,
        )

    def _make_client(self, number: int, profile: Profile) -> Client:
        return Roamer(self.cluster, number, f"{self.plan.seed}", profile.workload)

    def _pause_policies(self) -> None:
        """Only the schedule's own plans run."""
        node = self.cluster.placement_leader()
        world = self.cluster.world

        def answered(result: object) -> None:
            if not isinstance(result, Answer):
                self._pause_policies()

        if node is None or node.core.placement is None:
            world.at(world.now + 0.02, self._pause_policies)
            return
        rate = SLOW_COPY if self._slow_copies else 0
        limits = Planning(frozenset(), 0, 0, 0, rate, 0, 0, 0, 0)
        node.core.placement.propose(SetPlanning(tuple(Planned), (), limits), answered)

    # ---- faults --------------------------------------------------------------------------------------

    def _fault(self, kind: str) -> Fault:
        return ACTS.get(kind) or FAULTS[kind]

    def target(self, act: Act) -> SimNode:
        """The node a fault is meant for: of a leader's, that of placement or of some shard."""
        cluster = self.cluster
        if act.target == 0:
            groups = sorted(cluster.lineage.shard_books)
            group = (cluster.placement_group, groups[-1], groups[act.how % len(groups)])[act.how // 7 % 3]
            leader = cluster.leader(group)
            if leader is not None:
                return leader
        return cluster.nodes[act.how // 3 % len(cluster.nodes) + 1]

    # ---- the end -------------------------------------------------------------------------------------

    def _numbers(self) -> Iterable[int]:
        return sorted(self._state().shards)

    def _state(self) -> PlacementState:
        """The furthest of the placement group."""
        replicas = [n.core.placement for n in self.cluster.core_nodes() if n.core.placement is not None]
        return max(replicas, key=lambda replica: (replica.entry.group, replica.group.applied_index)).state

    def _settled(self) -> bool:
        return not self._unsettled()

    def _unsettled(self) -> str:
        """What is not yet as it should be when all is well."""
        cluster = self.cluster
        nodes = list(cluster.core_nodes())
        if len(nodes) < len(cluster.nodes):
            return "nodes are down"
        if not all(client.idle for client in self.clients):
            return "clients wait"
        leader = cluster.placement_leader()
        state = self._state()
        if leader is None or state.plans or leader.core.conductor is None:
            told = leader.core.conductor.progress if leader is not None and leader.core.conductor else None
            return f"plans are open: {state.plans}; {told}"
        for node in nodes:
            problem = self._left_over(node, state)
            if problem:
                return f"node {node.number} {problem}"
        members = {state.placement.group: state.placement.replicas}
        members.update({group: row.replicas for group, row in state.shards.items()})
        for number, numbers in members.items():
            groups = [cluster.nodes[node].group(number) for node in numbers]
            places = {(g.applied_index, g.commit_index, g.journal.last_index) for g in groups}
            if len(places) != 1 or len(set(next(iter(places)))) != 1 or not any(g.is_leader for g in groups):
                return f"group {number} stands at {places}"
        return ""

    def _left_over(self, node: CoreNode, state: PlacementState) -> str:
        core, driver = node.core, node.driver
        assert driver is not None
        if core.epoch != state.epoch:
            return f"goes by epoch {core.epoch} of {state.epoch}"
        here = {shard.group: shard.range for shard in core.routing.map.shards}
        if here != {shard.group: shard.range for shard in state.shard_map().shards}:
            return f"routes by {here}"
        if set(core.hosting.shards) != set(state.groups_on(node.number)):
            return f"hosts {sorted(core.hosting.shards)}"
        if core.book.placement_group != state.placement.group:
            return f"reports to {core.book}"
        placement = {state.placement.group} if node.number in state.placement.replicas else set()
        if set(driver.groups) != placement | set(core.hosting.shards):
            return f"has replicas of {sorted(driver.groups)}"
        if core.hosting.copies or core.hosting.waiting or driver.unfinished_copies():
            left = driver.unfinished_copies()
            return f"copies {core.hosting.copies}, waits for {core.hosting.waiting}, left {left}"
        return ""

    def _standing(self) -> str:
        groups = {node.number: [repr(g) for g in node.driver.groups.values()] for node in self._up()}
        return f"{self._unsettled()}; {groups}"

    def _up(self) -> list[SimNode]:
        return [node for node in self.cluster.nodes.values() if node.driver is not None]

    def _compare(self) -> None:
        for number in self._numbers():
            book = self.cluster.oracle.books[number]
            for node in self._up():
                if node.driver is not None and number in node.driver.groups:
                    where = f"node {node.number}, group {number}, at the end"
                    state = node.shard(number).state
                    book.check_contents(where, state)
                    book.check_digest(where, node.group(number).applied_index, state)

    def _report(self) -> Report:
        report = super()._report()
        report.counts.update({f"plans: {ended}": n for ended, n in self.cluster.lineage.plans.items()})
        report.counts["copies begun"] = self.cluster.copies_begun
        books = self.cluster.lineage.shard_books.values()
        report.counts["groups born of others"] = sum(
            isinstance(book, LineageBook) and book.born is not None for book in books
        )
        return report


def schedule_of(plan: Plan, trace: Callable[[str], None] | None = None) -> Schedule:
    """The schedule that a plan's profile wants."""
    return (ReshapeSchedule if PROFILES[plan.profile].reshapes else Schedule)(plan, trace)
