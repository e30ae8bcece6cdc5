"""Model clients: sessions, retries and all four read levels, by the rules of contract.md.

A client names every write (session, sequence), sends frames of a few to one node, and tries again
elsewhere, packed differently, until it knows the outcome or the write's not_after has passed. What it
concludes is judged by the oracle. Its node is reached over links of its own, which lose nothing but take
time; an attempt ends with its node's process.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError, Reason
from holdfast.token import Token, TokenEntry
from holdfast.types import Level, Outcome
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache.op import Op
from holdfast_node.cache.results import OpResult
from holdfast_node.reads import ReadAnswer

from tests.property.cache_model import decode
from tests.sim.book import WALL_MS
from tests.sim.violation import ANSWERED, CallerFails, Violation

if TYPE_CHECKING:
    from tests.sim.cluster import SimNode
    from tests.sim.oracle import Oracle
    from tests.sim.plan import Workload
    from tests.sim.shards import ShardCluster

KEYS = tuple(b"k%02d" % i for i in range(10))
COUNTERS = (b"n0", b"n1")
LARGE = 1100
"""Bytes of a value that a repeat is not told again; one in flight, so that entries fit small segments."""
DELAY = (0.0002, 0.003)
"""Seconds between a client and a node, one way."""


class Pending:
    """A write on its way to a known outcome."""

    __slots__ = ("data", "group", "op", "perhaps", "sequence", "until")

    def __init__(self, sequence: int, group: int, data: bytes, op: Op, until: float) -> None:
        self.sequence = sequence
        self.group = group
        self.data = data
        self.op = op
        self.until = until
        self.perhaps = False  # an attempt ended without a known outcome


class Question:
    """Something asked of a shard: it is answered exactly once, and in time while its process lives."""

    def __init__(
        self, cluster: ShardCluster, node: SimNode, what: str, seconds: float, judge: Callable[..., None]
    ) -> None:
        """seconds: its deadline from now. judge: is given the answer."""
        self._cluster = cluster
        self._node = node.number
        self._what = what
        self._judge = judge
        self._answered = False
        self._wait(seconds + LATE_SECONDS)

    def __call__(self, *answer: Any) -> None:
        oracle = self._cluster.oracle
        if self._answered:
            oracle.fail(Violation(ANSWERED, f"{self._what} is answered twice"))
        self._answered = True
        try:
            self._judge(*answer)
        except CallerFails:
            raise
        except Exception:  # noqa: BLE001 - the product would log it and go on
            oracle.fail(Violation("the oracle itself", traceback.format_exc(limit=-3)))

    def _wait(self, seconds: float) -> None:
        world = self._cluster.world
        due = world.now + seconds

        def look() -> None:  # on the node's loop: it ends with the process
            if self._answered:
                return
            if world.resumed_at(self._node) > world.now - LATE_SECONDS:
                self._wait(LATE_SECONDS)  # it stood still, and has had no time since
            else:
                self._cluster.oracle.fail(Violation(ANSWERED, f"{self._what} has no answer"))

        world.at(due, look, self._node)


class FrameAt:
    """The indexes at which a frame's writes took effect and the read behind them was answered; 0: not yet."""

    def __init__(self) -> None:
        self.written = 0
        self.read = 0

    def check(self, oracle: Oracle, where: str) -> None:
        if self.read and self.written:
            oracle.check_session(f"{where}, a read behind its frame's writes", self.written, self.read)


LATE_SECONDS = 0.3
"""How long after its deadline an answer may come."""


class Client:
    """See the module docstring."""

    def __init__(self, cluster: ShardCluster, number: int, seed: str, workload: Workload) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._oracle = cluster.oracle
        self.number = number
        self._rng = random.Random(f"{seed}/client {number}")
        self._workload = workload
        self._groups = tuple(cluster.groups)
        self._life = 0
        self._values = 0
        self.writing = True
        self.acknowledged = 0
        self.read: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failing_callbacks = 0
        """How many of the next answers meet a caller whose callback raises."""
        self.failed_callbacks = 0
        self.begin()

    def begin(self) -> None:
        """The client's process starts: a new session that has seen nothing."""
        self._life += 1
        self.session = self._rng.randbytes(16)
        self.pending: dict[int, Pending] = {}
        self._sequence = 0
        self._frames = 0
        self._seen: dict[int, int] = dict.fromkeys(self._groups, 0)
        self._leader: dict[int, int] = {}
        self._revisions: dict[bytes, int] = {}
        self._stamps: dict[int, tuple[int, float]] = {}
        self._later(self._rng.uniform(0, 0.02), self._act)

    @property
    def idle(self) -> bool:
        return not self.pending

    def _later(self, seconds: float, act: Any) -> None:
        life = self._life
        self._world.at(self._world.now + seconds, lambda: act() if self._life == life else None)

    def _act(self) -> None:
        """Thinks of something to ask, then waits a little."""
        rng, load = self._rng, self._workload
        if rng.random() < load.reads:
            self._read()
        elif self.writing and self._frames < 2:
            self._write()
        if self.writing:
            self._later(rng.uniform(0.0, 2 * load.think_seconds), self._act)

    # ---- writes --------------------------------------------------------------------------------------

    def _write(self) -> None:
        rng = self._rng
        group = rng.choice(self._groups)
        if rng.random() < 0.08:
            self._write_once(group)
            return
        frame = [self._new_write(group) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        if rng.random() < 0.02:  # heavy enough for an entry each
            frame += [self._new_write(group, ranges=True) for _ in range(2)]
        self._frames += 1
        self._send(group, frame)

    def _write_once(self, group: int) -> None:
        """A unary call: no session, so it is never tried again."""
        stamp_ms = WALL_MS + self._world.now * 1000
        put = pb.Put(value=self._value())
        number = self.number * 1_000_000 + self._values  # only the oracle looks at it
        message = pb.Operation(key=KEYS[-1], put=put, sequence=number, not_after_ms=int(stamp_ms + 5000))
        data = message.SerializeToString()
        op = decode(data)
        assert op is not None

        def deliver(node: SimNode) -> None:
            def judge(outcome: Any, index: int) -> None:
                if isinstance(outcome, HoldfastError):
                    if outcome.outcome is Outcome.REFUSED:
                        self._oracle.refused(group, (b"", op.sequence), data)
                elif not outcome[0].error:
                    self._oracle.acknowledged(group, index)
                    self._oracle.check_unary(where, group, data, outcome[0])
                    self.acknowledged += 1

            where = f"unary call of client {self.number}, group {group}"
            done = Question(self._cluster, node, where, 1.0, judge)
            node.shard(group).write(b"", 0, [data], [op], node.monotonic() + 1.0, done)

        self._at_node(self._leader.get(group) or self._rng.choice(self._cluster.groups[group]), deliver)

    def _new_write(self, group: int, *, ranges: bool = False) -> Pending:
        self._sequence += 1
        now = self._world.now
        seconds = self._rng.choice(self._workload.patience_seconds)
        told = self._stamps.get(group)
        stamp_ms = told[0] + (now - told[1]) * 1000 if told else WALL_MS + now * 1000
        message = _delete_range(self._rng.choice(KEYS)[:2]) if ranges else self._operation(self._rng)
        message.sequence = self._sequence
        message.not_after_ms = int(stamp_ms + seconds * 1000)
        data = message.SerializeToString()
        op = decode(data)
        assert op is not None, f"a client makes operations: {message}"
        pending = Pending(self._sequence, group, data, op, now + seconds)
        self.pending[self._sequence] = pending
        return pending

    def _operation(self, rng: random.Random) -> pb.Operation:
        key = rng.choice(KEYS)
        dice = rng.random()
        if dice < 0.2:
            return pb.Operation(key=rng.choice(COUNTERS), increment=pb.Increment(by=1))
        if dice < 0.28:
            return pb.Operation(key=key, delete=pb.Delete())
        if dice < 0.36:
            revision = self._revisions.get(key, 0)
            return pb.Operation(
                key=key, compare_and_set=pb.CompareAndSet(revision=revision, value=self._value())
            )
        if dice < 0.40:
            return pb.Operation(key=key, touch=pb.Touch(ttl_ms=self._ttl_ms()))
        if dice < 0.44:
            steps = [
                pb.TxnOperation(key=key, put=pb.Put(value=self._value())),
                pb.TxnOperation(key=rng.choice(COUNTERS), increment=pb.Increment(by=10)),
            ]
            if dice > 0.42:  # its second step is refused where the key holds no number
                steps.append(pb.TxnOperation(key=rng.choice(KEYS), increment=pb.Increment(by=1)))
            compares = [pb.Compare(key=key, exists=True)] if dice > 0.43 else []
            return pb.Operation(txn=pb.Txn(compares=compares, then=steps, otherwise=steps[:1]))
        if dice < 0.45:
            return _delete_range(key[:2])
        put = pb.Put(value=self._value(), return_previous=dice > 0.9)
        if dice < 0.45 + self._workload.ttls:
            put.ttl_ms = self._ttl_ms()
        elif dice > 0.97 and not any(len(pending.data) > LARGE for pending in self.pending.values()):
            put.value += b"y" * LARGE
        elif dice > 0.94:
            put.if_absent = True
        elif dice > 0.92:
            put.if_present = True
        return pb.Operation(key=key, put=put)

    def _ttl_ms(self) -> int:
        return self._rng.choice((20, 60, 200, 600))

    def _value(self) -> bytes:
        self._values += 1
        return b"c%d.%d.%d" % (self.number, self._life, self._values) + b"x" * self._rng.choice((0, 10, 90))

    def _send(self, group: int, frame: list[Pending]) -> None:
        """One attempt at some node; its answer, its refusal or its timeout comes once."""
        rng, world, life, session = self._rng, self._world, self._life, self.session
        number = self._leader.get(group) or rng.choice(self._cluster.groups[group])
        below = min(self.pending, default=self._sequence + 1)
        over = False

        def ended(outcome: Any, stamp_ms: int, index: int) -> None:
            nonlocal over
            if over or self._life != life:
                return
            over = True
            self._leader.pop(group, None)
            if outcome is None:
                for pending in frame:
                    pending.perhaps = True
                self._again(group, frame)
                return
            self._stamps[group] = (stamp_ms, world.now)
            if isinstance(outcome, HoldfastError):
                if outcome.leader:
                    self._leader[group] = int(outcome.leader)
                self._failed(group, frame, [outcome] * len(frame))
            else:
                self._leader[group] = number
                self._seen[group] = max(self._seen[group], index)
                self._failed(group, frame, outcome)

        self._at_node(number, lambda node: self._deliver_write(node, group, session, frame, below, ended))
        if rng.random() < self._workload.again:  # what lay in some queue comes too, after it is forgotten
            for pending in frame:
                pending.perhaps = True
            late, where = rng.choice((0.02, 0.1, 0.4, 1.0)), rng.choice(self._cluster.groups[group])
            self._at_node(
                where, lambda node: self._deliver_write(node, group, session, frame, below, _nobody), late
            )
        world.at(world.now + self._workload.attempt_seconds, lambda: ended(None, 0, 0))

    def _at_node(self, number: int, act: Callable[[SimNode], None], late: float = 0.0) -> None:
        """Runs `act` at a node after the way there, if its process is up then."""
        node = self._cluster.nodes[number]

        def arrive() -> None:
            if node.driver is not None and node.machines:
                act(node)

        self._world.at(self._world.now + late + self._rng.uniform(*DELAY), arrive, number)

    def _deliver_write(
        self, node: SimNode, group: int, session: bytes, frame: list[Pending], below: int, ended: Any
    ) -> None:
        """At the node: hands the frame to the shard; its `done` is the moment of the acknowledgement."""
        shard, world = node.shard(group), self._world
        back = self._rng.uniform(*DELAY)

        frame_at = FrameAt()

        def judge(outcome: Any, index: int) -> None:
            if not isinstance(outcome, HoldfastError) and any(
                isinstance(result, OpResult) and not result.error for result in outcome
            ):
                self._oracle.acknowledged(group, index)
                frame_at.written = index
                frame_at.check(self._oracle, where)
            stamp_ms = shard.stamp_ms()
            world.at(world.now + back, lambda: ended(outcome, stamp_ms, index))
            if self.failing_callbacks:
                self.failing_callbacks -= 1
                self.failed_callbacks += 1
                raise CallerFails

        seconds = self._workload.attempt_seconds * self._rng.choice((0.6, 2.0))
        where = f"frame {[p.sequence for p in frame]} of client {self.number} at node {node.number}"
        write = shard.write(
            session, below, [p.data for p in frame], [p.op for p in frame], node.monotonic() + seconds,
            Question(self._cluster, node, where, seconds, judge),
        )  # fmt: skip
        if self._rng.random() < 0.2:  # a read behind the writes of its own frame
            key = frame[-1].op.key or KEYS[0]
            level = self._rng.choice((Level.SESSION, Level.BOUNDED))
            self._ask(node, group, level, [_get(key)], after=write, frame_at=frame_at)

    def _failed(self, group: int, frame: list[Pending], outcomes: list[OpResult | HoldfastError]) -> None:
        """Settles what has an outcome; tries the rest again."""
        left = []
        for pending, outcome in zip(frame, outcomes, strict=True):
            if isinstance(outcome, OpResult):
                self._settle(pending, outcome)
            else:
                pending.perhaps |= outcome.outcome is Outcome.UNKNOWN
                left.append(pending)
        if left:
            self._again(group, left)
        else:
            self._frames -= 1

    def _settle(self, pending: Pending, result: OpResult) -> None:
        if self.pending.pop(pending.sequence, None) is None:
            return
        name = (self.session, pending.sequence)
        where = f"client {self.number}, group {pending.group}"
        self._oracle.check_result(where, pending.group, name, result)
        self.outcomes["done" if not result.error else Reason(result.error).name] += 1
        if not result.error:
            self.acknowledged += 1
            if pending.op.key:
                self._revisions[pending.op.key] = result.revision
                if self._rng.random() < self._workload.read_backs:
                    node = self._rng.choice(self._cluster.groups[pending.group])
                    self._read_at(node, pending.group, Level.LINEARIZABLE, [_get(pending.op.key)])
        elif not pending.perhaps and result.error != Reason.PREVIOUS_NOT_KEPT:
            self._oracle.refused(pending.group, name)

    def _again(self, group: int, frame: list[Pending]) -> None:
        """After a pause: once more, in one frame or taken apart."""
        now = self._world.now
        for pending in frame:
            if now >= pending.until:
                self._give_up(pending)
        left = [pending for pending in frame if pending.sequence in self.pending]
        if not left:
            self._frames -= 1
            return

        def send() -> None:
            if len(left) > 1 and self._rng.random() < 0.5:
                self._frames += len(left) - 1
                for pending in left:
                    self._send(group, [pending])
            else:
                self._send(group, left)

        self._later(self._rng.uniform(0.002, 0.04), send)

    def _give_up(self, pending: Pending) -> None:
        del self.pending[pending.sequence]
        self.outcomes["unknown" if pending.perhaps else "refused"] += 1
        if not pending.perhaps:
            self._oracle.refused(pending.group, (self.session, pending.sequence))

    # ---- reads ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        rng = self._rng
        group = rng.choice(self._groups)
        level = rng.choices(LEVELS, self._workload.levels)[0]
        ops = (
            [_scan()]
            if rng.random() < 0.1
            else [_get(rng.choice(KEYS + COUNTERS)) for _ in range(rng.choice((1, 2)))]
        )
        number = self._leader.get(group) if rng.random() < 0.4 else None
        number = number or rng.choice(self._cluster.groups[group])
        self._read_at(number, group, level, ops)

    def _read_at(self, number: int, group: int, level: Level, ops: list[Op]) -> None:
        least = self._oracle.books[group].applied_max
        self._at_node(number, lambda node: self._ask(node, group, level, ops, least=least))

    def _ask(
        self, node: SimNode, group: int, level: Level, ops: list[Op], least: int = 0, after: Any = None,
        frame_at: FrameAt | None = None,
    ) -> None:  # fmt: skip
        """At the node: asks the shard; the value is judged where it is taken.

        least: what was applied somewhere when the client began to ask. after, frame_at: the writes of its
        frame, and at which indexes they took effect and it was answered.
        """
        world, oracle, life = self._world, self._oracle, self._life
        shard, needed = node.shard(group), self._seen[group]
        token = Token("", [TokenEntry(*shard.entry.span(), group, needed)]) if needed else None
        bound_ms = self._rng.choice((30, 100, 400))
        or_linearizable = self._rng.random() < 0.5
        where = f"{level.name} read of client {self.number} at node {node.number}, group {group}"

        def judge(answer: ReadAnswer | HoldfastError) -> None:
            if isinstance(answer, HoldfastError):
                self.read["refused"] += 1
                return
            self.read[level.name] += 1
            index = answer.applied_index
            if Level.LINEARIZABLE in (level, answer.level):
                oracle.check_linearizable(where, group, least, index)
                oracle.books[group].acknowledged(index, world.now)
            elif level is Level.SESSION:
                oracle.check_session(where, needed, index)
            elif level is Level.BOUNDED:
                oracle.check_bounded(where, group, bound_ms, index)
            if answer.age_ms is not None and answer.level is not Level.LINEARIZABLE:
                oracle.check_bounded(where, group, answer.age_ms, index)
            if frame_at is not None:
                frame_at.read = index
                frame_at.check(oracle, where)
            for op, result in zip(ops, answer.results, strict=True):
                oracle.check_read(where, group, op, result, index)

            def told() -> None:
                if self._life == life:
                    self._seen[group] = max(self._seen[group], index)

            world.at(world.now + DELAY[1], told)

        seconds = self._rng.choice((0.1, 0.4, 1.0))
        done = Question(self._cluster, node, where, seconds, judge)
        shard.read(level, bound_ms, or_linearizable, ops, token, node.monotonic() + seconds, done, after)


def _delete_range(prefix: bytes) -> pb.Operation:
    return pb.Operation(delete=pb.Delete(range=pb.KeyRange(prefix=prefix)))


def _nobody(outcome: Any, stamp_ms: int, index: int) -> None:
    """Hears an answer that the client no longer waits for."""


LEVELS = (Level.LINEARIZABLE, Level.SESSION, Level.BOUNDED, Level.ANY)


def _get(key: bytes) -> Op:
    op = decode(pb.Operation(sequence=1, key=key, get=pb.Get()).SerializeToString())
    assert op is not None
    return op


def _scan() -> Op:
    message = pb.Operation(sequence=1, scan=pb.Scan(range=pb.KeyRange(), limit=100))
    op = decode(message.SerializeToString())
    assert op is not None
    return op
