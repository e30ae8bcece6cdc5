"""Lists that are only appended to: the whole order of a long run, judged in linear time.

A read of a list shows which appends took effect and in which order, so there is nothing to search for. The
longest list that was read of a key is its order. Rules:
- *forked*: every list that was read is a beginning of it;
- *duplicated*: no element stands in it twice;
- *never appended*, *refused*, *from the future*: an element was asked for, not refused, and begun by then;
- *lost*: an acknowledged append stands in what is read after it;
- *reordered*: of two appends one after the other, the first stands first;
- *stale*: a LINEARIZABLE read shows at least what was read or acknowledged before it began; a SESSION read
  what its own session had.

In the record: `append` of an element, which must be unique on its key, and `read` of a list.
Source: Kingsbury & Alvaro 2020 (Elle), list-append; real-time edges as in its strict variant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from holdfast_chaos.operation import FOREVER, Operation, text_of
from holdfast_chaos.record import Type
from holdfast_chaos.verdict import Finding, Judgement, judge


def check(operations: Iterable[Operation]) -> Judgement:
    """Judges every list."""
    lists: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.f in ("append", "read"):
            lists.setdefault(operation.key or "", []).append(operation)
    broken: list[Finding] = []
    acknowledged = unseen = 0
    for key, own in lists.items():
        one = _List(key, own)
        broken += one.judged()
        acknowledged += len(one.acknowledged)
        unseen += sum(1 for append in one.acknowledged if append.argument not in one.places)
    figures = {"lists": len(lists), "acknowledged": acknowledged, "never_read": unseen}
    return judge("append", broken=broken, figures=figures)


class _List:
    """One list."""

    def __init__(self, key: str, operations: Sequence[Operation]) -> None:
        self.key = key
        self.operations = operations
        self.reads = [o for o in operations if o.f == "read" and o.is_ok]
        self.appends = {o.argument: o for o in operations if o.f == "append"}
        self.acknowledged = [o for o in operations if o.f == "append" and o.is_ok]
        self.longest = max(self.reads, key=lambda read: len(read.result or ()), default=None)
        order = [] if self.longest is None else self.longest.result or []
        self.order: list[Any] = order
        self.places: dict[Any, int] = {}
        for place, element in enumerate(order):
            self.places.setdefault(element, place)

    def judged(self) -> Iterator[Finding]:
        if len(self.appends) != sum(o.f == "append" for o in self.operations):
            yield self._finding("not unique", "an element was asked for twice: the workload is wrong")
        yield from self._elements()
        for read in self.reads:
            found = read.result or []
            if found != self.order[: len(found)]:
                assert self.longest is not None
                message = f"{_tail(found)} is no beginning of {_tail(self.order)}"
                yield self._finding("forked", message, self.longest, read)
        yield from self._in_time()

    def _elements(self) -> Iterator[Finding]:
        told: set[Any] = set()
        for read in self.reads:
            found = read.result or []
            if len(set(found)) != len(found):
                twice = next(e for i, e in enumerate(found) if e in found[:i])
                if twice not in told:
                    told.add(twice)
                    asked = [self.appends[twice]] if twice in self.appends else []
                    yield self._finding("duplicated", f"{twice!r} stands there twice", *asked, read)
            # Of lists that agree only the longest is new; elements at their end may be too early, though.
            elements = found if read is self.longest or found != self.order[: len(found)] else found[-1:]
            for element in elements:
                append = self.appends.get(element)
                rule = ""
                if append is None:
                    rule, why = "never appended", "nobody appended it"
                elif append.outcome is Type.FAIL:
                    rule, why = "refused", "its append was refused"
                elif append.start_ns > read.end_ns:
                    rule, why = "from the future", "its append had not begun"
                if rule and element not in told:
                    told.add(element)
                    story = [read] if append is None else [append, read]
                    yield self._finding(rule, f"{element!r} was read, and {why}", *story)

    def _in_time(self) -> Iterator[Finding]:
        """One sweep: what ended before something began is at most as long."""
        acts = [(o.start_ns, 0, i) for i, o in enumerate(self.operations)]
        acts += [(o.end_ns, 1, i) for i, o in enumerate(self.operations) if o.end_ns != FOREVER and o.is_ok]
        last = -1  # the furthest place that was read or acknowledged
        by: Operation | None = None
        sessions: dict[str, tuple[int, Operation]] = {}
        unplaced: list[Operation] = []  # acknowledged, and in no list
        for _, is_end, i in sorted(acts):
            operation = self.operations[i]
            if not is_end:
                own = sessions.get(operation.session)
                yield from self._begun(operation, last, by, own)
                if self._shows_all(operation):
                    for append in unplaced:
                        why = f"{append.argument!r} was acknowledged and is in no list"
                        yield self._finding("lost", why, append, operation)
                    unplaced.clear()
                continue
            place = self._place(operation)
            if operation.f == "append" and place is None:
                unplaced.append(operation)
                continue
            place = -1 if place is None else place
            if place > last:
                last, by = place, operation
            if place > sessions.get(operation.session, (-1, operation))[0]:
                sessions[operation.session] = (place, operation)

    def _begun(
        self, operation: Operation, last: int, by: Operation | None, own: tuple[int, Operation] | None
    ) -> Iterator[Finding]:
        """What an operation had to see, and to stand behind."""
        place = self._place(operation)
        if operation.f == "append":
            if place is not None and place <= last and by is not None:
                message = f"{operation.argument!r} stands at {place}, {last} was known before it began"
                yield self._finding("reordered", message, by, operation)
            return
        if not operation.is_ok:
            return
        need, seen_by = last, by
        if operation.level == "SESSION":
            need, seen_by = own or (-1, None)
        elif operation.level != "LINEARIZABLE":
            return
        if (-1 if place is None else place) < need and seen_by is not None:
            message = f"read {len(operation.result or ())} elements, {need + 1} were known before it began"
            yield self._finding("stale", message, seen_by, operation)

    def _shows_all(self, operation: Operation) -> bool:
        """Whether what was acknowledged before it began must be in the list."""
        if operation.f == "append":
            return self._place(operation) is not None  # it stands there, so they stand before it
        return operation.is_ok and operation.level == "LINEARIZABLE"

    def _place(self, operation: Operation) -> int | None:
        """Of an append: where it stands. Of a read: the last place it shows."""
        if operation.f == "append":
            return self.places.get(operation.argument)
        return len(operation.result or ()) - 1

    def _finding(self, rule: str, message: str, *story: Operation) -> Finding:
        return Finding(rule, message, self.key, tuple(text_of(operation) for operation in story))


def _tail(elements: Sequence[Any]) -> str:
    shown = ", ".join(str(element) for element in elements[-5:])
    return f"[{'..., ' if len(elements) > 5 else ''}{shown}]"
