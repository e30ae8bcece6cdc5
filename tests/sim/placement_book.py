"""What is known of the placement group: one log, one state, and no step of a plan without proof.

What proves a step is what the books of the plan's groups say: the logs of the sources, the disks of the
targets' nodes. What the placement group's leader believes is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_node.placement import commands
from holdfast_node.placement.plan import Phase, Plan
from holdfast_node.placement.state import PlacementState
from holdfast_raft.snapshots import FOLDER as SNAPSHOTS

from tests.sim import violation as rule
from tests.sim.book import GroupBook
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.core_cluster import CoreCluster

NEVER = (0, 0)


class PlacementBook(GroupBook):
    """See the module docstring. told: hears of plans that enter a phase, once each."""

    def __init__(self, group: int, cluster: CoreCluster, told: Callable[[Plan], None]) -> None:
        super().__init__(group)
        self._cluster = cluster
        self._told = told
        self._phases: dict[int, Phase] = {}
        self.plans: dict[int, Plan] = {}

    def placement_applied(self, node: int, index: int, term: int, data: bytes, state: PlacementState) -> None:
        """A replica applied an entry, which led to `state`."""
        where = f"node {node}, group {self.group}, index {index}"
        first = index not in self.agreed
        known = self.agreed.setdefault(index, (term, data))
        if known != (term, data):
            raise Violation(rule.ONE_COMMAND, f"{where}: term {term}, others applied one of term {known[0]}")
        digest = state.digest()
        if self._digests.setdefault(index, digest) != digest:
            raise Violation(rule.SAME_STATE, f"{where}: the digest is not the other replicas'")
        if first and isinstance(
            commands.decode(data), commands.StartPlan | commands.Advance | commands.CancelPlan
        ):
            for plan in (*state.plans.values(), *state.ended.values()):
                if self._phases.get(plan.id) is not plan.phase:
                    self._enter(plan, state)

    def _enter(self, plan: Plan, state: PlacementState) -> None:
        self._phases[plan.id] = plan.phase
        self.plans[plan.id] = plan
        problem = ""
        if plan.phase is Phase.RETIRE:
            problem = self._not_decided(plan)
        elif plan.phase is Phase.CANCELLED:
            problem = self._not_released(plan)
        elif plan.phase is Phase.DONE:
            problem = self.needing(plan, state.superseded())
        if problem:
            raise Violation(rule.PLACEMENT_FOLLOWS, f"{_named(plan)} enters {plan.phase.name}: {problem}")
        self._told(plan)

    def _not_decided(self, plan: Plan) -> str:
        for source in plan.sources:
            sealed = self._cluster.lineage.shard_books[source.group].sealed
            if sealed is None or sealed.plan != plan.id:
                return f"the log of group {source.group} says {sealed}"
        return ""

    def _not_released(self, plan: Plan) -> str:
        for source in plan.sources:
            book = self._cluster.lineage.shard_books[source.group]
            if book.model.floor < plan.id or (book.sealed is not None and book.sealed.plan == plan.id):
                return f"the log of group {source.group} says floor {book.model.floor}, {book.sealed}"
        return ""

    def needing(self, plan: Plan, superseded: frozenset[int]) -> str:
        """Which target replica would not start again without the plan's sources; '': none."""
        for target in plan.targets:
            if target.group in superseded:
                continue
            for number in target.replicas:
                if not self._stands(target.group, number):
                    return f"group {target.group} has no durable snapshot on node {number}"
        return ""

    def _stands(self, group: int, number: int) -> bool:
        disk = self._cluster.nodes[number].disk
        names = disk.durable_names(f"{SNAPSHOTS}/{group}/")
        return any(name.endswith(".snap") for name in names) or group in self._cluster.lineage.retired[number]


def _named(plan: Plan) -> str:
    sources, targets = [s.group for s in plan.sources], [t.group for t in plan.targets]
    return f"plan {plan.id} ({plan.kind.name} of {sources} to {targets})"
