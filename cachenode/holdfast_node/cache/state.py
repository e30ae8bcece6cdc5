"""The deterministic cache state machine of one shard.

Entries go in, results come out. The same entries in the same order give the same results, events, victims
and digest on every replica, and on one restored from an image of any moment.

Invariants: `apply` is total (an entry of an unknown kind or version raises UnknownEntryError, which stops
the replica; nothing else raises); time is the entry's stamp; an applied write takes one revision.
A sealed state is frozen: until an Unseal nothing in it changes, time included, save the floor.
Not here: Raft, clocks, who is leader, who waits, who watches.
Source: Schneider, "Implementing fault-tolerant services using the state machine approach" (1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.errors import Reason

from holdfast_node import limits
from holdfast_node.cache import commands, eviction, handover, operations
from holdfast_node.cache.buckets import HEADER, HEADER_BYTES
from holdfast_node.cache.commands import DecodeError, Entry, Op, Run
from holdfast_node.cache.history import CompactedError, Event, Rest, event_of
from holdfast_node.cache.image import Builder, CorruptImageError, Image
from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.overwrite import overwrites
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.results import OpResult, Page, TxnOutcome
from holdfast_node.cache.seal import Judge, Sealed
from holdfast_node.cache.sessions import Session, Sessions

__all__ = [
    "Builder", "CompactedError", "CorruptImageError", "Event", "Eviction", "Image", "OpResult", "Page",
    "Policy", "Record", "Rest", "Sealed", "State", "TxnOutcome",
]  # fmt: skip

_BUSY_RETRY_MS = 1000
# How long a merge may take to decide, about.
_UNDECIDED_RETRY_MS = 20
_VERDICTS = (commands.SEAL, commands.ABORT, commands.UNSEAL)


class Record(NamedTuple):
    """A key as it stands. deadline_ms: by the group's clock, 0 = does not expire."""

    value: bytes
    revision: int
    deadline_ms: int


class State:
    """All of one shard: keys, repeat table, history, policy."""

    __slots__ = ("_freezes", "_judge", "_sessions", "_space")

    def __init__(self, policy: Policy | None = None) -> None:
        self._space = Keyspace(policy or Policy())
        self._sessions = Sessions()
        self._judge = Judge()
        # Images alive; buckets stay marked as shared until the last one is released.
        self._freezes: list[Image] = []

    @classmethod
    def restored(cls, builder: Builder) -> State:
        """The state that a finished builder holds; O(1). The builder must not be used afterwards."""
        builder.finish()
        state = cls()
        state._space = builder.space
        state._sessions = builder.sessions
        state._judge = builder.judge
        return state

    def __repr__(self) -> str:
        space = self._space
        return (
            f"<State revision={space.revision} stamp={space.stamp_ms} keys={self.key_count} "
            f"bytes={self.byte_count} sessions={len(self._sessions.table)} "
            f"events={space.history.event_count}{' sealed' if self.sealed else ''}>"
        )

    # ---- facts -----------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Mutations applied."""
        return self._space.revision

    @property
    def stamp_ms(self) -> int:
        """The last stamp applied."""
        return self._space.stamp_ms

    @property
    def policy(self) -> Policy:
        """The shard's policy."""
        return self._space.policy

    @property
    def key_count(self) -> int:
        """Keys held."""
        return self._space.buckets.key_count

    @property
    def byte_count(self) -> int:
        """What they count for against the budget."""
        return self._space.buckets.byte_count

    @property
    def sealed(self) -> Sealed | None:
        """The seal it stands under, frozen."""
        return self._judge.sealed

    @property
    def floor(self) -> int:
        """The highest plan that was aborted here."""
        return self._judge.floor

    def over_budget(self) -> bool:
        """Whether an evict entry has something to do."""
        if self.sealed is not None:
            return False
        return self._space.policy.eviction is Eviction.CLOCK and self._space.over_budget()

    def wants_touch(self) -> bool:
        """Whether samples of reads can matter: eviction is near."""
        if self.sealed is not None:
            return False
        policy = self._space.policy
        percent = limits.TOUCH_BUDGET_PERCENT
        return policy.eviction is Eviction.CLOCK and self.byte_count * 100 > policy.budget_bytes * percent

    def next_deadline(self) -> int | None:
        """The earliest deadline: when an expire entry has something to do."""
        return self._space.deadlines.earliest() if self.sealed is None else None

    def expired_count(self, stamp_ms: int) -> int:
        """How many keys are due at a stamp, counted up to one expire entry's worth."""
        if self.sealed is not None:
            return 0
        return len(self._space.deadlines.due(stamp_ms, limits.EXPIRE_KEYS_MAX))

    def middle_key(self) -> bytes | None:
        """A key that parts the bytes into halves, as near as whole buckets do, or the keys of the only one.

        None: there are not two keys.
        """
        half = self.byte_count // 2
        passed, start = 0, b""
        for bucket in self._space.buckets.run():
            if passed >= half and bucket.start:
                return bucket.start
            passed += bucket.bytes
            start = bucket.start
        if start:
            return start
        keys = next(self._space.buckets.run()).keys()
        return keys[len(keys) // 2] if len(keys) > 1 else None

    def stats(self) -> dict[str, int]:
        """Counts for metrics. The totals are this process's own, not state."""
        space = self._space
        return {
            "keys": self.key_count,
            "bytes": self.byte_count,
            "deadlines": space.deadlines.count,
            "sessions": len(self._sessions.table),
            "session_records": self._sessions.record_count,
            "session_bytes": self._sessions.byte_count,
            "history_events": space.history.event_count,
            "history_bytes": space.history.byte_count,
            "evicted_total": space.evicted_total,
            "expired_total": space.expired_total,
        }

    # ---- apply -----------------------------------------------------------------------------------------

    def apply(
        self,
        entry: bytes,
        decoded: Sequence[Sequence[Op]] | None = None,
        place: tuple[int, int] = (0, 0),
    ) -> list[list[OpResult]]:
        """Applies one entry; returns the results of each run's operations, in order.

        SEAL, ABORT and UNSEAL answer one run of one result: error 0, or CONDITION_FAILED with a message
        when it was refused and changed nothing.

        decoded: the operations of each run, when this replica decoded them before; saves work, changes
        nothing. place: the entry's index and term, which a seal records. Raises UnknownEntryError, and
        then nothing was applied.
        """
        opened = commands.decode_entry(entry)
        sealed = self._judge.sealed
        if sealed is not None:
            return self._apply_frozen(opened, sealed, place)
        space = self._space
        space.begin_entry(opened.stamp_ms)
        self._sessions.forget_late(space.stamp_ms)
        if opened.kind == commands.BATCH:
            parts: Sequence[Sequence[Op | DecodeError]]
            parts = (
                decoded if decoded is not None else commands.decode_writes(entry, opened.runs, opened.units)
            )
            results = [self._apply_run(run, ops) for run, ops in zip(opened.runs, parts, strict=True)]
        elif opened.kind in _VERDICTS:
            results = self._apply_verdict(opened, place)
        else:
            self._apply_own(opened)
            results = []
        space.end_entry()
        return results

    def apply_entry(self, entry: bytes, place: tuple[int, int]) -> list[list[OpResult]]:
        """As `apply`, of an entry that nobody has decoded."""
        return self.apply(entry, None, place)

    def _apply_frozen(self, entry: Entry, sealed: Sealed, place: tuple[int, int]) -> list[list[OpResult]]:
        """What an entry does behind a seal: verdicts are given, operations refused, all else is nothing."""
        if entry.kind in _VERDICTS:
            return self._apply_verdict(entry, place)
        if entry.kind != commands.BATCH:
            return []
        if sealed.decides:
            refusal = OpResult(int(Reason.WRONG_SHARD), message="the keys have moved to other groups")
        else:
            message = "the shard is about to be merged"
            refusal = OpResult(int(Reason.BUSY), message=message, retry_after_ms=_UNDECIDED_RETRY_MS)
        return [[refusal] * len(run.operations) for run in entry.runs]

    def _apply_verdict(self, entry: Entry, place: tuple[int, int]) -> list[list[OpResult]]:
        if entry.kind == commands.SEAL:
            assert entry.seal is not None, "decode_entry gives every SEAL a seal"
            problem = self._judge.seal(entry.seal, place)
        elif entry.kind == commands.ABORT:
            problem = self._judge.abort(entry.plan)
        else:
            problem = self._judge.unseal(entry.plan)
        return [[OpResult(int(Reason.CONDITION_FAILED), message=problem) if problem else OpResult()]]

    def _apply_own(self, entry: Entry) -> None:
        """Entries that the leader makes of its own."""
        space = self._space
        if entry.kind == commands.TOUCH_SAMPLES:
            eviction.touch_samples(space, entry.keys)
        elif entry.kind == commands.EXPIRE:
            due = space.deadlines.take(space.stamp_ms, entry.keys_max)
            if due:
                space.expire(due)
        elif entry.kind == commands.EVICT:
            eviction.evict_entry(space, entry.keys_max)
        else:
            assert entry.policy is not None, "decode_entry gives every SET_POLICY a policy"
            space.policy = entry.policy

    def _apply_run(self, run: Run, ops: Sequence[Op | DecodeError]) -> list[OpResult]:
        stamp_ms = self._space.stamp_ms
        session: Session | None = None
        if run.session:
            # Beyond the latest valid not_after an operation is refused, so it must not keep the session.
            latest = stamp_ms + limits.NOT_AFTER_AHEAD_MS_MAX
            until = max((op.not_after for op in ops if isinstance(op, Op)), default=0)
            session = self._sessions.open(run.session, run.answered_below, min(until, latest), stamp_ms)
        if session is None:
            return [self._apply_operation(op) for op in ops]
        return overwrites(self._space, self._sessions, session, ops, self._apply_once)

    def _apply_operation(self, op: Op | DecodeError) -> OpResult:
        """A write without a session."""
        if isinstance(op, DecodeError):
            return OpResult(int(op.reason), message=op.message, field=op.field)
        stamp_ms = self._space.stamp_ms
        if not stamp_ms <= op.not_after <= stamp_ms + limits.NOT_AFTER_AHEAD_MS_MAX:
            return _untimely(op, stamp_ms)
        return operations.write(self._space, op)

    def _apply_once(self, op: Op | DecodeError, session: Session) -> OpResult:
        """A write of a session: a repeat is answered, a new one applied and recorded."""
        if isinstance(op, DecodeError):
            return self._apply_operation(op)
        stamp_ms = self._space.stamp_ms
        if not stamp_ms <= op.not_after <= stamp_ms + limits.NOT_AFTER_AHEAD_MS_MAX:
            return _untimely(op, stamp_ms)
        sessions, full = self._sessions, self._sessions.is_full()
        known = session.answer(op, stamp_ms)
        if known is not None:
            return known
        if full:
            return OpResult(
                int(Reason.BUSY), message="the table of repeats is full", retry_after_ms=_BUSY_RETRY_MS
            )
        result = operations.write(self._space, op)
        if not result.error:
            sessions.record(session, op, result)
        return result

    # ---- reads -----------------------------------------------------------------------------------------

    def read(self, op: Op, hide_expired_at: int | None = None) -> OpResult:
        """A Get or Scan of the present state; hide_expired_at: the stamp by which strict_ttl hides keys."""
        return operations.read(self._space, op, hide_expired_at)

    def get(self, key: bytes) -> Record | None:
        """One key as it stands."""
        record = self._space.buckets.get(key)
        if record is None:
            return None
        _, revision, deadline_ms = HEADER.unpack_from(record)
        return Record(record[HEADER_BYTES:], revision, deadline_ms)

    def scan(
        self,
        start: bytes = b"",
        end: bytes = b"",
        limit: int = limits.SCAN_ITEMS_MAX,
        max_bytes: int = limits.SCAN_BYTES_MAX,
        keys_only: bool = False,
    ) -> Page:
        """A page of keys of [start, end)."""
        return operations.scan(self._space, start, end, limit, max_bytes, keys_only)

    # ---- changes ---------------------------------------------------------------------------------------

    @property
    def oldest_revision(self) -> int:
        """The oldest revision a watch may resume at."""
        return self._space.history.oldest_revision

    def events_after(self, revision: int) -> list[Event]:
        """Events of later revisions that history keeps. Raises CompactedError when some are gone."""
        return self._space.history.after(revision)

    def resume(self, group: int, revision: int, own_group: int) -> int | Rest:
        """Where a watch at (group, revision) goes on in this state of group `own_group`.

        Returns a revision of the own line, for events_after; or the rest of a line that ended in a merge,
        whose `then` is the next point to ask for. Raises CompactedError when events from there to the
        present are gone, or the group is none of those remembered.
        """
        return self._space.history.resume(group, revision, own_group)

    @property
    def keep_events(self) -> bool:
        """Whether events are kept for take_events: somebody watches."""
        return self._space.fresh is not None

    @keep_events.setter
    def keep_events(self, keep: bool) -> None:
        if keep != self.keep_events:
            self._space.fresh = [] if keep else None

    def take_events(self) -> list[Event]:
        """Events since the last call; whoever sets keep_events takes them after every apply."""
        fresh = self._space.fresh
        if not fresh:
            return []
        self._space.fresh = []
        return [event_of(event) for event in fresh]

    # ---- hand-over -------------------------------------------------------------------------------------

    def cut(self, start: bytes, end: bytes, source: int) -> State:
        """What the target of [start, end) begins with; this is the sealed state of group `source`.

        Costs the number of buckets, sessions and kept events; this state may go on being read and frozen.
        """
        assert self.sealed is not None, "only a sealed state is handed over"
        part = State()
        part._space = handover.cut(self._space, start, end, source)
        part._sessions = self._sessions.handed()
        return part

    @staticmethod
    def joined(states: Sequence[State], groups: Sequence[int], policy: Policy) -> State:
        """What the target of a merge begins with: the sealed states of these groups, in key order.

        Costs the number of buckets, sessions and kept events, and of the keys and repeats whose times move.
        Raises ValueError when the states' keys are in another order.
        """
        assert all(state.sealed is not None for state in states), "only sealed states are handed over"
        whole = State()
        whole._space, whole._sessions = handover.joined(
            [state._space for state in states], [state._sessions for state in states], groups, policy
        )
        return whole

    def shed(self, count: int) -> bool:
        """Lets go of about so many keys, events or repeats, of a state that nobody uses any more; whether any
        are left. What it shares with other states stays theirs.
        """
        left = self._space.buckets.shed(count)
        left = self._space.history.shed(left)
        return self._sessions.shed(left) <= 0

    # ---- images ----------------------------------------------------------------------------------------

    def freeze(self) -> Image:
        """An image of the present state, to be released. Costs the number of buckets and sessions."""
        return Image(self._space, self._sessions, self._judge, self._freezes)

    def builder(self) -> Builder:
        """Begins a restore; `State.restored` makes the state of it."""
        return Builder()

    def digest(self) -> str:
        """SHA-256 over the logical state, as hex. About 1 us a key: for large shards step an image's."""
        image = self.freeze()
        try:
            digest = ""
            for digest in image.digest_steps():  # noqa: B007 -- the last one is the digest
                pass
            return digest
        finally:
            image.release()


def _untimely(op: Op, stamp_ms: int) -> OpResult:
    if op.not_after < stamp_ms:
        late = stamp_ms - op.not_after
        return OpResult(int(Reason.TOO_LATE), message=f"the write came {late} ms after its not_after_ms")
    return OpResult(
        int(Reason.INVALID),
        message=f"lies more than {limits.NOT_AFTER_AHEAD_MS_MAX} ms after the group's stamp {stamp_ms}",
        field="not_after_ms",
    )
