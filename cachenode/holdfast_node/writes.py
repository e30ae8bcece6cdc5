"""The writes of one shard on their way into its group's log.

Frames queue; each turn packs what came since the last one into one entry (more when it is larger than an
entry may be), stamps it and proposes it; the group's answer settles the frames.

Invariants:
- Every frame's `done` is called exactly once, by its deadline: outcomes, refused, or unknown.
- Frames are proposed in the order they came; the operations of a frame in theirs, also over entries.
- A frame is *refused* only if no part of it was proposed; in a frame of several entries each operation
  has its own outcome.
- The queue is bounded, in what it holds and in how long one waits in it; past it: BUSY. A frame that would
  be answered too late would only keep others from being answered in time.

Callback style on the node's loop thread: no asyncio, so the simulator runs the same code. Batching is
self-clocking, after LogCabin: what comes while the window is full packs into larger entries.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from holdfast.errors import HoldfastError, Reason, error
from holdfast.shardmap import Shard as MapEntry
from holdfast.types import Outcome
from holdfast_raft.clock import Clock
from holdfast_raft.errors import RaftError
from holdfast_raft.proposals import Applied

from holdfast_node import limits
from holdfast_node.cache.commands import Run, encode_batch
from holdfast_node.cache.op import DELETE, TXN, Op
from holdfast_node.cache.results import OpResult
from holdfast_node.circuit import Circuit
from holdfast_node.deadlines import Deadlines
from holdfast_node.refusals import deadline_passed, from_raft

logger = logging.getLogger(__name__)

# What may wait for a turn that can propose: about what a second of writing makes. Past it: BUSY.
QUEUE_BYTES_MAX = 32 * limits.MIB
QUEUE_OPERATIONS_MAX = 64 * 1024
RETRY_AFTER_MS = 20
RETRY_AFTER_MS_MAX = 1000
# Nothing more is proposed while an entry that was is on its way for this long: what waits here can still be
# refused without effect, what was proposed cannot. A commit took 2 to 20 ms in the bench.
PIPELINE_S = 0.2
# Of the time that is left to a frame; the other half is for what follows its proposal.
WAIT_SHARE = 0.5
# Keys that small operations fill an entry with. Fewer cost more per operation; more make a client's whole
# window one entry, and then client, leader and followers wait for each other in turn.
PACK_KEYS_MAX = 128
# An entry's head and each run's, beside the operations' bytes.
RUN_BYTES = 48
# Kinds that may touch more keys than one.
_HEAVY = frozenset((DELETE, TXN))

assert PACK_KEYS_MAX <= limits.ENTRY_KEYS_MAX, "packing keeps the bound of an entry"
assert QUEUE_BYTES_MAX >= 4 * limits.FRAME_BYTES_MAX, "the queue must hold several of the largest frames"
assert QUEUE_OPERATIONS_MAX >= 4 * limits.FRAME_OPERATIONS_MAX, "and of the most packed ones"

Outcomes = list[OpResult | HoldfastError]
WriteDone = Callable[[Outcomes | HoldfastError, int], None]

_NOT_PROPOSED = error(Reason.INTERNAL, "an operation was left without an outcome; please report this")


class Group(Protocol):
    """What writes need of holdfast_raft.group.Group."""

    @property
    def is_leader(self) -> bool: ...
    @property
    def leader(self) -> int | None: ...
    @property
    def applied_index(self) -> int: ...
    @property
    def stopped(self) -> str: ...
    def can_propose(self) -> bool: ...
    def propose(
        self,
        data: bytes,
        context: object,
        deadline: float,
        done: Callable[[Applied | RaftError], None],
        *,
        at_once: bool = False,
    ) -> None: ...


class Write:
    """One frame's writes on their way. What `Shard.write` returns, for the frame's reads to come after."""

    __slots__ = (
        "_owner", "answered_below", "at", "began", "deadline", "done", "op_bytes", "ops", "outcomes",
        "session", "settled", "size", "under_way", "waiting", "weight",
    )  # fmt: skip

    def __init__(
        self, owner: Writes, session: bytes, answered_below: int, op_bytes: Sequence[bytes], ops: list[Op],
        began: float, deadline: float, done: WriteDone,
    ) -> None:  # fmt: skip
        self._owner = owner
        self.began = began
        self.session = session
        self.answered_below = answered_below
        self.op_bytes = op_bytes
        self.ops = ops
        self.deadline = deadline
        self.done = done
        self.size = sum(map(len, op_bytes)) + RUN_BYTES
        # Keys its apply may touch.
        self.weight = len(ops) if _HEAVY.isdisjoint(op[1] for op in ops) else sum(op.weight() for op in ops)
        self.at = 0  # operations proposed so far
        self.under_way = 0  # entries that hold some of them and have no outcome
        self.outcomes: Outcomes | None = None  # only of a frame that is more than one entry
        self.settled = False
        self.waiting: list[Callable[[], None]] | None = None

    def when_settled(self, act: Callable[[], None]) -> None:
        """Runs `act` once the outcome is known, at once if it is."""
        if self.settled:
            act()
        elif self.waiting is None:
            self.waiting = [act]
        else:
            self.waiting.append(act)

    def late(self) -> None:
        self._owner.overdue(self)


class _Part(NamedTuple):
    """What an entry holds of a frame."""

    write: Write
    start: int
    end: int


class _Entry(NamedTuple):
    """An entry about to be proposed."""

    runs: list[Run]
    context: list[Sequence[Op]]
    parts: list[_Part]


class Writes:
    """See the module docstring."""

    def __init__(
        self, entry: MapEntry, node: int, clock: Clock, *, next_stamp_ms: Callable[[], int],
        moved: Callable[[], HoldfastError | None] = lambda: None,
    ) -> None:  # fmt: skip
        """next_stamp_ms: the stamp for an entry proposed now. moved: why a sealed shard takes nothing."""
        self._moved = moved
        self._entry = entry
        self._node = node
        self._clock = clock
        self._next_stamp_ms = next_stamp_ms
        self._queue: deque[Write] = deque()
        self._on_their_way: dict[int, float] = {}  # entries proposed and when, in order
        self.queue_bytes = 0
        self.queue_operations = 0
        self.entries = 0  # proposed since this process began

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
        self._under_way: Deadlines[Write] = Deadlines(self._clock.monotonic, call_at)

    def write(
        self,
        session: bytes,
        answered_below: int,
        op_bytes: Sequence[bytes],
        ops: list[Op],
        deadline: float,
        done: WriteDone,
    ) -> Write:
        """Queues a frame's writes; `done` may be called before this returns (refusals)."""
        now = self._clock.monotonic()
        write = Write(self, session, answered_below, op_bytes, ops, now, deadline, done)
        group = self._group
        moved = self._moved()
        while self._queue and self._queue[0].settled:  # past its deadline: how long it waits says nothing
            self._take_first()
        if moved is not None:
            self._settle(write, moved, group.applied_index)
        elif group.stopped or not (group.is_leader or group.leader == self._node):
            self._settle(write, self._circuit.refusal(), group.applied_index)
        elif (
            self.queue_bytes + write.size > QUEUE_BYTES_MAX
            or self.queue_operations + len(ops) > QUEUE_OPERATIONS_MAX
        ):
            full = f"{self.queue_operations} operations of {self.queue_bytes} bytes wait in this shard"
            busy = error(Reason.BUSY, full, retry_after_ms=RETRY_AFTER_MS)
            self._settle(write, busy, group.applied_index)
        elif self._queue and (waits := now - self._queue[0].began) > WAIT_SHARE * (deadline - now):
            late = f"{self.queue_operations} operations wait in this shard, the first for {waits:.2f} s"
            busy = error(Reason.BUSY, late, retry_after_ms=min(RETRY_AFTER_MS_MAX, int(1000 * waits)))
            self._settle(write, busy, group.applied_index)
        else:
            self._queue.append(write)
            self.queue_bytes += write.size
            self.queue_operations += len(ops)
            self._under_way.add(write)
            if len(self._queue) == 1:
                self._wake()
        return write

    def turn(self, *, may_stamp: bool) -> None:
        """Proposes what waits, if this replica leads."""
        group = self._group
        if not group.is_leader:
            if self._queue and group.leader != self._node:
                self.refuse_queue()
        elif may_stamp:
            while self._queue and group.can_propose() and not self._is_slow():
                self._propose(self._pack())

    def _is_slow(self) -> bool:
        first = next(iter(self._on_their_way.values()), None)
        return first is not None and self._clock.monotonic() - first > PIPELINE_S

    def _pack(self) -> _Entry:
        """Takes from the queue what fits one entry: whole frames, or a part of one that is larger."""
        entry = _Entry([], [], [])
        size = weight = 0
        queue = self._queue
        while queue:
            write = queue[0]
            if write.settled:
                self._take_first()
                continue
            size += write.size
            weight += write.weight
            # A frame is not taken apart for the sake of packing, only where an entry's bounds demand it.
            keys_max = PACK_KEYS_MAX if entry.parts else limits.ENTRY_KEYS_MAX
            fits = size <= limits.ENTRY_BYTES_MAX and weight <= keys_max
            if write.at or not fits:
                if not entry.parts:
                    self._pack_part(entry, write)
                break
            self._take_first()
            entry.runs.append(Run(write.session, write.answered_below, write.op_bytes))
            entry.context.append(write.ops)
            entry.parts.append(_Part(write, 0, len(write.ops)))
            write.at = len(write.ops)
        return entry

    def _pack_part(self, entry: _Entry, write: Write) -> None:
        """As many of a large frame's next operations as fit an entry; at least one."""
        start = end = write.at
        size, weight = RUN_BYTES, 0
        while end < len(write.ops):
            size += len(write.op_bytes[end])
            weight += write.ops[end].weight()
            if end > start and (size > limits.ENTRY_BYTES_MAX or weight > limits.ENTRY_KEYS_MAX):
                break
            end += 1
        write.at = end
        if end == len(write.ops):
            self._take_first()
        entry.runs.append(Run(write.session, write.answered_below, write.op_bytes[start:end]))
        entry.context.append(write.ops[start:end])
        entry.parts.append(_Part(write, start, end))

    def _take_first(self) -> None:
        write = self._queue.popleft()
        self.queue_bytes -= write.size
        self.queue_operations -= len(write.ops)

    def _propose(self, entry: _Entry) -> None:
        parts = entry.parts
        if not parts:
            return
        for part in parts:
            part.write.under_way += 1
        self.entries += 1
        number = self.entries
        self._on_their_way[number] = self._clock.monotonic()
        deadline = max(part.write.deadline for part in parts)
        stamp_ms = self._next_stamp_ms()
        data = encode_batch(stamp_ms, entry.runs, self._entry.units)
        self._group.propose(
            data, entry.context, deadline, lambda outcome: self._proposed(number, parts, outcome)
        )

    def _proposed(self, number: int, parts: list[_Part], outcome: Applied | RaftError) -> None:
        """The outcome of an entry, for each frame that has a part in it."""
        del self._on_their_way[number]
        if self._queue:  # it may have waited for this one
            self._wake()
        if isinstance(outcome, RaftError):
            why = from_raft(outcome, self._entry)
            for part in parts:
                self._failed(part, why)
            return
        results: list[list[OpResult]] = outcome.result  # type: ignore[assignment]  # what apply returned
        index = outcome.index
        for part, answers in zip(parts, results, strict=True):
            write = part.write
            write.under_way -= 1
            if len(answers) == len(write.ops):
                self._settle(write, answers, index)  # type: ignore[arg-type]  # results are outcomes
            else:
                self._fill(write, part, answers, index)

    def _failed(self, part: _Part, why: HoldfastError) -> None:
        write = part.write
        write.under_way -= 1
        index = self._group.applied_index
        count = part.end - part.start
        if count == len(write.ops):
            self._settle(write, why, index)
            return
        # What comes after a part that failed is not proposed any more: writes of a frame keep their order.
        rest = len(write.ops) - write.at
        if rest:
            message = "not proposed: an earlier part of the frame failed"
            refused = error(why.reason, message, leader=why.leader)
            tail = _Part(write, write.at, len(write.ops))
            write.at = len(write.ops)
            self._fill(write, tail, [refused] * rest, index, more=True)
            self._drop_from_queue(write)
        self._fill(write, part, [why] * count, index)

    def _fill(
        self,
        write: Write,
        part: _Part,
        answers: Sequence[OpResult | HoldfastError],
        index: int,
        *,
        more: bool = False,
    ) -> None:
        """Notes a part's outcomes; the frame is settled when it was the last."""
        if write.settled:
            return
        if write.outcomes is None:
            write.outcomes = [_NOT_PROPOSED] * len(write.ops)
        write.outcomes[part.start : part.end] = answers
        if not more and not write.under_way and write.at == len(write.ops):
            self._settle(write, write.outcomes, index)

    # ---- ends ------------------------------------------------------------

    def overdue(self, write: Write) -> None:
        """A frame's deadline has passed: refused as far as it was not proposed, else unknown."""
        unknown = deadline_passed("the outcome was known", Outcome.UNKNOWN)
        refused = deadline_passed("the write was proposed")
        index = self._group.applied_index
        if not write.at:
            self._settle(write, refused, index)
        elif write.outcomes is None and write.at == len(write.ops):
            self._settle(write, unknown, index)
        else:
            outcomes = write.outcomes or [_NOT_PROPOSED] * len(write.ops)
            for i, known in enumerate(outcomes):
                if known is _NOT_PROPOSED:
                    outcomes[i] = unknown if i < write.at else refused
            self._settle(write, outcomes, index)

    def _settle(self, write: Write, outcome: Outcomes | HoldfastError, index: int) -> None:
        if write.settled:
            return
        write.settled = True
        self._under_way.discard(write)
        try:
            write.done(outcome, index)
        except Exception:
            # One caller's defect must not take the answers of the others of its entry with it.
            logger.exception("a write's callback failed")
        waiting, write.waiting = write.waiting, None
        for act in waiting or ():
            act()

    def refuse_queue(self, why: HoldfastError | None = None) -> None:
        """Ends what was not proposed: this replica does not lead, or `why`."""
        queue, self._queue = self._queue, deque()
        self.queue_bytes = self.queue_operations = 0
        if not queue:
            return
        why = why or self._circuit.refusal()
        index = self._group.applied_index
        for write in queue:
            if not write.at:
                self._settle(write, why, index)
                continue
            tail = _Part(write, write.at, len(write.ops))
            write.at = len(write.ops)
            self._fill(write, tail, [why] * (tail.end - tail.start), index)

    def _drop_from_queue(self, write: Write) -> None:
        if self._queue and self._queue[0] is write:
            self._take_first()
