"""Units: keys that no cut separates; and where the keys of a hashed namespace stand.

A unit is a key's prefix through its n-th separator; a key with fewer separators is its own unit. So a
device's keys stay in one shard, for transactions and prefix scans.

A key stands at a *place*. In an ordered namespace that is the key itself. In a hashed one it is 8 bytes of
hash of the unit, then the key. Shards are ranges of places, so everything behind routing stays as it is: a
unit's keys stand together and in order. A cut of a hashed namespace is at most 8 bytes and so never falls
inside a unit. The keys of a range inside one unit stand in one range of places (`places_of`); those of any
other range are everywhere: such a scan, delete or watch asks every shard and keeps what is `among` them.
Places are up to 8 bytes longer than keys.

Invariant: the hash is part of what is stored; it never changes.
Vocabulary of both sides: a client places a key to find its shard, a node to keep it. Who may believe which
units is said where they come from (shardmap.py, the node's hosting.py).
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from holdfast.keys import KeyRange, prefix_end

HASH_BYTES: Final = 8
EVERYWHERE: Final = KeyRange(b"", b"")


class Units(NamedTuple):
    """How a namespace divides its keys. parts 0: a key is its own unit."""

    parts: int = 0
    separator: bytes = b"/"
    hashed: bool = False

    def unit_of(self, key: bytes) -> bytes:
        """The unit of a key as clients know it."""
        return unit_of(key, self.parts, self.separator)

    def may_cut(self, cut: bytes) -> bool:
        """Whether a shard may begin at `cut`, a place, without separating a unit."""
        if self.hashed:
            return len(cut) <= HASH_BYTES
        # A unit is separated by what lies strictly inside it: what has it as a proper prefix.
        return not self.parts or cut.count(self.separator) < self.parts or self.unit_of(cut) == cut

    def align(self, cut: bytes, places: KeyRange) -> bytes | None:
        """The nearest cut at or before `cut`, else after it, strictly inside `places`; None: nowhere."""
        if self.may_cut(cut):
            return cut if _cuts(places, cut) else None
        unit = cut[:HASH_BYTES] if self.hashed else self.unit_of(cut)
        return next((found for found in (unit, prefix_end(unit)) if found and _cuts(places, found)), None)

    def placed(self, key: bytes) -> bytes:
        """The place of a key."""
        return hash_of(self.unit_of(key)) + key if self.hashed else key

    def key_at(self, place: bytes) -> bytes:
        """The key that stands at a place."""
        return place[HASH_BYTES:] if self.hashed else place

    def places_of(self, keys: KeyRange) -> KeyRange | None:
        """The range of places at which exactly the keys of `keys` stand; None: they are everywhere."""
        if not self.hashed:
            return keys
        if keys.end == keys.start + b"\0":  # one key
            return KeyRange(self.placed(keys.start), self.placed(keys.start) + b"\0")
        if not self.parts or keys.start.count(self.separator) < self.parts:
            return None
        unit = self.unit_of(keys.start)
        if not KeyRange.of_prefix(unit).covers(keys):
            return None
        place = hash_of(unit)
        return KeyRange(place + keys.start, place + keys.end if keys.end else prefix_end(place))


ORDERED: Final = Units()
"""Where keys stand at themselves, as far as routing is concerned."""


def is_among(place: bytes, keys: KeyRange) -> bool:
    """Whether the key at a place of a hashed namespace is one of `keys`."""
    return place[HASH_BYTES:] in keys


def unit_of(key: bytes, parts: int, separator: bytes) -> bytes:
    """The key's prefix through its n-th separator; the whole key when it has fewer, or parts is 0."""
    at = 0
    for _ in range(parts):
        found = key.find(separator, at)
        if found < 0:
            return key
        at = found + len(separator)
    return key[:at] if parts else key


def hash_of(unit: bytes) -> bytes:
    """Where a unit stands in the hash space: 8 bytes, big-endian."""
    return hashlib.blake2b(unit, digest_size=HASH_BYTES).digest()


def even_cuts(shards: int) -> tuple[bytes, ...]:
    """Cuts that divide the hash space evenly."""
    space = 1 << (8 * HASH_BYTES)
    return tuple((space * i // shards).to_bytes(HASH_BYTES, "big") for i in range(1, shards))


def _cuts(places: KeyRange, cut: bytes) -> bool:
    return cut in places and cut != places.start
