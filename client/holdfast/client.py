"""The asyncio client: what a program calls.

    async with holdfast.connect("127.0.0.1:7400") as client:  # connecting.py
        await client.put("device/7/interval", "30", ttl=3600)
        reading = await client.get("device/7/interval", level=holdfast.Level.SESSION)

Invariant: every method ends by its deadline with a result or a HoldfastError that says whether anything
happened. Operations that were not awaited one after the other are concurrent.

Checks arguments (`operations.py`), asks the session (`session.py`), names the results. Retries, routing
and packing are not its business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from holdfast import many, ranges, wire
from holdfast.errors import Reason, error
from holdfast.keys import DEFAULT_NAMESPACE, KEY_BYTES_MAX, NAMESPACE
from holdfast.operations import (
    SCAN_LIMIT_MAX,
    TXN_OPERATIONS_MAX,
    Compare,
    Step,
    check_int64,
    check_put_conditions,
    checked_bound,
    checked_level,
    checked_timeout,
    invalid,
    key_bytes,
    key_range,
    ttl_in_ms,
    value_bytes,
)
from holdfast.ranges import Backend
from holdfast.shardmap import Shard
from holdfast.stream import WRITE, Answer
from holdfast.token import BadTokenError
from holdfast.types import (
    DeleteResult,
    IncrementResult,
    Item,
    Level,
    Page,
    PutResult,
    Reading,
    TxnResult,
    WatchPoint,
)
from holdfast.watch import Watch, WatchDriver


class Client:
    """A session with a cluster. Make one with `connect`; use it from one event loop."""

    def __init__(
        self,
        backend: Backend,
        watches: WatchDriver,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        level: Level = Level.LINEARIZABLE,
        timeout_s: float = 5.0,
    ) -> None:
        if not NAMESPACE.match(namespace):
            raise invalid("namespace", f"{namespace!r} is not a name: {NAMESPACE.pattern}")
        level = checked_level(level)
        if level is Level.BOUNDED:
            raise invalid("level", "BOUNDED needs bound_ms, so it is chosen per read")
        self.namespace = namespace
        self.level = level
        self.timeout_s = checked_timeout(timeout_s)
        self._backend = backend
        self._watches = watches
        levels = set(Level) - {Level.BOUNDED}
        self._gets: dict[Level, bytes] = {known: wire.get(known) for known in levels}

    # ---- one key ----

    async def get(
        self,
        key: str | bytes,
        *,
        level: Level | None = None,
        bound_ms: int | None = None,
        or_linearizable: bool = False,
        timeout_s: float | None = None,
    ) -> Reading:
        """Reads a key.

        Args:
            key: str is taken as UTF-8.
            level: how fresh; absent: the client's, or BOUNDED when bound_ms is given.
            bound_ms: BOUNDED: the most the answer may be old, 1..3 600 000.
            or_linearizable: BOUNDED: read LINEARIZABLE when no replica can prove the bound.
            timeout_s: absent: the client's.
        """
        raw = key if type(key) is bytes and 0 < len(key) <= KEY_BYTES_MAX else key_bytes(key)
        if bound_ms is None and not or_linearizable and (level is None or level in self._gets):
            level = self.level if level is None else level
            kind = self._gets[level]
        else:
            level, bound = self._level(level, bound_ms, or_linearizable)
            kind = wire.get(level, bound, or_linearizable)
        timeout = self.timeout_s if timeout_s is None else checked_timeout(timeout_s)
        return _reading(await self._backend.submit(self.namespace, raw, raw, kind, level, timeout))

    async def put(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
        if_revision: int | None = None,
        if_absent: bool = False,
        if_present: bool = False,
        return_previous: bool = False,
        timeout_s: float | None = None,
    ) -> PutResult:
        """Writes a key.

        Args:
            key: str is taken as UTF-8; so is value.
            value: at most 1 MiB.
            ttl_ms: time to live, 10 ms .. 10 years; absent: does not expire, also when it did before.
            ttl: the same in seconds or as a timedelta.
            if_revision: write only if the key's revision is exactly this.
            if_absent: write only if the key does not exist.
            if_present: write only if the key exists.
            return_previous: the result holds the value before.
            timeout_s: absent: the client's.

        Raises:
            ConditionFailedError: a condition did not hold; `.revision` is the key's present one.
        """
        raw = key if type(key) is bytes and 0 < len(key) <= KEY_BYTES_MAX else key_bytes(key)
        body = value_bytes(value)
        if ttl_ms is ttl is if_revision is None and not (if_absent or if_present or return_previous):
            kind = wire.plain_put(body)
        else:
            check_put_conditions(if_revision, if_absent, if_present)
            lifetime = ttl_in_ms(ttl_ms, ttl, "put.ttl_ms")
            kind = wire.put(body, lifetime, if_revision, if_absent, if_present, return_previous)
        timeout = self.timeout_s if timeout_s is None else checked_timeout(timeout_s)
        result, _ = await self._backend.submit(self.namespace, raw, raw, kind, WRITE, timeout)
        return PutResult(result.revision, _value(result) if return_previous else None)

    async def delete(
        self,
        key: str | bytes,
        *,
        if_revision: int | None = None,
        return_previous: bool = False,
        timeout_s: float | None = None,
    ) -> DeleteResult:
        """Deletes a key; `.deleted` is 0 and `.revision` 0 when there was none."""
        check_put_conditions(if_revision, False, False)
        kind = wire.delete(if_revision, return_previous)
        result = await self._write(key, kind, timeout_s)
        return DeleteResult(result.revision, result.deleted, _value(result) if return_previous else None)

    async def compare_and_set(
        self,
        key: str | bytes,
        revision: int,
        value: str | bytes,
        *,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
        timeout_s: float | None = None,
    ) -> PutResult:
        """Writes the key if its revision is `revision` (0: if it does not exist).

        Raises:
            ConditionFailedError: it is another; `.revision` says which.
        """
        if revision < 0:
            raise invalid("compare_and_set.revision", f"not negative, this is {revision}")
        body, lifetime = value_bytes(value), ttl_in_ms(ttl_ms, ttl, "compare_and_set.ttl_ms")
        result = await self._write(key, wire.compare_and_set(revision, body, lifetime), timeout_s)
        return PutResult(result.revision)

    async def increment(
        self,
        key: str | bytes,
        by: int = 1,
        *,
        initial: int = 0,
        minimum: int | None = None,
        maximum: int | None = None,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
        timeout_s: float | None = None,
    ) -> IncrementResult:
        """Adds to a decimal int64.

        Args:
            key: an absent key counts as `initial`.
            by: may be negative.
            initial: value of an absent key before the addition.
            minimum: a smaller sum is refused (ConditionFailedError).
            maximum: a greater sum is refused.
            ttl_ms: time to live of a key made by this; an existing key keeps its own.
            ttl: the same in seconds or as a timedelta.
            timeout_s: absent: the client's.
        """
        for field, number in (("by", by), ("initial", initial), ("minimum", minimum), ("maximum", maximum)):
            check_int64(f"increment.{field}", number)
        lifetime = ttl_in_ms(ttl_ms, ttl, "increment.ttl_ms")
        kind = wire.increment(by, initial, minimum, maximum, lifetime)
        result = await self._write(key, kind, timeout_s)
        return IncrementResult(result.revision, result.number)

    async def touch(
        self,
        key: str | bytes,
        *,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Gives an existing key a new time to live (none: it no longer expires).

        Returns:
            The revision it took; 0: the key does not exist.
        """
        result = await self._write(key, wire.touch(ttl_in_ms(ttl_ms, ttl, "touch.ttl_ms")), timeout_s)
        return result.revision

    # ---- many keys ----

    async def get_many(
        self,
        keys: Iterable[str | bytes],
        *,
        level: Level | None = None,
        bound_ms: int | None = None,
        or_linearizable: bool = False,
        timeout_s: float | None = None,
    ) -> list[Reading]:
        """Reads keys, each as by `get`; they travel in full frames. Not one state of all of them: see `scan`.

        Returns:
            Readings in the order of `keys`.

        Raises:
            SomeFailedError: `.outcomes` has a Reading or a HoldfastError for each key.
        """
        raws = [key_bytes(key) for key in keys]
        level, bound = self._level(level, bound_ms, or_linearizable)
        kind = wire.get(level, bound, or_linearizable)
        asked = [(raw, kind) for raw in raws]
        return await many.ask(self._backend, self.namespace, asked, level, self._timeout(timeout_s), _reading)

    async def put_many(
        self,
        items: Iterable[tuple[str | bytes, str | bytes]],
        *,
        ttl_ms: int | None = None,
        ttl: float | timedelta | None = None,
        timeout_s: float | None = None,
    ) -> list[PutResult]:
        """Writes keys, each as by `put`; they travel in full frames. Not one transaction: see `txn`.

        Args:
            items: pairs of key and value, as of `dict.items()`. They take effect in any order.
            ttl_ms: time to live of each; absent: they do not expire.
            ttl: the same in seconds or as a timedelta.
            timeout_s: for all of them; absent: the client's.

        Returns:
            Results in the order of `items`.

        Raises:
            SomeFailedError: `.outcomes` has a PutResult or a HoldfastError for each item.
        """
        lifetime = ttl_in_ms(ttl_ms, ttl, "put.ttl_ms")
        asked = [
            (key_bytes(key), wire.unconditional_put(value_bytes(value), lifetime)) for key, value in items
        ]
        return await many.ask(
            self._backend, self.namespace, asked, WRITE, self._timeout(timeout_s), _put_result
        )

    # ---- ranges ----

    async def scan_page(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        limit: int = 100,
        from_: bytes = b"",
        keys_only: bool = False,
        level: Level | None = None,
        bound_ms: int | None = None,
        or_linearizable: bool = False,
        timeout_s: float | None = None,
    ) -> Page:
        """Reads one page, in key order; `from_`: the `next` of the page before.

        A page is consistent in itself and ends at the latest at the end of its shard or at 1 MiB of
        values, so it may hold fewer items than `limit` (1..1000), even none, and still have a `next`.

        In a hashed namespace keys are in order inside a unit, and units in the order of their hash. A
        range of more than one unit is looked for in every shard, up to 2000 keys a page.
        """
        keys = key_range(prefix, start, end)
        if not 1 <= limit <= SCAN_LIMIT_MAX:
            raise invalid("scan.limit", f"1..{SCAN_LIMIT_MAX}, this is {limit}")
        chosen, bound = self._level(level, bound_ms, or_linearizable)
        ask = ranges.PageAsk(keys, limit, keys_only, chosen, bound, or_linearizable)
        return await ranges.page(self._backend, self.namespace, ask, from_, self._timeout(timeout_s))

    async def scan(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        limit: int | None = None,
        keys_only: bool = False,
        level: Level | None = None,
        bound_ms: int | None = None,
        or_linearizable: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Item]:
        """Iterates over the keys of a range in order, over pages and shards.

        Each page is consistent; the pages together are not one snapshot. timeout_s bounds each page.
        The order of a hashed namespace is that of `scan_page`.
        """
        if limit is not None and limit < 0:
            raise invalid("scan.limit", f"not negative, this is {limit}")
        left = limit if limit is not None else float("inf")
        cursor = b""
        while left > 0:
            page = await self.scan_page(
                prefix=prefix,
                start=start,
                end=end,
                limit=int(min(SCAN_LIMIT_MAX, left)),
                from_=cursor,
                keys_only=keys_only,
                level=level,
                bound_ms=bound_ms,
                or_linearizable=or_linearizable,
                timeout_s=timeout_s,
            )
            for item in page.items:
                yield item
            left -= len(page.items)
            cursor = page.next
            if not cursor:
                return

    async def delete_range(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        atomic: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Deletes the keys of a range; a range must be given (`prefix=""` means all keys).

        Args:
            prefix: the keys that begin with this.
            start: or the keys from here
            end: up to, without, this.
            atomic: all at once; refused above 1000 keys, or when they lie in two shards. Otherwise in
                pages of up to 1000 keys, each atomic: an error then leaves the pages before it done.
                In a hashed namespace only the keys of one unit are sure to lie in one shard.
            timeout_s: for each page.

        Returns:
            How many keys were deleted.
        """
        if prefix is None and start is None and end is None:
            raise invalid("delete.range", 'give prefix, start or end; prefix="" deletes all keys')
        keys = key_range(prefix, start, end)
        delete = ranges.delete_atomically if atomic else ranges.delete_in_pages
        return await delete(self._backend, self.namespace, keys, self._timeout(timeout_s))

    # ---- transactions ----

    async def txn(
        self,
        compares: Iterable[Compare] = (),
        then: Iterable[Step] = (),
        otherwise: Iterable[Step] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """Does `then` if all compares hold, else `otherwise`, all or nothing.

        All keys must lie in one shard, as those of one unit do (else refused: CROSS_SHARD); at most 128
        compares and steps.
        """
        conditions, yes, no = tuple(compares), tuple(then), tuple(otherwise)
        asked: tuple[Compare | Step, ...] = (*conditions, *yes, *no)
        if not 1 <= len(asked) <= TXN_OPERATIONS_MAX:
            raise invalid("txn", f"1..{TXN_OPERATIONS_MAX} compares and steps, these are {len(asked)}")
        result, _ = await self._backend.submit(
            self.namespace, asked[0].key, b"", wire.txn(conditions, yes, no), WRITE, self._timeout(timeout_s)
        )
        steps = tuple(wire.step_result(step) for step in result.txn.results)
        return TxnResult(result.txn.succeeded, result.revision, steps)

    # ---- watches ----

    def watch(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        from_: WatchPoint | Sequence[WatchPoint] = (),
        or_snapshot: bool = False,
        with_previous: bool = False,
        keys_only: bool = False,
    ) -> Watch:
        """Follows the changes of a range: an async iterator, to be closed (`async with`).

        It outlives the loss of nodes and resumes without gap or duplicate. Order is per shard. In a
        hashed namespace a range of more than one unit is watched in every shard.

        Args:
            prefix: the keys that begin with this.
            start: or the keys from here
            end: up to, without, this. None of the three: all keys.
            from_: `points` of an earlier watch: go on there. Absent: from now on.
            or_snapshot: when `from_` is absent or no longer kept, the present keys come first, as
                SNAPSHOT events between two marks (see `Mark`); without it that raises COMPACTED.
            with_previous: events carry the value before, where it is still known.
            keys_only: events carry no values.
        """
        points = (from_,) if isinstance(from_, WatchPoint) else tuple(from_)
        return Watch(
            self._watches,
            self.namespace,
            key_range(prefix, start, end),
            points,
            or_snapshot=or_snapshot,
            with_previous=with_previous,
            keys_only=keys_only,
        )

    # ---- the session ----

    @property
    def token(self) -> bytes:
        """What this session has seen; hand it to another with `merge_token` or `connect(session=...)`.

        Raises:
            HoldfastError: the session has seen more than a token can hold (1024 ranges).
        """
        if self._backend.token_full:
            raise error(Reason.BAD_TOKEN, "this session has seen more ranges than a token holds")
        return wire.token_bytes(self._backend.token)

    def merge_token(self, token: bytes) -> None:
        """From now on SESSION reads also see what the session of `token` had seen.

        Raises:
            HoldfastError: BAD_TOKEN: not a token, or one of another cluster.
        """
        try:
            fits = self._backend.token.merge(wire.token_from_bytes(token))
        except BadTokenError as exc:
            raise error(Reason.BAD_TOKEN, str(exc), field="token") from exc
        if not fits:
            self._backend.token_full = True

    async def aclose(self) -> None:
        """Ends the session. Calls under way end as refused, or unknown when they were sent."""
        self._watches.close()
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.namespace}, {self._backend!r}>"

    # ---- parts ----

    async def _write(self, key: str | bytes, kind: bytes, timeout_s: float | None) -> wire.Result:
        raw = key_bytes(key)
        result, _ = await self._backend.submit(
            self.namespace, raw, raw, kind, WRITE, self._timeout(timeout_s)
        )
        return result

    def _timeout(self, timeout_s: float | None) -> float:
        return self.timeout_s if timeout_s is None else checked_timeout(timeout_s)

    def _level(self, level: Level | None, bound_ms: int | None, or_linearizable: bool) -> tuple[Level, int]:
        if level is None:
            level = self.level if bound_ms is None else Level.BOUNDED
        level = checked_level(level)
        return level, checked_bound(level, bound_ms, or_linearizable)


def _reading(answer: Answer) -> Reading:
    result, served = answer
    revision = result.revision
    return Reading(result.value if revision else None, revision, result.ttl_ms, served)


def _put_result(answer: Answer) -> PutResult:
    return PutResult(answer[0].revision)


def _value(result: wire.Result) -> bytes | None:
    return result.value if result.HasField("value") else None


def shard_of(client: Client, key: str | bytes) -> Shard | None:
    """The shard that serves a key, as far as the client knows; for tools."""
    return client._backend.map.locate(client.namespace, key_bytes(key))
