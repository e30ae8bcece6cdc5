"""Bounds of an operation's fields, and the error that names the one at fault.

Invariant: what comes back is within bounds; everything else is a DecodeError that says the bound.
Not here: which fields an operation has (commands.py), the numbers (limits.py).
"""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.types import Level

from holdfast_node import limits

# Plain ints: a look-up in the enum costs on every read.
LINEARIZABLE, _BOUNDED, _ANY = int(Level.LINEARIZABLE), int(Level.BOUNDED), int(Level.ANY)
PLAIN_LEVELS = frozenset(range(_ANY + 1)) - {_BOUNDED}
"""Levels on the wire that come without a bound; 0: absent."""


class DecodeError(ValueError):
    """An operation's bytes are not one. `field` is dotted from Operation, '' for the whole.

    reason: INVALID, or CROSS_SHARD when they would be one in another namespace: the map that its sender
    planned by is out of date.
    """

    def __init__(self, field: str, message: str, reason: Reason = Reason.INVALID) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message
        self.reason = reason


def key_problem(field: str, key: bytes) -> DecodeError:
    """What is wrong with a key that is absent or too long."""
    if not key:
        return DecodeError(field, "is required")
    return DecodeError(field, f"may have {limits.KEY_BYTES_MAX} bytes, this one has {len(key)}")


def checked_ttl(field: str, ttl_ms: int) -> int:
    """A time to live, 0 or within its bounds."""
    if ttl_ms and not limits.TTL_MS_MIN <= ttl_ms <= limits.TTL_MS_MAX:
        raise DecodeError(
            field,
            f"must be {limits.TTL_MS_MIN}..{limits.TTL_MS_MAX} ms (or 0: does not expire), this is {ttl_ms}",
        )
    return ttl_ms


def checked_value(field: str, value: bytes) -> bytes:
    """A value within its bound."""
    if len(value) > limits.VALUE_BYTES_MAX:
        raise DecodeError(field, f"may have {limits.VALUE_BYTES_MAX} bytes, this one has {len(value)}")
    return value


def checked_level(prefix: str, level: int, bound_ms: int, or_linearizable: bool) -> tuple[int, int, bool]:
    """Level, bound and fallback of a read; an absent level is LINEARIZABLE."""
    if not 0 <= level <= _ANY:
        raise DecodeError(prefix + "level", f"{level} is not a level")
    if level == _BOUNDED:
        if not 1 <= bound_ms <= limits.BOUND_MS_MAX:
            raise DecodeError(
                prefix + "bound_ms", f"must be 1..{limits.BOUND_MS_MAX} with BOUNDED, is {bound_ms}"
            )
    elif bound_ms or or_linearizable:
        raise DecodeError(
            prefix + ("bound_ms" if bound_ms else "or_linearizable"), "is for BOUNDED reads only"
        )
    return level or LINEARIZABLE, bound_ms, or_linearizable
