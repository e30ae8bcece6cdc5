"""A campaign: one mixed run after another, each with the next seed, written down as it ends.

A seed says everything of its run: nodes, workload, which faults, and how many at once. Faults that may take
a node's disk come one at a time: two at once are no minority's any more. A campaign goes on where its file
ends, so it can be run in parts, on whatever commit stands there; each line names its own.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.nemesis.known import FILLS_HISTORY, fitting
from holdfast_chaos.runner import Outcome, Wish
from holdfast_chaos.scenarios import DAMAGE, DISKS, NETWORK, PLACEMENT, POWER, PROCESSES

RUN_S: Final = 240.0
"""Bringing a cluster up, healing and judging take a minute or two of every run, however long it is."""
FAULTS: Final = 5
"""Kinds of them in one run."""
POOLS: Final = (
    ((*PROCESSES, *NETWORK, *PLACEMENT), 2),
    ((*DISKS, *PROCESSES, *NETWORK), 2),
    ((*POWER, *NETWORK, *PLACEMENT), 1),
    ((*DAMAGE, *PROCESSES, "isolate-leader", "reshape"), 1),
)
"""What may meet in one run, and how many at once."""


def wish_of(seed: int, base: Wish) -> Wish:
    """The run of a seed. base: what is the same for all."""
    chance = random.Random(seed)
    nodes = chance.choice((3, 5))
    pool, side_by_side = chance.choice(POOLS)
    workload = chance.choice(sorted(GENERATORS))
    unfit = FILLS_HISTORY if workload == "watch" else ()
    names = fitting(sorted(set(pool).difference(unfit)), nodes)
    return base._replace(
        workload=workload,
        nemeses=tuple(sorted(chance.sample(names, FAULTS))),
        nodes=nodes,
        seconds=RUN_S,
        interval=4.0,
        side_by_side=side_by_side,
        seed=seed,
    )


def line_of(outcome: Outcome, commit: str) -> dict[str, Any]:
    """What is written down of a run."""
    header = outcome.record.header
    figures = {judgement.checker: judgement.figures for judgement in outcome.judgements}
    availability = figures["availability"]
    by_fault = availability["by_fault"]
    recoveries = [fault["recovery_ms"] for fault in by_fault if fault["recovery_ms"] is not None]
    return {
        "seed": header.seed,
        "commit": commit,
        "workload": header.workload,
        "nodes": header.nodes,
        "verdict": outcome.verdict.value,
        "broken": sorted(
            {f"{j.checker}: {finding.rule}" for j in outcome.judgements for finding in j.findings}
        ),
        "operations": availability["operations"],
        "succeeded": availability["ok"],
        "answered_per_s": availability["answered_per_s"],
        "outage_s": availability["outage_s"],
        "seconds": header.settings["seconds"],
        "faults_s": round(_faults_s(by_fault), 1),
        "faults": dict(Counter(fault["name"] for fault in by_fault)),
        "recovery_ms_worst": round(max(recoveries, default=0.0), 1),
    }


def _faults_s(by_fault: Sequence[Mapping[str, Any]]) -> float:
    """From the beginning of the first to the healing of the last: nodes that join anew take their time."""
    begin = min((fault["began_ms"] for fault in by_fault), default=0.0)
    return (max((fault["began_ms"] + fault["lasted_ms"] for fault in by_fault), default=0.0) - begin) / 1000


def lines(results: Path) -> list[dict[str, Any]]:
    """What is written down already."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def next_seed(known: Iterable[Mapping[str, Any]], first: int) -> int:
    """The seed to go on with."""
    return max((line["seed"] + 1 for line in known), default=first)


def summary(known: Iterable[Mapping[str, Any]]) -> str:
    """All of a campaign in a few lines, for a person."""
    every = list(known)
    # Of early lines only what was planned is known, which is less.
    hours = sum(line.get("faults_s", line["seconds"]) for line in every) / 3600
    verdicts = Counter(line["verdict"] for line in every)
    faults: Counter[str] = Counter()
    for line in every:
        faults.update(line["faults"])
    worst = max((line["recovery_ms_worst"] for line in every), default=0.0)
    nodes = Counter(line["nodes"] for line in every)
    asked = sum(line["operations"] for line in every)
    told = [
        f"{len(every)} runs, {hours:.1f} h of faults; {_counted(verdicts)}",
        f"nodes: {_counted(nodes)} runs; {_counted(Counter(line['workload'] for line in every))}",
        f"{asked} operations, {sum(line['succeeded'] for line in every)} succeeded",
        f"{sum(faults.values())} faults: {_counted(faults)}",
        f"worst time from healing to a write: {worst:.0f} ms",
    ]
    told += [
        f"seed {line['seed']} at {line['commit']}: {line['verdict']}: {', '.join(line['broken'])}"
        for line in every
        if line["verdict"] != "valid"
    ]
    return "\n".join(told)


def table(known: Iterable[Mapping[str, Any]]) -> str:
    """What was run of each workload, as Markdown."""
    rows = ["| workload | runs (5 nodes) | valid | invalid | void | operations | faults | kinds of faults |"]
    rows.append("| --- " * 8 + "|")
    by_workload: dict[str, list[Mapping[str, Any]]] = {}
    for line in known:
        by_workload.setdefault(line["workload"], []).append(line)
    for workload, own in sorted(by_workload.items()):
        verdicts = Counter(line["verdict"] for line in own)
        faults = Counter(name for line in own for name, count in line["faults"].items() for _ in range(count))
        operations = f"{sum(line['operations'] for line in own):,}".replace(",", " ")
        runs = f"{len(own)} ({sum(line['nodes'] == 5 for line in own)})"
        told = (verdicts[name] for name in ("valid", "invalid", "void"))
        cells = (workload, runs, *told, operations, faults.total(), len(faults))
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def _counted(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=str))
