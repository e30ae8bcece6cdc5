"""Which hosted shard serves a key, and what to tell a caller whose map is wrong.

Holds the node's shard map and the shards hosted here. Every answer is either a hosted shard or the
error that repairs the caller: WRONG_SHARD and CROSS_SHARD carry the map entries. Generic over the hosted
shard so that it stays pure: no clock, network or files. Does not decide who leads.

Asked by places (holdfast/units.py), which who decodes a request makes of keys by `hashed_by`.

Invariant: what was placed by `hashed_by` is only ever given to a shard of the same units. No request is
placed without an entry of the map, all entries of a namespace have the same units, and a replica here that
knows others from its birth than the map says is not given anything until they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KeyRange
from holdfast.shardmap import Shard as MapEntry
from holdfast.shardmap import ShardMap
from holdfast.units import Units

RETRY_AFTER_MS = 100


class Hosted(Protocol):
    """What routing needs of a hosted shard."""

    @property
    def entry(self) -> MapEntry: ...

    @property
    def leader(self) -> int | None: ...


class Routable(Protocol):
    """What routing needs of an operation; cache.commands.Op."""

    @property
    def key(self) -> bytes: ...

    @property
    def range(self) -> KeyRange | None: ...

    def keys(self) -> Sequence[bytes]: ...


H = TypeVar("H", bound=Hosted)


class Routing(Generic[H]):
    """The map and the shards hosted on this node."""

    def __init__(self, shard_map: ShardMap, hosted: Iterable[H] = ()) -> None:
        self._told = shard_map
        # What replicas and Seals here have told, until a map does.
        self._ahead: dict[int, MapEntry] = {}
        self.map = shard_map  # as told, with what is ahead of it
        self._hosted: dict[int, H] = {shard.entry.group: shard for shard in hosted}
        # Those that requests may be given to: the map says of their units what they know.
        self._serving: dict[int, H] = {}
        # Namespaces that are one shard, hosted here: no search needed.
        self._sole: dict[str, H] = {}
        self._find_serving()

    def host(self, shard: H) -> None:
        """Begins to route to a shard hosted here."""
        self._hosted[shard.entry.group] = shard
        self._find_serving()

    def unhost(self, group: int) -> None:
        """Routes to a shard no more."""
        if self._hosted.pop(group, None) is not None:
            self._find_serving()

    def replace_map(self, shard_map: ShardMap) -> None:
        """Takes a newer map; an older one is left unread. What was learned here stays ahead of it."""
        if shard_map.epoch > self._told.epoch:
            self._told = shard_map
            self._lay_over()

    def learn(self, entries: Iterable[MapEntry]) -> None:
        """Takes replicas hosted here and the targets of a Seal that was applied here: they serve before any
        map says so.
        """
        self._ahead.update((entry.group, entry) for entry in entries)
        self._lay_over()

    def _lay_over(self) -> None:
        """Lays what is later than the map over it, and forgets the rest.

        Group ids only grow along a key's life, so the greater id is the later one.
        """
        told = self._told
        self._ahead = {
            entry.group: entry
            for entry in self._ahead.values()
            if any(known.group < entry.group for known in told.overlapping(entry.namespace, entry.range))
        }
        self.map = self._told.overlaid(self._ahead.values()) if self._ahead else self._told
        self._find_serving()

    def hosted(self) -> list[H]:
        """The shards hosted here, by group."""
        return [self._hosted[group] for group in sorted(self._hosted)]

    def group(self, group: int) -> H | None:
        """The hosted shard of that group."""
        return self._hosted.get(group)

    def sole(self, namespace: str) -> H | None:
        """The hosted shard that serves every key of the namespace, if one does."""
        return self._sole.get(namespace)

    def hashed_by(self, namespace: str) -> Units | None:
        """The units of a hashed namespace; None: it is not hashed, or not known here."""
        return self.map.hashed_by(namespace)

    def locate(self, namespace: str, place: bytes) -> H | HoldfastError:
        """The hosted shard that serves what stands at `place`, or why there is none here."""
        sole = self._sole.get(namespace)
        if sole is not None:
            return sole
        entry = self.map.at(namespace, place)
        if entry is None:
            return self.unknown_namespace(namespace)
        found = self._serving.get(entry.group)
        return self._not_here((entry,)) if found is None else found

    def locate_all(self, namespace: str, places: Iterable[bytes]) -> H | HoldfastError:
        """The hosted shard that serves all of `places`, at least one; CROSS_SHARD when several do."""
        entries: dict[int, MapEntry] = {}
        for place in places:
            entry = self.map.at(namespace, place)
            if entry is None:
                return self.unknown_namespace(namespace)
            entries[entry.group] = entry
        return self._one_of(tuple(entries.values()))

    def locate_range(self, namespace: str, places: KeyRange) -> H | HoldfastError:
        """The hosted shard that serves the whole range; CROSS_SHARD when several do."""
        if namespace not in self.map.namespaces():
            return self.unknown_namespace(namespace)
        entries = self.map.overlapping(namespace, places)
        if not entries:  # an empty range touches nothing; any shard can say so
            return self.locate(namespace, places.start)
        return self._one_of(entries)

    def locate_operation(self, namespace: str, op: Routable, *, whole: bool = True) -> H | HoldfastError:
        """The hosted shard of one operation.

        whole: a range must lie in the shard; else (scans) the shard of the range's first key will do.
        """
        if op.key:
            return self.locate(namespace, op.key)
        if op.range is None:  # a transaction
            return self.locate_all(namespace, op.keys())
        if whole:
            return self.locate_range(namespace, op.range)
        return self.locate(namespace, op.range.start)

    def live_map(self) -> ShardMap:
        """The map with the leaders this node knows of filled in."""
        return ShardMap(self.map.epoch, map(self.live_entry, self.map.shards))

    def live_entry(self, entry: MapEntry) -> MapEntry:
        """A map entry with the leader this node knows of."""
        shard = self._hosted.get(entry.group)
        if shard is None:
            return entry
        return entry._replace(leader=shard.leader or 0)

    def unknown_namespace(self, namespace: str) -> HoldfastError:
        """The error for a namespace that is in no map entry."""
        return error(Reason.UNKNOWN_NAMESPACE, f"no namespace is called {namespace!r}", field="namespace")

    def _one_of(self, entries: tuple[MapEntry, ...]) -> H | HoldfastError:
        if len(entries) > 1:
            live = tuple(map(self.live_entry, entries))
            message = f"the keys lie in {len(entries)} shards; an operation stays inside one"
            return error(Reason.CROSS_SHARD, message, shards=live)
        found = self._serving.get(entries[0].group)
        return self._not_here(entries) if found is None else found

    def _not_here(self, entries: tuple[MapEntry, ...]) -> HoldfastError:
        if entries[0].group in self._hosted:
            message = (
                f"the map and group {entries[0].group} differ in how keys are hashed; wait for a newer map"
            )
            return error(Reason.BUSY, message, retry_after_ms=RETRY_AFTER_MS)
        nodes = ", ".join(str(replica.node) for replica in entries[0].replicas)
        message = f"this node does not serve the key; nodes {nodes} do"
        return error(Reason.WRONG_SHARD, message, shards=entries)

    def _find_serving(self) -> None:
        self._serving = {
            group: shard
            for group, shard in self._hosted.items()
            if (entry := self.map.group(group)) is None or entry.units == shard.entry.units
        }
        counts: dict[str, list[MapEntry]] = {}
        for entry in self.map.shards:
            counts.setdefault(entry.namespace, []).append(entry)
        self._sole = {
            name: self._serving[row[0].group]
            for name, row in counts.items()
            if len(row) == 1 and row[0].group in self._serving
        }

    def __repr__(self) -> str:
        return f"<Routing epoch {self.map.epoch}, {len(self._hosted)} of {len(self.map.shards)} shards here>"
