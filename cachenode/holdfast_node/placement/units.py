"""Units: keys that no cut separates; and where the keys of a hashed namespace stand.

A unit is a key's prefix through its n-th separator; a key with fewer separators is its own unit. So a
device's keys stay in one shard, for transactions and prefix scans.

A hashed namespace keeps its keys under *placed* keys: 8 bytes of hash of the unit, then the key itself.
Ranges, cuts and the order inside a shard are those of placed keys, so everything behind routing stays as
it is: a unit's keys stand together and in order. A cut of such a namespace is at most 8 bytes and so never
falls inside a unit. The keys with a prefix that holds a whole unit stand in one range
(`placed_range`); those of a shorter prefix are everywhere: such a scan or delete asks every shard for
every hash it holds and keeps what begins with the prefix. Placed keys are up to 8 bytes longer than
KEY_BYTES_MAX.

Invariant: the hash is part of what is stored; it never changes.
Not here: routing, which does not know hashed namespaces yet.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from holdfast.keys import KeyRange, prefix_end

HASH_BYTES = 8


class Units(NamedTuple):
    """How a namespace divides its keys. parts 0: a key is its own unit."""

    parts: int = 0
    separator: bytes = b"/"
    hashed: bool = False

    def unit_of(self, key: bytes) -> bytes:
        """The unit of a key as clients know it."""
        return unit_of(key, self.parts, self.separator)

    def may_cut(self, cut: bytes) -> bool:
        """Whether a shard may begin at `cut` without separating a unit. Hashed: of placed keys."""
        if self.hashed:
            return len(cut) <= HASH_BYTES
        # A unit is separated by what lies strictly inside it: what has it as a proper prefix.
        return not self.parts or cut.count(self.separator) < self.parts or self.unit_of(cut) == cut

    def align(self, cut: bytes, keys: KeyRange) -> bytes | None:
        """The nearest cut at or before `cut`, else after it, strictly inside `keys`; None: there is none."""
        if self.may_cut(cut):
            return cut if _cuts(keys, cut) else None
        unit = cut[:HASH_BYTES] if self.hashed else self.unit_of(cut)
        return next((found for found in (unit, prefix_end(unit)) if found and _cuts(keys, found)), None)

    def placed(self, key: bytes) -> bytes:
        """Where a client's key stands: in a hashed namespace behind the hash of its unit."""
        return hash_of(self.unit_of(key)) + key if self.hashed else key

    def placed_range(self, prefix: bytes) -> KeyRange | None:
        """The one range of all placed keys whose key has this prefix; None: they are everywhere."""
        if not self.hashed:
            return KeyRange.of_prefix(prefix)
        if not self.parts or prefix.count(self.separator) < self.parts:
            return None
        return KeyRange.of_prefix(self.placed(prefix))


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


def _cuts(keys: KeyRange, cut: bytes) -> bool:
    return keys.start < cut and (not keys.end or cut < keys.end)
