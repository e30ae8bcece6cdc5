"""One replica of one shard: its group, its state, who waits for it and who watches it.

The walk of a write: writes.py queues frames and proposes them, stamped, as entries; `apply` changes the
state and feeds the watchers; the group's answer settles the frames. Reads, watches and the leader's own
entries are next door (reads.py, watch_hub.py, upkeep.py).

Invariants:
- Entries change the state only here, in `apply`, and every event reaches the hub in the same call.
- Every replica begins with the same state, also the same policy: what a node was configured with enters
  by an entry.

Callback style on the node's loop thread: no asyncio, so the simulator runs the same code. It introduces
holdfast_raft and holdfast_node.cache, which do not know each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica
from holdfast.shardmap import Shard as MapEntry
from holdfast.token import Token, TokenEntry
from holdfast.types import EventKind, Item, Level
from holdfast_raft.clock import Clock
from holdfast_raft.errors import Busy
from holdfast_raft.machine import Builder, Image, UnknownEntry
from holdfast_raft.proposals import ProposalDone
from holdfast_raft.status import GroupStatus

from holdfast_node import reads, upkeep, writes
from holdfast_node.cache.buckets import pack_record
from holdfast_node.cache.commands import ABORT, SEAL, UNSEAL, UnknownEntryError, encode_verdict
from holdfast_node.cache.op import Op
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.seal import Sealed, Target, Verdict
from holdfast_node.cache.state import Event, Rest, State
from holdfast_node.circuit import Circuit
from holdfast_node.reads import ReadAnswer
from holdfast_node.restore import Restore
from holdfast_node.shedding import shed
from holdfast_node.watch_hub import MARK_TICK, Encode, WatchBudget, WatchHub
from holdfast_node.writes import Outcomes, Write

RETRY_AFTER_MS = 20
MERGE_RETRY_MS = 8
"""The other source is sealed some 20 ms later: whoever asks again late adds to the pause that clients see."""
SAMPLES = 512
VERDICTS = frozenset((SEAL, ABORT, UNSEAL))


def _unaddressed(nodes: Sequence[int]) -> tuple[Replica, ...]:
    return tuple(Replica(node, "") for node in nodes)


class Group(reads.Group, writes.Group, upkeep.Group, Protocol):
    """What a shard needs of holdfast_raft.group.Group."""

    @property
    def term(self) -> int: ...
    @property
    def commit_index(self) -> int: ...
    def status(self) -> GroupStatus: ...


class Driver(upkeep.Timers, Protocol):
    """What a shard needs of holdfast_raft.driver.Driver."""

    def mark(self, group: Any) -> None:
        """The group has something to do in the next turn."""
        ...

    def call_later(self, delay: float, act: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """One replica's figures at one moment, for metrics, status and health.

    Attributes:
        stats: the state's counts, see cache.State.stats.
        staleness_ms: how old the applied state may be; None: not known.
        queue_operations, queue_bytes: waiting to be proposed.
        hits, misses: of gets, since this process began.
        entries: proposed here since this process began.
        rounds: barriers asked for since this process began.
    """

    entry: MapEntry
    status: GroupStatus
    policy: Policy
    stats: dict[str, int]
    revision: int
    stamp_ms: int
    staleness_ms: int | None
    watchers: int
    queue_operations: int
    queue_bytes: int
    hits: int
    misses: int
    entries: int
    rounds: int


class Shard:
    """See the module docstring. A holdfast_raft.machine.StateMachine."""

    def __init__(
        self,
        entry: MapEntry,
        *,
        node: int,
        policy: Policy | None,
        clock: Clock,
        encode_event: Encode,
        strict_ttl: bool = False,
        watch_budget: WatchBudget | None = None,
        state: State | None = None,
        sealing: Callable[[Shard], None] | None = None,
        replicas_of: Callable[[Sequence[int]], tuple[Replica, ...]] = _unaddressed,
    ) -> None:
        """Makes a shard without a group; `bind` names it.

        Args:
            entry: the shard's place in the map.
            node: this node.
            policy: what the shard's is to be, None: as it is; the leader proposes it when the state's
                differs. Every replica begins with the same default policy, so that a difference between
                nodes' settings can never make their states differ.
            clock: monotonic and wall time.
            encode_event: for watchers.
            strict_ttl: hide by the local clock at BOUNDED and ANY.
            watch_budget: the node's.
            state: what it begins with, made from the shards it came from; None: nothing.
            sealing: told when a Seal was applied or found in a snapshot, and when it was lifted again.
            replicas_of: node ids with the addresses that clients are told.
        """
        self.entry = entry
        self.node = node
        self.state = state or State()
        self._sealing = sealing
        self._replicas_of = replicas_of
        self._moved: HoldfastError | None = None
        self._moved_by: tuple[int, bool] | None = None  # plan, and whether its Seal decides
        self.operations = 0
        """Asked for since this process began."""
        self.sampled: deque[bytes] = deque(maxlen=SAMPLES)
        """The first keys of the latest frames: where the load lies."""
        self._clock = clock
        self._span = entry.span()
        self._marks_armed = False
        self._upkeep = upkeep.Upkeep(node, clock, policy, state=lambda: self.state)
        self._writes = writes.Writes(
            entry, node, clock, next_stamp_ms=self._upkeep.next_stamp_ms, moved=lambda: self._moved
        )
        self._reads = reads.Reads(
            entry,
            node,
            clock,
            state=lambda: self.state,
            hide_expired_at=self._local_clock_ms if strict_ttl else None,
            served=self._upkeep.note_reads,
            moved=lambda: self._moved,
        )
        self.hub = WatchHub(
            entry.group,
            _Watched(self),
            encode_event,
            watched=self._keep_events,
            wake=self._wake,
            budget=watch_budget,
        )

    def bind(self, group: Group, driver: Driver) -> None:
        """Names the group once it exists, in the same synchronous call that made it."""
        self._group = group
        self._driver = driver
        circuit = Circuit(group, self.entry, self._clock)
        self._upkeep.bind(group, driver, self._wake)
        self._writes.bind(group, circuit, self._wake, driver.call_at)
        self._reads.bind(group, circuit, self._wake, driver.call_at)
        if self.state.stamp_ms:  # of the shards it came from
            self._upkeep.stamps.seen(self.state.stamp_ms, self._clock.monotonic())
        self._look_at_seal()

    # ---- facts ------------------------------------------------------------

    @property
    def group(self) -> Group:
        return self._group

    @property
    def leader(self) -> int | None:
        """The node that leads, as far as this one knows."""
        return self._group.leader

    @property
    def is_leader(self) -> bool:
        return self._group.is_leader

    def stamp_ms(self) -> int:
        """The group's clock now, as far as this replica knows: what clients count `not_after` from."""
        return self._upkeep.told_stamp_ms()

    def want_policy(self, policy: Policy | None) -> None:
        """What the shard's policy is to be from now on; None: as it is."""
        self._upkeep.want_policy(policy)

    def want_strict_ttl(self, strict_ttl: bool) -> None:
        """Whether BOUNDED and ANY hide by the local clock from now on."""
        self._reads.hide_expired_at = self._local_clock_ms if strict_ttl else None

    def token_entry(self, index: int) -> TokenEntry:
        """What a session has seen that was answered from `index`."""
        return TokenEntry(*self._span, self.entry.group, index)

    @property
    def moved(self) -> HoldfastError | None:
        """Why a sealed shard serves nothing any more, and who does; None: it serves."""
        return self._moved

    def digest(self) -> str:
        """Of the state at the applied index; about 1 us a key."""
        return self.state.digest()

    def figures(self) -> ShardFigures:
        """The replica's figures now."""
        return ShardFigures(
            entry=self.entry._replace(leader=self._group.leader or 0),
            status=self._group.status(),
            policy=self.state.policy,
            stats=self.state.stats(),
            revision=self.state.revision,
            stamp_ms=self.stamp_ms(),
            staleness_ms=self._group.staleness_ms(),
            watchers=len(self.hub),
            queue_operations=self._writes.queue_operations,
            queue_bytes=self._writes.queue_bytes,
            hits=self._reads.hits,
            misses=self._reads.misses,
            entries=self._writes.entries,
            rounds=self._reads.rounds,
        )

    # ---- what the services ask ------------------------------------------------------------

    def write(
        self,
        session: bytes,
        answered_below: int,
        op_bytes: Sequence[bytes],
        ops: list[Op],
        deadline: float,
        done: Callable[[Outcomes | HoldfastError, int], None],
    ) -> Write:
        """Proposes a frame's writes of this shard, at least one.

        Args:
            session: 16 bytes; b'' for a unary call, which has no repeat table.
            answered_below: the session's mark.
            op_bytes: as the client encoded them.
            ops: the same, decoded; every one a write.
            deadline: monotonic seconds.
            done: called once with (outcomes, applied index). Outcomes are one for each operation, of which
                some may be errors when the frame took several entries; or one error for all of them. May
                be called before this returns.
        """
        self._count(ops)
        return self._writes.write(session, answered_below, op_bytes, ops, deadline, done)

    def read(
        self,
        level: Level,
        bound_ms: int,
        or_linearizable: bool,
        ops: list[Op],
        token: Token | None,
        deadline: float,
        done: Callable[[ReadAnswer | HoldfastError], None],
        after: Write | None = None,
    ) -> None:
        """Serves a frame's reads of this shard at one level; `done` may be called before this returns.

        after: the frame's writes to this shard that name a key read here.
        """
        self._count(ops)
        self._reads.read(Level(level), bound_ms, or_linearizable, ops, token, deadline, done, after)

    def _count(self, ops: list[Op]) -> None:
        self.operations += len(ops)
        self.sampled.append(ops[0].key)

    def propose(self, encode: Callable[[int], bytes], deadline: float, done: ProposalDone) -> None:
        """Proposes an entry of the node's own: a Seal, an Abort, an Unseal.

        Args:
            encode: the entry for a stamp.
            deadline: monotonic seconds.
            done: called once; see holdfast_raft.group.Group.propose.
        """
        if self._group.is_leader and not self._upkeep.may_stamp:
            done(Busy("the group's clock", RETRY_AFTER_MS))
            return
        self._group.propose(encode(self._upkeep.next_stamp_ms()), None, deadline, done, at_once=True)

    def propose_verdict(self, verdict: Verdict, deadline: float, done: ProposalDone) -> None:
        """Proposes to end the shard for a plan, or to forbid one; see `propose`."""
        self.propose(lambda stamp_ms: encode_verdict(stamp_ms, verdict), deadline, done)

    # ---- StateMachine ------------------------------------------------------------

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        state = self.state
        try:
            results = state.apply(data, context, (index, term))  # type: ignore[arg-type]  # what _propose attached
        except UnknownEntryError as problem:
            raise UnknownEntry(str(problem)) from problem
        if self._moved is not None or state.sealed is not None:
            return self._applied_sealed(data, results)
        self._upkeep.applied(state.stamp_ms, term)
        if state.keep_events:
            events = state.take_events()
            if events:
                self.hub.publish(events)
        return results

    def _applied_sealed(self, data: bytes, results: list[list[OpResult]]) -> object:
        """An entry that sealed the shard, or came after: every operation in it is answered alike."""
        moved = self._moved
        self._look_at_seal()
        if moved is None or data[0] in VERDICTS:
            return results
        return [[moved] * len(run) for run in results]

    def _look_at_seal(self) -> None:
        """Draws the consequences when the state is sealed, or is so no longer."""
        sealed = self.state.sealed
        by = (sealed.plan, sealed.decides) if sealed is not None else None
        if by == self._moved_by:
            return
        self._moved_by = by
        if sealed is None:
            self._moved = None
            self.hub.unseal()
            self._wake()  # keys whose time has passed meanwhile
        else:  # also of another plan: a snapshot may come that skips an Unseal
            self._moved = self._refusal(sealed)
            self._writes.refuse_queue(self._moved)
            if sealed.decides:
                self.hub.seal(self._moved)
        self._told_seal()

    def _told_seal(self) -> None:
        if self._sealing is not None:
            self._sealing(self)

    def _refusal(self, sealed: Sealed) -> HoldfastError:
        shards = tuple(map(self.entry_of, sealed.targets))
        if not sealed.decides:  # the shards tell clients which BUSY this is; nobody serves them yet
            message = f"group {self.entry.group} is about to be merged"
            return error(Reason.BUSY, message, retry_after_ms=MERGE_RETRY_MS, shards=shards)
        groups = ", ".join(str(shard.group) for shard in shards)
        message = f"group {self.entry.group} has ended; group {groups} goes on"
        return error(Reason.WRONG_SHARD, message, shards=shards)

    def entry_of(self, target: Target) -> MapEntry:
        """A target of this shard's Seal as a map entry; of no newer epoch than this one, as nobody has
        published it yet.
        """
        return MapEntry(
            self.entry.namespace,
            KeyRange(target.start, target.end),
            target.group,
            self.entry.epoch,
            self._replicas_of(target.replicas),
            0,
            self.entry.units,
        )

    def freeze(self) -> Image:
        return self.state.freeze()

    def builder(self) -> Builder:
        return Restore(self.state.builder())

    def install(self, builder: Builder) -> None:
        assert isinstance(builder, Restore), "install takes what builder() gave"
        before, self.state = self.state, State.restored(builder.inner)
        if before.key_count:  # none at a start, before anybody bound this to a group
            shed(before, self._driver.call_later)
        self._upkeep.stamps.seen(self.state.stamp_ms, self._clock.monotonic())
        self.hub.reinstalled()
        self._look_at_seal()

    def role_changed(self, leading: bool) -> None:
        self._upkeep.role_changed(leading)
        if not leading:
            self._writes.refuse_queue()

    def received(self, sender: int, data: bytes) -> None:  # noqa: ARG002
        self._upkeep.received(data)

    def turn(self) -> None:
        self._reads.turn()
        self.hub.turn()
        self._writes.turn(may_stamp=self._upkeep.turn())

    def close(self) -> None:
        why = error(Reason.STOPPED, f"this replica has stopped: {self._group.stopped}")
        self._writes.refuse_queue()
        self._reads.close(why)
        self.hub.close(why)
        self._upkeep.close()

    # ---- watches ------------------------------------------------------------

    def _keep_events(self, watched: bool) -> None:
        self.state.keep_events = watched
        if watched and not self._marks_armed:
            self._arm_marks()

    def _arm_marks(self) -> None:
        self._marks_armed = True
        self._driver.call_at(self._clock.monotonic() + MARK_TICK, self._tick_marks)

    def _tick_marks(self) -> None:
        self._marks_armed = False
        if self.state.keep_events:
            self.hub.tick(self._clock.monotonic())
            self._arm_marks()

    # ---- small things ------------------------------------------------------------

    def _wake(self) -> None:
        self._driver.mark(self._group)

    def _local_clock_ms(self) -> int:
        """What strict_ttl hides by: never behind the group's clock as far as it is known here."""
        return max(self._clock.wall_ms(), self.stamp_ms())

    def __repr__(self) -> str:
        name = f"{self.entry.namespace} {self.entry.range.start!r}..{self.entry.range.end!r}"
        return f"<Shard {self.entry.group} {name}, {self._writes.queue_operations} operations wait>"


class _Watched:
    """The state as the hub sees it; the shard's present one, as an install replaces it."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    @property
    def revision(self) -> int:
        return self._shard.state.revision

    @property
    def oldest_revision(self) -> int:
        return self._shard.state.oldest_revision

    def events_after(self, revision: int) -> Sequence[Event]:
        return self._shard.state.events_after(revision)

    def resume(self, group: int, revision: int) -> int | Rest:
        return self._shard.state.resume(group, revision, self._shard.entry.group)

    def page(self, start: bytes, end: bytes, keys_max: int, bytes_max: int) -> tuple[list[Event], bytes]:
        state = self._shard.state
        page = state.scan(start, end, keys_max, bytes_max)
        return [_as_event(item, state.stamp_ms) for item in page.items], page.next


def _as_event(item: Item, stamp_ms: int) -> Event:
    deadline_ms = stamp_ms + item.ttl_ms if item.ttl_ms else 0
    record = pack_record(0, item.revision, deadline_ms, item.value)
    return Event(int(EventKind.SNAPSHOT), item.key, item.revision, record, None)
