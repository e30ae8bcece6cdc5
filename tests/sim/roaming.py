"""Model clients of a namespace whose shards come and go: they follow the map as the SDK does.

As in clients.py; besides, a client finds a key's shard by a map of its own (the SDK's Router), which
WRONG_SHARD answers and nodes' maps bring on, and its token names the groups that it has seen, which along a
key's life only grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError, Reason
from holdfast.keys import position
from holdfast.router import Router
from holdfast.shardmap import Shard as MapEntry
from holdfast.token import Standing, Token
from holdfast.types import Level, Outcome
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache.op import SCAN, Op
from holdfast_node.cache.results import OpResult
from holdfast_node.reads import ReadAnswer
from holdfast_node.shard import Shard

from tests.property.cache_model import decode
from tests.sim import violation as rule
from tests.sim.book import WALL_MS
from tests.sim.clients import DELAY, KEYS, Client, FrameAt, Pending, Question, _get
from tests.sim.core_cluster import NAMESPACE, node_at
from tests.sim.lineage_oracle import Point
from tests.sim.violation import CallerFails, Violation

if TYPE_CHECKING:
    from tests.sim.cluster import SimNode
    from tests.sim.core_cluster import CoreCluster, CoreNode

NOWHERE: Point = (0, 0)
Results = dict[int, OpResult | HoldfastError]
"""What became of each operation of an attempt, by its sequence."""


def place_of(op: Op) -> bytes:
    """The key by which an operation finds its shard."""
    if op.key:
        return op.key
    return op.range.start if op.range is not None else op.keys()[0]


class Visit:
    """One frame at a node: its parts go to the shards there, and it is answered when all have."""

    def __init__(self) -> None:
        self.results: Results = {}
        self.told: list[tuple[Shard, int]] = []
        self.stamp_ms = 0
        self.left = 0


class Roamer(Client):
    """See the module docstring."""

    _cluster: CoreCluster

    def begin(self) -> None:
        """The client's process starts: a new session that has seen nothing."""
        first = self._cluster.beginning.news.map
        # The books of a namespace share what operations did: any of its groups stands for it.
        self._groups = (first.shards[0].group,)
        self._router = Router()
        self._router.learn_map(first, 0.0)
        self._token = Token("")
        super().begin()

    # ---- where ---------------------------------------------------------------------------------------

    def _shard_of(self, op: Op) -> MapEntry:
        found = self._router.locate(NAMESPACE, place_of(op))
        assert found is not None, f"the map has no shard for {op}"
        return found

    def _by_shard(self, ops: Iterable[tuple[Op, Any]]) -> list[tuple[MapEntry, list[Any]]]:
        parts: dict[int, tuple[MapEntry, list[Any]]] = {}
        for op, item in ops:
            entry = self._shard_of(op)
            parts.setdefault(entry.group, (entry, []))[1].append(item)
        return list(parts.values())

    def _node_for(self, entry: MapEntry, *, leader: bool) -> int:
        known = self._leader.get(entry.group) if leader else None
        return known or self._rng.choice(entry.replicas).node

    def _learn(self, problem: HoldfastError, group: int) -> None:
        """What an error repairs."""
        if problem.leader:
            self._leader[group] = node_at(problem.leader)
        if problem.reason in (Reason.WRONG_SHARD, Reason.CROSS_SHARD):
            known = self._router.map
            self._router.learn_shards(problem.shards, self._world.now)
            if self._router.map is known:
                self._ask_for_map()

    def _ask_for_map(self) -> None:
        """As of a WatchMap that comes round: some node's map."""

        def at_node(node: SimNode) -> None:
            told = node.core.routing.live_map()  # type: ignore[attr-defined]
            self._later(self._rng.uniform(*DELAY), lambda: self._take_map(told))

        self._at_node(self._rng.choice(list(self._cluster.nodes)), at_node)

    def _take_map(self, told: Any) -> None:
        self._router.learn_map(told, self._world.now)

    # ---- writes --------------------------------------------------------------------------------------

    def _write_once(self, group: int) -> None:
        """A unary call: no session, so it is never tried again."""
        stamp_ms = WALL_MS + self._world.now * 1000
        put = pb.Put(value=self._value())
        number = self.number * 1_000_000 + self._values  # only the oracle looks at it
        key = self._rng.choice(KEYS)
        message = pb.Operation(key=key, put=put, sequence=number, not_after_ms=int(stamp_ms + 5000))
        data = message.SerializeToString()
        op = decode(data)
        assert op is not None

        def deliver(node: CoreNode) -> None:
            found = node.core.routing.locate_operation(NAMESPACE, op)
            if isinstance(found, HoldfastError):
                self._learn(found, group)
                return
            at = found.entry.group

            def judge(outcome: Any, index: int) -> None:
                outcome = outcome if isinstance(outcome, HoldfastError) else outcome[0]
                if isinstance(outcome, HoldfastError):
                    if outcome.outcome is Outcome.REFUSED:
                        self._oracle.refused(group, (b"", op.sequence), data)
                elif not outcome.error:
                    self._oracle.acknowledged(at, index)
                    self._oracle.check_unary(where, group, data, outcome)
                    self.acknowledged += 1

            where = f"unary call of client {self.number}, group {at}"
            done = Question(self._cluster, node, where, 1.0, judge)
            found.write(b"", 0, [data], [op], node.monotonic() + 1.0, done)

        self._at_node(self._node_for(self._shard_of(op), leader=True), deliver)  # type: ignore[arg-type]

    def _send(self, group: int, frame: list[Pending]) -> None:
        """One attempt for each shard that the frame touches."""
        parts = self._by_shard((pending.op, pending) for pending in frame)
        self._frames += len(parts) - 1
        for entry, part in parts:
            self._attempt(group, entry, part)

    def _attempt(self, group: int, entry: MapEntry, part: list[Pending]) -> None:
        """At some node; the answer, the refusal or the timeout comes once."""
        rng, world, life, session = self._rng, self._world, self._life, self.session
        number = self._node_for(entry, leader=True)
        below = min(self.pending, default=self._sequence + 1)
        over = False

        def ended(visit: Visit | None) -> None:
            nonlocal over
            if over or self._life != life:
                return
            over = True
            self._leader.pop(entry.group, None)
            if visit is None:
                for pending in part:
                    pending.perhaps = True
                if rng.random() < 0.3:
                    self._ask_for_map()
                self._again(group, part)
                return
            self._take(group, entry, number, part, visit)

        self._at_node(number, lambda node: self._visit(node, session, part, below, ended))
        if rng.random() < self._workload.again:  # what lay in some queue comes too, after it is forgotten
            for pending in part:
                pending.perhaps = True
            late, where = rng.choice((0.02, 0.1, 0.4, 1.0)), rng.choice(list(self._cluster.nodes))
            self._at_node(where, lambda node: self._visit(node, session, part, below, _nobody), late)
        world.at(world.now + self._workload.attempt_seconds, lambda: ended(None))

    def _take(self, group: int, entry: MapEntry, number: int, part: list[Pending], visit: Visit) -> None:
        """An answer came."""
        for shard, index in visit.told:
            self._token.raise_to(shard.token_entry(index))
        if visit.told:
            self._stamps[group] = (visit.stamp_ms, self._world.now)
            self._leader[visit.told[0][0].entry.group] = number
        left, outcomes = [], []
        for pending in part:
            outcome = visit.results[pending.sequence]
            if isinstance(outcome, HoldfastError):
                self._learn(outcome, entry.group)
                if outcome.reason is Reason.CROSS_SHARD:
                    self._crossed(group, pending)
                    continue
            left.append(pending)
            outcomes.append(outcome)
        self._failed(group, left, outcomes)

    def _crossed(self, group: int, pending: Pending) -> None:
        """A cut lies between the operation's keys by now: nobody can do it as one."""
        if self.pending.pop(pending.sequence, None) is None:
            return
        self.outcomes["CROSS_SHARD"] += 1
        if not pending.perhaps:
            self._oracle.refused(group, (self.session, pending.sequence))

    def _visit(self, node: Any, session: bytes, part: list[Pending], below: int, ended: Any) -> None:
        """At the node: hands each operation to its shard there; the last `done` sends the answer back."""
        visit, back = Visit(), self._rng.uniform(*DELAY)
        shards: dict[int, tuple[Shard, list[Pending]]] = {}
        for pending in part:
            found = node.core.routing.locate_operation(NAMESPACE, pending.op)
            if isinstance(found, HoldfastError):
                visit.results[pending.sequence] = found
            else:
                shards.setdefault(found.entry.group, (found, []))[1].append(pending)
        visit.left = len(shards)

        def answered() -> None:
            self._world.at(self._world.now + back, lambda: ended(visit))

        if not shards:
            answered()
        for shard, pendings in shards.values():
            self._write_at(node, shard, session, pendings, below, visit, answered)

    def _write_at(
        self, node: CoreNode, shard: Shard, session: bytes, part: list[Pending], below: int, visit: Visit,
        answered: Any,
    ) -> None:  # fmt: skip
        group, frame_at = shard.entry.group, FrameAt()
        where = (
            f"frame {[p.sequence for p in part]} of client {self.number} at node {node.number}, group {group}"
        )

        def judge(outcome: Any, index: int) -> None:
            results = [outcome] * len(part) if isinstance(outcome, HoldfastError) else outcome
            if any(isinstance(result, OpResult) and not result.error for result in results):
                self._oracle.acknowledged(group, index)
                frame_at.written = index
                frame_at.check(self._oracle, where)
                visit.told.append((shard, index))
                visit.stamp_ms = max(visit.stamp_ms, shard.stamp_ms())
            visit.results.update(zip((p.sequence for p in part), results, strict=True))
            visit.left -= 1
            if not visit.left:
                answered()
            if self.failing_callbacks:
                self.failing_callbacks -= 1
                self.failed_callbacks += 1
                raise CallerFails

        seconds = self._workload.attempt_seconds * self._rng.choice((0.6, 2.0))
        write = shard.write(
            session, below, [p.data for p in part], [p.op for p in part], node.monotonic() + seconds,
            Question(self._cluster, node, where, seconds, judge),
        )  # fmt: skip
        if self._rng.random() < 0.2:  # a read behind the writes of its own frame
            key = part[-1].op.key or place_of(part[-1].op)
            level = self._rng.choice((Level.SESSION, Level.BOUNDED))
            if key in shard.entry.range:
                self._read_shard(node, shard, level, [_get(key)], [NOWHERE], write, frame_at)

    # ---- reads ---------------------------------------------------------------------------------------

    def _read_at(self, number: int, group: int, level: Level, ops: list[Op]) -> None:
        """At some replica of each shard that is asked; `number` would be one of the first shard's."""
        for entry, part in self._by_shard((op, op) for op in ops):
            least = [self._cluster.lineage.latest(NAMESPACE, place_of(op)) for op in part]
            node = self._node_for(entry, leader=self._rng.random() < 0.4)
            self._at_node(node, lambda at, part=part, least=least: self._ask_for(at, level, part, least))  # type: ignore[misc]

    def _ask_for(self, node: Any, level: Level, ops: list[Op], least: list[Point]) -> None:
        """At the node: hands each operation to its shard there."""
        shards: dict[int, tuple[Shard, list[Op], list[Point]]] = {}
        for op, point in zip(ops, least, strict=True):
            found = node.core.routing.locate_operation(NAMESPACE, op, whole=op.kind != SCAN)
            if isinstance(found, HoldfastError):
                self.read["refused"] += 1
                self._learn(found, 0)
            else:
                _, asked, points = shards.setdefault(found.entry.group, (found, [], []))
                asked.append(op)
                points.append(point)
        for shard, asked, points in shards.values():
            self._read_shard(node, shard, level, asked, points)

    def _read_shard(
        self, node: CoreNode, shard: Shard, level: Level, ops: list[Op], least: list[Point],
        after: Any = None, frame_at: FrameAt | None = None,
    ) -> None:  # fmt: skip
        """least: how far each key's line had come when the client began to ask."""
        life, group = self._life, shard.entry.group
        token = Token("", self._token.entries)
        bound_ms = self._rng.choice((30, 100, 400))
        or_linearizable = self._rng.random() < 0.5
        where = f"{level.name} read of client {self.number} at node {node.number}, group {group}"

        def judge(answer: ReadAnswer | HoldfastError) -> None:
            if isinstance(answer, HoldfastError):
                self.read["refused"] += 1
                self._later(DELAY[1], lambda: self._learn(answer, group))
                return
            self.read[level.name] += 1
            index = answer.applied_index
            if frame_at is not None:
                frame_at.read = index
                frame_at.check(self._oracle, where)
            bounds = [bound_ms] if level is Level.BOUNDED and answer.level is Level.BOUNDED else []
            if answer.age_ms is not None and answer.level is not Level.LINEARIZABLE:
                bounds.append(answer.age_ms)
            linearizable = Level.LINEARIZABLE in (level, answer.level)
            session = token if level is Level.SESSION else Token("")
            for op, result, point in zip(ops, answer.results, least, strict=True):
                if not isinstance(result, HoldfastError):
                    least_of = point if linearizable else NOWHERE
                    self._check(where, op, (group, index), least_of, session, bounds)
                    self._oracle.check_read(where, group, op, result, index)
            if linearizable:
                self._oracle.books[group].acknowledged(index, self._world.now)

            def told() -> None:
                if self._life == life:
                    self._token.raise_to(shard.token_entry(index))

            self._world.at(self._world.now + DELAY[1], told)

        seconds = self._rng.choice((0.1, 0.4, 1.0))
        done = Question(self._cluster, node, where, seconds, judge)
        shard.read(level, bound_ms, or_linearizable, ops, token, node.monotonic() + seconds, done, after)

    def _check(
        self, where: str, op: Op, point: Point, least: Point, token: Token, bounds: Sequence[int]
    ) -> None:
        """What was read at `point` of its key's line is as new as was asked for."""
        oracle, key = self._cluster.lineage, place_of(op)
        if point < least:
            oracle.fail(Violation(rule.LINEARIZABLE, f"{where}: read at {point}, {least} was applied before"))
        if token.standing(position(NAMESPACE, key), *point) is not Standing.SATISFIED:
            oracle.fail(
                Violation(rule.SESSION, f"{where}: read at {point}, the session has seen {token.entries}")
            )
        for bound_ms in bounds:
            needed = oracle.acknowledged_before(NAMESPACE, key, self._world.now - bound_ms / 1000)
            if point < needed:
                why = f"{where}: read at {point}, {needed} was acknowledged {bound_ms} ms before"
                oracle.fail(Violation(rule.BOUNDED, why))


def _nobody(visit: Visit | None) -> None:
    """Hears an answer that the client no longer waits for."""
