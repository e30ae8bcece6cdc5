"""What a caller may ask for, checked before it is sent: keys, values, lifetimes, ranges, transactions.

Invariant: what passes here is inside the bounds the protos document, so a round trip is not spent on a
typo. The server checks again; it is the judge.

Plain values and checks: no bytes on the wire (`wire.py`), no sending (`session.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KEY_BYTES_MAX, VALUE_BYTES_MAX, KeyRange
from holdfast.types import Level

TTL_MS_MIN: Final = 10
TTL_MS_MAX: Final = 315_360_000_000  # 10 years
BOUND_MS_MAX: Final = 3_600_000
TIMEOUT_S_MAX: Final = 600.0  # a write's not_after is at most 10 minutes ahead
SCAN_LIMIT_MAX: Final = 1000
TXN_OPERATIONS_MAX: Final = 128
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


def invalid(field: str, message: str) -> HoldfastError:
    """A refusal that names the field at fault."""
    return error(Reason.INVALID, f"{field}: {message}", field=field)


def key_bytes(key: str | bytes, field: str = "key") -> bytes:
    """The key as bytes (str: UTF-8), within its bounds."""
    raw = key.encode() if isinstance(key, str) else bytes(key)
    if not 1 <= len(raw) <= KEY_BYTES_MAX:
        raise invalid(field, f"a key has 1..{KEY_BYTES_MAX} bytes, this one {len(raw)}")
    return raw


def value_bytes(value: str | bytes, field: str = "value") -> bytes:
    """The value as bytes (str: UTF-8), within its bounds."""
    raw = value.encode() if isinstance(value, str) else bytes(value)
    if len(raw) > VALUE_BYTES_MAX:
        raise invalid(field, f"a value has at most {VALUE_BYTES_MAX} bytes, this one {len(raw)}")
    return raw


def ttl_in_ms(ttl_ms: int | None, ttl: float | timedelta | None, field: str = "ttl_ms") -> int:
    """Time to live in ms, from ms or from seconds or a timedelta; 0: does not expire."""
    if ttl is not None:
        if ttl_ms is not None:
            raise invalid(field, "give ttl_ms or ttl, not both")
        ttl_ms = round(1000 * (ttl.total_seconds() if isinstance(ttl, timedelta) else ttl))
        if ttl_ms == 0:
            raise invalid(field, f"a ttl is {TTL_MS_MIN} ms .. {TTL_MS_MAX} ms, or absent")
    if not ttl_ms:
        return 0
    if not TTL_MS_MIN <= ttl_ms <= TTL_MS_MAX:
        raise invalid(field, f"a ttl is {TTL_MS_MIN} ms .. {TTL_MS_MAX} ms, this one {ttl_ms}")
    return ttl_ms


def key_range(
    prefix: str | bytes | None = None, start: str | bytes | None = None, end: str | bytes | None = None
) -> KeyRange:
    """The keys that begin with `prefix`, or [start, end); nothing given: all keys."""
    if prefix is not None:
        if start is not None or end is not None:
            raise invalid("range.prefix", "give a prefix, or start and end, not both")
        return KeyRange.of_prefix(_bound(prefix, "range.prefix"))
    found = KeyRange(_bound(start or b"", "range.start"), _bound(end or b"", "range.end"))
    if found.is_empty():
        raise invalid("range.end", f"the range ends at {found.end!r}, before it starts at {found.start!r}")
    return found


def _bound(bound: str | bytes, field: str) -> bytes:
    raw = bound.encode() if isinstance(bound, str) else bytes(bound)
    if len(raw) > KEY_BYTES_MAX:
        raise invalid(field, f"at most {KEY_BYTES_MAX} bytes, this has {len(raw)}")
    return raw


def checked_level(level: int) -> Level:
    """A level, also by its number."""
    try:
        return Level(level)
    except ValueError:
        levels = ", ".join(f"Level.{known.name}" for known in Level)
        raise invalid("level", f"one of {levels}, this is {level!r}") from None


def checked_bound(level: Level, bound_ms: int | None, or_linearizable: bool) -> int:
    """How old a BOUNDED read's answer may be, within its limits; 0 at other levels, which know no bound."""
    if level is not Level.BOUNDED:
        if bound_ms is not None or or_linearizable:
            field = "or_linearizable" if bound_ms is None else "bound_ms"
            raise invalid(field, f"goes with BOUNDED, not with {level.name}")
        return 0
    if bound_ms is None or not 1 <= bound_ms <= BOUND_MS_MAX:
        raise invalid("bound_ms", f"1..{BOUND_MS_MAX}, this is {bound_ms}")
    return bound_ms


def checked_timeout(timeout_s: float) -> float:
    """A timeout within its bounds."""
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise invalid("timeout_s", f"more than 0 and at most {TIMEOUT_S_MAX:.0f} s, this is {timeout_s}")
    return timeout_s


def check_put_conditions(if_revision: int | None, if_absent: bool, if_present: bool) -> None:
    """At most one of the three may be given."""
    if (if_revision is not None) + if_absent + if_present > 1:
        raise invalid("put.if_revision", "give one of if_revision, if_absent, if_present")
    if if_revision is not None and if_revision < 0:
        raise invalid("put.if_revision", f"a revision is not negative, this is {if_revision}")


def check_int64(field: str, number: int | None) -> None:
    """Within what a signed 64-bit number holds."""
    if number is not None and not INT64_MIN <= number <= INT64_MAX:
        raise invalid(field, f"between -2^63 and 2^63 - 1, this is {number}")


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction. Make one with the class methods."""

    key: bytes
    exists_is: bool | None = None
    revision_is: int | None = None

    @classmethod
    def revision(cls, key: str | bytes, revision: int) -> Compare:
        """The key's revision is exactly this; 0: it does not exist."""
        return cls(key_bytes(key, "txn.compares.key"), revision_is=revision)

    @classmethod
    def exists(cls, key: str | bytes) -> Compare:
        """The key exists."""
        return cls(key_bytes(key, "txn.compares.key"), exists_is=True)

    @classmethod
    def absent(cls, key: str | bytes) -> Compare:
        """The key does not exist."""
        return cls(key_bytes(key, "txn.compares.key"), exists_is=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a transaction. Make one with the class methods; they take what the client's do."""

    kind: str
    key: bytes
    value: bytes = b""
    ttl_ms: int = 0
    if_revision: int | None = None
    if_absent: bool = False
    if_present: bool = False
    return_previous: bool = False
    by: int = 0
    initial: int = 0
    minimum: int | None = None
    maximum: int | None = None

    @classmethod
    def get(cls, key: str | bytes) -> Step:
        """Reads the key as the steps before left it."""
        return cls("get", key_bytes(key, "txn.key"))

    @classmethod
    def put(
        cls,
        key: str | bytes,
        value: str | bytes,
        *,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        if_present: bool = False,
        return_previous: bool = False,
    ) -> Step:
        """Writes the key."""
        check_put_conditions(if_revision, if_absent, if_present)
        return cls(
            "put",
            key_bytes(key, "txn.key"),
            value_bytes(value, "txn.put.value"),
            ttl_in_ms(ttl_ms, ttl, "txn.put.ttl_ms"),
            if_revision,
            if_absent,
            if_present,
            return_previous,
        )

    @classmethod
    def delete(
        cls, key: str | bytes, *, if_revision: int | None = None, return_previous: bool = False
    ) -> Step:
        """Deletes the key."""
        raw = key_bytes(key, "txn.key")
        return cls("delete", raw, if_revision=if_revision, return_previous=return_previous)

    @classmethod
    def increment(
        cls,
        key: str | bytes,
        by: int = 1,
        *,
        initial: int = 0,
        minimum: int | None = None,
        maximum: int | None = None,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
    ) -> Step:
        """Adds to a decimal number."""
        for field, number in (("by", by), ("initial", initial), ("minimum", minimum), ("maximum", maximum)):
            check_int64(f"txn.increment.{field}", number)
        return cls(
            "increment",
            key_bytes(key, "txn.key"),
            ttl_ms=ttl_in_ms(ttl_ms, ttl, "txn.increment.ttl_ms"),
            by=by,
            initial=initial,
            minimum=minimum,
            maximum=maximum,
        )

    @classmethod
    def touch(
        cls, key: str | bytes, *, ttl_ms: int | None = None, ttl: float | timedelta | None = None
    ) -> Step:
        """Gives the key a new time to live."""
        return cls("touch", key_bytes(key, "txn.key"), ttl_ms=ttl_in_ms(ttl_ms, ttl, "txn.touch.ttl_ms"))
