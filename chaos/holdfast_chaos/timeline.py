"""What a run looked like over time: throughput, latency, faults, leaders, as numbers for a drawing.

Latency is of operations that succeeded, by when they ended; a time in which nothing succeeded has none,
which is not zero. Who leads is known from the notes `leader`: from one to the next of its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from holdfast_chaos.availability import Fault, faults_of
from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Event, Type

BINS_MAX: Final = 300
BIN_S_MIN: Final = 0.25


class Bin(NamedTuple):
    """A stretch of time. Rates are operations a second; p50, p99 in ms, None: nothing succeeded."""

    begin_s: float
    ok: float
    fail: float
    info: float
    p50: float | None
    p99: float | None


class Reign(NamedTuple):
    """A node leads a group, from begin to end."""

    group: int
    node: int
    term: int
    begin_s: float
    end_s: float


class Timeline(NamedTuple):
    """See the module docstring."""

    seconds: float
    bin_s: float
    bins: tuple[Bin, ...]
    faults: tuple[Fault, ...]
    reigns: tuple[Reign, ...]


def timeline_of(operations: Sequence[Operation], notes: Sequence[Event]) -> Timeline:
    """Of a whole record."""
    times = [operation.start_ns for operation in operations]
    times += [operation.reply.time_ns for operation in operations if operation.reply is not None]
    times += [note.time_ns for note in notes]
    seconds = max(times, default=0) / 1e9
    bin_s = max(BIN_S_MIN, seconds / BINS_MAX)
    faults = faults_of(notes, max(times, default=0))
    return Timeline(seconds, bin_s, tuple(_bins(operations, seconds, bin_s)), faults, _reigns(notes, seconds))


def _bins(operations: Iterable[Operation], seconds: float, bin_s: float) -> Iterable[Bin]:
    count = int(seconds / bin_s) + 1
    ended: list[list[Operation]] = [[] for _ in range(count)]
    for operation in operations:
        if operation.reply is not None:
            ended[int(operation.reply.time_ns / 1e9 / bin_s)].append(operation)
    for at, own in enumerate(ended):
        ok, fail, info = (sum(o.outcome is k for o in own) / bin_s for k in (Type.OK, Type.FAIL, Type.INFO))
        took = sorted((o.end_ns - o.start_ns) / 1e6 for o in own if o.is_ok)
        yield Bin(at * bin_s, ok, fail, info, quantile(took, 0.5), quantile(took, 0.99))


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value that `share` of them do not exceed; None: there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _reigns(notes: Iterable[Event], seconds: float) -> tuple[Reign, ...]:
    begun: dict[int, Reign] = {}
    found: list[Reign] = []
    for note in notes:
        if note.f != "leader":
            continue
        group, at, term = note.group or 0, note.time_ns / 1e9, note.value["term"]
        last = begun.get(group)
        if last is not None and term < last.term:
            continue  # a deposed leader, seen late
        if last is not None:
            found.append(last._replace(end_s=at))
        begun[group] = Reign(group, note.node or 0, term, at, seconds)
    return tuple(sorted([*found, *begun.values()]))
