"""Keys that take turns."""

from __future__ import annotations

import random
from collections import Counter

from holdfast_chaos.keyspace import PARTS
from holdfast_chaos.rotation import Rotation


def test_a_key_rests_after_so_many_operations():
    """None is used more often than its bound, and a fresh one takes its place."""
    keys, chance = Rotation(3, operations_max=10), random.Random(1)
    used = Counter(keys.take(chance, n % PARTS) for n in range(500))

    assert max(used.values()) == 10
    assert sum(len(keys.in_use(part)) for part in range(PARTS)) == 3
    assert set(used) <= set(keys.made)


def test_a_key_rests_after_so_many_open_writes():
    """Each doubles the work of judging it; a key at rest counts no more."""
    keys = Rotation(2, open_max=2)
    (first,) = keys.in_use(1)
    keys.ended_open(first)
    assert first in keys.in_use(1)

    keys.ended_open(first)
    keys.ended_open(first)

    assert keys.in_use(1) == ("k1.3",)
    assert keys.made == ("k0.0", "k1.1", "k2.2", "k1.3")
