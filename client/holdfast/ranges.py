"""Acts on a range of keys: a page at a time, shard after shard, following the map when it changes.

Invariant: each request lies in one shard as far as known here; what the map moved under it is refused
without effect, and asked again in the new place from the same cursor. What was done ends where it was asked
to, or where the answer says, never where the map has its ends by now. So no key is skipped or done twice.

Cursors and parts are places (units.py): in a hashed namespace an act on keys that are spread over all of
them asks shard after shard, and each answers with those of its keys that are meant.

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
from holdfast.shardmap import ShardMap
from holdfast.stream import WRITE, Answer
from holdfast.token import Token
from holdfast.types import Level, Page
from holdfast.units import EVERYWHERE, ORDERED

RELOCATIONS_MAX: Final = 16  # a range act follows this many changes of the map, then says so
MOMENT_S: Final = 0.001
_MOVED: Final = frozenset({Reason.WRONG_SHARD, Reason.CROSS_SHARD})


class Backend(Protocol):
    """Who carries operations out: a `Session`, or the fake of `testing.py`."""

    token: Token
    token_full: bool

    @property
    def map(self) -> ShardMap: ...

    def submit(
        self,
        namespace: str,
        where: bytes,
        key: bytes,
        kind: bytes,
        level: int,
        timeout_s: float,
        *,
        is_place: bool = False,
    ) -> asyncio.Future[Answer]: ...

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
    way = _Way(backend, namespace, ask.keys, timeout_s, from_)
    while True:
        here = way.part()
        keys, places = way.said(here)
        kind = wire.scan(keys, ask.limit, ask.keys_only, ask.level, ask.bound_ms, ask.or_linearizable, places)
        try:
            result, served = await way.submit(here, kind, ask.level)
        except RefusedError as refused:
            await way.lost(refused)
            continue
        way.cursor = result.page.next or here.end
        return Page(wire.items(result.page), b"" if way.is_done else way.cursor, served)


async def delete_atomically(backend: Backend, namespace: str, keys: KeyRange, timeout_s: float) -> int:
    """All keys of the range at once; the cluster refuses what is too much or lies in two shards."""
    way = _Way(backend, namespace, keys, timeout_s)
    while True:
        whole = way.rest()
        try:
            result, _ = await way.submit(whole, wire.delete_range(*_asked(way, whole, paged=False)), WRITE)
        except RefusedError as refused:
            # One that names no shards is about the map that it was planned by.
            if refused.reason is not Reason.CROSS_SHARD or refused.shards:
                raise
            await way.lost(refused)
            continue
        return result.deleted


async def delete_in_pages(backend: Backend, namespace: str, keys: KeyRange, timeout_s: float) -> int:
    """All keys of the range, page after page; each page is atomic."""
    deleted = 0
    way = _Way(backend, namespace, keys, timeout_s)
    while True:
        here = way.part()
        try:
            result, _ = await way.submit(here, wire.delete_range(*_asked(way, here, paged=True)), WRITE)
        except RefusedError as refused:
            await way.lost(refused)
            continue
        way.renew()
        deleted += result.deleted
        if result.more:
            way.cursor = result.next or here.start
            continue
        way.cursor = here.end
        if way.is_done:
            return deleted


def _asked(way: _Way, here: KeyRange, *, paged: bool) -> tuple[KeyRange, bool, KeyRange | None]:
    keys, places = way.said(here)
    return keys, paged, places


class _Way:
    """How far an act has come, where its next request goes, how often the map has changed under it."""

    def __init__(
        self, backend: Backend, namespace: str, keys: KeyRange, timeout_s: float, cursor: bytes = b""
    ) -> None:
        self.cursor = cursor
        self._backend = backend
        self._namespace = namespace
        self._keys = keys
        self._timeout_s = timeout_s
        self._units = ORDERED
        self._is_known = False  # the namespace, and so its units
        self.renew()

    def renew(self) -> None:
        """The next request has its own time."""
        self._deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._relocations = 0

    def rest(self) -> KeyRange:
        """The places that are left, from the cursor on."""
        known = self._backend.map
        units = known.units_of(self._namespace)
        if (
            self._is_known and units != self._units
        ):  # only the name is the same: the cursor means nothing there
            self.cursor = b""
        self._units, self._is_known = units, known.at(self._namespace, b"") is not None
        whole = units.places_of(self._keys) or EVERYWHERE
        return KeyRange(max(self.cursor, whole.start), whole.end)

    def part(self) -> KeyRange:
        """The first part of what is left that lies in one shard, as far as known here."""
        rest = self.rest()
        shard = self._backend.map.at(self._namespace, rest.start)
        return rest.intersect(shard.range) if shard is not None else rest

    def said(self, here: KeyRange) -> tuple[KeyRange, KeyRange | None]:
        """How a request names what it is about: the keys, and in a hashed namespace the places."""
        return (self._keys, here) if self._units.hashed else (here, None)

    def submit(self, here: KeyRange, kind: bytes, level: int) -> Awaitable[Answer]:
        """Sends a request about these places."""
        left_s = self._left_s()
        return self._backend.submit(self._namespace, here.start, b"", kind, level, left_s, is_place=True)

    @property
    def is_done(self) -> bool:
        """Whether the cursor, behind an answer, has come to the end."""
        end = (self._units.places_of(self._keys) or EVERYWHERE).end
        return not self.cursor or (bool(end) and self.cursor >= end)

    def _left_s(self) -> float:
        """How long the request may still take."""
        return max(MOMENT_S, self._deadline - asyncio.get_running_loop().time())

    async def lost(self, refused: RefusedError) -> None:
        """The request was refused: returns if it is worth asking anew, raises if not."""
        self._relocations += 1
        if refused.reason not in _MOVED:
            raise refused
        if self._relocations >= RELOCATIONS_MAX or self._left_s() <= MOMENT_S:
            raise _keeps_changing(self._relocations) from refused
        if not refused.shards:  # nothing to plan anew by: the session is asking for the map
            await asyncio.sleep(backoff_ms(self._relocations, 0.0) / 1000)


def _keeps_changing(times: int) -> HoldfastError:
    return error(Reason.WRONG_SHARD, f"the shard map changed {times} times under this range")
