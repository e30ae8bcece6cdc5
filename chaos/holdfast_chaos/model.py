"""What one key does when operations come one after the other: the sequential model of a register.

A state is what may be known of the key: its value, the revision that wrote it, the least that later
revisions must exceed, and whether it may go by itself (it has a time to live). The server's revisions are
an extra constraint: each write of a key takes a greater one than all before it, so the model refuses an
order in which a key's version goes back.

A step gives every state that may follow, and none when the answer that was given is impossible. Answers
may be unknown (an operation open for ever): then a write gives the states in which it did have its effect;
that it may have had none needs no step, the search leaves it out.

When a key with a time to live goes is not judged here, only that it may: `expiring.py` does.
Source: contract, "Operations"; etcd tests/robustness/model/deterministic.go (a second, tiny implementation).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Event, Type

UNKNOWN: Final = -1
"""A revision that is there but not known."""

ANY_VALUE: Final = "\0any"
"""A value that is there but not known; no workload writes a NUL."""

ABSENT: Final = "absent"
PRESENT: Final = "present"

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class State(NamedTuple):
    """What may be known of a key.

    Attributes:
        value: None: the key does not exist.
        revision: that wrote it; 0: the key does not exist; UNKNOWN.
        floor: the next write's revision is greater than this.
        perishable: it may be gone without an operation.
    """

    value: str | None = None
    revision: int = 0
    floor: int = 0
    perishable: bool = False


class Act(NamedTuple):
    """An operation on a key with what was answered, made for the model.

    Attributes:
        f: get, put, delete, increment, touch; or "refusal": a write whose condition did not hold, which
            tells as much of the key as a read.
        value: get: what was read; put: what is written; increment: the sum.
        revision: answered; None: not known.
        expect: the condition: the key's revision, ABSENT or PRESENT.
        is_known: the answer is known.
        ttl_ms: given; 0: none.
        deleted: delete: whether there was something, when known.
        by, initial: increment.
        previous: put, delete: the value before, when it was asked for and told; ANY_VALUE: not told.
    """

    f: str
    value: str | None = None
    revision: int | None = None
    expect: int | str | None = None
    is_known: bool = True
    ttl_ms: int = 0
    deleted: bool = False
    by: int = 0
    initial: int = 0
    previous: str | None = ANY_VALUE


INITIAL: Final = (State(),)
"""A key that nobody has written."""


def any_state(*, perishable: bool) -> tuple[State, ...]:
    """Every state that a key may be in: for a part of a record whose beginning is left out."""
    return (State(), State(ANY_VALUE, UNKNOWN, 0, perishable))


def act_of(operation: Operation, *, is_known: bool = True) -> Act | None:
    """What the model makes of an operation. None: it tells nothing and changes nothing.

    Args:
        operation: of one key.
        is_known: whether its answer counts (False: it came after the part that is looked at).
    """
    reply = operation.reply if is_known else None
    if reply is None or reply.type is Type.INFO:
        return None if operation.f == "get" else _asked(operation)
    if reply.type is Type.FAIL:
        told = reply.error == "CONDITION_FAILED" and reply.revision is not None
        expect = operation.invoke.expect
        return Act("refusal", revision=reply.revision, expect=expect) if told and operation.is_write else None
    if operation.f == "get":
        return Act("get", reply.value if reply.revision != 0 else None, reply.revision)
    return _answered(operation, reply)


def _answered(operation: Operation, reply: Event) -> Act:
    act = _asked(operation)._replace(revision=reply.revision)
    if reply.error is not None:  # it happened; what it found is not told
        return act
    if operation.f == "increment":
        return act._replace(is_known=True, value=str(reply.value))
    previous = reply.value if operation.invoke.want_previous else ANY_VALUE
    return act._replace(is_known=True, previous=previous, deleted=reply.revision != 0)


def _asked(operation: Operation) -> Act:
    asked = operation.invoke
    if asked.f == "increment":
        by, initial = _summand(asked.value)
        return Act("increment", by=by, initial=initial, ttl_ms=asked.ttl_ms or 0, is_known=False)
    value = asked.value if asked.f == "put" else None
    return Act(asked.f, value, expect=asked.expect, ttl_ms=asked.ttl_ms or 0, is_known=False)


def _summand(argument: Any) -> tuple[int, int]:
    """An increment's argument: the summand, or [summand, value of an absent key]."""
    if isinstance(argument, int):
        return argument, 0
    by, initial = argument
    return int(by), int(initial)


def order_of(act: Act) -> int | None:
    """Where the key's versions put this: in any linearization these numbers never go down. None: anywhere.

    A write comes before the reads of its revision.
    """
    if not act.revision or not act.is_known or act.f == "touch":
        return None
    return 2 * act.revision + (act.f in ("get", "refusal"))


def step(state: State, act: Act) -> tuple[State, ...]:
    """Every state that may follow; none: the answer is impossible here."""
    after = _STEPS[act.f](state, act)
    if not state.perishable or state.value is None:
        return after
    gone = _STEPS[act.f](State(None, 0, state.floor), act)
    return after + tuple(found for found in gone if found not in after)


def _holding(state: State, revision: int) -> State | None:
    """The state, given that the key exists at this revision. None: it does not."""
    if state.value is None or revision < 1:
        return None
    if state.revision == revision:
        return state
    if state.revision == UNKNOWN and revision >= state.floor:
        return state._replace(revision=revision, floor=revision)
    return None


def meeting(state: State, expect: int | str | None) -> State | None:
    """The state, given that the condition holds. None: it does not."""
    if expect is None:
        return state
    if expect == PRESENT:
        return state if state.value is not None else None
    if expect in (ABSENT, 0):
        return state if state.value is None else None
    assert isinstance(expect, int)
    return _holding(state, expect)


def _written(state: State, value: str | None, revision: int | None, *, perishable: bool) -> State | None:
    """The state after a write took this revision (None: not known). None: its version would go back."""
    if revision is None:
        at = state.floor + 1
        return State(value, UNKNOWN if value is not None else 0, at, perishable)
    if revision <= state.floor:
        return None
    return State(value, revision if value is not None else 0, revision, perishable)


def _only(state: State | None) -> tuple[State, ...]:
    return () if state is None else (state,)


def _get(state: State, act: Act) -> tuple[State, ...]:
    if act.value is None:
        return (state,) if state.value is None else ()
    if state.value not in (act.value, ANY_VALUE):
        return ()
    held = state if act.revision is None else _holding(state, act.revision)
    return () if held is None else (held._replace(value=act.value),)


def _put(state: State, act: Act) -> tuple[State, ...]:
    if act.previous != ANY_VALUE and state.value not in (act.previous, ANY_VALUE):
        return ()
    met = meeting(state, act.expect)
    if met is None:
        return ()
    return _only(_written(met, act.value, act.revision, perishable=act.ttl_ms > 0))


def _delete(state: State, act: Act) -> tuple[State, ...]:
    if act.previous != ANY_VALUE and state.value not in (act.previous, ANY_VALUE):
        return ()
    if act.is_known and not act.deleted:
        return (state,) if state.value is None else ()
    met = meeting(state, act.expect)
    if met is None or met.value is None:
        return ()
    return _only(_written(met, None, act.revision, perishable=False))


def _increment(state: State, act: Act) -> tuple[State, ...]:
    value = act.value
    if state.value is None:
        value, perishable = str(act.initial + act.by), act.ttl_ms > 0
    else:
        perishable = state.perishable
        if state.value != ANY_VALUE:
            try:
                value = str(int(state.value) + act.by)
            except ValueError:
                return ()  # refused: WRONG_TYPE
        elif value is None:
            value = ANY_VALUE
    if act.is_known and act.value != value:
        return ()
    return _only(_written(state, value, act.revision, perishable=perishable))


def _touch(state: State, act: Act) -> tuple[State, ...]:
    """The key keeps the revision that wrote its value, though the touch takes one."""
    if act.is_known and act.revision == 0:
        return (state,) if state.value is None else ()
    if state.value is None:
        return ()
    if not act.is_known or act.revision is None:
        return (state._replace(perishable=state.perishable or act.ttl_ms > 0),)
    if act.revision <= state.floor:
        return ()
    # Of a value whose revision is not known, the floor is all that is known of it: it must not rise.
    floor = state.floor if state.revision == UNKNOWN else act.revision
    return (state._replace(perishable=act.ttl_ms > 0, floor=floor),)


def _refusal(state: State, act: Act) -> tuple[State, ...]:
    """A condition did not hold: the key was at `revision`, and that is not what the condition wants."""
    assert act.revision is not None
    if act.revision == 0:
        held = state if state.value is None and act.expect not in (ABSENT, 0) else None
    else:
        held = _holding(state, act.revision) if act.expect not in (PRESENT, act.revision) else None
    return _only(held)


_STEPS: Final = {
    "get": _get,
    "put": _put,
    "delete": _delete,
    "increment": _increment,
    "touch": _touch,
    "refusal": _refusal,
}
