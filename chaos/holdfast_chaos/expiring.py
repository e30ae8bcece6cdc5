"""Time to live: never gone early, and not there much longer than promised while there is a leader.

Rules, judged by LINEARIZABLE reads of the recorder's clock (a weaker one may be old):
- *early*: a key that was given a time to live is there until that has passed since the write began;
- *late*: it is gone when that and the bound have passed since the write was acknowledged, not counting the
  time without a leader and the bound once more after it;
- *remaining*: what a read says is left is no more than what was given.

Only what is certain is judged: between the write and the read nobody else may have changed the key, were
it by an operation of unknown outcome. So the workload writes a key once and then watches it.

The group's clock is steered by at most 1 % and measured against the recorder's, hence `drift`; when faults
move wall clocks, the harness hands in more slack.
Source: contract, TTL; protocols 3 (Time).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from holdfast_chaos.operation import Operation, text_of
from holdfast_chaos.record import Type
from holdfast_chaos.verdict import Finding, Judgement, judge

BOUND_MS: Final = 100.0
"""Promised: an expiry is applied this long after its time, while there is a leader."""


class Bounds(NamedTuple):
    """How exact the clocks are taken to be.

    Attributes:
        bound_ms: after which a key is gone.
        slack_ms: for what the bound does not count: a read's way, a thousand keys that expire together.
        drift: the share by which the group's clock may run faster or slower than the recorder's.
    """

    bound_ms: float = BOUND_MS
    slack_ms: float = 200.0
    drift: float = 0.01


class Span(NamedTuple):
    """A time, of the recorder's clock."""

    begin_ns: int
    end_ns: int


def check(
    operations: Iterable[Operation], leaderless: Iterable[Span] = (), bounds: Bounds | None = None
) -> Judgement:
    """Judges every read of a key that was given a time to live.

    Args:
        operations: of a record.
        leaderless: when some shard may have had no leader.
        bounds: absent: the promised ones.
    """
    limits = bounds or Bounds()
    without = sorted(leaderless)
    keys: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.f in ("get", "put", "delete", "increment", "touch"):
            keys.setdefault(operation.key or "", []).append(operation)
    broken: list[Finding] = []
    judged_count = certain_gone = 0
    for key, own in keys.items():
        changes = _Changes(own)
        for read in own:
            given = changes.standing(read)
            if given is None:
                continue
            judged_count += 1
            certain_gone += read.revision == 0
            broken += _judged(key, given, read, without, limits)
    figures = {"reads": judged_count, "found_gone": certain_gone}
    return judge("ttl", broken=broken, figures=figures)


class _Changes:
    """What may have changed a key, in the order of its beginning."""

    def __init__(self, own: Sequence[Operation]) -> None:
        told = [o for o in own if o.is_write and o.outcome is not Type.FAIL]
        self._changes = sorted((o for o in told if o.revision != 0), key=lambda o: o.start_ns)
        self._starts = [change.start_ns for change in self._changes]
        self._ends: list[int] = []  # the latest end of all up to here
        for change in self._changes:
            self._ends.append(max(change.end_ns, self._ends[-1] if self._ends else 0))

    def standing(self, read: Operation) -> Operation | None:
        """The write whose time to live a read must show. None: that is not certain."""
        if read.f != "get" or not read.is_ok or read.level != "LINEARIZABLE":
            return None
        at = bisect_right(self._starts, read.end_ns) - 1
        if at < 0:
            return None
        last = self._changes[at]
        overlaps = at > 0 and self._ends[at - 1] >= last.start_ns
        if overlaps or not last.is_ok or last.end_ns >= read.start_ns:
            return None
        return last if last.f in ("put", "touch") and last.invoke.ttl_ms else None


def _judged(
    key: str, given: Operation, read: Operation, leaderless: Sequence[Span], limits: Bounds
) -> Iterator[Finding]:
    ttl_ms = given.invoke.ttl_ms or 0
    story = (text_of(given), text_of(read))
    if read.revision == 0:
        lived_ms = (read.end_ns - given.start_ns) / 1e6
        if lived_ms < ttl_ms * (1 - limits.drift):
            message = f"gone {lived_ms:.1f} ms after the write began, it was given {ttl_ms} ms"
            yield Finding("early", message, key, story)
        return
    late_ms = ttl_ms * (1 + limits.drift) + limits.bound_ms + limits.slack_ms
    due_ns = given.end_ns + int(late_ms * 1e6)
    for span in leaderless:
        if span.begin_ns <= due_ns and span.end_ns > given.end_ns:
            due_ns = max(due_ns, span.end_ns + int((limits.bound_ms + limits.slack_ms) * 1e6))
    if read.start_ns > due_ns:
        message = (
            f"there {(read.start_ns - given.end_ns) / 1e6:.1f} ms after its write, it was given {ttl_ms} ms"
        )
        yield Finding("late", message, key, story)
    left_ms = None if read.reply is None else read.reply.ttl_ms
    if left_ms is not None and left_ms > ttl_ms:
        yield Finding("remaining", f"{left_ms} ms are left of {ttl_ms}", key, story)
