"""Which keys make room: CLOCK in key order, with recency that is itself replicated.

Each record carries a recency of 0..3: a new key has 1, a write or a touch sample adds one. The hand moves
over the keys in order and around; it takes one from each key it passes and evicts those that have none
left (generalised CLOCK, Smith 1978). The hand is a key, so that a restored replica goes on exactly where
one that lived stands.

Invariants: victims depend only on hand, keys, recency and sizes; an entry evicts at most EVICT_KEYS_MAX
keys and looks at a bounded number, the rest waits for the leader's evict entries; nothing is evicted for
a write that is then refused.
Not here: sampling of reads (shard.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from holdfast.errors import Reason

from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.policy import Eviction
from holdfast_node.cache.results import OpResult
from holdfast_node.limits import BUDGET_OVERSHOOT

RECENCY_MAX = 3
RECENCY_NEW = 1
_BUSY_RETRY_MS = 20
# Recency stands in the record, so changing it copies the value: a look counts once more for each of these.
_LOOK_BYTES = 16 * 1024


def make_room(space: Keyspace, growth: int, written_bytes: int, spared: Collection[bytes]) -> OpResult | None:
    """Evicts until `growth` more bytes fit, in the revision of the write that needs them.

    Call only when they do not fit. `written_bytes` is what the written keys will count for, `spared` are
    those keys. Returns the refusal when the write must not be done; then nothing was evicted.
    """
    policy = space.policy
    budget = policy.budget_bytes
    if policy.eviction is Eviction.NOEVICT:
        return OpResult(
            int(Reason.OUT_OF_SPACE),
            message=f"the budget of {budget} bytes is full and the policy forbids eviction",
        )
    if written_bytes > budget:
        return OpResult(
            int(Reason.OUT_OF_SPACE),
            message=f"{written_bytes} bytes can never fit the budget of {budget} bytes",
        )
    if space.buckets.byte_count > budget + budget // BUDGET_OVERSHOOT:
        return OpResult(
            int(Reason.BUSY), message="eviction has not caught up with writes", retry_after_ms=_BUSY_RETRY_MS
        )
    _turn_hand(space, budget - growth, space.revision + 1, spared)
    return None


def evict_entry(space: Keyspace, keys_max: int) -> None:
    """What an evict entry does: brings the keys nearer to the budget, in one revision."""
    if space.policy.eviction is Eviction.NOEVICT or not space.over_budget():
        return
    space.evicts_left = min(space.evicts_left, keys_max)
    if _turn_hand(space, space.policy.budget_bytes, space.revision + 1, ()):
        space.revision += 1


def touch_samples(space: Keyspace, keys: Iterable[bytes]) -> None:
    """Raises the recency of keys that were read. No revision: nothing that a client sees changes."""
    buckets = space.buckets
    for key in keys:
        if space.looks_left <= 0:
            return
        record = buckets.get(key)
        if record is not None and record[0] < RECENCY_MAX:
            space.looks_left -= 1 + len(record) // _LOOK_BYTES
            buckets.set(key, bytes((record[0] + 1,)) + record[1:])


def _turn_hand(space: Keyspace, target_bytes: int, revision: int, spared: Collection[bytes]) -> int:
    """Evicts until the keys take at most `target_bytes` or the allowances end. Returns how many."""
    buckets = space.buckets
    before = space.evicts_left
    while buckets.byte_count > target_bytes and space.evicts_left > 0 and space.looks_left > 0:
        keys = buckets.keys_from(space.hand)
        if not keys:
            if not space.hand:
                break
            space.looks_left -= 1
            space.hand = b""
            continue
        for key in keys:
            record = buckets.get(key)
            assert record is not None, "keys_from returned a key that is not there"
            space.looks_left -= 1 + len(record) // _LOOK_BYTES
            if key not in spared:
                if record[0]:
                    buckets.set(key, bytes((record[0] - 1,)) + record[1:])
                else:
                    space.evict(key, revision, record)
            space.hand = key + b"\0"
            if buckets.byte_count <= target_bytes or space.evicts_left <= 0 or space.looks_left <= 0:
                break
    return before - space.evicts_left
