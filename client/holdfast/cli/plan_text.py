"""How a plan is shown: JSON fields, a row, a sentence. Used by every verb that starts or follows one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from holdfast.cli.output import age_text, namespace_text, print_json, print_table, range_text, shard_fields
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.verbs import Call, note
from holdfast.shardmap import Shard

COLUMNS = ("ID", "KIND", "PHASE", "SHARDS", "BECOME", "AGE", "TOOK", "PROGRESS")


def plan_fields(plan: PlanFacts) -> dict[str, Any]:
    """A plan as JSON fields; id null: only what it would be."""
    return {
        "id": plan.id or None,
        "kind": plan.kind,
        "phase": plan.phase,
        "sources": [shard_fields(shard) for shard in plan.sources],
        "targets": [shard_fields(shard) for shard in plan.targets],
        "reason": plan.reason,
        "progress": plan.progress,
        "created_ms": plan.created_ms or None,
        "ended_ms": plan.ended_ms or None,
    }


def plan_row(plan: PlanFacts) -> tuple[object, ...]:
    """A plan as a row of COLUMNS."""
    ended_ms = plan.ended_ms or time.time() * 1000
    return (
        plan.id, plan.kind, plan.phase, [s.group for s in plan.sources],
        [s.group or "?" for s in plan.targets],
        age_text(time.time() - plan.created_ms / 1000) if plan.created_ms else None,
        age_text((ended_ms - plan.created_ms) / 1000) if plan.created_ms else None,
        plan.progress,
    )  # fmt: skip


def print_plans(call: Call, plans: Iterable[PlanFacts]) -> None:
    """Plans as a table or as one JSON list."""
    if call.is_json:
        print_json([plan_fields(plan) for plan in plans])
    else:
        print_table(COLUMNS, map(plan_row, plans))


def print_plan(call: Call, plan: PlanFacts, *, dry_run: bool = False) -> None:
    """One plan: its shards to stdout, what it is about to stderr."""
    if call.is_json:
        print_json({**plan_fields(plan), "dry_run": dry_run})
        return
    name = f"plan {plan.id}" if plan.id else "would be a plan"
    note(f"{name}: {plan.kind}, {plan.phase}" + (f": {plan.progress}" if plan.progress else ""))
    if plan.reason:
        note(f"why: {plan.reason}")
    rows = [("ends", *_shard_row(shard)) for shard in plan.sources]
    rows += [("starts", *_shard_row(shard)) for shard in plan.targets]
    print_table(("", "SHARD", "NAMESPACE", "KEYS IN", "REPLICAS"), rows)
    if dry_run:
        note("dry run: nothing was changed")


def _shard_row(shard: Shard) -> tuple[object, ...]:
    nodes = [replica.node for replica in shard.replicas]
    return shard.group or None, namespace_text(shard.namespace), range_text(shard), nodes
