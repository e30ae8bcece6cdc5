"""What a leader proposes by itself: policy, expiry, eviction, recency; and the stamps of all entries.

Invariants:
- Entries are stamped only once a majority of the voters' clocks is known in this leadership (or half a
  second has passed without): else a first entry could carry a stamp far behind the step that follows.
- An expire entry is proposed within 100 ms of the earliest deadline, and only one at a time; so evict
  entries, while the state is over its budget, and the policy entry.
- Samples of reads are kept only near the budget, at most TOUCH_KEYS_MAX keys each TOUCH_INTERVAL_MS;
  followers send theirs to the leader.

Everything is decided in `turn`, which the shard calls; the one timer only asks for the next. Does not know
what the entries do (cache/).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.errors import RaftError
from holdfast_raft.proposals import Applied

from holdfast_node import limits
from holdfast_node.cache.commands import (
    TOUCH_SAMPLES,
    UnknownEntryError,
    decode_entry,
    encode_evict,
    encode_expire,
    encode_policy,
    encode_touch,
)
from holdfast_node.cache.op import GET, Op
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.state import State
from holdfast_node.stamp import STEP_MS, GroupClock

STEER_EVERY = 1.0
# A leader that cannot learn a majority's clocks serves on its own after this: it leads, so it is heard.
STEER_PATIENCE = 0.5
STEER_RETRY = 0.02
# What expires within this goes into one entry; well below the promised 100 ms.
EXPIRE_EVERY = 0.02
RETRY_AFTER = 0.1
# An entry of the leader's own may wait this long for its outcome before another is tried.
PATIENCE = 5.0
_NEVER = float("inf")
_POLICY, _EXPIRE, _EVICT, _TOUCH = "policy", "expire", "evict", "touch"


class Group(Protocol):
    """What upkeep needs of holdfast_raft.group.Group."""

    @property
    def members(self) -> tuple[int, ...]: ...
    @property
    def is_leader(self) -> bool: ...
    @property
    def leader(self) -> int | None: ...
    def can_propose(self) -> bool: ...
    def propose(
        self, data: bytes, context: object, deadline: float, done: Callable[[Applied | RaftError], None]
    ) -> None: ...
    def tell(self, node: int, data: bytes) -> bool: ...


class Timers(Protocol):
    """What upkeep needs of the driver."""

    def call_at(self, when: float, act: Callable[[], None]) -> None: ...
    def peer_walls_ms(self) -> dict[int, int]: ...


class Upkeep:
    """See the module docstring."""

    def __init__(self, node: int, clock: Clock, policy: Policy | None, *, state: Callable[[], State]) -> None:
        """policy: what the namespace's is to be; None: as the state has it."""
        self._node = node
        self._clock = clock
        self._policy = policy
        self._state = state
        self.stamps = GroupClock(clock.monotonic())
        self._samples: dict[bytes, None] = {}
        self._leading_since = 0.0
        self._steered = False
        self._steer_at = 0.0
        self._expire_at = 0.0  # not before
        self._touch_at = 0.0  # not before
        self._retry_at = 0.0  # not before, after an entry of our own failed
        self._turn_at = _NEVER  # the turn that was asked for
        self._planned_ms: float = _NEVER  # the deadline it was asked for
        self._in_flight: dict[str, object] = {}

    def bind(self, group: Group, timers: Timers, wake: Callable[[], None]) -> None:
        """Names the group, once it exists. wake: asks for a turn of this group."""
        self._group = group
        self._timers = timers
        self._wake = wake

    @property
    def may_stamp(self) -> bool:
        """Whether a leader's clock has been brought up to the present."""
        return self._steered

    def want_policy(self, policy: Policy | None) -> None:
        """What the namespace's policy is to be from now on."""
        if policy != self._policy:
            self._policy = policy
            self._ask_turn(self._clock.monotonic())

    def next_stamp_ms(self) -> int:
        """The stamp for an entry proposed now."""
        return self.stamps.next(self._clock.monotonic())

    def told_stamp_ms(self) -> int:
        """The stamp clients count their deadlines from.

        A replica whose clock has not been brought up to the present yet (new, or just back from being
        down) tells its wall clock, which is where the leader's next step will bring the group: an old
        stamp would only have the client's writes refused as too late.
        """
        known = self.stamps.estimate(self._clock.monotonic())
        if self._steered:
            return known
        wall_ms = self._clock.wall_ms()
        return wall_ms if wall_ms - known > STEP_MS else known

    # ---- what the shard tells ------------------------------------------------------------

    def role_changed(self, leading: bool) -> None:
        now = self._clock.monotonic()
        self._leading_since = now
        self._steered = False
        self._steer_at = now
        self._in_flight.clear()
        if leading:
            self._wake()

    def applied(self, stamp_ms: int, term: int) -> None:
        """An entry was applied; only followers take the clock from it, the leader's own runs on."""
        if not self._group.is_leader:
            self.stamps.seen(stamp_ms, self._clock.monotonic(), term)
            return
        state = self._state()
        due = state.next_deadline()
        if (due is not None and due < self._planned_ms) or (
            state.over_budget() and _EVICT not in self._in_flight
        ):
            self._wake()

    def note_reads(self, ops: list[Op]) -> None:
        """Samples what was read, when eviction is near."""
        if not self._state().wants_touch():
            return
        samples = self._samples
        for op in ops:
            if op.kind == GET:
                if len(samples) >= limits.TOUCH_KEYS_MAX:
                    return
                samples[op.key] = None
        self._ask_turn(self._touch_at)

    def received(self, data: bytes) -> None:
        """A follower's samples."""
        try:
            entry = decode_entry(data)
        except UnknownEntryError:
            return  # a newer program's; recency is a hint
        if entry.kind == TOUCH_SAMPLES and self._group.is_leader and self._state().wants_touch():
            room = limits.TOUCH_KEYS_MAX - len(self._samples)
            self._samples.update(dict.fromkeys(entry.keys[:room]))
            self._ask_turn(self._touch_at)

    def close(self) -> None:
        self._samples.clear()

    # ---- the turn ------------------------------------------------------------

    def turn(self) -> bool:
        """Does what is due. True: this replica leads and may stamp entries now."""
        now = self._clock.monotonic()
        if not self._group.is_leader:
            self._send_samples(now)
            return False
        if now >= self._steer_at:
            self._steer(now)
        if not self._steered:
            self._ask_turn(self._steer_at)
            return False
        state = self._state()
        if now >= self._retry_at:
            policy = self._policy
            if policy is not None and policy != state.policy and state.sealed is None:
                self._propose(_POLICY, lambda stamp_ms: encode_policy(stamp_ms, policy), now)
            if state.over_budget():
                self._propose(_EVICT, encode_evict, now)
        expire_at = self._expire(now, state.next_deadline())
        if self._samples and now >= self._touch_at:
            samples = list(self._samples)
            if self._propose(_TOUCH, lambda stamp_ms: encode_touch(stamp_ms, samples), now):
                self._samples.clear()
                self._touch_at = now + limits.TOUCH_INTERVAL_MS / 1000
        # Samples that are due but could not be proposed wait for the turn that comes when they can.
        touch_at = self._touch_at if self._samples and self._touch_at > now else _NEVER
        # One timer for whatever comes first: for a far deadline one would stay till then, every second.
        self._ask_turn(min(self._steer_at, expire_at, touch_at))
        return True

    def _expire(self, now: float, deadline_ms: int | None) -> float:
        """Proposes an expire entry if one is due, else tells when it will be."""
        self._planned_ms = _NEVER if deadline_ms is None else deadline_ms
        if deadline_ms is None or _EXPIRE in self._in_flight:
            return _NEVER
        wait = (deadline_ms - self.stamps.estimate(now)) / 1000
        when = max(now + wait, self._expire_at, self._retry_at)
        if when > now:
            return when
        if self._propose(_EXPIRE, encode_expire, now):
            self._expire_at = now + EXPIRE_EVERY
        return _NEVER

    def _propose(self, kind: str, encode: Callable[[int], bytes], now: float) -> bool:
        """Proposes an entry of our own, unless one of its kind is under way or the window is full."""
        if kind in self._in_flight or not self._group.can_propose():
            return False
        mark = self._in_flight[kind] = object()

        def done(outcome: Applied | RaftError) -> None:
            if self._in_flight.get(kind) is mark:  # else: of an earlier leadership
                del self._in_flight[kind]
                if isinstance(outcome, RaftError):
                    self._retry_at = self._clock.monotonic() + RETRY_AFTER
                    self._ask_turn(self._retry_at)
                else:
                    self._wake()

        self._group.propose(encode(self.next_stamp_ms()), None, now + PATIENCE, done)
        return True

    def _steer(self, now: float) -> None:
        own = self._clock.wall_ms()
        known = self._timers.peer_walls_ms()
        members = self._group.members
        walls = [known[node] for node in members if node != self._node and node in known]
        enough = self.stamps.steer(now, [own, *walls], len(members))
        self._steer_at = now + STEER_EVERY
        if enough:
            self._steered = True
        elif not self._steered:
            self._steer_at = now + STEER_RETRY
            if now - self._leading_since > STEER_PATIENCE:
                self._steered = True
                if not self.stamps.estimate(now):
                    self.stamps.steer(now, [own], 1)  # a new group's clock begins somewhere

    def _send_samples(self, now: float) -> None:
        if not self._samples:
            return
        if now < self._touch_at:
            self._ask_turn(self._touch_at)
            return
        leader = self._group.leader
        if leader is not None and leader != self._node:
            self._group.tell(leader, encode_touch(0, self._samples))
        self._samples.clear()
        self._touch_at = now + limits.TOUCH_INTERVAL_MS / 1000

    def _ask_turn(self, when: float) -> None:
        if when < self._turn_at:
            self._turn_at = when
            self._timers.call_at(when, lambda: self._turn_came(when))

    def _turn_came(self, when: float) -> None:
        if when == self._turn_at:  # else an earlier turn was asked for since
            self._turn_at = _NEVER
            self._wake()
