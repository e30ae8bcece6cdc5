"""Where to cut a namespace so that a load's keys lie evenly in its shards."""

from __future__ import annotations

from tests.bench.load import Load


def cuts(shards: int, load: Load) -> tuple[str, ...]:
    """shards - 1 keys, ascending."""
    return tuple(load.key(number * load.keys // shards).decode() for number in range(1, shards))
