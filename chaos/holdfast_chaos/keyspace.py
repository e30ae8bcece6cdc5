"""Where the keys of a workload lie: so many parts, each a shard of its own.

An object is named by its part and its number, `k2.17`, and the key space is cut between parts, never inside
an object. Each client works in all parts at once, with a hand in each: a shard that is without a leader
stalls the hands in its part and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PARTS: Final = 3
PREFIXES: Final[Mapping[str, str]] = {
    "register": "k",
    "session": "k",
    "txn": "u",
    "append": "list/",
    "set": "set/",
    "counter": "counter/",
    "bank": "bank/",
    "watch": "w/",
    "ttl": "ttl/",
    "device": "device/",
}
"""What the names of a workload's objects begin with."""

assert PARTS < 10, "one digit, so that the cuts stand in the order of their bytes"


def named(prefix: str, part: int, number: int) -> str:
    """The name of an object."""
    return f"{prefix}{part}.{number}"


def splits(workload: str) -> tuple[str, ...]:
    """Where a workload's keys are cut into shards."""
    return tuple(f"{PREFIXES[workload]}{part}" for part in range(1, PARTS))
