"""Availability: how long nothing succeeded in each fault, and how soon things went on after it.

Rules:
- *recovery*: after a fault is healed a write and a LINEARIZABLE read succeed within the bound, or before
  the next fault begins;
- *minority*: during a fault that leaves a majority up, the longest time without a success stays within
  its bound, when there is one;
- *latency*: during such a fault, while no other one goes on, the p99 of all operations, at every level, stays
  within its bound outside of elections (`latency.py`), when there is one and at least a hundred were asked.
And what a run must show to count at all (VOID otherwise): enough answered operations in all, and a second
while faults run, a share of them before, during and after faults, and of each fault a proof that it fired. Of
two that go on beside each other one may take the other's node away before it could strike: such a fault is
counted (`overtaken`), and enough when its nemesis fired at another time.

*Answered* is an operation of which the cluster said definitely what became of it: it succeeded, or it was
refused since its condition did not hold, which takes the same way through the log. While *faults run* is from
the beginning of the first to the healing of the last. An *outage* is a time therein of `OUTAGE_MS` or more
in which nothing was answered that needs a quorum: while all nodes are down nobody can. The demand is on all
of the time; what was answered outside of outages is told beside it.

A fault in the record: two notes `fault`, `{"name": n, "phase": "begin" | "healed", "minority": bool}` under
one `id`, and one or more of phase `proof` between them.
Source: design testing.md, "Assert progress"; etcd's minimal QPS.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from holdfast_chaos.latency import OPERATIONS_MIN, Elections, Latency, is_answered, is_answered_by_leader
from holdfast_chaos.operation import Operation
from holdfast_chaos.record import Event, RecordError
from holdfast_chaos.verdict import Finding, Judgement, judge

RECOVERY_MS_MAX: Final = 2000.0
"""After a fault is healed writes are served again within this."""
OUTAGE_MS: Final = 500.0


class Fault(NamedTuple):
    """A fault as it happened. is_minority: a majority of every group stayed up and connected."""

    name: str
    begin_ns: int
    healed_ns: int
    proofs: int
    is_minority: bool


class Demands(NamedTuple):
    """What a run must show.

    Attributes:
        recovery_ms: from healing to the first success.
        minority_gap_ms: the longest time without a success in a minority fault; None: only measured.
        p99_ms: of operations in a minority fault, outside of elections; None: only measured.
        operations_min: answered ones, in all.
        rate_min: answered ones a second while faults run; without faults, of the whole run.
        ok_share_min: of those that ended before, during and after faults, each.
        nemeses: faults of these names must have fired.
    """

    recovery_ms: float = RECOVERY_MS_MAX
    minority_gap_ms: float | None = None
    p99_ms: float | None = None
    operations_min: int = 100
    rate_min: float = 0.0
    ok_share_min: float = 0.1
    nemeses: tuple[str, ...] = ()


def faults_of(notes: Iterable[Event], end_ns: int) -> tuple[Fault, ...]:
    """The faults that were noted, in order; one that was never healed lasts to the end."""
    begun: dict[Any, Event] = {}
    proofs: dict[Any, int] = {}
    found: list[Fault] = []
    for note in notes:
        if note.f != "fault":
            continue
        name, phase = note.value["id"], note.value["phase"]
        if phase == "begin":
            begun[name] = note
        elif name not in begun:
            raise RecordError(note.line, f"fault {name} has no beginning")
        elif phase == "proof":
            proofs[name] = proofs.get(name, 0) + 1
        elif phase == "healed":
            found.append(_fault(begun.pop(name), note.time_ns, proofs.get(name, 0)))
    found += [_fault(note, end_ns, proofs.get(name, 0)) for name, note in begun.items()]
    return tuple(sorted(found, key=lambda fault: fault.begin_ns))


def _fault(begin: Event, healed_ns: int, proofs: int) -> Fault:
    value = begin.value
    return Fault(value["name"], begin.time_ns, healed_ns, proofs, bool(value.get("minority")))


def check(
    operations: Iterable[Operation], notes: Iterable[Event] = (), demands: Demands | None = None
) -> Judgement:
    """Judges the run as a whole."""
    wanted = demands or Demands()
    every, noted = tuple(operations), tuple(notes)
    end_ns = max((o.reply.time_ns for o in every if o.reply is not None), default=0)
    faults = faults_of(noted, end_ns)
    good = [o for o in every if o.is_ok]
    writes = sorted(o.end_ns for o in good if o.is_write)
    reads = sorted(o.end_ns for o in good if not o.is_write and o.level == "LINEARIZABLE")
    elections = Elections(every, noted)
    latencies = [elections.inside(every, fault.begin_ns, fault.healed_ns) for fault in faults]
    rate = rate_of(every, faults)
    figures: dict[str, Any] = {"ok": len(good), "operations": len(every), "faults": len(faults)}
    figures |= rate._asdict()
    figures["overtaken"] = sum(_is_overtaken(faults, i) for i in range(len(faults)))
    figures["by_fault"] = [
        {**_figures(fault, i, faults, writes, end_ns), **latencies[i]._asdict()}
        for i, fault in enumerate(faults)
    ]
    broken = [
        finding
        for i, fault in enumerate(faults)
        for kind, times in (("write", writes), ("linearizable read", reads))
        if times
        for finding in _slow(fault, kind, times, _until(faults, i, end_ns), wanted)
    ]
    for i, fault in enumerate(faults):
        broken += _late(fault, latencies[i], wanted) if _is_alone(faults, i) else ()
    missing = [*_too_little(every, faults, rate, wanted), *_unproved(faults, wanted)]
    return judge("availability", broken=broken, missing=missing, figures=figures)


class Rate(NamedTuple):
    """What was answered while faults ran.

    Attributes:
        answered: operations of the whole run.
        answered_per_s: while faults ran.
        outage_s: of that time, what outages took.
        answered_per_s_outside_outages: of the rest of that time.
    """

    answered: int
    answered_per_s: float
    outage_s: float
    answered_per_s_outside_outages: float


def rate_of(operations: Sequence[Operation], faults: Sequence[Fault]) -> Rate:
    """Measures it; without faults, over the whole run."""
    answered = [o for o in operations if is_answered(o)]
    times = sorted(o.end_ns for o in answered)
    begin = faults[0].begin_ns if faults else min((o.start_ns for o in operations), default=0)
    end = max((fault.healed_ns for fault in faults), default=times[-1] if times else 0)
    by_quorum = sorted(o.end_ns for o in answered if is_answered_by_leader(o))
    edges = [begin, *by_quorum[bisect_left(by_quorum, begin) : bisect_right(by_quorum, end)], end]
    outages = [(a, b) for a, b in pairwise(edges) if b - a >= OUTAGE_MS * 1e6]
    out_ns = sum(b - a for a, b in outages)
    # What ends an outage, at its very end, is no more of it.
    out = sum(bisect_left(times, b) - bisect_right(times, a) for a, b in outages)
    count = bisect_right(times, end) - bisect_left(times, begin)
    return Rate(
        len(answered),
        round(count * 1e9 / max(end - begin, 1), 1),
        round(out_ns / 1e9, 1),
        round((count - out) * 1e9 / max(end - begin - out_ns, 1), 1),
    )


def _is_alone(faults: Sequence[Fault], i: int) -> bool:
    """Whether no other fault went on beside it."""
    mine = faults[i]
    others = (fault for j, fault in enumerate(faults) if j != i)
    return not any(o.begin_ns < mine.healed_ns and o.healed_ns > mine.begin_ns for o in others)


def _until(faults: Sequence[Fault], i: int, end_ns: int) -> int:
    """When the quiet after fault `i` is over."""
    healed_ns = faults[i].healed_ns
    others = [f for j, f in enumerate(faults) if j != i]
    if any(f.begin_ns <= healed_ns < f.healed_ns for f in others):
        return healed_ns  # another one goes on: there is no quiet
    return min((f.begin_ns for f in others if f.begin_ns > healed_ns), default=end_ns)


def gap_ns(times: Sequence[int], begin_ns: int, end_ns: int) -> int:
    """The longest time within [begin_ns, end_ns] in which nothing succeeded. times: sorted."""
    inside = times[bisect_left(times, begin_ns) : bisect_right(times, end_ns)]
    edges = [begin_ns, *inside, end_ns]
    return max((after - before for before, after in pairwise(edges)), default=0)


def recovery_ns(times: Sequence[int], healed_ns: int) -> int | None:
    """From healing to the first success; None: there was none."""
    at = bisect_left(times, healed_ns)
    return times[at] - healed_ns if at < len(times) else None


def _figures(
    fault: Fault, i: int, faults: Sequence[Fault], writes: Sequence[int], end_ns: int
) -> dict[str, Any]:
    recovered = recovery_ns(writes, fault.healed_ns)
    quiet = _until(faults, i, end_ns) - fault.healed_ns
    return {
        "name": fault.name,
        "began_ms": fault.begin_ns / 1e6,
        "lasted_ms": (fault.healed_ns - fault.begin_ns) / 1e6,
        "without_write_ms": gap_ns(writes, fault.begin_ns, fault.healed_ns) / 1e6,
        "recovery_ms": None if recovered is None else recovered / 1e6,
        "quiet_ms": quiet / 1e6,
        "proofs": fault.proofs,
    }


def _slow(fault: Fault, kind: str, times: Sequence[int], until_ns: int, wanted: Demands) -> Iterator[Finding]:
    recovered = recovery_ns(times, fault.healed_ns)
    bound_ns = int(wanted.recovery_ms * 1e6)
    # Without that much quiet after it nothing was promised.
    if until_ns - fault.healed_ns > bound_ns and (recovered is None or recovered > bound_ns):
        took = (
            "none succeeded" if recovered is None else f"the first succeeded after {recovered / 1e6:.0f} ms"
        )
        yield Finding("recovery", f"{fault.name}, healed at {fault.healed_ns / 1e6:.0f} ms: {took} ({kind})")
    if fault.is_minority and wanted.minority_gap_ms is not None:
        longest_ms = gap_ns(times, fault.begin_ns, fault.healed_ns) / 1e6
        if longest_ms > wanted.minority_gap_ms:
            message = f"{fault.name}, at {fault.begin_ns / 1e6:.0f} ms: no {kind} for {longest_ms:.0f} ms"
            yield Finding("minority", message)


def _late(fault: Fault, latency: Latency, wanted: Demands) -> Iterator[Finding]:
    p99, bound = latency.p99_ms, wanted.p99_ms
    if not fault.is_minority or p99 is None or bound is None or latency.operations < OPERATIONS_MIN:
        return
    if p99 > bound:
        message = (
            f"{fault.name}, at {fault.begin_ns / 1e6:.0f} ms: the p99 of {latency.operations} operations"
            f" was {p99:.0f} ms outside of elections"
        )
        yield Finding("latency", message)


def _too_little(
    every: Sequence[Operation], faults: Sequence[Fault], rate: Rate, wanted: Demands
) -> Iterator[Finding]:
    if rate.answered < wanted.operations_min:
        yield Finding("operations", f"{rate.answered} were answered, {wanted.operations_min} are needed")
    if rate.answered_per_s < wanted.rate_min:
        told = f"{rate.answered_per_s} were answered a second, {wanted.rate_min:g} are needed"
        yield Finding("operations", f"{told} ({rate.outage_s} s of outages)")
    if not faults:
        return
    first, last = faults[0].begin_ns, max(fault.healed_ns for fault in faults)
    phases: dict[str, list[bool]] = {"before": [], "during": [], "after": []}
    for operation in every:
        at = operation.start_ns
        phase = "before" if at < first else "after" if at > last else "during"
        phases[phase].append(is_answered(operation))
    for phase, oks in phases.items():
        if not oks or sum(oks) < wanted.ok_share_min * len(oks):
            yield Finding("share", f"{sum(oks)} of {len(oks)} operations succeeded {phase} the faults")


def _is_overtaken(faults: Sequence[Fault], i: int) -> bool:
    """Whether another fault went on beside it, and it shows nothing."""
    return not faults[i].proofs and not _is_alone(faults, i)


def _unproved(faults: Sequence[Fault], wanted: Demands) -> Iterator[Finding]:
    fired = {fault.name for fault in faults if fault.proofs}
    for i, fault in enumerate(faults):
        if not fault.proofs and not (fault.name in fired and _is_overtaken(faults, i)):
            yield Finding("not fired", f"{fault.name} at {fault.begin_ns / 1e6:.0f} ms shows no proof")
    for name in wanted.nemeses:
        if all(fault.name != name for fault in faults):
            yield Finding("not fired", f"{name} never began")
