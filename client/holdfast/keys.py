"""Keys, ranges and positions.

A *position* is where a key stands among all keys of the cluster: namespace, NUL, place, which is the key
itself unless the namespace is hashed (units.py). Namespace names hold no NUL, so positions of one namespace
are contiguous and ordered like its places. Shards and token entries are ranges [start, end) of positions.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
DEFAULT_NAMESPACE = "default"
KEY_BYTES_MAX = 1024
VALUE_BYTES_MAX = 1024 * 1024


def position(namespace: str, place: bytes) -> bytes:
    """Where a place of `namespace` stands among all of the cluster."""
    return namespace.encode() + b"\0" + place


def namespace_span(namespace: str) -> tuple[bytes, bytes]:
    """[start, end) of all positions of a namespace."""
    name = namespace.encode()
    return name + b"\0", name + b"\1"


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all keys that begin with `prefix`; empty: there is none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return b""
    return stripped[:-1] + bytes((stripped[-1] + 1,))


class KeyRange(NamedTuple):
    """Keys (or places) [start, end) inside a namespace; an empty end means to the last one."""

    start: bytes
    end: bytes

    @classmethod
    def of_prefix(cls, prefix: bytes) -> KeyRange:
        """All keys that begin with `prefix`."""
        return cls(prefix, prefix_end(prefix))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and key >= self.start and (not self.end or key < self.end)

    def is_empty(self) -> bool:
        """Whether no key can lie in it."""
        return bool(self.end) and self.start >= self.end

    def intersect(self, other: KeyRange) -> KeyRange:
        """The keys of both; may be empty."""
        ends = [end for end in (self.end, other.end) if end]
        return KeyRange(max(self.start, other.start), min(ends) if ends else b"")

    def covers(self, other: KeyRange) -> bool:
        """Whether every key of `other` lies in this range."""
        return self.start <= other.start and (not self.end or (bool(other.end) and other.end <= self.end))
