"""The four read levels of one shard.

    LINEARIZABLE  the next barrier round, then applied >= its index; all reads of a turn share one round
    SESSION       applied >= what the token names
    BOUNDED       applied state provably at most that old; else LINEARIZABLE if asked to, else refused
    ANY           as it stands

Invariants:
- A value is taken in one place, `_serve`, in the same synchronous call that found its wait to be over:
  also the seal is looked at there, for every level but ANY.
- A read with writes before it in its frame is served after they have settled.
- Every `done` is called exactly once, by the read's deadline; its error is always *refused*.

Callback style on the node's loop thread: no asyncio, so the simulator runs the same code.
Source: protocols.md 4; Raft thesis 6.4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import position
from holdfast.shardmap import Shard as MapEntry
from holdfast.token import Standing, Token
from holdfast.types import Level
from holdfast_raft.clock import Clock
from holdfast_raft.errors import DeadlinePassed, RaftError

from holdfast_node.cache.op import GET, SCAN, Op
from holdfast_node.cache.state import OpResult, State
from holdfast_node.circuit import Circuit
from holdfast_node.deadlines import Deadlines
from holdfast_node.refusals import deadline_passed, from_raft

logger = logging.getLogger(__name__)

# A session read waits here for this part of its time, so that there is time left to go elsewhere; and no
# longer than this: who keeps up is milliseconds behind, and who is cut off does not come.
SESSION_WAIT_PART = 0.25
SESSION_WAIT_S_MAX = 0.2

Results = list[OpResult | HoldfastError]


class ReadAnswer(NamedTuple):
    """The answer to the reads of one frame that asked for one level.

    Attributes:
        results: one for each operation; an error where only that operation is refused.
        level: the level served.
        applied_index: index in the group's log whose state was read.
        age_ms: how old that state may be; None: not known.
    """

    results: Results
    level: Level
    applied_index: int
    age_ms: int | None


Done = Callable[[ReadAnswer | HoldfastError], None]


class Group(Protocol):
    """What reads need of holdfast_raft.group.Group."""

    @property
    def is_leader(self) -> bool: ...
    @property
    def leader(self) -> int | None: ...
    @property
    def applied_index(self) -> int: ...
    @property
    def stopped(self) -> str: ...
    def barrier(self, deadline: float, done: Callable[[int | RaftError], None]) -> None: ...
    def wait_applied(self, index: int, deadline: float, done: Callable[[RaftError | None], None]) -> None: ...
    def staleness_ms(self) -> int | None: ...
    def has_quorum(self) -> bool: ...


class Settling(Protocol):
    """Writes that a read comes after."""

    settled: bool

    def when_settled(self, act: Callable[[], None]) -> None: ...


class _Read:
    """The reads of one frame at one level."""

    __slots__ = (
        "_owner", "after", "age_ms", "bound_ms", "deadline", "done", "level", "ops", "settled", "token",
    )  # fmt: skip

    def __init__(
        self, owner: Reads, level: Level, ops: list[Op], token: Token | None, deadline: float, done: Done,
        after: Settling | None,
    ) -> None:  # fmt: skip
        self._owner = owner
        self.level = level
        self.ops = ops
        self.token = token
        self.deadline = deadline
        self.done = done
        self.after = after
        self.bound_ms: int | None = None  # of a BOUNDED read
        self.age_ms: int | None = None  # that it was found to be within
        self.settled = False

    def late(self) -> None:
        self._owner.refuse(self, deadline_passed("the read could be served"))


class Reads:
    """See the module docstring."""

    def __init__(
        self,
        entry: MapEntry,
        node: int,
        clock: Clock,
        *,
        state: Callable[[], State],
        hide_expired_at: Callable[[], int] | None,
        served: Callable[[list[Op]], None],
        moved: Callable[[], HoldfastError | None] = lambda: None,
    ) -> None:
        """Begins without a group; see `bind`.

        Args:
            entry: the shard's.
            node: this node.
            clock: monotonic time.
            state: the present one; an install replaces it.
            hide_expired_at: strict_ttl's local clock; None: the namespace does not want it.
            served: told what was read, for recency.
            moved: why a sealed shard serves nothing but ANY.
        """
        self._entry = entry
        self._node = node
        self._clock = clock
        self._state = state
        self.hide_expired_at = hide_expired_at
        self._served = served
        self._moved = moved
        self._span = entry.span()
        self._waiting: list[_Read] = []  # for the next barrier round
        self.hits = 0
        self.misses = 0
        self.rounds = 0

    def bind(
        self,
        group: Group,
        circuit: Circuit,
        wake: Callable[[], None],
        call_at: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """Names the group, once it exists. wake: asks for a turn of this group."""
        self._group = group
        self._circuit = circuit
        self._wake = wake
        self._under_way: Deadlines[_Read] = Deadlines(self._clock.monotonic, call_at)

    def read(
        self,
        level: Level,
        bound_ms: int,
        or_linearizable: bool,
        ops: list[Op],
        token: Token | None,
        deadline: float,
        done: Done,
        after: Settling | None = None,
    ) -> None:
        """Serves Gets and Scans of one level; `done` may be called before this returns."""
        group = self._group
        if group.stopped:
            done(error(Reason.STOPPED, f"this replica has stopped: {group.stopped}"))
            return
        moved = self._moved()
        if moved is not None and level is not Level.ANY:
            done(moved)
            return
        read = _Read(self, level, ops, token, deadline, done, after)
        if level is Level.BOUNDED:
            age_ms = group.staleness_ms()
            if age_ms is None or age_ms > bound_ms:
                # The leader can always prove itself fresh, by a round.
                if not or_linearizable and not group.is_leader:
                    done(self._stale(bound_ms, age_ms))
                    return
                level = read.level = Level.LINEARIZABLE
            else:
                read.bound_ms, read.age_ms = bound_ms, age_ms
        if level is Level.LINEARIZABLE:
            if not group.is_leader and group.leader != self._node and not group.has_quorum():
                done(self._circuit.refusal())
                return
            self._under_way.add(read)
            self._waiting.append(read)
            if len(self._waiting) == 1:
                self._wake()
        elif level is Level.SESSION and token is not None:
            self._read_session(read, token)
        else:
            self._ready(read)

    def turn(self) -> None:
        """Starts one barrier for all reads that came since the last turn."""
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        batch = [read for read in batch if not read.settled]
        if batch:
            self.rounds += 1
            deadline = max(read.deadline for read in batch)
            self._group.barrier(deadline, lambda outcome: self._confirmed(batch, deadline, outcome))

    def close(self, why: HoldfastError) -> None:
        """Ends everything that waits."""
        for read in self._under_way.take_all():
            self.refuse(read, why)

    def refuse(self, read: _Read, why: HoldfastError) -> None:
        """Ends a read without an answer."""
        if not read.settled:
            read.settled = True
            self._under_way.discard(read)
            _tell(read.done, why)

    # ---- waits ------------------------------------------------------------

    def _confirmed(self, batch: list[_Read], deadline: float, outcome: int | RaftError) -> None:
        if isinstance(outcome, RaftError):
            self._fail(batch, outcome)
            return
        self._circuit.close()
        if self._group.applied_index >= outcome:
            self._ready_all(batch)
            return

        def applied(problem: RaftError | None) -> None:
            if problem is None:
                self._ready_all(batch)
            else:
                self._fail(batch, problem)

        self._group.wait_applied(outcome, deadline, applied)

    def _ready_all(self, batch: list[_Read]) -> None:
        for read in batch:
            if not read.settled:
                self._ready(read)

    def _fail(self, batch: list[_Read], problem: RaftError) -> None:
        why = from_raft(problem, self._entry, read=True)
        for read in batch:
            self.refuse(read, why)

    def _read_session(self, read: _Read, token: Token) -> None:
        start, end = self._span
        needed = token.needed(start, end, self._entry.group)
        if needed is None:  # a later group has served part of the range: ask for each key
            needed = max((e.index for e in token.entries if e.group == self._entry.group), default=0)
        if self._group.applied_index >= needed:
            self._ready(read)
            return
        self._under_way.add(read)
        now = self._clock.monotonic()
        patience = now + min(SESSION_WAIT_S_MAX, max(0.0, read.deadline - now) * SESSION_WAIT_PART)

        def applied(problem: RaftError | None) -> None:
            if problem is None:
                if not read.settled:
                    self._ready(read)
            elif isinstance(problem, DeadlinePassed):
                self.refuse(read, self._lagging(needed))
            else:
                self.refuse(read, from_raft(problem, self._entry, read=True))

        self._group.wait_applied(needed, patience, applied)

    def _ready(self, read: _Read) -> None:
        """All that remains is the frame's own writes."""
        after = read.after
        if after is None or after.settled:
            self._serve(read)
            return
        self._under_way.add(read)
        after.when_settled(lambda: None if read.settled else self._serve(read))

    # ---- the value ------------------------------------------------------------

    def _serve(self, read: _Read) -> None:
        moved = self._moved()
        if moved is not None and read.level is not Level.ANY:
            self.refuse(read, moved)
            return
        if read.bound_ms is not None and read.after is not None:
            # It may have waited long, for a write whose outcome stayed unknown.
            age_now_ms = self._group.staleness_ms()
            if age_now_ms is None or age_now_ms > read.bound_ms:
                self.refuse(read, self._stale(read.bound_ms, age_now_ms))
                return
            read.age_ms = age_now_ms
        read.settled = True
        self._under_way.discard(read)
        group, level, ops = self._group, read.level, read.ops
        results = self._take(read)
        if level is Level.LINEARIZABLE:
            age_ms: int | None = 0
        elif read.bound_ms is not None:
            age_ms = read.age_ms  # what was judged: a moment later it may be a millisecond more
        else:
            age_ms = group.staleness_ms()
        self._count(ops, results)
        _tell(read.done, ReadAnswer(results, level, group.applied_index, age_ms))

    def _take(self, read: _Read) -> Results:
        look, level = self._state().read, read.level
        results: Results
        if self.hide_expired_at is not None and level >= Level.BOUNDED:
            stamp_ms = self.hide_expired_at()
            results = [look(op, stamp_ms) for op in read.ops]
        else:
            results = [look(op) for op in read.ops]
        if self._entry.range.end:
            self._carry_scans_on(read.ops, results)
        if level is Level.SESSION and read.token is not None:
            self._refuse_superseded(read.ops, read.token, results)
        return results

    def _carry_scans_on(self, ops: list[Op], results: Results) -> None:
        """A scan that reaches the shard's end while its range goes on is continued in the next shard."""
        end = self._entry.range.end
        for i, op in enumerate(ops):
            if op.kind == SCAN and op.range is not None and (not op.range.end or op.range.end > end):
                result = results[i]
                if isinstance(result, OpResult) and result.page is not None and not result.page.next:
                    results[i] = result._replace(page=result.page._replace(next=end))

    def _refuse_superseded(self, ops: list[Op], token: Token, results: Results) -> None:
        """Keys that a later group has served are never served here again."""
        entry = self._entry
        if all(known.group <= entry.group for known in token.entries):
            return
        for i, op in enumerate(ops):
            key = op.key if op.range is None else op.range.start
            standing = token.standing(position(entry.namespace, key), entry.group, self._group.applied_index)
            if standing is Standing.SUPERSEDED:
                results[i] = error(Reason.WRONG_SHARD, f"a later group than {entry.group} has served the key")

    def _count(self, ops: list[Op], results: Results) -> None:
        found = 0
        for result in results:
            if isinstance(result, OpResult) and result[1]:  # a Get's revision; a Scan's is 0
                found += 1
        self.hits += found
        if found < len(ops):
            self.misses += sum(1 for op in ops if op.kind == GET) - found
        self._served(ops)

    # ---- refusals ------------------------------------------------------------

    def _stale(self, bound_ms: int, age_ms: int | None) -> HoldfastError:
        if not self._group.has_quorum():
            refusal = self._circuit.refusal()
            if refusal.reason is Reason.NO_QUORUM:
                return refusal
        age = "not known" if age_ms is None else f"up to {age_ms} ms"
        message = f"the age of this replica's state is {age}; the bound is {bound_ms} ms"
        return error(Reason.LAGGING, message, applied_index=self._group.applied_index)

    def _lagging(self, needed: int) -> HoldfastError:
        applied = self._group.applied_index
        message = f"this replica has applied index {applied}, the token asks for {needed}"
        return error(Reason.LAGGING, message, applied_index=applied)


def _tell(done: Done, outcome: ReadAnswer | HoldfastError) -> None:
    try:
        done(outcome)
    except Exception:
        # One caller's defect must not take the answers of the others of its round with it.
        logger.exception("a read's callback failed")
