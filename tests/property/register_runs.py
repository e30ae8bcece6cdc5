"""Runs of a register on an imagined server, and the obvious judge: every order tried.

A run is made by operations that take effect one after the other at a moment inside their interval, so it
is linearizable by construction; `mutated` then breaks it, or perhaps not: the obvious judge says. It knows
versions by a rule of its own: the shard's counter grows with each change.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Event, Type


class Server:
    """One key, one revision counter."""

    def __init__(self) -> None:
        self.value: str | None = None
        self.revision = 0
        self.last = 0

    def do(self, f: str, value: Any, expect: Any, step: int = 1) -> dict[str, Any]:
        """The reply's fields."""
        if f == "get":
            return {"type": Type.OK, "value": self.value, "revision": self.revision}
        holds = {None: True, "absent": self.value is None, "present": self.value is not None}
        if not holds.get(expect, expect == self.revision):
            return {"type": Type.FAIL, "error": "CONDITION_FAILED", "revision": self.revision}
        if f == "delete" and self.value is None:
            return {"type": Type.OK, "revision": 0}
        if f == "increment":
            value = str(int(self.value or 0) + value)
        self.last += step
        self.value, self.revision = (None, 0) if f == "delete" else (value, self.last)
        told = int(value) if f == "increment" else None
        return {"type": Type.OK, "revision": self.last, "value": told}


def run(
    chance: random.Random, count: int, processes: int, *, sums: bool = False, open_share: float = 0.2
) -> list[Operation]:
    """A run of `count` operations; outcomes of some writes are not known."""
    server = Server()
    free = dict.fromkeys(range(1, processes + 1), 0)
    next_process = processes + 1
    planned: list[tuple[int, int, Event, dict[str, Any] | None]] = []
    at = 0
    for number in range(count):
        process = chance.choice(sorted(free))
        start = free[process] + chance.randint(0, 3)
        moment = max(at, start) + chance.randint(0, 2)
        end = moment + chance.randint(0, 6)
        at = moment
        f = chance.choice(
            ["get", "get", "get", "increment" if sums else "put", "increment" if sums else "put", "delete"]
        )
        value = chance.randint(1, 3) if f == "increment" else f"v{number}" if f == "put" else None
        choices = [None, None, "absent", "present", server.revision, chance.randint(0, server.last + 1)]
        expect = chance.choice(choices) if f in ("put", "delete") else None
        if f == "delete" and expect in ("absent", "present", 0):
            expect = None
        invoke = Event(
            process,
            Type.INVOKE,
            f,
            start,
            "k",
            value,
            level="LINEARIZABLE" if f == "get" else None,
            expect=expect,
        )
        is_open = f != "get" and chance.random() < open_share
        reply = None
        if not is_open or chance.random() < 0.6:
            reply = server.do(f, value, expect, chance.randint(1, 3))
        if is_open:
            reply = None
            del free[process]
            free[next_process] = end
            next_process += 1
        else:
            free[process] = end + 1
        planned.append((start, end, invoke, reply))
    return [_operation(invoke, end, reply) for _, end, invoke, reply in planned]


def _operation(invoke: Event, end: int, reply: dict[str, Any] | None) -> Operation:
    if reply is None:
        return Operation(invoke)
    return Operation(invoke, Event(invoke.process, f=invoke.f, time_ns=end, key="k", **reply))


def mutated(chance: random.Random, operations: Sequence[Operation]) -> list[Operation]:
    """One change: two replies swapped, an operation dropped or doubled, an interval or a version moved."""
    found = list(operations)
    at = chance.randrange(len(found))
    victim = found[at]
    kind = chance.choice(["swap", "drop", "double", "move", "version", "open"])
    if kind == "drop":
        del found[at]
    elif kind == "swap":
        other = chance.choice([i for i, o in enumerate(found) if o.f == victim.f])
        one, two = victim.reply, found[other].reply
        if one is not None and two is not None:
            found[at] = Operation(victim.invoke, two._replace(time_ns=one.time_ns))
            found[other] = Operation(found[other].invoke, one._replace(time_ns=two.time_ns))
    elif victim.reply is not None:
        reply = victim.reply
        if kind == "double":
            later = 1 + chance.randint(0, 10)
            invoke = victim.invoke._replace(time_ns=victim.start_ns + later, process=90)
            found.append(Operation(invoke, reply._replace(time_ns=reply.time_ns + later, process=90)))
        elif kind == "move":
            shift = chance.randint(-12, 12)
            invoke = victim.invoke._replace(time_ns=victim.start_ns + shift)
            found[at] = Operation(invoke, reply._replace(time_ns=reply.time_ns + shift))
        elif kind == "version" and reply.revision:
            found[at] = Operation(
                victim.invoke, reply._replace(revision=max(1, reply.revision + chance.choice([-2, -1, 1, 2])))
            )
        elif kind == "open" and victim.f != "get":
            found[at] = Operation(victim.invoke)
    return found


def without_versions(operations: Sequence[Operation]) -> list[Operation]:
    """As a server that tells no revisions: conditions on revisions go too."""
    kept = [
        o
        for o in operations
        if not isinstance(o.invoke.expect, int) and o.outcome is not Type.FAIL and o.f != "delete"
    ]
    return [
        o
        if o.reply is None
        else Operation(o.invoke, o.reply._replace(revision=0 if o.f == "get" and o.result is None else None))
        for o in kept
    ]


def is_explained(operations: Sequence[Operation]) -> bool:
    """The obvious judge: whether some order of some of the open writes explains every answer."""
    musts = [o for o in operations if o.reply is not None and o.outcome is not Type.INFO]
    mays = [o for o in operations if o not in musts and o.is_write]
    return any(
        _orders(list(musts) + list(some))
        for count in range(len(mays) + 1)
        for some in itertools.combinations(mays, count)
    )


def _orders(operations: list[Operation]) -> bool:
    return any(_fits(order) for order in linear_extensions(operations))


def linear_extensions(operations: list[Operation]) -> Iterator[list[Operation]]:
    """Every order in which none stands behind one that began after it had ended."""
    if not operations:
        yield []
        return
    for i, first in enumerate(operations):
        if all(other.end_ns >= first.start_ns for other in operations):
            rest = operations[:i] + operations[i + 1 :]
            for order in linear_extensions(rest):
                yield [first, *order]


def _fits(order: list[Operation]) -> bool:
    """Whether the answers are those of a key, for some choice of the versions that were not told.

    Versions that were not told are variables: all that is asked of them is to grow, so it is enough to
    take the least possible one and to let a later observation raise it.
    """
    value: str | None = None
    low, exact = 0, True  # the key's revision: exactly `low`, or at least
    least = 1  # of the next write
    for operation in order:
        reply = operation.reply
        known = reply is not None and reply.type is not Type.INFO
        told = reply.revision if known and reply is not None else None
        wanted: list[int] = []
        expect, f = operation.invoke.expect, operation.f
        if f == "get":
            if value != operation.result:
                return False
            wanted += [told] if value is not None and told is not None else []
        elif known and reply is not None and reply.type is Type.FAIL:
            assert told is not None
            if (told == 0) != (value is None) or told == expect:
                return False
            if (expect == "absent" and value is None) or (expect == "present" and value is not None):
                return False
            wanted += [told] if told else []
        elif f == "delete" and known and told == 0:
            if value is not None:
                return False
            continue
        else:
            if expect in ("absent", 0) and value is not None:
                return False
            if (expect == "present" or f == "delete") and value is None:
                return False
            if isinstance(expect, int) and expect:
                if value is None:
                    return False
                wanted.append(expect)
        for revision in wanted:
            if (exact and revision != low) or revision < low:
                return False
            low, exact = revision, True
            least = max(least, low + 1)
        if f == "get" or (known and reply is not None and reply.type is Type.FAIL):
            continue
        if f == "increment":
            total = int(value or 0) + operation.argument
            if known and operation.result is not None and total != operation.result:
                return False
            value = str(total)
        else:
            value = None if f == "delete" else operation.argument
        if told is not None and told < least:
            return False
        low, exact = (least, False) if told is None else (told, True)
        least = low + 1
        if value is None:
            low, exact = 0, True
    return True
