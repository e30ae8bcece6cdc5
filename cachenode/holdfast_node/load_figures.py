"""How busy a node and its shards are: what placement balances and splits by.

A shard's load is sampled: the first key of each frame it is asked for, the latest SAMPLES of them. From
these come the key that halves the load and the key that alone makes most of it.

Not here: what is done about it (placement/planner.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from holdfast_node.shard import Shard

HOT_SHARE = 0.5
"""Of the samples: a key with more is hot, and no cut spreads its load."""
SAMPLES_MIN = 100
LOOK_EVERY = 2.0
"""Seconds between looks at where a shard could be cut: it costs the number of its buckets."""


class LoadFigures:
    """See the module docstring. An agent.Figures."""

    def __init__(
        self, monotonic: Callable[[], float], cpu_seconds: Callable[[], float] = time.process_time
    ) -> None:
        self._monotonic = monotonic
        self._cpu_seconds = cpu_seconds
        self._at = monotonic()
        self._cpu = cpu_seconds()
        self._busy = 0
        # (when, operations then); both end with the replica.
        self._seen: WeakKeyDictionary[Shard, tuple[float, int]] = WeakKeyDictionary()
        self._told: WeakKeyDictionary[Shard, tuple[float, dict[str, Any]]] = WeakKeyDictionary()

    def busy_percent(self) -> int:
        """Of one core, since the last second or so: a node's loop has one."""
        now = self._monotonic()
        if now - self._at >= 1.0:
            cpu = self._cpu_seconds()
            self._busy = min(100, int(100 * (cpu - self._cpu) / (now - self._at)))
            self._at, self._cpu = now, cpu
        return self._busy

    def shard_load(self, shard: Shard) -> dict[str, Any]:
        """operations_per_s, middle, middle_by_load and hot_key of a shard that is led here."""
        now = self._monotonic()
        known = self._told.get(shard)
        if known is not None and now - known[0] < LOOK_EVERY:
            return known[1]
        before = self._seen.get(shard)
        self._seen[shard] = now, shard.operations
        rate = 0
        if before is not None and now > before[0]:
            rate = max(0, int((shard.operations - before[1]) / (now - before[0])))
        by_load, hot = _halves(shard)
        told = {
            "operations_per_s": rate,
            "middle": shard.state.middle_key() or b"",
            "middle_by_load": by_load,
            "hot_key": hot,
        }
        self._told[shard] = now, told
        return told


def _halves(shard: Shard) -> tuple[bytes, bytes]:
    """The key that halves the load, and the hot key; b'' where there is none."""
    samples = sorted(shard.sampled)
    if len(samples) < SAMPLES_MIN:
        return b"", b""
    key, times = Counter(samples).most_common(1)[0]
    if times > HOT_SHARE * len(samples):
        return b"", key
    middle = samples[len(samples) // 2]
    return (middle if middle > samples[0] else b""), b""
