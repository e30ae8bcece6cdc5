"""Whole runs without a cluster: what the generators ask, answered by an imagined server, as a record.

One shard, one counter of revisions. Operations take effect one after the other at a moment inside their
interval; some are answered with nothing. Keys do not expire unless they were given a time to live.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from holdfast_chaos.asks import SEEN, Ask, Generator
from holdfast_chaos.generator import ACCOUNTS, BALANCE, UNIT_KEYS, generator
from holdfast_chaos.keyspace import PARTS
from holdfast_chaos.record import Event, Header, Record, Type

MS = 1_000_000
# What an object holds before anybody wrote it, by the beginning of its key; else an empty list.
EMPTY: dict[str, Callable[[], Any]] = {"bank": lambda: dict.fromkeys(ACCOUNTS, BALANCE), "counter": int}


class Shard:
    """Keys with value, revision and deadline."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Any, int, int | None]] = {}
        self.revision = 0

    def find(self, key: str, now: int) -> tuple[Any, int]:
        value, revision, deadline = self.keys.get(key, (None, 0, None))
        return (None, 0) if deadline is not None and deadline <= now else (value, revision)

    def write(self, key: str, value: Any, deadline: int | None = None) -> None:
        self.keys[key] = (value, self.revision, deadline)

    def do(self, ask: Event, now: int) -> dict[str, Any]:
        """The reply's fields."""
        key = ask.key or ""
        value, present = self.find(key, now)
        if ask.f == "get":
            return {"value": value, "revision": present}
        if ask.f in ("txn", "scan"):
            return self.unit(ask, now)
        if ask.f == "read":
            first = next((made() for name, made in EMPTY.items() if key.startswith(name)), [])
            return {"value": first if value is None else value}
        holds = {None: True, "absent": not present, "present": bool(present)}.get(
            ask.expect, ask.expect == present
        )
        if not holds:
            return {"type": Type.FAIL, "error": "CONDITION_FAILED", "revision": present}
        if ask.f == "delete" and not present:
            return {"revision": 0}
        self.revision += 1
        told: dict[str, Any] = {"revision": self.revision}
        if ask.f == "delete":
            self.keys.pop(key)
        elif ask.f == "put":
            self.write(key, ask.value, now + ask.ttl_ms * MS if ask.ttl_ms else None)
            told["value"] = value if ask.want_previous else None
        elif ask.f == "transfer":
            held = value or dict.fromkeys(ACCOUNTS, BALANCE)
            source, target, amount = ask.value["from"], ask.value["to"], ask.value["amount"]
            if held[source] < amount:
                return {"type": Type.FAIL, "error": "CONDITION_FAILED", "revision": present}
            self.write(key, {**held, source: held[source] - amount, target: held[target] + amount})
        elif isinstance(ask.value, int):
            self.write(key, (value or 0) + ask.value)
            told["value"] = (value or 0) + ask.value
        else:
            self.write(key, [*(value or []), ask.value])
        return told

    def unit(self, ask: Event, now: int) -> dict[str, Any]:
        if ask.f == "scan":
            found = [[(ask.key or "") + name, *self.find((ask.key or "") + name, now)] for name in UNIT_KEYS]
            return {"value": [item for item in found if item[2]]}
        wanted = ((self.find(key, now)[1], how) for key, how in ask.value.get("compares", ()))
        succeeded = all({"exists": at > 0, "absent": at == 0}.get(how, at == how) for at, how in wanted)
        results: list[list[Any]] = []
        self.revision += 1
        changed = False
        for f, key, *given in ask.value.get("then" if succeeded else "otherwise", ()):
            value, present = self.find(key, now)
            if f == "get":
                results.append([present, value])
                continue
            if f == "put":
                self.write(key, given[0])
            else:
                self.keys.pop(key, None)
            results.append([self.revision if f == "put" or present else 0, None])
            changed = changed or f == "put" or present > 0
        self.revision -= not changed
        return {
            "value": {"succeeded": succeeded, "results": results},
            "revision": self.revision if changed else 0,
        }


def invoke_of(ask: Ask, process: int, at: int, seen: dict[tuple[int, str], int]) -> Event:
    """The event a client would write, with SEEN made a revision."""
    value, expect = ask.value, seen.get((process, ask.key), 0) if ask.expect == SEEN else ask.expect
    if ask.f == "txn":
        compares = [[key, 0 if how == SEEN else how] for key, how in ask.value.get("compares", ())]
        value = {**ask.value, "compares": compares}
    return Event(process, Type.INVOKE, ask.f, at, **ask._replace(value=value, expect=expect).asked())


def run(workload: str, seed: int, count: int) -> Record:
    """A record of `count` operations and the final reads; the server is faultless."""
    chance, shard = random.Random(seed), Shard()
    made: Generator = generator(workload, random.Random(seed), 6, 6)
    names, free = list(range(1, 7)), dict.fromkeys(range(1, 7), 0)
    events: list[Event] = []
    seen: dict[tuple[int, str], int] = {}
    now = 0
    final: list[Ask] = []
    for n in range(count * 2):
        slot = chance.randrange(6)
        process = names[slot]
        if n >= count and not final:
            final = list(made.final())
        if n >= count + len(final) and final:
            break
        ask = made.next(slot + 1, n % PARTS) if n < count else final[n - count]
        if ask.f == "token":
            continue
        start = max(free[slot + 1], now - chance.randint(0, 3 * MS)) if n < count else max(free.values()) + 1
        now = max(now, start) + chance.randint(1, MS)
        end = now + chance.randint(0, 3 * MS)
        invoke = invoke_of(ask, process, start, seen)
        reply = shard.do(invoke, now)
        events.append(invoke)
        free[slot + 1] = end + 1
        if n < count and ask.level is None and chance.random() < 0.02:
            made.ended_open(ask)
            names[slot] = max(names) + 1
            continue
        if ask.f == "get":
            seen[process, ask.key] = reply["revision"]
        events.append(Event(process, f=ask.f, time_ns=end, **{"type": Type.OK, **reply}))
    events.sort(key=lambda event: (event.time_ns, event.type is not Type.INVOKE))
    settings = {"accounts": list(ACCOUNTS), "balance": BALANCE, "demands": {"operations_min": count // 2}}
    header = Header("0", seed, workload, (), 1, "again", settings=settings)
    return Record(header, tuple(events), torn=False)
