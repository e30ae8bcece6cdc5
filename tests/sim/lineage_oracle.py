"""What must hold over reshapes, whatever happens: judged from outside while a schedule runs.

A point (group, index) names a state of a key's line: as group ids only grow along a key's life, points of one
key are ordered, whichever groups have served it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdfast.keys import KeyRange
from holdfast.shardmap import Shard as MapEntry
from holdfast_node.cache.state import State
from holdfast_node.placement.cluster import PLACEMENT_NAMESPACE
from holdfast_node.placement.plan import Phase, Plan

from tests.sim import violation as rule
from tests.sim.book import _print
from tests.sim.lineage import Contents, LineageBook, contents_of
from tests.sim.oracle import Oracle, _View, _Watched
from tests.sim.placement_book import PlacementLine
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from holdfast_raft.driver import Driver

    from tests.sim.core_cluster import CoreCluster

Point = tuple[int, int]
"""A group of a key's line, and an index in its log."""
_Birth = tuple[str, MapEntry, Contents, tuple[int, ...], str]


class LineageOracle(Oracle):
    """See the module docstring.

    Attributes:
        shard_books: those of shards, by group.
        retired: the groups that each node has ended.
        plans: how many have ended, by kind and end.
    """

    def __init__(self, cluster: CoreCluster) -> None:
        super().__init__(cluster)
        self._of = cluster
        self.placement = PlacementLine(cluster, self._entered)
        self.books = dict(self.placement.books)
        self.shard_books: dict[int, LineageBook] = {}
        first: LineageBook | None = None
        for entry in cluster.beginning.news.map.shards:
            members = tuple(replica.node for replica in entry.replicas)
            book = self._new_book(LineageBook(entry.group, entry.namespace, entry.range, members))
            if first is not None:
                book.share(first)
            first = first or book
        self.retired: defaultdict[int, set[int]] = defaultdict(set)
        self.plans: Counter[str] = Counter()
        self._births: list[_Birth] = []
        self._old: dict[int, list[_View]] = {}

    def _new_book(self, book: LineageBook) -> LineageBook:
        self.books[book.group] = self.shard_books[book.group] = book
        return book

    # ---- replicas ------------------------------------------------------------------------------------

    def look(self, owner: int) -> None:
        """After an event: who was born in it has proof by now."""
        if self._births:
            self.judge_births()
            if self._births and self.found is None:
                where, entry, *_ = self._births[0]
                raise Violation(rule.ONE_OWNER, f"{where}: no applied Seal names group {entry.group}")
        self.placement.judge_births()  # one may begin with a snapshot that was sealed: no entry came
        unproven = self.placement.unproven()
        if unproven and self.found is None:
            raise Violation(rule.ONE_PLACEMENT, f"{unproven}: no applied Seal names it")
        super().look(owner)

    def changed(self, node: int) -> None:
        """Replicas of a node have come or gone."""
        self._watched.pop(node, None)

    def _watch(self, owner: int, driver: Driver) -> _Watched:
        before = {view.group: view for view in self._old.get(owner, ())}
        views = [before.get(g) or self._view(owner, g) for g in driver.groups.values()]
        self._old[owner] = views
        return driver, views

    # ---- births --------------------------------------------------------------------------------------

    def born(self, node: int, entry: MapEntry, state: State) -> None:
        """A replica begins with a state made of others'; it is judged once their logs are in the books."""
        where = f"node {node}, group {entry.group}, at its birth"
        self._births.append((where, entry, contents_of(state), _print(state), state.digest()))

    def judge_births(self) -> None:
        """Of replicas whose sources' Seals are in the books."""
        self.placement.judge_births()
        waiting, self._births = self._births, []
        for birth in waiting:
            where, entry, contents, figures, digest = birth
            book = self.shard_books.get(entry.group) or self._begun(entry)
            if book is None:
                self._births.append(birth)
                continue
            try:
                book.check_birth(where, contents, figures, digest)
            except Violation as problem:
                self.fail(problem)

    def _begun(self, entry: MapEntry) -> LineageBook | None:
        """The book of a new target, if the logs of all its sources have made it true."""
        sources = [
            book
            for book in self.shard_books.values()
            if book.sealed is not None and any(t.group == entry.group for t in book.sealed.targets)
        ]
        decider = next((book.sealed for book in sources if book.sealed and book.sealed.decides), None)
        if decider is None or len(sources) != 1 + len(decider.others):
            return None
        target = next(t for t in decider.targets if t.group == entry.group)
        sources.sort(key=lambda book: book.span.start)
        book = LineageBook(entry.group, entry.namespace, KeyRange(target.start, target.end), target.replicas)
        book.begin(sources, target)
        self._of.happened("born", decider.plan)
        return self._new_book(book)

    def retiring(self, node: int, group: int) -> None:
        """A node ends its replica for ever: nobody may need it any more."""
        self.retired[node].add(group)
        plan = next((p for p in self.placement.plans.values() if any(s.group == group for s in p.sources)
                     and p.phase is not Phase.CANCELLED), None)  # fmt: skip
        book = self.shard_books.get(group) or self.placement.books.get(group)
        if book is None:
            return
        if plan is None or book.sealed is None:
            self.fail(Violation(rule.SOURCES_KEPT, f"node {node} ends group {group}, which serves"))
        elif plan.phase is not Phase.DONE:
            why = f"node {node} ends group {group} while plan {plan.id} is in {plan.phase.name}"
            self.fail(Violation(rule.SOURCES_KEPT, why))

    def _entered(self, plan: Plan) -> None:
        if not plan.is_open and plan.namespace == PLACEMENT_NAMESPACE:
            self.plans[f"placement {plan.phase.name.lower()}"] += 1
        elif not plan.is_open:
            self.plans[f"{plan.kind.name.lower()} {plan.phase.name.lower()}"] += 1
        self._of.happened(plan.phase.name.lower(), plan.id)

    # ---- what clients are told -----------------------------------------------------------------------

    def _line(self, namespace: str, key: bytes) -> Iterable[LineageBook]:
        """The books of a key's groups, the latest first."""
        for group in sorted(self.shard_books, reverse=True):
            book = self.shard_books[group]
            if book.namespace == namespace and key in book.span:
                yield book

    def latest(self, namespace: str, key: bytes) -> Point:
        """The furthest of a key's line that anybody has applied."""
        book = next(iter(self._line(namespace, key)))
        return book.group, book.applied_max

    def acknowledged_before(self, namespace: str, key: bytes, when: float) -> Point:
        """What a state as old as that must have of a key's line."""
        for book in self._line(namespace, key):
            index = book.acknowledged_before(when)
            if index:
                return book.group, index
        return (0, 0)

    def _check_durable(self, group: int, index: int, term: int, entry: bytes) -> None:
        if any(group in ended for ended in self.retired.values()):
            return  # its targets stand everywhere: what it held is in them
        super()._check_durable(group, index, term, entry)
