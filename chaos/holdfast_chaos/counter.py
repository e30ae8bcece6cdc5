"""Counters: every sum lies between what must have been added by then and what may have been.

Rules:
- *too small*, *too large*: a LINEARIZABLE read, or the sum that an add is answered with, holds everything
  that was acknowledged before it began, and nothing that had not begun when it ended. What may be in
  question (concurrent, or of unknown outcome) counts towards the bound that it widens;
- *went back*: while nothing is taken away, a LINEARIZABLE sum is not smaller than one known before it began;
- *same sum*: of adds that all go the same way no two are answered with one sum, else one of them was lost;
- *ran twice* is seen as a sum that is too large.

In the record: `add` of a number, answered with the sum or nothing; `read` of the sum.
Source: design testing.md, CHECKERS 4; Jepsen's counter.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

from holdfast_chaos.operation import Operation, text_of
from holdfast_chaos.record import Type
from holdfast_chaos.verdict import Finding, Judgement, judge


class Sums:
    """What has been added by a time: for sure, and perhaps."""

    def __init__(self, adds: Iterable[tuple[Operation, int]]) -> None:
        """Of (operation, how much); refused ones do not count."""
        every = [(o, by) for o, by in adds if o.outcome is not Type.FAIL]
        self._begun = _Running((o.start_ns, by) for o, by in every)
        self._begun_down = _Running((o.start_ns, by) for o, by in every if by < 0)
        self._sure = _Running((o.end_ns, by) for o, by in every if o.is_ok)
        self._sure_down = _Running((o.end_ns, by) for o, by in every if o.is_ok and by < 0)

    def bounds(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """The least and the greatest sum that may be seen in [start_ns, end_ns]."""
        sure_up = self._sure.before(start_ns) - self._sure_down.before(start_ns)
        begun_up = self._begun.until(end_ns) - self._begun_down.until(end_ns)
        return sure_up + self._begun_down.until(end_ns), begun_up + self._sure_down.before(start_ns)


class _Running:
    """A running sum over time."""

    def __init__(self, steps: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(steps)
        self._times = [at for at, _ in ordered]
        self._sums = [0, *accumulate(by for _, by in ordered)]

    def before(self, at: int) -> int:
        return self._sums[bisect_left(self._times, at)]

    def until(self, at: int) -> int:
        return self._sums[bisect_right(self._times, at)]


def check(operations: Iterable[Operation]) -> Judgement:
    """Judges every counter, which begins at 0."""
    counters: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.f in ("add", "read"):
            counters.setdefault(operation.key or "", []).append(operation)
    broken: list[Finding] = []
    sums_seen = 0
    for key, own in counters.items():
        adds = [(o, int(o.argument)) for o in own if o.f == "add"]
        sums = Sums(adds)
        for operation in own:
            told = operation.is_ok and operation.result is not None
            if told and (operation.f == "add" or operation.level == "LINEARIZABLE"):
                sums_seen += 1
                broken += _outside(key, operation, sums)
        broken += _went_back(key, own)
        broken += _same_sum(key, [o for o, _ in adds if o.is_ok and o.result is not None], adds)
    return judge("counter", broken=broken, figures={"counters": len(counters), "sums": sums_seen})


def _outside(key: str, operation: Operation, sums: Sums) -> Iterator[Finding]:
    least, most = sums.bounds(operation.start_ns, operation.end_ns)
    if operation.f == "add":  # its own part is in its answer for sure
        by = int(operation.argument)
        least, most = least + max(by, 0), most + min(by, 0)
    rule = "too small" if operation.result < least else "too large" if operation.result > most else ""
    if rule:
        message = f"{operation.result}, it must lie in {least}..{most}"
        yield Finding(rule, message, key, (text_of(operation),))


def _went_back(key: str, own: list[Operation]) -> Iterator[Finding]:
    if any(o.f == "add" and o.argument < 0 for o in own):
        return
    told = [o for o in own if o.is_ok and o.result is not None]
    told = [o for o in told if o.f == "add" or o.level == "LINEARIZABLE"]
    acts = sorted(
        [(o.start_ns, 0, i) for i, o in enumerate(told)] + [(o.end_ns, 1, i) for i, o in enumerate(told)]
    )
    most: Operation | None = None
    for _, is_end, i in acts:
        operation = told[i]
        if is_end and (most is None or operation.result > most.result):
            most = operation
        elif not is_end and most is not None and operation.result < most.result:
            message = f"{operation.result}, {most.result} was known before it began"
            yield Finding("went back", message, key, (text_of(most), text_of(operation)))


def _same_sum(key: str, told: list[Operation], adds: list[tuple[Operation, int]]) -> Iterator[Finding]:
    if not (all(by > 0 for _, by in adds) or all(by < 0 for _, by in adds)):
        return
    first: dict[int, Operation] = {}
    for operation in told:
        known = first.setdefault(operation.result, operation)
        if known is not operation:
            message = f"two adds are answered with {operation.result}"
            yield Finding("same sum", message, key, (text_of(known), text_of(operation)))
