"""Acts on a range of keys: a page at a time, shard after shard, following the map when it changes.

Invariant: each request lies in one shard as far as known here; what the map moved under it is refused
without effect, and asked again in the new place from the same cursor. What was done ends where it was asked
to, or where the answer says, never where the map has its ends by now. So no key is skipped or done twice.

Sends through a `Backend`; the arguments were checked by `client.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from holdfast import wire
from holdfast.errors import HoldfastError, Reason, RefusedError, error
from holdfast.keys import KeyRange
from holdfast.retry import backoff_ms
from holdfast.shardmap import Shard
from holdfast.stream import WRITE, Answer
from holdfast.token import Token
from holdfast.types import Level, Page

RELOCATIONS_MAX: Final = 16  # a range act follows this many changes of the map, then says so
MOMENT_S: Final = 0.001
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
    place = _Place(backend, namespace, timeout_s)
    while True:
        here = place.part(KeyRange(cursor, end))
        kind = wire.scan(here, ask.limit, ask.keys_only, ask.level, ask.bound_ms, ask.or_linearizable)
        try:
            result, served = await backend.submit(namespace, cursor, b"", kind, ask.level, place.left_s())
        except RefusedError as refused:
            await place.lost(refused)
            continue
        following = result.page.next or here.end
        done = not following or (bool(end) and following >= end)
        return Page(wire.items(result.page), b"" if done else following, served)


async def delete_atomically(backend: Backend, namespace: str, keys: KeyRange, timeout_s: float) -> int:
    """All keys of the range at once; the cluster refuses what is too much or lies in two shards."""
    kind = wire.delete_range(keys, paged=False)
    result, _ = await backend.submit(namespace, keys.start, b"", kind, WRITE, timeout_s)
    return result.deleted


async def delete_in_pages(backend: Backend, namespace: str, keys: KeyRange, timeout_s: float) -> int:
    """All keys of the range, page after page; each page is atomic."""
    deleted, cursor = 0, keys.start
    place = _Place(backend, namespace, timeout_s)
    while True:
        here = place.part(KeyRange(cursor, keys.end))
        kind = wire.delete_range(here, paged=True)
        try:
            result, _ = await backend.submit(namespace, cursor, b"", kind, WRITE, place.left_s())
        except RefusedError as refused:
            await place.lost(refused)
            continue
        place = _Place(backend, namespace, timeout_s)
        deleted += result.deleted
        if result.more:
            continue
        if not here.end or here.end == keys.end:
            return deleted
        cursor = here.end


class _Place:
    """Where a request goes, and how often the map has changed under it."""

    def __init__(self, backend: Backend, namespace: str, timeout_s: float) -> None:
        self._backend = backend
        self._namespace = namespace
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._relocations = 0

    def part(self, keys: KeyRange) -> KeyRange:
        """The first part of the range that lies in one shard, as far as known here."""
        shard = self._backend.shard_at(self._namespace, keys.start)
        return keys.intersect(shard.range) if shard is not None else keys

    def left_s(self) -> float:
        """How long the request may still take."""
        return max(MOMENT_S, self._deadline - asyncio.get_running_loop().time())

    async def lost(self, refused: RefusedError) -> None:
        """The request was refused: returns if it is worth asking anew, raises if not."""
        self._relocations += 1
        if refused.reason not in _MOVED:
            raise refused
        if self._relocations >= RELOCATIONS_MAX or self.left_s() <= MOMENT_S:
            raise _keeps_changing(self._relocations) from refused
        if not refused.shards:  # nothing to plan anew by: the session is asking for the map
            await asyncio.sleep(backoff_ms(self._relocations, 0.0) / 1000)


def _keeps_changing(times: int) -> HoldfastError:
    return error(Reason.WRONG_SHARD, f"the shard map changed {times} times under this range")
