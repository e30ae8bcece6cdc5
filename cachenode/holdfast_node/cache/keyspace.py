"""The keys of a shard with everything that must change together: records, deadlines, history, counts.

Every change of a key goes through `change`, so history holds every one. Operations decide (operations.py),
eviction chooses victims (eviction.py); here is what they do it with.

Invariants: `revision` is the number of mutations applied and never goes back, `stamp_ms` neither; all
choices depend on these fields and the keys, never on insertion order.
Not here: exactly-once (sessions.py) and entries (state.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from holdfast_node.cache.buckets import Buckets
from holdfast_node.cache.expiry import Deadlines
from holdfast_node.cache.history import EVICTED, EXPIRED, History, change_of
from holdfast_node.cache.inherited import Change
from holdfast_node.cache.policy import Policy
from holdfast_node.limits import EVICT_KEYS_MAX, EVICT_LOOKS_MAX

_DEADLINE = struct.Struct("<Q")
_deadline_of = _DEADLINE.unpack_from
_DEADLINE_AT = 9


class Keyspace:
    """Records, deadlines and history of one shard."""

    __slots__ = (
        "buckets", "evicted_total", "evicts_left", "expired_total", "fresh", "hand",
        "history", "looks_left", "policy", "revision", "stamp_ms",
    )  # fmt: skip

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.revision = 0
        self.stamp_ms = 0
        # The next key eviction looks at is at or after this one.
        self.hand = b""
        self.buckets = Buckets()
        self.history = History()
        # Events since they were last taken; None: nobody watches.
        self.fresh: list[Change] | None = None
        # What eviction may still do in this entry.
        self.evicts_left = EVICT_KEYS_MAX
        self.looks_left = EVICT_LOOKS_MAX
        # For metrics, since this process began; not state.
        self.evicted_total = 0
        self.expired_total = 0

    @property
    def deadlines(self) -> Deadlines:
        """Which key expires when."""
        return self.buckets.deadlines

    def begin_entry(self, stamp_ms: int) -> None:
        """Takes in an entry's stamp, which never moves the clock back, and renews its allowances."""
        self.stamp_ms = max(self.stamp_ms, stamp_ms)
        self.evicts_left = EVICT_KEYS_MAX
        self.looks_left = EVICT_LOOKS_MAX

    def end_entry(self) -> None:
        """Brings history back into its bounds."""
        history, policy = self.history, self.policy
        if history.sift_entries:
            history.sift()
        elif (
            len(history.events) + history.closed_events > policy.history_events
            or history.byte_count > policy.history_bytes
        ):
            history.trim(policy.history_events, policy.history_bytes)

    def live(self, key: bytes) -> bytes | None:
        """The key's record, after expiring it when its deadline has come."""
        record = self.buckets.get(key)
        if record is not None:
            deadline_ms = _deadline_of(record, _DEADLINE_AT)[0]
            if deadline_ms and deadline_ms <= self.stamp_ms:
                self.expire((key,))
                return None
        return record

    def is_due(self, record: bytes) -> bool:
        """Whether the record's deadline has come by the state's stamp."""
        deadline_ms: int = _deadline_of(record, _DEADLINE_AT)[0]
        return 0 < deadline_ms <= self.stamp_ms

    def change(
        self, kind: int, key: bytes, revision: int, record: bytes | None, previous: bytes | None
    ) -> None:
        """Makes `record` the key's (None: removes it) and tells history. previous: the present one."""
        if record is None:
            self.buckets.remove(key)
        else:
            self.buckets.set(key, record)
        event = change_of(kind, key, revision, record, previous)
        self.history.add(event)
        if self.fresh is not None:
            self.fresh.append(event)

    def expire(self, keys: Iterable[bytes]) -> None:
        """Removes present keys, at least one, as expired: one revision."""
        self.revision = revision = self.revision + 1
        for key in keys:
            self.change(EXPIRED, key, revision, None, self.buckets.get(key))
            self.expired_total += 1

    def evict(self, key: bytes, revision: int, record: bytes) -> None:
        """Removes a key as evicted, in the given revision."""
        self.change(EVICTED, key, revision, None, record)
        self.evicted_total += 1
        self.evicts_left -= 1

    def over_budget(self) -> bool:
        """Whether the keys take more than the policy gives them."""
        return self.buckets.byte_count > self.policy.budget_bytes
