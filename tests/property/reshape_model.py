"""A model of a reshape for placement/reshape.py to act in: logs, replicas that lag, reports that are old,
orders that are late, said twice or lost, conductors that follow one another.

A source's log is the list of the plan's entries in it; what a replica knows is what a prefix of it says.
What is judged is the logs and the targets, never what a conductor believes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from holdfast_node.cache.seal import Target
from holdfast_node.placement import reshape
from holdfast_node.placement.plan import Kind, Phase, Plan, Source
from holdfast_node.placement.reshape import (
    Advance,
    AskAbort,
    AskCopy,
    AskSeal,
    AskSnapshot,
    AskUnseal,
    CopyFacts,
    Facts,
    ReplicaFacts,
    Step,
)

PLAN = 7
NODES = (1, 2, 3, 4)


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Standing:
    """What a prefix of a source's log says."""

    floor: int = 0
    sealed: int = 0
    decides: bool = False
    index: int = 0


def standing(log: list[Step], applied: int) -> Standing:
    """As cache/state.py judges."""
    known = Standing()
    for index, entry in enumerate(log[:applied], 1):
        if isinstance(entry, AskSeal):
            if not known.sealed and known.floor < PLAN:
                known.sealed, known.decides, known.index = PLAN, entry.decides, index
        elif isinstance(entry, AskAbort):
            if not known.sealed:
                known.floor = PLAN
        elif isinstance(entry, AskUnseal) and not (known.sealed and known.decides):
            known.floor, known.sealed = PLAN, 0
    return known


@dataclass
class Copying:
    """A copy on a node without a source replica."""

    followed: int = 0


@dataclass
class Conductor:
    """One leadership of the placement group: the reports it has heard, the orders it has sent."""

    replicas: dict[tuple[int, int], ReplicaFacts] = field(default_factory=dict)
    copies: dict[tuple[int, int], CopyFacts] = field(default_factory=dict)


class World:
    """One plan and everything it touches."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.rng = random.Random(seed)
        two = kind is Kind.MERGE
        self.plan = Plan(
            PLAN,
            kind,
            "n",
            (
                Source(2, b"", b"m" if two else b"", (1, 2, 3)),
                *((Source(3, b"m", b"", (1, 2, 3)),) if two else ()),
            ),
            {
                Kind.SPLIT: (Target(4, b"", b"m", (1, 2, 3)), Target(5, b"m", b"", (1, 2, 3))),
                Kind.MERGE: (Target(4, b"", b"", (1, 2, 3)),),
                Kind.MOVE: (Target(4, b"", b"", (1, 2, 4)),),
            }[kind],
        )
        self.logs: dict[int, list[Step]] = {source.group: [] for source in self.plan.sources}
        self.applied = {(s.group, node): 0 for s in self.plan.sources for node in s.replicas}
        self.retired: set[tuple[int, int]] = set()
        self.started: set[tuple[int, int]] = set()
        self.stand: set[tuple[int, int]] = set()
        self.copying: dict[tuple[int, int], Copying] = {}
        self.orders: list[Step] = []
        self.conductors = [Conductor()]
        self.wished_away = False

    # ---- what may happen -----------------------------------------------------------------------------

    def step(self) -> None:
        """Something happens."""
        act = self.rng.choice(
            (self._apply, self._apply, self._report, self._report, self._look, self._look, self._deliver,
             self._deliver, self._copy, self._rarely)
        )  # fmt: skip
        act()
        self.check()

    def fair(self) -> None:
        """Everything that can happen does, once, with the newest conductor."""
        del self.conductors[:-1]
        for _ in range(3):
            for key in self.applied:
                self.applied[key] = len(self.logs[key[0]])
            self._start_what_can()
            for key in list(self.copying):
                self._follow(key, 1000)
            for node in NODES:
                self._report_of(node, self.conductors[-1])
            self._look()
            while self.orders:
                self._do(self.orders.pop())
            self.check()

    def _apply(self) -> None:
        key = self.rng.choice(list(self.applied))
        self.applied[key] = min(len(self.logs[key[0]]), self.applied[key] + 1)
        self._start_what_can()

    def _report(self) -> None:
        self._report_of(self.rng.choice(NODES), self.rng.choice(self.conductors))

    def _report_of(self, node: int, conductor: Conductor) -> None:
        for table in (conductor.replicas, conductor.copies):
            for key in [key for key in table if key[1] == node]:
                del table[key]
        leaders = {s.group: self.rng.choice(s.replicas) for s in self.plan.sources}
        for (group, where), applied in self.applied.items():
            if where == node and (group, node) not in self.retired:
                known = standing(self.logs[group], applied)
                conductor.replicas[group, node] = ReplicaFacts(
                    leaders[group] == node, applied, known.sealed, known.index, 1, known.floor, True, 0
                )
        for target in self.plan.targets:
            key = target.group, node
            if key in self.started:
                conductor.replicas[key] = ReplicaFacts(stands=key in self.stand)
            elif key in self.copying:
                behind = self.copying[key].followed < len(self.logs[self.plan.sources[0].group])
                conductor.copies[key] = CopyFacts(True, (1 << 30) * behind)

    def _look(self) -> None:
        conductor = self.rng.choice(self.conductors)
        if not self.plan.is_open:
            return
        facts = Facts(conductor.replicas, conductor.copies)
        for step in reshape.advance(self.plan, facts).steps:
            if isinstance(step, Advance):
                self._advance(step.phase)
                return
            self.orders.append(step)

    def _advance(self, phase: Phase) -> None:
        if phase is Phase.RETIRE:
            self._must_be_decided("the map flips")
        if phase is Phase.DONE:
            self.check_done()
        self.plan = self.plan._replace(phase=phase)

    def _deliver(self) -> None:
        """Late, twice, or never."""
        if self.orders:
            order = self.rng.choice(self.orders)
            fate = self.rng.random()
            if fate < 0.8:
                self._do(order)
            if fate > 0.3:
                self.orders.remove(order)

    def _do(self, order: Step) -> None:
        if isinstance(order, AskSeal | AskAbort | AskUnseal):
            self.logs[order.group].append(order)
        elif isinstance(order, AskCopy):
            key = order.target.group, order.node
            if key not in self.started and self.plan.is_open:
                self.copying.setdefault(key, Copying())
        elif isinstance(order, AskSnapshot):
            key = order.group, order.node
            if key in self.started:
                self.stand.add(key)

    def _copy(self) -> None:
        for key in list(self.copying):
            self._follow(key, 1)

    def _follow(self, key: tuple[int, int], entries: int) -> None:
        """Takes what is committed, from any source replica that is left."""
        source = self.plan.sources[0]
        if all((source.group, node) in self.retired for node in source.replicas):
            return
        copying, log = self.copying[key], self.logs[source.group]
        for _ in range(entries):
            if copying.followed >= len(log):
                return
            copying.followed += 1
            if standing(log, copying.followed).sealed:
                del self.copying[key]
                self.started.add(key)
                self.stand.add(key)
                return

    def _start_what_can(self) -> None:
        for node in NODES:
            known = [
                standing(self.logs[s.group], self.applied[s.group, node])
                for s in self.plan.sources
                if node in s.replicas and (s.group, node) not in self.retired
            ]
            if len(known) < len(self.plan.sources) or not all(k.sealed for k in known):
                continue
            if any(k.decides for k in known):
                self.started |= {(t.group, node) for t in self.plan.targets if node in t.replicas}

    def _rarely(self) -> None:
        fate = self.rng.random()
        if fate < 0.05 and not self.wished_away and self.plan.phase in (Phase.PREPARE, Phase.SEAL):
            self.wished_away = True
            self.plan = self.plan._replace(phase=Phase.CANCELLING)
        elif fate < 0.2:  # a new placement leader, who has heard nothing; the old one goes on for a while
            self.conductors = [*self.conductors[-1:], Conductor()]
        elif fate < 0.3 and self.copying:  # a copying node restarts
            self.copying[self.rng.choice(list(self.copying))] = Copying()

    # ---- what must hold ------------------------------------------------------------------------------

    def decided(self) -> bool:
        """Whether the last source's log has decided for the plan."""
        log = self.logs[self.plan.decider.group]
        known = standing(log, len(log))
        return bool(known.sealed and known.decides)

    def _must_be_decided(self, what: str) -> None:
        if not self.decided():
            raise Broken(f"{what} while the last source's log has not decided")
        for source in self.plan.sources:
            log = self.logs[source.group]
            if not standing(log, len(log)).sealed:
                raise Broken(f"{what} while group {source.group} serves")

    def check(self) -> None:
        """After every step."""
        if self.started:
            self._must_be_decided("a target serves")
        if self.plan.phase is Phase.CANCELLED:
            if self.decided():
                raise Broken("forgotten, and decided")
            for source in self.plan.sources:
                log = self.logs[source.group]
                known = standing(log, len(log))
                if known.sealed or known.floor < PLAN:
                    raise Broken(f"forgotten, and group {source.group} is not released: {known}")

    def check_done(self) -> None:
        """When the sources are about to go."""
        self._must_be_decided("the sources go")
        for target in self.plan.targets:
            for node in target.replicas:
                if (target.group, node) not in self.stand:
                    raise Broken(f"the sources go and {target.group} on node {node} needs them")
