"""What a bench found, as a program reads it and as a person does: rates, percentiles, errors, who answered.

Latencies are those of the answered operations; failed ones are counted by kind, reason and outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from holdfast.cli.bench_course import Course
from holdfast.cli.bench_plan import GET, KINDS, Plan
from holdfast.cli.bench_tally import Tally
from holdfast.cli.latencies import Latencies
from holdfast.types import Level

PERCENTILES = (("p50_ms", 50.0), ("p90_ms", 90.0), ("p99_ms", 99.0), ("p999_ms", 99.9))
COLUMNS = (
    "OPERATION", "ANSWERED", "PER S", "MEAN MS", "P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS", "ERRORS",
)  # fmt: skip


class Table(NamedTuple):
    """Columns and rows for a person."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


def latency_fields(latencies: Latencies) -> dict[str, float | None]:
    """Mean, percentiles and the greatest, in ms."""
    fields = {"mean_ms": _ms(latencies.mean())}
    fields |= {name: _ms(latencies.percentile(percent)) for name, percent in PERCENTILES}
    return {**fields, "max_ms": _ms(latencies.max_us if latencies.count else None)}


def error_percent(tally: Tally) -> float:
    """How many of the operations begun failed."""
    errors = tally.error_count()
    return 100 * errors / max(errors + tally.all_latencies().count, 1)


def missed_percent(tally: Tally) -> float:
    """How many of the operations due failed, or were never begun."""
    missed = tally.error_count() + tally.not_begun
    return 100 * missed / max(missed + tally.all_latencies().count, 1)


def summary_fields(course: Course) -> dict[str, Any]:
    """The whole, for a program. Operations are those answered."""
    tally = course.whole
    latencies = tally.all_latencies()
    return {
        "seconds": round(tally.seconds, 3),
        **_counted(latencies, tally.seconds),
        "errors": tally.error_count(),
        "error_percent": round(error_percent(tally), 3),
        "not_begun": tally.not_begun,
        **latency_fields(latencies),
        "by_operation": [_of_kind(tally, kind) for kind in kinds(tally)],
        "errors_by_reason": [
            {**failed._asdict(), "count": count} for failed, count in tally.failed.most_common()
        ],
        "reads_found": tally.found if GET in tally.latencies else None,
        "reads_by_node": [
            {"node": node, "level": Level(level).name, "count": count}
            for (node, level), count in sorted(tally.served.items())
        ],
        "by_second": [second_fields(number, second) for number, second in enumerate(course.seconds, 1)],
    }


def second_fields(number: int, tally: Tally) -> dict[str, Any]:
    """One second of the course; the last one may be shorter."""
    latencies = tally.all_latencies()
    return {
        "second": number,
        "seconds": round(tally.seconds, 3),
        **_counted(latencies, tally.seconds),
        "errors": tally.error_count(),
        "p50_ms": _ms(latencies.percentile(50)),
        "p99_ms": _ms(latencies.percentile(99)),
        "max_ms": _ms(latencies.max_us if latencies.count else None),
    }


def setting_fields(plan: Plan, processes: int, loop: str) -> dict[str, Any]:
    """What was measured, so that it can be measured again."""
    level = plan.level or ("LINEARIZABLE" if plan.bound_ms is None else "BOUNDED")
    return {
        "weights": dict(plan.weights),
        "callers": plan.callers,
        "processes": processes,
        "rate_per_s": plan.rate,
        "warmup_s": plan.warmup_s,
        "level": level if GET in plan.weights else None,
        "bound_ms": plan.bound_ms,
        "namespace": plan.namespace,
        "keys": plan.keys,
        "value_bytes": plan.value_bytes,
        "ttl_ms": plan.ttl_ms,
        "zipf": plan.zipf,
        "seed": plan.seed,
        "event_loop": loop,
    }


def tables(tally: Tally) -> Iterator[Table]:
    """The whole, for a person."""
    rows = [_row(tally, kind) for kind in kinds(tally)]
    if len(rows) != 1:
        fields = {
            **_counted(tally.all_latencies(), tally.seconds),
            **latency_fields(tally.all_latencies()),
            "errors": tally.error_count(),
        }
        rows.append(_cells("all", fields))
    yield Table(COLUMNS, rows)
    if tally.failed:
        failed = [(*failed, count) for failed, count in tally.failed.most_common()]
        yield Table(("OPERATION", "ERROR", "OUTCOME", "COUNT"), [tuple(row) for row in failed])
    if tally.served:
        reads = sum(tally.served.values())
        served = [
            (f"node {node}", Level(level).name, f"{count:,}", f"{100 * count / reads:.1f} %")
            for (node, level), count in sorted(tally.served.items())
        ]
        yield Table(("READS FROM", "LEVEL", "COUNT", "SHARE"), [tuple(row) for row in served])


def remarks(plan: Plan, tally: Tally) -> Iterator[str]:
    """What a person should know about the figures."""
    reads = sum(tally.served.values())
    if tally.found < reads:
        yield f"{reads - tally.found:,} of {reads:,} reads found no key"
    if tally.not_begun:
        yield (
            f"{tally.not_begun:,} operations were due and never begun: cluster, or {plan.callers} callers,"
            f" did not keep up with {plan.rate:g}/s; those that waited longest are missing from the latencies"
        )


def second_text(number: int, tally: Tally) -> str:
    """One second, on one line."""
    latencies = tally.all_latencies()
    rate = latencies.count / tally.seconds if tally.seconds else 0
    parts = [
        f"{number} s: {rate:,.0f}/s",
        f"p50 {ms_text(latencies.percentile(50))}, p99 {ms_text(latencies.percentile(99))} ms",
    ]
    if tally.failed:
        parts.append(errors_text(tally))
    return ", ".join(parts)


def errors_text(tally: Tally) -> str:
    """Errors by reason, on one line."""
    return "errors: " + (" ".join(f"{reason} {n:,}" for reason, n in tally.by_reason().items()) or "none")


def ms_text(micros: float | None) -> str:
    """A latency for a person, in ms."""
    if micros is None:
        return "-"
    return f"{micros / 1000:.2f}" if micros < 100_000 else f"{micros / 1000:,.0f}"


def kinds(tally: Tally) -> Sequence[str]:
    """The kinds of operations that were answered or failed, in the usual order."""
    seen = {*tally.latencies, *(failed.operation for failed in tally.failed)}
    return [kind for kind in KINDS if kind in seen]


def _of_kind(tally: Tally, kind: str) -> dict[str, Any]:
    latencies = tally.latencies.get(kind) or Latencies()
    errors = sum(count for failed, count in tally.failed.items() if failed.operation == kind)
    counted = _counted(latencies, tally.seconds)
    return {"operation": kind, **counted, "errors": errors, **latency_fields(latencies)}


def _row(tally: Tally, kind: str) -> tuple[object, ...]:
    return _cells(kind, _of_kind(tally, kind))


def _cells(name: str, fields: dict[str, Any]) -> tuple[object, ...]:
    times = [fields[column] for column in ("mean_ms", *(name for name, _ in PERCENTILES), "max_ms")]
    return (
        name, f"{fields['operations']:,}", f"{fields['operations_per_s']:,.0f}",
        *(ms_text(None if time is None else time * 1000) for time in times), f"{fields['errors']:,}",
    )  # fmt: skip


def _counted(latencies: Latencies, seconds: float) -> dict[str, Any]:
    rate = latencies.count / seconds if seconds else 0.0
    return {"operations": latencies.count, "operations_per_s": round(rate, 1)}


def _ms(micros: float | None) -> float | None:
    return None if micros is None else round(micros / 1000, 3)
