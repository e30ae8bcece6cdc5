"""Linearizability: one order explains every answer, and each operation takes effect within its interval.

Judged for each key by itself, which loses nothing (the property is local). Counted are all writes, and the
reads that were served LINEARIZABLE; weaker reads are judged by `values.py` and `guarantees.py`. A refusal
that tells which condition did not hold has read the key, and counts as a read.

A write of unknown outcome may take effect at any time from its invoke on, or never. Where a read saw its
value at a revision it did happen, and its place is known; every other one doubles the work, so generators
rotate keys (`rotation.py`).

A violation is told by its smallest part: the shortest beginning of the record that cannot be explained;
of that the shortest end which cannot be explained whatever the key held before; of that only the reads
that matter. Each of these weakens what is asked, so what is left is a violation by itself.

Source: Herlihy & Wing 1990 (locality); design testing.md, CHECKERS 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from holdfast_chaos import model, unit_model
from holdfast_chaos.operation import FOREVER, Operation, text_of
from holdfast_chaos.record import Type
from holdfast_chaos.search import STEPS_MAX, Answer, Budget, Call, search
from holdfast_chaos.verdict import Finding, Judgement, judge

STORY_LINES_MAX: Final = 40
SHRINK_STEPS_MAX: Final = 1_000_000
"""Steps for making a violation small; one that is told at length is a violation all the same."""


UNSEEN: Final = "\0unseen"
"""What a write of unknown outcome wrote, when no read shows it."""


class Model(NamedTuple):
    """What the search knows of an object: see `model.py`. anything: None: it cannot begin in the middle."""

    functions: frozenset[str]
    act_of: Callable[..., Any]
    order_of: Callable[[Any], int | None]
    step: Callable[[Any, Any], tuple[Any, ...]]
    initial: tuple[Any, ...]
    anything: Callable[..., tuple[Any, ...]] | None


REGISTER: Final = Model(
    frozenset({"get", "put", "delete", "increment", "touch"}),
    model.act_of,
    model.order_of,
    model.step,
    model.INITIAL,
    model.any_state,
)
UNIT: Final = Model(
    frozenset({"txn", "scan"}),
    unit_model.act_of,
    unit_model.order_of,
    unit_model.step,
    unit_model.INITIAL,
    None,
)


class Part(NamedTuple):
    """A part of an object's operations: what is known by `until`, of what ended at `since` or later.

    since: None: from the beginning, so the object begins as it was made; else it may be in any state.
    """

    operations: Sequence[Operation]
    since: int | None = None
    until: int = FOREVER

    def begins_in(self, operation: Operation) -> bool:
        """Whether an operation began in the part."""
        return self.since is None or operation.start_ns >= self.since

    def shows(self, operation: Operation) -> bool:
        """Whether an operation lies in the part, were it only with its beginning or its end."""
        return operation.start_ns <= self.until and (self.since is None or operation.end_ns >= self.since)


def calls_of(part: Part, of: Model) -> list[Call]:
    """What has to be put in order, by start."""
    found: list[Call] = []
    for operation in part.operations:
        start, end = operation.start_ns, operation.end_ns
        is_known = end <= part.until
        if not part.shows(operation):
            continue
        act = of.act_of(operation, is_known=is_known)
        if act is None:
            continue
        required = is_known and end != FOREVER and part.begins_in(operation)
        if not required and not operation.is_write:
            continue
        if not required and operation.outcome is Type.FAIL and is_known:
            continue  # a refusal is a read
        order = of.order_of(act) if is_known else None
        found.append(Call(start, end if required else FOREVER, required, order, act))
    return _with_seen_writes(found, part) if of is REGISTER else found


def _with_seen_writes(calls: list[Call], part: Part) -> list[Call]:
    """Writes of unknown outcome whose value was read did happen, before the read ended, at its revision."""
    seen: dict[str, list[Call]] = {}
    written: dict[str, int] = {}
    replaced = {call.act.previous for call in calls}
    for call in calls:
        if call.act.f == "get" and call.act.value is not None:
            seen.setdefault(call.act.value, []).append(call)
        elif call.act.f == "put":
            written[call.act.value] = written.get(call.act.value, 0) + 1
        elif call.act.f == "increment":
            return calls  # a value may come from a sum
    found = list(calls)
    for at, call in enumerate(calls):
        is_open = call.act.f == "put" and not call.required and call.order is None
        if is_open and call.act.value not in seen and call.act.value not in replaced:
            # Nobody saw it, so it is like every other one that nobody saw.
            found[at] = call._replace(act=call.act._replace(value=UNSEEN))
        readers = seen.get(call.act.value, ()) if call.act.f == "put" and not call.required else ()
        revisions = {reader.act.revision for reader in readers}
        if (
            (part.since is not None and call.start < part.since)
            or len(revisions) != 1
            or written[call.act.value] != 1
        ):
            continue
        (revision,) = revisions
        act = call.act._replace(revision=revision, is_known=True)
        end = min(reader.end for reader in readers)
        found[at] = Call(call.start, end, True, model.order_of(act), act)
    return found


def judged(part: Part, of: Model, budget: Budget) -> Answer:
    """Whether a part of an object's operations can be explained."""
    if part.since is not None:
        assert of.anything is not None
        perishable = any(operation.invoke.ttl_ms for operation in part.operations)
        initial = of.anything(perishable=perishable)
    else:
        initial = of.initial
    return search(calls_of(part, of), of.step, initial, budget)


def check(
    operations: Iterable[Operation],
    *,
    of: Model = REGISTER,
    steps_per_key: int = STEPS_MAX,
    is_over: Callable[[], bool] | None = None,
) -> Judgement:
    """Judges every key.

    Args:
        operations: of a record.
        of: what a key is.
        steps_per_key: budget; a key that needs more is UNKNOWN.
        is_over: whether the time for all keys is up.
    """
    keys: dict[str, list[Operation]] = {}
    strange: set[str] = set()
    for operation in operations:
        if operation.f not in of.functions:
            if operation.is_write:
                strange.add(operation.f)
        elif operation.is_write or operation.level == "LINEARIZABLE":
            keys.setdefault(operation.key or "", []).append(operation)
    broken: list[Finding] = []
    unsure = [Finding("not modelled", f"the model has no {f}") for f in sorted(strange)]
    for key, own in keys.items():
        answer = judged(Part(own), of, Budget(steps_per_key, is_over))
        if answer is Answer.VIOLATION:
            broken.append(explain(key, own, of))
        elif answer is Answer.OUT_OF_BUDGET:
            unsure.append(Finding("budget", f"{len(own)} operations, not judged within the budget", key))
    most = max((len(own) for own in keys.values()), default=0)
    judged_count = sum(len(own) for own in keys.values())
    figures = {"keys": len(keys), "operations": judged_count, "operations_on_one_key": most}
    return judge("linearizability", broken=broken, open_questions=unsure, figures=figures)


def explain(key: str, operations: Sequence[Operation], of: Model = REGISTER) -> Finding:
    """The smallest part that shows the violation of one key."""
    part = smallest(Part(operations), of)
    shown = [o for o in part.operations if part.shows(o)]
    last = max((o for o in shown if o.end_ns <= part.until), key=lambda o: o.end_ns)
    open_unseen = [o for o in shown if _is_open_and_unseen(o, part, shown)]
    told = [_as_known(operation, part.until) for operation in shown if operation not in open_unseen]
    if len(told) > STORY_LINES_MAX:
        cut = len(told) - STORY_LINES_MAX
        told = [f"... {cut} operations that begin before these", *told[cut:]]
    if open_unseen:
        told.append(
            f"and {len(open_unseen)} earlier writes of unknown outcome, whose values no read here shows"
        )
    gone = [] if part.since is None else [o for o in operations if o.end_ns < part.since]
    before = [f"before: {text_of(o)}" for o in gone if _wrote_what_is_read(o, shown)]
    message = f"no order of these {len(shown)} operations explains the answers; the last: {text_of(last)}"
    return Finding("linearizable", message, key, (*before[-5:], *told))


def _as_known(operation: Operation, until: int) -> str:
    if operation.end_ns <= until:
        return text_of(operation)
    return text_of(Operation(operation.invoke))


def _is_open_and_unseen(operation: Operation, part: Part, shown: Iterable[Operation]) -> bool:
    if part.begins_in(operation) or operation.end_ns <= part.until:
        return False
    return not _wrote_what_is_read(operation, shown)


def _wrote_what_is_read(write: Operation, shown: Iterable[Operation]) -> bool:
    if write.f != "put" or write.outcome is Type.FAIL:
        return False
    return any(o.f == "get" and o.is_ok and o.result == write.argument for o in shown)


def smallest(part: Part, of: Model = REGISTER) -> Part:
    """A violation made as small as a few searches can; `part` itself is one."""
    budget = Budget(SHRINK_STEPS_MAX)

    def fails(tried: Part) -> bool:
        return budget.steps > 0 and judged(tried, of, budget) is Answer.VIOLATION

    ends = sorted({o.end_ns for o in part.operations if o.end_ns != FOREVER})
    at = _first(len(ends), lambda i: fails(part._replace(until=ends[i])))
    if at is None:
        return part
    part = part._replace(until=ends[at])
    part = part._replace(operations=[o for o in part.operations if o.start_ns <= part.until])
    if of.anything is not None:
        starts = sorted({o.start_ns for o in part.operations}, reverse=True)
        at = _first(len(starts), lambda i: fails(part._replace(since=starts[i])))
        if at is not None:
            part = part._replace(since=starts[at])
            part = part._replace(operations=[o for o in part.operations if part.shows(o)])
    return _without_needless(part, fails)


def _first(count: int, holds: Callable[[int], bool]) -> int | None:
    """The first place where it holds, given that it holds from somewhere on. None: nowhere (any more).

    In steps that double, then halve: near the beginning, where it is cheap, rather than from the middle.
    """
    low, high = 0, 0
    while high < count and not holds(high):
        low, high = high + 1, 2 * high + 1
    if high >= count:
        high = count - 1
        if low > high or not holds(high):
            return None
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _without_needless(part: Part, fails: Callable[[Part], bool]) -> Part:
    """Without the reads (and refusals) that the violation does not need; first many at once, then each."""
    size = max(1, len(part.operations) // 2)
    while True:
        at = 0
        while at < len(part.operations):
            chunk = part.operations[at : at + size]
            kept = [o for o in chunk if o.is_write and o.outcome is not Type.FAIL]
            tried = part._replace(operations=[*part.operations[:at], *kept, *part.operations[at + size :]])
            if len(kept) < len(chunk) and fails(tried):
                part = tried
                at += len(kept)
            else:
                at += size
        if size == 1 or not fails(part):
            return part
        size //= 2
