"""Runs of a list, a counter, a set and a bank on an imagined server, and the obvious judge of them.

As in `register_runs.py`: operations take effect one after the other at a moment inside their interval. The
obvious judge tries every order of the operations, and of the open ones that may have happened.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Event, Type

from tests.property.register_runs import linear_extensions

ACCOUNTS = ("a", "b")
BALANCE = 5

Change = Callable[[Any, Any], Any]


def transfer(held: dict[str, int], argument: dict[str, Any]) -> dict[str, int]:
    amount, source, target = argument["amount"], argument["from"], argument["to"]
    return {**held, source: held[source] - amount, target: held[target] + amount}


# workload -> (its write, what is there at first, what a write does, an argument)
OBJECTS: dict[str, tuple[str, Any, Change, Callable[[random.Random, int], Any]]] = {
    "append": ("append", [], lambda held, x: [*held, x], lambda _, n: f"e{n}"),
    "set": ("add", [], lambda held, x: [*held, x], lambda _, n: f"e{n}"),
    "counter": ("add", 0, lambda held, x: held + x, lambda chance, _: chance.randint(1, 3)),
    "bank": (
        "transfer",
        dict.fromkeys(ACCOUNTS, BALANCE),
        transfer,
        lambda chance, _: {"from": "a", "to": "b", "amount": chance.randint(1, 3)},
    ),
}


def run(chance: random.Random, workload: str, count: int) -> list[Operation]:
    """A run; outcomes of some writes are not known, and some are refused."""
    write, held, change, argument = OBJECTS[workload]
    found: list[Operation] = []
    moment = 0
    for number in range(count):
        moment += chance.randint(1, 3)
        start, end = moment - chance.randint(0, 5), moment + chance.randint(0, 5)
        f = chance.choice(["read", write])
        value = None if f == "read" else argument(chance, number)
        invoke = Event(
            number, Type.INVOKE, f, start, "k", value, level="LINEARIZABLE" if f == "read" else None
        )
        reply = Event(number, Type.OK, f, end, "k", held if f == "read" else None)
        fate = chance.choice(["ok", "ok", "ok", "open", "refused"]) if f == write else "ok"
        if f == write and fate != "refused" and (fate == "ok" or chance.random() < 0.5):
            held = change(held, value)
        if fate == "refused":
            reply = reply._replace(type=Type.FAIL, error="BUSY")
        found.append(Operation(invoke, None if fate == "open" else reply))
    return found


def mutated(chance: random.Random, operations: Sequence[Operation]) -> list[Operation]:
    """One change: a write dropped, opened, refused or moved, or two reads' results swapped."""
    found = list(operations)
    at = chance.randrange(len(found))
    victim = found[at]
    kind = chance.choice(["drop", "refuse", "move", "swap", "acknowledge"])
    reads = [i for i, o in enumerate(found) if o.f == "read"]
    if kind == "drop":
        del found[at]
    elif kind == "swap" and len(reads) > 1:
        one, two = chance.sample(reads, 2)
        first, second = found[one].reply, found[two].reply
        assert first is not None
        assert second is not None
        found[one] = Operation(found[one].invoke, first._replace(value=second.value))
        found[two] = Operation(found[two].invoke, second._replace(value=first.value))
    elif kind == "move" and victim.reply is not None:
        shift = chance.randint(-12, 12)
        invoke = victim.invoke._replace(time_ns=victim.start_ns + shift)
        found[at] = Operation(invoke, victim.reply._replace(time_ns=victim.end_ns + shift))
    elif victim.f != "read":
        reply = Event(victim.invoke.process, Type.OK, victim.f, victim.start_ns + 3, "k")
        refused = reply._replace(type=Type.FAIL, error="BUSY")
        found[at] = Operation(victim.invoke, refused if kind == "refuse" else reply)
    return found


def is_explained(operations: Sequence[Operation], workload: str) -> bool:
    """The obvious judge. A set is read in any order."""
    _, initial, change, _ = OBJECTS[workload]
    musts = [o for o in operations if o.is_ok]
    mays = [o for o in operations if o.outcome is Type.INFO]

    def fits(order: Sequence[Operation]) -> bool:
        held = initial
        for operation in order:
            if operation.f != "read":
                held = change(held, operation.argument)
            elif (
                (sorted(held) != sorted(operation.result)) if workload == "set" else held != operation.result
            ):
                return False
        return True

    return any(
        fits(order)
        for count in range(len(mays) + 1)
        for some in itertools.combinations(mays, count)
        for order in linear_extensions([*musts, *some])
    )
