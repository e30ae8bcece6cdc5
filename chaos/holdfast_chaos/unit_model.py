"""What a few keys that are changed together do: the sequential model of transactions.

A unit is judged as one object, since a transaction is one operation of several keys. Each key in it is a
register of `model.py`; what is added is that compares decide, that all steps or none take effect, and that
they take one revision, greater than that of every transaction on the unit before: the keys of a unit stay
in one shard, and a shard counts its revisions once for all of its keys.

In the record: a `txn` has the unit as its key and as its value
`{"compares": [[key, "exists" | "absent" | revision]], "then": [step], "otherwise": [step]}`, a step being
`["get", key]`, `["put", key, value]`, `["delete", key]` or `["increment", key, by]`; its result is
`{"succeeded": bool, "results": [[revision, value]]}`. A `scan` of a unit has the result
`[[key, value, revision]]`. No key expires.

Source: contract, "Txn: compares, then / else lists, all keys in one shard"; "each page is consistent".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from holdfast_chaos import model
from holdfast_chaos.model import ABSENT, PRESENT, Act, State
from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Type


class UnitState(NamedTuple):
    """keys: those that were ever touched, in order; floor: the next revision is greater."""

    keys: tuple[tuple[str, State], ...] = ()
    floor: int = 0

    def of(self, key: str) -> State:
        """The register of one key."""
        return next((state for name, state in self.keys if name == key), State())

    def with_key(self, key: str, state: State) -> UnitState:
        """With the register of one key replaced."""
        others = [(name, known) for name, known in self.keys if name != key]
        return self._replace(keys=tuple(sorted([*others, (key, state)])))


class UnitAct(NamedTuple):
    """A transaction or a scan, made for the model.

    Attributes:
        compares: (key, condition).
        then, otherwise: (key, what is done there).
        succeeded: None: not known.
        revision: it took; None: not known; 0: it changed nothing.
        is_scan: `then` holds what was read, and every other key does not exist.
    """

    compares: tuple[tuple[str, int | str], ...]
    then: tuple[tuple[str, Act], ...]
    otherwise: tuple[tuple[str, Act], ...]
    succeeded: bool | None
    revision: int | None
    is_scan: bool = False


INITIAL: Final = (UnitState(),)


def act_of(operation: Operation, *, is_known: bool = True) -> UnitAct | None:
    """What the model makes of an operation. None: it tells nothing and changes nothing."""
    reply = operation.reply if is_known else None
    known = reply is not None and reply.type is Type.OK and reply.error is None
    if operation.f == "scan":
        if not known:
            return None
        items = tuple((key, Act("get", value, revision)) for key, value, revision in operation.result)
        return UnitAct((), items, (), True, 0, is_scan=True)
    if reply is not None and reply.type is Type.FAIL:
        return None  # refused as a whole
    asked = operation.argument
    compares = tuple((key, _condition(wanted)) for key, wanted in asked.get("compares", ()))
    branches = {}
    for branch, holds in (("then", True), ("otherwise", False)):
        taken = known and operation.result["succeeded"] is holds
        results = operation.result["results"] if taken else None
        branches[branch] = tuple(_steps(asked.get(branch, ()), results, operation.revision))
    succeeded = operation.result["succeeded"] if known else None
    revision = None if reply is None or reply.type is Type.INFO else reply.revision
    return UnitAct(compares, branches["then"], branches["otherwise"], succeeded, revision)


def _condition(wanted: Any) -> int | str:
    if wanted == "exists":
        return PRESENT
    return ABSENT if wanted in ("absent", 0) else int(wanted)


def _steps(
    steps: Sequence[Sequence[Any]], results: Sequence[Sequence[Any]] | None, revision: int | None
) -> Iterable[tuple[str, Act]]:
    for at, (f, key, *given) in enumerate(steps):
        result = None if results is None else results[at]
        if f == "get" and result is None:
            continue  # what it read is not known, and it changes nothing
        yield key, _step(f, given[0] if given else None, result, revision)


def _step(f: str, given: Any, result: Sequence[Any] | None, revision: int | None) -> Act:
    if f == "increment":
        act = Act(f, by=int(given), is_known=False)
    else:
        act = Act(f, given if f == "put" else None, is_known=False)
    if result is None:
        return act
    at, value = result
    if f == "get":
        return Act(f, value if at else None, at)
    if f == "delete":
        return act._replace(is_known=True, deleted=at != 0, revision=revision if at else 0)
    told = str(value) if f == "increment" else act.value
    return act._replace(is_known=True, value=told, revision=revision)


def order_of(act: UnitAct) -> int | None:
    """Transactions that changed something stand in the order of their revisions."""
    return act.revision or None


def step(state: UnitState, act: UnitAct) -> tuple[UnitState, ...]:
    """Every state that may follow; none: the answer is impossible here."""
    if act.is_scan:
        named = {key for key, _ in act.then}
        others = ((key, Act("get", None)) for key, _ in state.keys if key not in named)
        return _done((state,), (*act.then, *others), None)
    if act.revision and act.revision <= state.floor:
        return ()
    found: tuple[UnitState, ...] = ()
    if act.succeeded is not False:
        found += _done(_holding((state,), act.compares), act.then, act.revision)
    if act.succeeded is not True:
        failing = (after for key, wanted in act.compares for after in _failing(state, key, wanted))
        found += _done(failing, act.otherwise, act.revision)
    return tuple(dict.fromkeys(found))


def _holding(states: Iterable[UnitState], compares: Iterable[tuple[str, int | str]]) -> tuple[UnitState, ...]:
    """The states in which every compare holds."""
    found = tuple(states)
    for key, wanted in compares:
        met = ((state, model.meeting(state.of(key), wanted)) for state in found)
        found = tuple(state.with_key(key, register) for state, register in met if register is not None)
    return found


def _failing(state: UnitState, key: str, wanted: int | str) -> tuple[UnitState, ...]:
    """The state, if the compare may not hold in it."""
    register = state.of(key)
    if isinstance(wanted, int):
        fails = register.value is None or register.revision != wanted
    else:
        fails = (register.value is None) is (wanted == PRESENT)
    return (state,) if fails else ()


def _done(
    states: Iterable[UnitState], steps: Iterable[tuple[str, Act]], revision: int | None
) -> tuple[UnitState, ...]:
    """The states after these steps, all in one revision."""
    found = tuple(states)
    changed: set[str] = set()
    for key, act in steps:
        after: list[UnitState] = []
        for state in found:
            register = state.of(key)
            if key in changed and revision:
                register = register._replace(floor=min(register.floor, revision - 1))
            if act.f == "delete" and not act.is_known and register.value is None:
                after.append(state)  # a delete of nothing is part of the transaction all the same
                continue
            after += [state.with_key(key, new) for new in model.step(register, act)]
        found = tuple(dict.fromkeys(after))
        if act.f != "get":
            changed.add(key)
    if revision:
        found = tuple(state._replace(floor=max(state.floor, revision)) for state in found)
    return found
