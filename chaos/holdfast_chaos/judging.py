"""Which checker holds which promise: a record goes in, one judgement of each checker comes out.

Every record is judged by `values` and `guarantees` (what is read happened; sessions and ages) as far as it
holds registers, by `availability` (it counts, it recovers), by `course` (it came to its end) and, when there
are notes of them, by `replicas` and `labels` (what the placement group keeps). What else judges it goes by
its workload.

A checker that breaks says UNKNOWN with its error: a judge must not fall silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from holdfast_chaos import (
    append_list,
    availability,
    bank,
    counter,
    course,
    expiring,
    guarantees,
    labels,
    linearizability,
    replicas,
    sets,
    values,
    watching,
)
from holdfast_chaos.operation import Operation, notes, pair
from holdfast_chaos.record import Event, Header, Record
from holdfast_chaos.search import STEPS_MAX
from holdfast_chaos.verdict import Finding, Judgement, judge
from holdfast_chaos.watch_notes import changes_of, gone, stuck, watches_of


class Budget(NamedTuple):
    """How much may be looked at. is_over: of the time for all; None: no limit."""

    steps_per_key: int = STEPS_MAX
    is_over: Callable[[], bool] | None = None


class Case(NamedTuple):
    """What checkers judge."""

    header: Header
    operations: tuple[Operation, ...]
    notes: tuple[Event, ...]
    budget: Budget

    def setting(self, name: str, default: Any) -> Any:
        """A fact of the run that a checker goes by."""
        return self.header.settings.get(name, default)


def _registers(case: Case) -> Judgement:
    steps, is_over = case.budget
    return linearizability.check(case.operations, steps_per_key=steps, is_over=is_over)


def _units(case: Case) -> Judgement:
    steps, is_over = case.budget
    of = linearizability.UNIT
    return linearizability.check(case.operations, of=of, steps_per_key=steps, is_over=is_over)


def _guarantees(case: Case) -> Judgement:
    return guarantees.check(
        case.operations,
        case.notes,
        slack_ms=case.setting("slack_ms", 0.0),
        evicting=case.setting("evicting", False),
    )


def _bank(case: Case) -> Judgement:
    accounts, balance = case.setting("accounts", None), case.setting("balance", None)
    if accounts is None or balance is None:
        raise ValueError("the header's settings name no accounts and balance")
    return bank.check(case.operations, accounts, balance, overdraft=case.setting("overdraft", False))


def _watch(case: Case) -> Judgement:
    why = gone(case.notes)
    if why:
        return judge("watch", missing=[Finding("no reference", why)])
    where = stuck(case.notes)
    if where:
        return judge("watch", broken=[Finding("stuck", where)])
    return watching.check(watches_of(case.notes), changes_of(case.notes))


def _ttl(case: Case) -> Judgement:
    """While a fault goes on, and until its recovery is due, there may be no leader."""
    end_ns = max((o.reply.time_ns for o in case.operations if o.reply is not None), default=0)
    after = int(availability.RECOVERY_MS_MAX * 1e6)
    faults = availability.faults_of(case.notes, end_ns)
    spans = [expiring.Span(fault.begin_ns, fault.healed_ns + after) for fault in faults]
    return expiring.check(case.operations, spans, expiring.Bounds(**case.setting("ttl_bounds", {})))


def _availability(case: Case) -> Judgement:
    wanted = availability.Demands(**{"nemeses": case.header.nemeses, **case.setting("demands", {})})
    return availability.check(case.operations, case.notes, wanted)


_CHECKERS: Final[dict[str, Callable[[Case], Judgement]]] = {
    "linearizability": _registers,
    "units": _units,
    "append": lambda case: append_list.check(case.operations),
    "set": lambda case: sets.check(case.operations),
    "counter": lambda case: counter.check(case.operations),
    "bank": _bank,
    "values": lambda case: values.check(case.operations),
    "guarantees": _guarantees,
    "watch": _watch,
    "ttl": _ttl,
    "replicas": lambda case: replicas.check(case.notes),
    "availability": _availability,
    "labels": lambda case: labels.check(case.notes),
    "course": lambda case: course.check(case.notes, has_end=case.setting("has_end", False)),
}
WORKLOADS: Final[dict[str, tuple[str, ...]]] = {
    "register": ("linearizability", "values", "guarantees"),
    "append": ("append",),
    "counter": ("counter",),
    "set": ("set",),
    "bank": ("bank",),
    "session": ("linearizability", "values", "guarantees"),
    "watch": ("watch", "values", "guarantees"),
    "ttl": ("ttl", "linearizability", "values", "guarantees"),
    "txn": ("units", "values", "guarantees"),
    "device": ("linearizability", "values", "guarantees"),
}
"""What judges a workload, beside what judges every record."""


def judgements(record: Record, budget: Budget | None = None) -> tuple[Judgement, ...]:
    """Judges a record. Raises RecordError when its events do not fit together."""
    noted = notes(record.events)
    case = Case(record.header, pair(record.events), noted, budget or Budget())
    names = WORKLOADS.get(record.header.workload)
    if names is None:
        question = Finding("workload", f"nobody knows how to judge the workload {record.header.workload!r}")
        return (judge("workload", open_questions=[question]),)
    every = [*names, "availability"]
    if case.setting("has_end", False):
        every.append("course")
    if any(note.f in replicas.NOTES for note in noted):
        every.append("replicas")
    if any(note.f in labels.NOTES for note in noted):
        every.append("labels")
    return tuple(_judged(name, case) for name in every)


def _judged(name: str, case: Case) -> Judgement:
    try:
        return _CHECKERS[name](case)._replace(checker=name)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the record was not judged
        question = Finding("broken checker", f"{type(problem).__name__}: {problem}")
        return judge(name, open_questions=[question])
