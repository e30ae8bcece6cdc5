"""What is known of the placement group: a line of groups, one log each, one state, no step without proof.

What proves a step of a plan is what the books of its groups say: the logs of the sources, the disks of the
targets' nodes. What the placement group's leader believes is not asked.

Over the line: the group whose log has no Seal decides, and no other; what goes on begins as the sealed one
ended; a plan's id and a group's id name one thing for ever; the epoch never goes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_node.cache.seal import Sealed
from holdfast_node.placement import commands
from holdfast_node.placement.cluster import PLACEMENT_GROUP
from holdfast_node.placement.plan import Phase, Plan
from holdfast_node.placement.state import PlacementState
from holdfast_raft.snapshots import FOLDER as SNAPSHOTS

from tests.sim import violation as rule
from tests.sim.book import GroupBook
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.core_cluster import CoreCluster

_PLANS = (commands.StartPlan, commands.Advance, commands.CancelPlan)


class PlacementBook(GroupBook):
    """One group of the line.

    Attributes:
        sealed, floor: as far as anybody has applied them.
        goes_on: what the group that its Seal names begins with; None: not sealed.
    """

    def __init__(self, group: int) -> None:
        super().__init__(group)
        self.sealed: Sealed | None = None
        self.floor = 0
        self.goes_on: PlacementState | None = None

    def took(self, where: str, state: PlacementState) -> None:
        """An entry was applied for the first time by anybody, and led to `state`."""
        if self.sealed is not None and (state.sealed != self.sealed or self._next(state) != self._next()):
            raise Violation(rule.ONE_PLACEMENT, f"{where}: it is sealed, and decides")
        self.floor = state.floor
        if self.sealed is None and state.sealed is not None:
            self.sealed = state.sealed
            self.goes_on = PlacementState()
            state.cut(b"", b"", self.group).copy_into(self.goes_on)

    def _next(self, state: PlacementState | None = None) -> str:
        goes_on = self.goes_on if state is None else state.cut(b"", b"", self.group)
        assert goes_on is not None
        return goes_on.digest()


class PlacementLine:
    """See the module docstring. told: hears of plans that enter a phase, once each.

    Attributes:
        books: by group, in the order in which they came.
        plans: every plan that ever was, as it stands.
    """

    def __init__(self, cluster: CoreCluster, told: Callable[[Plan], None]) -> None:
        self._cluster = cluster
        self._told = told
        self.books = {PLACEMENT_GROUP: PlacementBook(PLACEMENT_GROUP)}
        self.plans: dict[int, Plan] = {}
        self.epoch = 0
        self._phases: dict[int, Phase] = {}
        self._identity: dict[int, tuple[object, ...]] = {}
        self._made_by: dict[int, int] = {}  # group -> plan
        self._births: list[tuple[str, int, str]] = []

    @property
    def present(self) -> PlacementBook:
        """The one that goes on."""
        return self.books[max(self.books)]

    # ---- applied -------------------------------------------------------------------------------------

    def applied(
        self, node: int, group: int, index: int, term: int, data: bytes, state: PlacementState
    ) -> None:
        """A replica of a group of the line, or a copy of it, applied an entry, which led to `state`."""
        book, where = self.books[group], f"node {node}, group {group}, index {index}"
        first = index not in book.agreed
        known = book.agreed.setdefault(index, (term, data))
        if known != (term, data):
            raise Violation(rule.ONE_COMMAND, f"{where}: term {term}, others applied one of term {known[0]}")
        digest = state.digest()
        if book._digests.setdefault(index, digest) != digest:
            raise Violation(rule.SAME_STATE, f"{where}: the digest is not the other replicas'")
        if not first:
            return
        was_sealed = book.sealed is not None
        book.took(where, state)
        if was_sealed:
            return
        if book.sealed is not None:
            self._cluster.happened("sealed", book.sealed.plan)
        self._went_on(where, state)
        if isinstance(commands.decode(data), _PLANS):
            self._enter_all(state)

    def _went_on(self, where: str, state: PlacementState) -> None:
        """Nothing is given twice and nothing goes back, whichever group of the line decides."""
        if state.epoch < self.epoch:
            raise Violation(rule.ONE_PLACEMENT, f"{where}: epoch {state.epoch}, it was at {self.epoch}")
        self.epoch = state.epoch
        for plan in (*state.plans.values(), *state.ended.values()):
            targets = tuple(target.group for target in plan.targets)
            identity = plan.kind, plan.sources, targets, plan.created_ms
            if self._identity.setdefault(plan.id, identity) != identity:
                raise Violation(rule.ONE_PLACEMENT, f"{where}: plan {plan.id} is another's id already")
            for target in targets:
                if self._made_by.setdefault(target, plan.id) != plan.id:
                    raise Violation(rule.ONE_PLACEMENT, f"{where}: group {target} is another plan's already")

    def _enter_all(self, state: PlacementState) -> None:
        for plan in (*state.plans.values(), *state.ended.values()):
            if self._phases.get(plan.id) is not plan.phase:
                self._enter(plan, state)

    # ---- births --------------------------------------------------------------------------------------

    def born(self, node: int, group: int, digest: str) -> None:
        """A replica begins with a state made of another's; it is judged once the Seal is in the books."""
        self._births.append((f"node {node}, group {group}, at its birth", group, digest))

    def judge_births(self) -> None:
        """Of replicas whose source's Seal is in the books. Raises Violation."""
        waiting, self._births = self._births, []
        for where, group, digest in waiting:
            source = next((b for b in self.books.values() if _names(b, group)), None)
            if source is None or source.goes_on is None or source.sealed is None:
                self._births.append((where, group, digest))
                continue
            if source.goes_on.digest() != digest:
                raise Violation(rule.HANDED_OVER, f"{where}: it is not what group {source.group} ended with")
            if group not in self.books:
                self._begin(where, group, source.goes_on, source.sealed)

    def _begin(self, where: str, group: int, state: PlacementState, sealed: Sealed) -> None:
        book = self.books[group] = PlacementBook(group)
        book.applied_max, book.applied_max_term = sealed.index, sealed.term
        self._cluster.lineage.books[group] = book
        self._cluster.happened("born", sealed.plan)
        self._went_on(where, state)
        self._enter_all(state)

    def unproven(self) -> str:
        """A birth that no Seal has made true; '': none."""
        return self._births[0][0] if self._births else ""

    # ---- steps of plans ------------------------------------------------------------------------------

    def _enter(self, plan: Plan, state: PlacementState) -> None:
        self._phases[plan.id] = plan.phase
        self.plans[plan.id] = plan
        problem = ""
        if plan.phase is Phase.RETIRE:
            problem = self._not_decided(plan)
        elif plan.phase is Phase.CANCELLED:
            problem = self._not_released(plan)
        elif plan.phase is Phase.DONE:
            problem = self.needing(plan, _superseded(plan, state))
        if problem:
            raise Violation(rule.PLACEMENT_FOLLOWS, f"{_named(plan)} enters {plan.phase.name}: {problem}")
        self._told(plan)

    def _judged(self, group: int) -> tuple[Sealed | None, int]:
        """What the log of a plan's source says: its Seal, its floor."""
        if group in self.books:
            return self.books[group].sealed, self.books[group].floor
        book = self._cluster.lineage.shard_books[group]
        return book.sealed, book.model.floor

    def _not_decided(self, plan: Plan) -> str:
        for source in plan.sources:
            sealed, _ = self._judged(source.group)
            if sealed is None or sealed.plan != plan.id:
                return f"the log of group {source.group} says {sealed}"
        return ""

    def _not_released(self, plan: Plan) -> str:
        for source in plan.sources:
            sealed, floor = self._judged(source.group)
            if floor < plan.id or (sealed is not None and sealed.plan == plan.id):
                return f"the log of group {source.group} says floor {floor}, {sealed}"
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


def _superseded(plan: Plan, state: PlacementState) -> frozenset[int]:
    """Targets of a plan that has just ended which a later plan has ended in turn, and is done with."""
    in_use = {source.group for other in state.plans.values() for source in other.sources}
    in_use.update(state.shards, (state.placement.group,))
    return frozenset(target.group for target in plan.targets if target.group not in in_use)


def _names(book: PlacementBook, group: int) -> bool:
    return book.sealed is not None and book.sealed.targets[0].group == group


def _named(plan: Plan) -> str:
    sources, targets = [s.group for s in plan.sources], [t.group for t in plan.targets]
    return f"plan {plan.id} ({plan.kind.name} of {sources} to {targets})"
