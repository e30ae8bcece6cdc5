"""One operation of the generator as calls of the SDK, and what its answer says, as fields of an event.

A list, a set and a bank are made of what the API has: a list is one key that is read and set at its revision;
a bank's accounts are keys of one shard, changed together in a transaction. Such an operation may take several
attempts. It was refused only if every attempt was; that nobody changes the key in between is the condition
of the next attempt, so one that failed by its condition has had no effect.

Raises what the SDK raises; `outcomes.py` says what that means.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import holdfast
from holdfast.client import shard_of
from holdfast.errors import ConditionFailedError, Reason, error

from holdfast_chaos.generator import ACCOUNTS, BALANCE
from holdfast_chaos.record import Event

ATTEMPTS_MAX: Final = 20
Facts = dict[str, Any]


class Calls:
    """The calls of one client. groups_stand: no shard is cut or moved: the map says which group answers."""

    def __init__(self, client: holdfast.Client, *, groups_stand: bool) -> None:
        self._client = client
        self._groups_stand = groups_stand

    async def do(self, ask: Event) -> Facts:
        """Does it; the fields of the reply. Raises HoldfastError."""
        return await _DO[ask.f](self, ask)

    # ---- registers ----

    async def get(self, ask: Event) -> Facts:
        reading = await self._reading(ask)
        return {"value": _text(reading.value), "revision": reading.revision, **self._served(ask, reading)}

    async def put(self, ask: Event) -> Facts:
        assert ask.key is not None
        expect, ttl_ms = ask.expect, ask.ttl_ms
        if isinstance(expect, int):
            result = await self._client.compare_and_set(ask.key, expect, ask.value, ttl_ms=ttl_ms)
        else:
            result = await self._client.put(
                ask.key,
                ask.value,
                ttl_ms=ttl_ms,
                if_absent=expect == "absent",
                if_present=expect == "present",
                return_previous=bool(ask.want_previous),
            )
        return {"revision": result.revision, "value": _text(result.previous)}

    async def delete(self, ask: Event) -> Facts:
        assert ask.key is not None
        expect = ask.expect if isinstance(ask.expect, int) else None
        result = await self._client.delete(ask.key, if_revision=expect)
        return {"revision": result.revision}

    # ---- numbers, lists, sets ----

    async def add(self, ask: Event) -> Facts:
        assert ask.key is not None
        if not isinstance(ask.value, int):
            return await self.append(ask)
        result = await self._client.increment(ask.key, ask.value)
        return {"revision": result.revision, "value": result.value}

    async def append(self, ask: Event) -> Facts:
        assert ask.key is not None
        last: ConditionFailedError | None = None
        for _ in range(ATTEMPTS_MAX):
            held = await self._client.get(ask.key, level=holdfast.Level.LINEARIZABLE)
            elements = json.loads(held.value) if held.value is not None else []
            try:
                result = await self._client.compare_and_set(
                    ask.key, held.revision, json.dumps([*elements, ask.value])
                )
            except ConditionFailedError as problem:
                last = problem
                continue
            return {"revision": result.revision}
        raise last or error(Reason.BUSY, "no attempt was made")

    async def read(self, ask: Event) -> Facts:
        assert ask.key is not None
        if ask.key.startswith("bank/"):
            return await self._accounts(ask)
        reading = await self._reading(ask)
        empty: Any = 0 if ask.key.startswith("counter/") else []
        value = empty if reading.value is None else json.loads(reading.value)
        return {"value": value, **self._served(ask, reading)}

    # ---- banks, units ----

    async def _accounts(self, ask: Event) -> Facts:
        page = await self._page(ask, f"{ask.key}/")
        found = {_account(item.key): int(item.value) for item in page.items}
        return {
            "value": {account: found.get(account, BALANCE) for account in sorted({*ACCOUNTS, *found})},
            **self._served(ask, page),
        }

    async def transfer(self, ask: Event) -> Facts:
        source, target = f"{ask.key}/{ask.value['from']}", f"{ask.key}/{ask.value['to']}"
        amount = ask.value["amount"]
        for _ in range(ATTEMPTS_MAX):
            keys = (source, target)
            readings = await self._client.get_many(keys, level=holdfast.Level.LINEARIZABLE)
            held = {
                key: (BALANCE if reading.value is None else int(reading.value), reading.revision)
                for key, reading in zip(keys, readings, strict=True)
            }
            if held[source][0] < amount:
                raise error(Reason.CONDITION_FAILED, "there is not enough on it")
            result = await self._client.txn(
                compares=[holdfast.Compare.revision(key, at) for key, (_, at) in held.items()],
                then=[
                    holdfast.Step.put(source, str(held[source][0] - amount)),
                    holdfast.Step.put(target, str(held[target][0] + amount)),
                ],
            )
            if result.succeeded:
                return {"revision": result.revision}
        raise error(Reason.CONDITION_FAILED, "the accounts changed at every attempt")

    async def txn(self, ask: Event) -> Facts:
        compares = [_compare(key, how) for key, how in ask.value.get("compares", ())]
        result = await self._client.txn(
            compares=compares,
            then=[_step(step) for step in ask.value.get("then", ())],
            otherwise=[_step(step) for step in ask.value.get("otherwise", ())],
        )
        results = [[step.revision, _text(step.value)] for step in result.results]
        return {
            "value": {"succeeded": result.succeeded, "results": results},
            "revision": result.revision,
        }

    async def scan(self, ask: Event) -> Facts:
        page = await self._page(ask, ask.key or "")
        items = [[item.key.decode(), _text(item.value), item.revision] for item in page.items]
        return {"value": items, **self._served(ask, page)}

    # ---- parts ----

    async def _reading(self, ask: Event) -> holdfast.Reading:
        assert ask.key is not None
        return await self._client.get(ask.key, **_freshness(ask))

    async def _page(self, ask: Event, prefix: str) -> holdfast.Page:
        """A unit in one page, which is consistent; one that was cut in two by a split is not read at all."""
        page = await self._client.scan_page(prefix=prefix, **_freshness(ask))
        if page.next:
            raise error(Reason.CROSS_SHARD, f"{prefix} does not lie in one shard")
        return page

    def _served(self, ask: Event, answer: holdfast.Reading | holdfast.Page) -> Facts:
        served = answer.served
        facts = {
            "level": served.level.name,
            "node": served.node,
            "applied_index": served.applied_index,
            "age_ms": served.age_ms,
        }
        shard = shard_of(self._client, ask.key or "") if self._groups_stand else None
        if isinstance(answer, holdfast.Reading) and answer.ttl_ms:
            facts["ttl_ms"] = answer.ttl_ms
        return facts if shard is None else {**facts, "group": shard.group}


_DO: Final[dict[str, Callable[[Calls, Event], Awaitable[Facts]]]] = {
    "get": Calls.get,
    "put": Calls.put,
    "delete": Calls.delete,
    "add": Calls.add,
    "append": Calls.append,
    "read": Calls.read,
    "transfer": Calls.transfer,
    "txn": Calls.txn,
    "scan": Calls.scan,
}


def _freshness(ask: Event) -> Facts:
    """How fresh a read must be, as the SDK takes it."""
    level = holdfast.Level[ask.level or "LINEARIZABLE"]
    return {
        "level": level,
        "bound_ms": ask.bound_ms,
        "or_linearizable": bool(ask.or_linearizable),
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _account(key: bytes) -> str:
    return key.decode().rpartition("/")[2]


def _compare(key: str, how: int | str) -> holdfast.Compare:
    if how == "exists":
        return holdfast.Compare.exists(key)
    return holdfast.Compare.absent(key) if how == "absent" else holdfast.Compare.revision(key, int(how))


def _step(step: list[Any]) -> holdfast.Step:
    f, key, *given = step
    if f == "put":
        return holdfast.Step.put(key, given[0])
    if f == "increment":
        return holdfast.Step.increment(key, given[0])
    return holdfast.Step.get(key) if f == "get" else holdfast.Step.delete(key)
