"""One node's loop over all its groups: drain, tick what is due, sync once, release.

`turn()` is synchronous and does one pass: everything that arrived is taken, what time asks for is done,
groups with work run, one WAL sync for all of them is started, and messages whose records are durable
leave. The shell around it (`runner`) only decides when the next turn comes and runs the WAL's sync on its
thread; the simulator runs the same code under a virtual clock.

Invariants:
- Messages of a turn are taken before time is judged, so that a late loop does not take its own silence
  for the leader's (D17).
- A message with an LSN leaves only after the sync that covers it (protocols.md 5). Its term is the one
  at which it was said.
- A failed write or sync ends the process (`fatal`); it is never tried again.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections import deque
from collections.abc import Callable

from holdfast_raft.clock import Clock
from holdfast_raft.copies import Copies, CopyMessage
from holdfast_raft.copying import Copy, Place
from holdfast_raft.election import Timing
from holdfast_raft.errors import DeadlinePassed
from holdfast_raft.group import Group
from holdfast_raft.heartbeats import HeartbeatExchange
from holdfast_raft.housekeeping import Housekeeping
from holdfast_raft.machine import StateMachine
from holdfast_raft.messages import (
    Addressed,
    Confirm,
    GroupMessage,
    HeartbeatReplies,
    Heartbeats,
    NodeMessage,
    Told,
)
from holdfast_raft.outbox import Outbox
from holdfast_raft.readindex import BarrierRounds
from holdfast_raft.replicas import Replicas
from holdfast_raft.replication import LogLimits
from holdfast_raft.runner import Runner
from holdfast_raft.snapshots import SnapshotStore
from holdfast_raft.transport import Transport
from holdfast_raft.wal import Born, SyncJob, Wal

logger = logging.getLogger(__name__)

LATE_AFTER = 0.1  # seconds behind its timer at which a turn counts as late
STALL_AFTER = 0.01  # seconds behind its time at which a tick tells of a stall
MARK_AFTER = 0.01
"""Seconds after its last sync at which an idle WAL writes a synced_to mark."""
HOUSEKEEPING_EVERY = 1.0
TOLD_BYTES_MAX = 4 * 1024 * 1024  # of one `Driver.tell`


class Driver:
    """See the module docstring."""

    def __init__(
        self,
        me: int,
        *,
        clock: Clock,
        wal: Wal,
        store: SnapshotStore,
        transport: Transport,
        runner: Runner,
        rng: random.Random,
        fatal: Callable[[BaseException], None],
        timing: Timing | None = None,
        log_limits: LogLimits | None = None,
    ) -> None:
        """fatal: called once when the disk failed; the process must end without another word."""
        self.me = me
        self.clock = clock
        self.store = store
        self.rng = rng
        self.timing = timing or Timing()
        self.log_limits = log_limits or LogLimits()
        self._replicas = Replicas(self, wal)
        self.groups = self._replicas.groups
        self._copies = Copies(self, wal, self._replicas)
        self.barriers = BarrierRounds(rng.getrandbits(64), patience=self.timing.timeout_min)
        self.files = runner.on_file_thread
        self.on_sync: Callable[[float], None] = lambda _: None  # for metrics: seconds a sync took
        self.on_stall: Callable[[float], None] = lambda _: None  # for metrics: seconds a tick was late
        self.on_leadership: Callable[[bool], None] = lambda _: None  # a replica leads, or no more; in a turn
        self.on_told: Callable[[int, bytes], None] = lambda _node, _data: None  # within a turn
        self._wal = wal
        self._transport = transport
        self.flush = transport.flush
        self._runner = runner
        self._fatal = fatal
        self._failed = False
        self._closed = False
        self._inbox: deque[tuple[int, NodeMessage]] = deque()
        self._events: deque[Callable[[], None]] = deque()
        self._outbox = Outbox(wal, transport)
        self._post = self._outbox.post
        self.when_durable = self._outbox.when_durable
        self._marked: dict[int, Group] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._requests = itertools.count(rng.getrandbits(48))
        self._turn_soon = False
        self._in_turn = False
        self._cancel_timer: Callable[[], None] | None = None
        self._timer_at = float("inf")
        self._syncing = False
        self._housekeeping = Housekeeping(wal, self.groups, self._copies.table, clock, runner.on_wal_thread)
        self._heartbeats = HeartbeatExchange(self.groups, clock, self._post)
        now = clock.monotonic()
        self._next_tick = now
        self._stalled_at = float("inf")  # STALL_AFTER the next tick; the first is due before the loop turns
        self._put_off = False  # the next tick, because a turn was late
        self._next_housekeeping = now + HOUSEKEEPING_EVERY
        self._mark_at = float("inf")
        transport.attach(self)

    # ---- groups --------------------------------------------------------------------------------------

    def known_groups(self) -> list[int]:
        """Groups born here and not retired, open or not."""
        return self._replicas.known()

    def create_group(
        self,
        group: int,
        members: tuple[int, ...],
        machine: StateMachine,
        *,
        base: tuple[int, int] = (1, 0),
        about: bytes = b"",
    ) -> Group:
        """Makes this node's replica of a new group: writes its Born record, which is the only way a
        replica comes to be (protocols.md 6). Raises GroupIdUsedError.

        base: (index, term) at which `machine` stands already; (1, 0): it is empty.
        about: the owner's words, kept with the record.
        """
        return self._replicas.create(group, members, machine, base, about)

    def open_group(self, group: int, machine: StateMachine, *, committed: int = 0) -> Group:
        """Opens a replica the WAL knows: its latest snapshot into `machine`, its log behind it. Of one that
        was born at a base and has no snapshot yet, `machine` must stand at that base.

        committed: index known to be committed in this very log; it is applied up to there in the next
            turns, or by `Group.catch_up`, without an election.
        Raises SnapshotDamaged or CorruptImage when the snapshot the log needs cannot be read.
        """
        return self._replicas.open(group, machine, committed)

    def retire_group(self, group: int) -> None:
        """Ends this node's replica for ever; what is said to it later is answered `Gone`. Idempotent."""
        self._replicas.retire(group)

    def retired(self, group: int) -> bool:
        """Whether a replica of it, or a copy, ended here for ever."""
        return self._replicas.is_retired(group)

    def born(self, group: int) -> Born | None:
        """The Born record of this node's replica, retired ones too; None: there never was one."""
        facts = self._wal.facts(group)
        return None if facts is None else facts.born

    def replay(self, group: int, machine: StateMachine) -> bool:
        """Before `open_group`, of a replica that was a copy and has no snapshot of its own yet: puts the
        state of what it copied into `machine`, as it was at the birth. `open_group` is then given a machine
        that stands there. False: the replica has a state of its own, nothing was done.
        """
        return self._replicas.replay(group, machine)

    # ---- copies of other groups ----------------------------------------------------------------------

    def start_copy(
        self,
        group: int,
        source: int,
        machine: StateMachine,
        from_nodes: tuple[int, ...],
        bytes_per_s: int,
        *,
        stands_at: Callable[[int, int], Place] | None = None,
        applied: Callable[[int, int], None] | None = None,
    ) -> Copy:
        """Begins to copy `source` from those nodes, to become `group`; see copying.py.

        stands_at: asked once a snapshot of (index, term) is in `machine`: where its state stands in truth.
            A source that was sealed earlier changes no more: there the copy must be born.
        applied: told (index, term) when a snapshot is durable and after each entry; `birth` may be called
            in it, or in `machine.apply`.
        """
        return self._copies.start(group, source, machine, from_nodes, bytes_per_s, stands_at, applied)

    def drop_copy(self, group: int) -> None:
        """Ends a copy for ever, also one that an earlier process left; nothing of it stays. Idempotent."""
        self._copies.drop(group)

    def unfinished_copies(self) -> dict[int, int]:
        """What copies earlier processes left, with their sources: start them anew, or drop them."""
        return self._copies.left()

    def birth(
        self,
        group: int,
        members: tuple[int, ...],
        machine: StateMachine | None = None,
        *,
        about: bytes = b"",
    ) -> Group:
        """A copy becomes a replica, born where it stands. machine: has the state there; None: the copy's."""
        return self._copies.birth(group, members, machine, about)

    # ---- words between nodes -------------------------------------------------------------------------

    def tell(self, node: int, data: bytes, *, bulk: bool = False) -> bool:
        """Sends bytes to `on_told` of another node; no promise that they arrive. False: not connected."""
        assert len(data) <= TOLD_BYTES_MAX, f"{len(data)} bytes told at once"
        sent = self._post(node, Told(data), 0, bulk=bulk)
        if sent and not self._in_turn:
            self.wake_soon()
        return sent

    def _take_told(self, peer: int, data: bytes) -> None:
        try:
            self.on_told(peer, data)
        except Exception:
            logger.exception("what node %d told could not be taken", peer)

    # ---- what groups ask -----------------------------------------------------------------------------

    def send(self, peer: int, group: int, term: int, body: GroupMessage, lsn: int, bulk: bool) -> bool:
        return self._post(peer, Addressed(group, term, body), lsn, bulk=bulk)

    def is_connected(self, peer: int) -> bool:
        return self._transport.is_connected(peer)

    def queued_bytes(self, peer: int) -> int:
        return self._transport.queued_bytes(peer)

    def mark(self, group: Group) -> None:
        self._marked[group.id] = group
        if not self._in_turn:  # else this turn comes to it, or asks for another at its end
            self.wake_soon()

    def next_request(self) -> int:
        return next(self._requests)

    def entries_fit(self, size_bytes: int) -> bool:
        return self._wal.entries_fit(size_bytes)

    def disk_is_full(self) -> bool:
        return self._wal.disk_full

    def call_at(self, when: float, act: Callable[[], None]) -> None:
        """Runs `act` in the first turn at or after `when` (monotonic seconds)."""
        heapq.heappush(self._timers, (when, next(self._order), act))
        if when < self._timer_at and not self._turn_soon and not self._in_turn:
            self._arm()

    def call_later(self, delay: float, act: Callable[[], None]) -> None:
        self.call_at(self.clock.monotonic() + delay, act)

    def wake_soon(self) -> None:
        """Asks for a turn in the next pass of the loop."""
        if not self._turn_soon and not self._closed:
            self._turn_soon = True
            self._runner.soon(self._run_turn)

    def peer_walls_ms(self) -> dict[int, int]:
        """Each connected peer's wall clock now, ms, going by its last heartbeat or reply."""
        walls = self._heartbeats.walls_ms()
        return {peer: wall_ms for peer, wall_ms in walls.items() if self._transport.is_connected(peer)}

    # ---- Receiver: what the transport tells ----------------------------------------------------------

    def received(self, peer: int, message: NodeMessage) -> None:
        self._inbox.append((peer, message))
        if not self._turn_soon:
            self.wake_soon()

    def connected(self, peer: int) -> None:
        self._inbox = deque(item for item in self._inbox if item[0] != peer)
        for group in list(self.groups.values()):  # its answers may make or end replicas
            group.peer_connected(peer)
        self.wake_soon()

    def disconnected(self, peer: int, closed_by_peer: bool) -> None:
        # What it said before its connection ended stands; what we still hold for it is void.
        self._outbox.disconnected(peer)
        self._events.append(lambda: self._peer_gone(peer, closed_by_peer))
        self.wake_soon()

    def _peer_gone(self, peer: int, closed_by_peer: bool) -> None:
        if self._transport.is_connected(peer):
            closed_by_peer = False
        self._heartbeats.disconnected(peer)
        self._copies.disconnected(peer)
        for group in list(self.groups.values()):
            group.peer_disconnected(peer, closed_by_peer=closed_by_peer)

    # ---- the turn ------------------------------------------------------------------------------------

    def _run_turn(self) -> None:
        self._turn_soon = False
        if not self._closed:
            self.turn()

    def turn(self) -> None:
        """One pass; see the module docstring."""
        now = self.clock.monotonic()
        if now > self._stalled_at:  # told once: this turn ticks, or puts the tick off
            self.on_stall(now - self._next_tick)
        late = now - self._timer_at > LATE_AFTER
        if self._timer_at <= now:
            self._timer_at = float("inf")  # it has fired or is about to: the end of this turn sets the next
        self._in_turn = True
        try:
            self._run_parts(now, late=late)
        finally:
            self._in_turn = False  # a defect that ends this turn must not keep the next from coming
        if not self._turn_soon:
            self._arm()

    def _run_parts(self, now: float, *, late: bool) -> None:
        if late:
            for group in self.groups.values():
                group.loop_was_late(now)
            if not self._put_off:  # once: a loop that is late in each turn must say its heartbeats, too
                self._put_off = True
                self._tick_at(max(self._next_tick, now + self.timing.heartbeat / 2))
        self._drain()
        self._run_timers(now)
        if now >= self._next_tick:
            self._tick(now)
        self._run_groups()
        self._copies.turn()
        for peer, confirm in self.barriers.questions(now, self._transport.is_connected):
            self._post(peer, confirm, 0)
        self._begin_sync(now)
        self._transport.flush()

    def _drain(self) -> None:
        while self._inbox:
            peer, message = self._inbox.popleft()
            self._take(peer, message)
        while self._events:
            self._events.popleft()()

    def _take(self, peer: int, message: NodeMessage) -> None:
        if isinstance(message, Addressed):
            self._take_addressed(peer, message)
        elif isinstance(message, Heartbeats):
            self._heartbeats.take(peer, message)
        elif isinstance(message, HeartbeatReplies):
            self._heartbeats.take_replies(peer, message)
        elif isinstance(message, Confirm):
            self._post(peer, *self._replicas.confirm(peer, message))
        elif isinstance(message, Told):
            self._take_told(peer, message.data)
        else:
            self.barriers.replied(peer, message)
            for number, term in message.others:
                if number in self.groups:
                    self.groups[number].hear_term(peer, term)

    def _take_addressed(self, peer: int, message: Addressed) -> None:
        group = self.groups.get(message.group)
        if isinstance(message.body, CopyMessage):
            self._copies.take(peer, message, message.body)
        elif group is not None:  # protocols.md 6: no message ever creates a replica
            group.receive(peer, message)
        else:
            self._replicas.tell_gone(peer, message)

    def _run_groups(self) -> None:
        """Groups with work, once each; what they wake meanwhile comes in the next turn."""
        marked, self._marked = self._marked, {}
        for group in marked.values():
            group.turn()

    def _run_timers(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()

    def _tick(self, now: float) -> None:
        self._put_off = False
        self._tick_at(now + self.timing.heartbeat)
        for group in list(self.groups.values()):
            group.tick(now)
        self.barriers.tick(now, lambda: DeadlinePassed("the deadline passed before the read was confirmed"))
        self._heartbeats.send(now)
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_EVERY
            self._keep_house()

    def _tick_at(self, when: float) -> None:
        self._next_tick = when
        self._stalled_at = when + STALL_AFTER

    def _arm(self) -> None:
        """Sets the one timer to whatever comes first."""
        due = min(self._next_tick, self._mark_at, self.barriers.look_at)
        if self._timers and self._timers[0][0] < due:
            due = self._timers[0][0]
        if self._marked or self.barriers.has_waiting:
            self.wake_soon()
            return
        if due == self._timer_at and self._cancel_timer is not None:
            return
        if self._cancel_timer is not None:
            self._cancel_timer()
        self._timer_at = due
        self._cancel_timer = self._runner.later(max(0.0, due - self.clock.monotonic()), self._timer_fired)

    def _timer_fired(self) -> None:
        self._cancel_timer = None
        self.wake_soon()

    # ---- the WAL -------------------------------------------------------------------------------------

    def _begin_sync(self, now: float) -> None:
        if self._syncing or self._failed:
            return
        if now >= self._mark_at and self._wal.needs_mark:
            self._wal.append_mark()
        job = self._wal.begin_sync()
        if job is None:
            return
        self._syncing = True
        self._mark_at = float("inf")
        self._runner.on_wal_thread(job.run, lambda error: self._synced(job, now, error))

    def _synced(self, job: SyncJob, began: float, error: BaseException | None) -> None:
        self._syncing = False
        if self._closed:
            return
        if error is not None:
            self._fail(error)
            return
        durable = self._wal.end_sync(job)
        now = self.clock.monotonic()
        self.on_sync(now - began)
        self._mark_at = now + MARK_AFTER if self._wal.needs_mark else float("inf")
        self._in_turn = True  # what is marked from here on belongs to the turn below
        try:
            self._outbox.release(durable)
            self._copies.synced(durable)
            for group in self.groups.values():
                if group.journal.has_unsynced:
                    group.synced(durable)
        finally:
            self._in_turn = False
        self.turn()

    def _fail(self, error: BaseException) -> None:
        """The disk failed. The kernel may have marked pages clean that never reached it, so nothing
        that happened since the last good sync can be trusted, and no second try would tell (ATC'20).
        """
        if not self._failed:
            self._failed = True
            self._closed = True
            logger.critical("the write-ahead log failed, this node stops now: %s", error)
            self._fatal(error)

    def _keep_house(self) -> None:
        self._replicas.tidy()
        self._copies.sweep()
        if self._housekeeping.round():
            self.call_later(MARK_AFTER, self._keep_house)

    def close(self) -> None:
        """Stops all groups; nothing runs after this. The WAL is the owner's to close."""
        for group in list(self.groups.values()):
            group.stop("the node is shutting down")
        self._copies.close()
        self._closed = True
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
