"""The shard map: which group serves which keys. Immutable; a newer one replaces it whole.

Shards are ranges of places: of keys, or in a hashed namespace of what units.py makes of them. So whoever
has a key asks `locate`, whoever has a place (a bound, a cursor) `at`.

Invariant: inside a namespace the shards are ordered by start, without gaps or overlaps, from the first
place to the last, and all have the same units.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from holdfast.keys import KeyRange, namespace_span, position
from holdfast.units import ORDERED, Units


class Replica(NamedTuple):
    """One replica of a shard: node id and gRPC address (HOST:PORT)."""

    node: int
    address: str


class Shard(NamedTuple):
    """One entry of the map; see types.proto."""

    namespace: str
    range: KeyRange  # of places
    group: int
    epoch: int
    replicas: tuple[Replica, ...]
    leader: int  # node id as far as the teller knew; 0 = not known
    units: Units | None = None  # of a hashed namespace

    def address_of(self, node: int) -> str | None:
        """GRPC address of the replica on `node`."""
        return next((r.address for r in self.replicas if r.node == node), None)

    def span(self) -> tuple[bytes, bytes]:
        """[start, end) of the shard's positions."""
        _, last = namespace_span(self.namespace)
        return (
            position(self.namespace, self.range.start),
            position(self.namespace, self.range.end) if self.range.end else last,
        )


class ShardMap:
    """All shards of a cluster at one epoch."""

    __slots__ = ("_by_group", "_by_namespace", "epoch", "shards")

    def __init__(self, epoch: int, shards: Iterable[Shard]) -> None:
        self.epoch = epoch
        self.shards = tuple(sorted(shards, key=lambda s: (s.namespace, s.range.start)))
        self._by_group = {shard.group: shard for shard in self.shards}
        self._by_namespace: dict[str, tuple[list[bytes], list[Shard], Units | None]] = {}
        for shard in self.shards:
            starts, row, _ = self._by_namespace.setdefault(shard.namespace, ([], [], shard.units))
            starts.append(shard.range.start)
            row.append(shard)
        for namespace, (_, row, _) in self._by_namespace.items():
            _check_row(namespace, row)

    def namespaces(self) -> tuple[str, ...]:
        """Names of all namespaces, ordered."""
        return tuple(self._by_namespace)

    def hashed_by(self, namespace: str) -> Units | None:
        """The units of a hashed namespace; None: its keys stand at themselves, or there is no such one."""
        found = self._by_namespace.get(namespace)
        return None if found is None else found[2]

    def units_of(self, namespace: str) -> Units:
        """Where the keys of a namespace stand."""
        return self.hashed_by(namespace) or ORDERED

    def locate(self, namespace: str, key: bytes) -> Shard | None:
        """The shard that serves `key`; None: no such namespace."""
        found = self._by_namespace.get(namespace)
        if found is None:
            return None
        starts, row, units = found
        return row[bisect_right(starts, key if units is None else units.placed(key)) - 1]

    def at(self, namespace: str, place: bytes) -> Shard | None:
        """The shard that a place lies in; None: no such namespace."""
        found = self._by_namespace.get(namespace)
        return None if found is None else found[1][bisect_right(found[0], place) - 1]

    def overlapping(self, namespace: str, places: KeyRange) -> tuple[Shard, ...]:
        """The shards that some place of the range lies in, in order."""
        found = self._by_namespace.get(namespace)
        if found is None:
            return ()
        return tuple(s for s in found[1] if not s.range.intersect(places).is_empty())

    def group(self, group: int) -> Shard | None:
        """The shard served by `group`."""
        return self._by_group.get(group)

    def overlaid(self, entries: Iterable[Shard]) -> ShardMap:
        """The map of the same epoch with entries of later groups laid over it.

        Group ids only grow along a key's life, so at every key the greatest group is the latest. What the
        entries do not cover stays with whom it was: an earlier group's entry may come out narrower, or in
        two pieces. Entries of a namespace that the map does not hold are left out; so are those with other
        units: their namespace has only the name in common, and places of two kinds must not meet in a row.
        """
        rows = {namespace: row for namespace, (_, row, _) in self._by_namespace.items()}
        for entry in sorted(entries, key=lambda entry: entry.group):
            if entry.namespace in rows and entry.units == rows[entry.namespace][0].units:
                rows[entry.namespace] = _laid_over(rows[entry.namespace], entry)
        return ShardMap(self.epoch, itertools.chain.from_iterable(rows.values()))

    def __repr__(self) -> str:
        return f"<ShardMap epoch {self.epoch}, {len(self.shards)} shards>"


def _laid_over(row: list[Shard], entry: Shard) -> list[Shard]:
    """The row with `entry` wherever it held an earlier group."""
    laid: list[Shard] = []
    for known in row:
        shared = known.range.intersect(entry.range)
        if known.group >= entry.group or shared.is_empty():
            laid.append(known)
            continue
        if known.range.start < shared.start:
            laid.append(known._replace(range=KeyRange(known.range.start, shared.start)))
        if laid and laid[-1].group == entry.group:  # it covers the end of the one before too
            laid[-1] = entry._replace(range=KeyRange(laid[-1].range.start, shared.end))
        else:
            laid.append(entry._replace(range=shared))
        if shared.end != known.range.end:
            laid.append(known._replace(range=KeyRange(shared.end, known.range.end)))
    return laid


def _check_row(namespace: str, row: list[Shard]) -> None:
    """Raises ValueError unless the shards cover the namespace without gap or overlap."""
    if row[0].range.start != b"" or row[-1].range.end != b"":
        raise ValueError(f"shards of namespace {namespace!r} do not cover all keys")
    for left, right in itertools.pairwise(row):
        if left.range.end != right.range.start or not left.range.end:
            raise ValueError(
                f"shards {left.group} and {right.group} of namespace {namespace!r} do not meet:"
                f" {left.range.end!r} and {right.range.start!r}"
            )
        if left.units != right.units:
            raise ValueError(f"shards {left.group} and {right.group} of {namespace!r} differ in units")
