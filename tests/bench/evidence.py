"""Writes what a whole run showed: docs/evidence/bench.json (all of it), .md (for people), .svg (at a glance).

The pages are made of the results alone: the same results give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import charts
from tests.bench.driving import ROOT
from tests.bench.gateway import PACK_S
from tests.bench.result import Measure, RowResult
from tests.bench.spread import Spread

PLACE = ROOT / "docs" / "evidence"
METHOD = (
    "Three nodes and the load share the cores, fsync is on, the configuration is the default unless a row"
    " says otherwise, policies that cut shards are paused; 256-byte values, 10 000 keys. Sides run in turn"
    " (ours, theirs, ours, ...), never at the same time, each round on a fresh cluster after a warm-up."
    " Medians (least..greatest); ratios are ours / theirs, pair by pair. Rows against a peer are closed"
    " loop; mixed-36k is open loop and counts latency from when a request was due. etcd's load comes from"
    " one compiled process with up to 16 connections. Our generators look for cyclic garbage once in"
    " 100 000 objects, nodes in 20 000."
)


def written(facts: Mapping[str, Any], results: Sequence[RowResult], place: Path = PLACE) -> list[str]:
    """Writes the three files; their names."""
    document = {**facts, "rows": [result.as_json() for result in results]}
    pages = {
        "bench.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        "bench.md": page(facts, results),
        "bench.svg": charts.drawn(results, told(facts)),
    }
    for name, text in pages.items():
        (place / name).write_text(text)
    return list(pages)


def told(facts: Mapping[str, Any]) -> str:
    """Machine and versions in a line."""
    machine, versions, how = facts["machine"], facts["versions"], facts["how"]
    peers = ", ".join(f"{name} {versions[name]}" for name in ("etcd", "redis") if versions[name])
    return (
        f"{facts['commit']}; {machine['cores']} cores ({machine['processor']}), {machine['filesystem']},"
        f" Linux {machine['kernel']}; Python {versions['python']}, grpcio {versions['grpcio']}; {peers};"
        f" {how['rounds']} rounds of {how['seconds']:g} s"
    )


def page(facts: Mapping[str, Any], results: Sequence[RowResult]) -> str:
    """The page for people."""
    how = facts["how"]
    parts = [
        "# Bench: beside its peers",
        (
            f"Made by `make bench` at {told(facts)}. Load of the minute before:"
            f" {facts['machine']['load_before']}, after: {how['load_after']}."
        ),
        METHOD
        + f" Our load comes from {how['generators']} process(es) of the SDK; mixed-36k's from a gateway"
        f" that packs its requests for {1e3 * PACK_S:g} ms.",
        "![ratios and latencies](bench.svg)",
        table(results),
        "## What a process spends",
        "Microseconds of CPU an operation, user + system; medians. Rates move with the machine, this less.",
        cpu_table(results),
        "## Notes",
        "\n".join(f"- {result.row}: {note}" for result in results for note in result.notes),
    ]
    return "\n\n".join(parts) + "\n"


def table(results: Sequence[RowResult]) -> str:
    rows = ["| row | what | ours | peer | ratio | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in results:
        if not result.measures:
            rows.append(f"| {result.row} | | | | | | **{result.verdict}** |")
        rows += [table_row(result, each) for each in result.measures]
    return "\n".join(rows)


def table_row(result: RowResult, each: Measure) -> str:
    met = {True: "met", False: "**missed**", None: ""}[each.met]
    if result.skipped:
        met = "**not shown**"
    return (
        f"| {result.row} | {each.what} | {each.ours} {each.unit} | {beside(each.peer, each.peer_name)}"
        f" | {each.ratio or ''} | {each.target or ''} | {met} |"
    )


def beside(peer: Spread | None, name: str) -> str:
    return f"{name}: {peer}" if peer is not None else ""


def cpu_table(results: Sequence[RowResult]) -> str:
    rows = ["| row | us an operation |", "| --- | --- |"]
    for result in results:
        if result.cpu:
            shown = ", ".join(f"{name} {us:.3g}" for name, us in result.cpu.items())
            rows.append(f"| {result.row} | {shown} |")
    return "\n".join(rows)
