"""Acts on a range of keys: a page at a time, shard after shard, following the map when it changes.

Invariant: each request lies in one shard as far as known here; what the map moved under it is refused
without effect, and asked again in the new place from the same cursor. So no key is skipped or done twice.

Sends through a `Backend`; the arguments were checked by `client.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from holdfast import wire
from holdfast.errors import HoldfastError, Reason, RefusedError, error
from holdfast.keys import KeyRange
from holdfast.shardmap import Shard
from holdfast.stream import WRITE, Answer
from holdfast.token import Token
from holdfast.types import Level, Page

RELOCATIONS_MAX: Final = 16  # a range act follows this many changes of the map, then says so
_MOVED: Final = frozenset({Reason.WRONG_SHARD, Reason.CROSS_SHARD})


class Backend(Protocol):
    """Who carries operations out: a `Session`, or the fake of `testing.py`."""

    token: Token
    token_full: bool

    def submit(
        self, namespace: str, where: bytes, key: bytes, kind: bytes, level: int, timeout_s: float
    ) -> Awaitable[Answer]: ...

    def shard_at(self, namespace: str, key: bytes) -> Shard | None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PageAsk:
    """What every page of a scan asks for."""

    keys: KeyRange
    limit: int
    keys_only: bool
    level: Level
    bound_ms: int
    or_linearizable: bool


async def page(backend: Backend, namespace: str, ask: PageAsk, from_: bytes, timeout_s: float) -> Page:
    """One page, from the cursor `from_` (empty: the start of the range)."""
    cursor, end = max(from_, ask.keys.start), ask.keys.end
    for _ in range(RELOCATIONS_MAX):
        here = _part(backend, namespace, KeyRange(cursor, end))
        kind = wire.scan(here, ask.limit, ask.keys_only, ask.level, ask.bound_ms, ask.or_linearizable)
        try:
            result, served = await backend.submit(namespace, cursor, b"", kind, ask.level, timeout_s)
        except RefusedError as refused:
            if refused.reason not in _MOVED:
                raise
            continue
        # A page that is done in its shard goes on in the next one, by the map as it is now.
        following = result.page.next or _part(backend, namespace, KeyRange(cursor, end)).end
        done = not following or (bool(end) and following >= end)
        return Page(wire.items(result.page), b"" if done else following, served)
    raise _keeps_changing()


async def delete_atomically(backend: Backend, namespace: str, keys: KeyRange, timeout_s: float) -> int:
    """All keys of the range at once; the cluster refuses what is too much or lies in two shards."""
    kind = wire.delete_range(keys, paged=False)
    result, _ = await backend.submit(namespace, keys.start, b"", kind, WRITE, timeout_s)
    return result.deleted


async def delete_in_pages(backend: Backend, namespace: str, keys: KeyRange, timeout_s: float) -> int:
    """All keys of the range, page after page; each page is atomic."""
    deleted, relocations, cursor = 0, 0, keys.start
    while relocations < RELOCATIONS_MAX:
        here = _part(backend, namespace, KeyRange(cursor, keys.end))
        kind = wire.delete_range(here, paged=True)
        try:
            result, _ = await backend.submit(namespace, cursor, b"", kind, WRITE, timeout_s)
        except RefusedError as refused:
            if refused.reason not in _MOVED:
                raise
            relocations += 1
            continue
        deleted += result.deleted
        if result.more:
            continue
        if not here.end or here.end == keys.end:
            return deleted
        cursor = here.end
    raise _keeps_changing()


def _part(backend: Backend, namespace: str, keys: KeyRange) -> KeyRange:
    """The first part of the range that lies in one shard, as far as known here."""
    shard = backend.shard_at(namespace, keys.start)
    return keys.intersect(shard.range) if shard is not None else keys


def _keeps_changing() -> HoldfastError:
    return error(Reason.WRONG_SHARD, f"the shard map changed {RELOCATIONS_MAX} times under this range")
