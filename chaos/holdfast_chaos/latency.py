"""How long operations took inside a fault, outside of elections.

What counts of an operation is the time between its two ends that lies in no *election gap* of its group; one
that failed or ended open counts too, until then. An operation belongs to the fault in which it began.

How an election gap is recognised: a note `leader` says that a shard's group has a leader of a new term. It is
written by somebody who looks now and then, so it may be late, but never early. What a leader must answer
(writes and LINEARIZABLE reads, also a condition that did not hold) shows the rest: of the times of a group in
which no such answer came, the longest one that touches the last `NOTED_LATE_MS` before the note is that
election's gap. So a silence without a new leader is no gap, and an election that nobody felt excuses nothing.
Beyond `GAP_MS_MAX` a gap is no excuse any more. Reads at ANY need no leader and are never excused.

Which group a key belongs to is told by notes `shard`, `{"start": s, "end": e}` with a `group`, of runs whose
shards stand. Without them (or for a key in none) an election of any group is one of every key's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Event, Type

NOTED_LATE_MS: Final = 1000.0
"""A leader is noted within this: who looks does so five times a second, and waits half a second at most."""
GAP_MS_MAX: Final = 5000.0
OPERATIONS_MIN: Final = 100
"""The slowest of fewer is no percentile."""
_SINCE_NS: Final = int(NOTED_LATE_MS * 1e6)
_LONGEST_NS: Final = int(GAP_MS_MAX * 1e6)


class Gap(NamedTuple):
    """A time without a leader."""

    begin_ns: int
    end_ns: int


class Latency(NamedTuple):
    """Of one fault. p99_ms: outside of elections; p99_all_ms: with them; None: nothing was asked."""

    operations: int
    p99_ms: float | None
    p99_all_ms: float | None


class _Shard(NamedTuple):
    start: str
    end: str
    group: int


def is_answered(operation: Operation) -> bool:
    """Whether the cluster said definitely what became of it: it happened, or its condition did not hold."""
    refused = operation.outcome is Type.FAIL and operation.error == "CONDITION_FAILED"
    return operation.is_ok or refused


def is_answered_by_leader(operation: Operation) -> bool:
    """Whether it shows that there was a leader with a quorum."""
    return is_answered(operation) and (operation.is_write or operation.level == "LINEARIZABLE")


def _percentile_ms(times_ns: Iterable[int]) -> float | None:
    found = sorted(times_ns)
    return found[-(-99 * len(found) // 100) - 1] / 1e6 if found else None


class Elections:
    """The election gaps of a record."""

    def __init__(self, operations: Sequence[Operation], notes: Iterable[Event]) -> None:
        self._shards: list[_Shard] = []
        noted: dict[int, list[int]] = {}
        for note in notes:
            if note.f == "shard" and note.group is not None:
                self._shards.append(_Shard(note.value["start"], note.value["end"], note.group))
            elif note.f == "leader" and note.group is not None and not note.value.get("placement"):
                noted.setdefault(note.group, []).append(note.time_ns)
        answered: dict[int | None, list[int]] = {}
        for operation in operations:
            if is_answered_by_leader(operation):
                answered.setdefault(self._group_of(operation), []).append(operation.end_ns)
        self.gaps = self._gaps(noted, {group: sorted(times) for group, times in answered.items()})

    def _group_of(self, operation: Operation) -> int | None:
        key = operation.key or ""
        return next((s.group for s in self._shards if s.start <= key and (not s.end or key < s.end)), None)

    def _gaps(
        self, noted: Mapping[int, Sequence[int]], answered: Mapping[int | None, Sequence[int]]
    ) -> dict[int | None, list[Gap]]:
        found: dict[int | None, list[Gap]] = {}
        for group, times in answered.items():
            notes = [at for own in noted.values() for at in own] if group is None else noted.get(group, ())
            gaps = {_gap_at(times, at) for at in sorted(notes)}
            found[group] = sorted(gap for gap in gaps if gap is not None)
        return found

    def outside_ns(self, operation: Operation) -> int:
        """How long a closed operation took, without what lies in a gap of its group."""
        assert operation.reply is not None
        begin, end = operation.start_ns, operation.reply.time_ns
        took = end - begin
        if not operation.is_write and operation.invoke.level == "ANY":
            return took
        gaps = self.gaps.get(self._group_of(operation), ())
        return took - sum(max(0, min(end, gap.end_ns) - max(begin, gap.begin_ns)) for gap in gaps)

    def inside(self, operations: Sequence[Operation], begin_ns: int, end_ns: int) -> Latency:
        """Of what began in [begin_ns, end_ns). operations: in the order of their invokes."""
        first = bisect_left(operations, begin_ns, key=lambda o: o.start_ns)
        last = bisect_left(operations, end_ns, key=lambda o: o.start_ns)
        closed = [(o, o.reply) for o in operations[first:last] if o.reply is not None]
        return Latency(
            len(closed),
            _percentile_ms(self.outside_ns(operation) for operation, _ in closed),
            _percentile_ms(reply.time_ns - operation.start_ns for operation, reply in closed),
        )


def _gap_at(times: Sequence[int], noted_ns: int) -> Gap | None:
    """The longest time without an answer that touches the last while before a note; None: there is none."""
    first = max(0, bisect_left(times, noted_ns - _SINCE_NS) - 1)
    near = times[first : bisect_right(times, noted_ns) + 1]
    begin, end = max(pairwise(near), key=lambda pair: pair[1] - pair[0], default=(0, 0))
    return Gap(begin, min(end, begin + _LONGEST_NS)) if end > begin else None
