"""The report of a run: one HTML page that needs nothing but itself.

Verdicts with their evidence; throughput, latency, faults and leaders over one time axis; each violation drawn
operation by operation, as its checker made it small; what each fault cost; the command that runs it again.

Pure: a record and its judgements go in, a text comes out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from holdfast_chaos import drawing
from holdfast_chaos.drawing import LEFT, RIGHT, WIDTH, Scale, across
from holdfast_chaos.operation import FOREVER, Operation, notes, pair
from holdfast_chaos.record import Record, Type
from holdfast_chaos.timeline import Timeline, timeline_of
from holdfast_chaos.verdict import Finding, Judgement, Verdict, overall

DRAWN_MAX: Final = 6
"""Findings that are drawn; all are told."""
_LINE: Final = re.compile(r"^line (\d+): ")
_WORDS: Final = {
    Verdict.VALID: "no promise was broken, in a run that counts",
    Verdict.INVALID: "a promise was broken, and the evidence is below",
    Verdict.UNKNOWN: "the judge could not finish: this is no pass",
    Verdict.VOID: "too little happened for the run to mean anything: this is no pass",
}
_STYLE: Final = """
:root { --ink:#1c2430; --soft:#66707f; --rule:#d9dee6; --paper:#fff; --panel:#f6f8fa; --ok:#2f7d5b;
  --bad:#b3261e; --doubt:#a86400; --void:#5b6472; --a:#2b6cb0; --b:#c2571a; --c:#6b4fa0; --d:#2a8a8a;
  --e:#8a6d1d; --fault:#f3dcd9; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ee; --soft:#9aa5b4; --rule:#343c48; --paper:#14181e;
  --panel:#1c222b; --ok:#5fbf93; --bad:#ff8a80; --doubt:#f0b35a; --void:#a3adba; --a:#76b0ee; --b:#f09a63;
  --c:#b39be6; --d:#67c7c7; --e:#d3b45c; --fault:#3a2827; } }
body { margin:0 auto; max-width:1160px; padding:24px 16px 64px; color:var(--ink); background:var(--paper);
  font:15px/1.5 system-ui, sans-serif; }
h1 { font-size:1.5rem; margin:.2em 0; } h2 { font-size:1.1rem; margin:2em 0 .5em; }
.verdict { display:inline-block; padding:.1em .6em; border-radius:.3em; color:var(--paper); font-weight:600; }
.valid { background:var(--ok); } .invalid { background:var(--bad); } .unknown { background:var(--doubt); }
.void { background:var(--void); }
.soft { color:var(--soft); } code, pre { font:13px/1.45 ui-monospace, monospace; }
pre { background:var(--panel); padding:10px 12px; overflow-x:auto; border-radius:6px; }
.wide { overflow-x:auto; } table { border-collapse:collapse; width:100%; font-size:14px; }
th, td { text-align:left; padding:4px 10px 4px 0; border-bottom:1px solid var(--rule); vertical-align:top; }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums; }
svg { width:100%; min-width:760px; height:auto; font:11px system-ui, sans-serif; }
svg text { fill:var(--ink); } svg text.soft { fill:var(--soft); } svg .grid { stroke:var(--rule); }
svg .fault { fill:var(--fault); } svg .bar { fill:var(--bad); opacity:.75; }
svg .ok { fill:var(--a); opacity:.35; } svg .fails { stroke:var(--bad); stroke-width:1.2; }
svg .p50 { stroke:var(--a); stroke-width:1.5; } svg .p99 { stroke:var(--b); stroke-width:1.5; }
svg .n1 { fill:var(--a); opacity:.6; } svg .n2 { fill:var(--b); opacity:.6; }
svg .n3 { fill:var(--c); opacity:.6; }
svg .n4 { fill:var(--d); opacity:.6; } svg .n0 { fill:var(--e); opacity:.6; }
svg .write { fill:var(--b); opacity:.45; } svg .read { fill:var(--a); opacity:.45; }
svg .open { fill:var(--doubt); opacity:.4; }
"""


def page(record: Record, judgements: Iterable[Judgement]) -> str:
    """The whole page."""
    told = tuple(judgements)
    operations = pair(record.events)
    timeline = timeline_of(operations, notes(record.events))
    header, verdict = record.header, overall(told)
    title = f"{header.workload} on {header.nodes} nodes: {verdict}"
    facts = f"{', '.join(header.nemeses) or 'no faults'}; seed {header.seed}; version {header.version};"
    facts += f" {timeline.seconds:.0f} s, {len(operations)} operations."
    parts = [
        f"<h1>{escape(header.workload)} on {header.nodes} nodes {_badge(verdict)}</h1>",
        f'<p>{_WORDS[verdict]}. <span class="soft">{escape(facts)}</span></p>',
        "<h2>Verdicts</h2>",
        _verdicts(told),
        "<h2>Over time</h2>",
        f'<div class="wide">{_over_time(timeline)}</div>',
        *_violations(told, operations),
        *_by_fault(told),
        "<h2>What clients were told</h2>",
        _answers(operations),
        "<h2>Run it again</h2>",
        f"<pre>{escape(header.command)}</pre>",
        "<h2>The run</h2>",
        _settings(header.settings),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _badge(verdict: Verdict) -> str:
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _verdicts(told: Sequence[Judgement]) -> str:
    rows = [
        f"<tr><td>{escape(j.checker)}</td><td>{_badge(j.verdict)}</td>"
        f"<td class='soft'>{escape(_figures(j))}</td></tr>"
        for j in told
    ]
    return f"<table><tr><th>checker</th><th>verdict</th><th>looked at</th></tr>{''.join(rows)}</table>"


def _figures(judgement: Judgement) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in judgement.figures.items() if not isinstance(value, list)
    )


# ---- over time ----


def _over_time(timeline: Timeline) -> str:
    """Throughput, latency, faults and leaders over one axis; faults shade all of it."""
    x = across(timeline.seconds)
    groups = sorted({reign.group for reign in timeline.reigns})
    names = list(dict.fromkeys(fault.name for fault in timeline.faults))
    rate_y, latency_y = 20, 190
    faults_y = latency_y + 150
    leaders_y = faults_y + 16 * len(names) + 30
    height = leaders_y + 18 * len(groups) + 30
    pieces = [
        drawing.box(
            x(f.begin_ns / 1e9), rate_y, x(f.healed_ns / 1e9) - x(f.begin_ns / 1e9), 290, "fault", f.name
        )
        for f in timeline.faults
    ]
    pieces += _rates(timeline, x, rate_y)
    pieces += _latencies(timeline, x, latency_y)
    pieces.append(drawing.text(0, faults_y - 8, "faults", "soft"))
    for row, name in enumerate(names):
        y = faults_y + 16 * row
        pieces += _bars(timeline, x, name, y)
    pieces.append(drawing.text(0, leaders_y - 8, "leaders", "soft"))
    for row, group in enumerate(groups):
        y = leaders_y + 18 * row
        pieces.append(drawing.text(LEFT - 6, y + 11, f"group {group}", "soft", "end"))
        for reign in timeline.reigns:
            if reign.group == group:
                tip = f"node {reign.node} led group {group} in term {reign.term} from {reign.begin_s:.2f} s"
                wide = x(reign.end_s) - x(reign.begin_s)
                pieces.append(drawing.box(x(reign.begin_s), y, wide, 14, f"n{reign.node % 5}", tip))
                if wide > 12:
                    pieces.append(drawing.text(x(reign.begin_s) + 3, y + 11, str(reign.node)))
    for at in drawing.ticks(timeline.seconds, 10):
        pieces.append(drawing.text(x(at), height - 6, f"{at:g} s", "soft", "middle"))
    return drawing.figure(height, "throughput, latency, faults and leaders over time", pieces)


def _rates(timeline: Timeline, x: Scale, top: float) -> Iterator[str]:
    most = max((b.ok for b in timeline.bins), default=1.0) or 1.0
    y = Scale(0.0, most, top + 130, top + 10)
    yield drawing.text(0, top + 4, "operations/s", "soft")
    for at in drawing.ticks(most):
        yield drawing.line(LEFT, y(at), WIDTH - RIGHT, y(at))
        yield drawing.text(LEFT - 6, y(at) + 4, f"{at:g}", "soft", "end")
    middle = timeline.bin_s / 2
    yield drawing.area([(x(b.begin_s + middle), y(b.ok)) for b in timeline.bins], y(0), "ok")
    fails = [(x(b.begin_s + middle), y(min(most, b.fail + b.info))) for b in timeline.bins]
    yield drawing.path(fails, "fails")
    yield drawing.text(WIDTH - RIGHT, top + 4, "area: succeeded; line: refused or unknown", "soft", "end")


def _latencies(timeline: Timeline, x: Scale, top: float) -> Iterator[str]:
    """On a scale of powers of ten: an election is a thousand times a read."""
    worst = max((b.p99 for b in timeline.bins if b.p99), default=10.0)
    last = math.ceil(math.log10(max(worst, 10.0)))
    y = Scale(-1.0, last, top + 120, top + 20)
    yield drawing.text(0, top + 4, "latency, ms", "soft")
    for power in range(-1, last + 1):
        yield drawing.line(LEFT, y(power), WIDTH - RIGHT, y(power))
        yield drawing.text(LEFT - 6, y(power) + 4, f"{10.0**power:g}", "soft", "end")
    for kind in ("p50", "p99"):
        points = [
            None if value is None else (x(b.begin_s + timeline.bin_s / 2), y(math.log10(max(value, 0.1))))
            for b in timeline.bins
            for value in (getattr(b, kind),)
        ]
        yield drawing.path(points, kind)
    yield drawing.text(WIDTH - RIGHT, top + 4, "lower line: p50; upper: p99", "soft", "end")


def _bars(timeline: Timeline, x: Scale, name: str, y: float) -> Iterator[str]:
    own = [fault for fault in timeline.faults if fault.name == name]
    for fault in own:
        begin, end = fault.begin_ns / 1e9, fault.healed_ns / 1e9
        tip = f"{name}, {begin:.2f} to {end:.2f} s, {fault.proofs} proofs"
        yield drawing.box(x(begin), y, x(end) - x(begin), 11, "bar", tip)
    yield drawing.text(x(own[-1].healed_ns / 1e9) + 5, y + 10, name)


# ---- violations ----


def _violations(told: Sequence[Judgement], operations: Sequence[Operation]) -> Iterator[str]:
    found = [(judgement, finding) for judgement in told for finding in judgement.findings]
    if not found:
        return
    yield "<h2>Findings</h2>"
    by_line = {operation.invoke.line: operation for operation in operations}
    for at, (judgement, finding) in enumerate(found):
        told_of = escape(f"{finding.key}: {finding.message}" if finding.key else finding.message)
        yield f"<p><b>{escape(f'{judgement.checker}, {finding.rule}')}</b>: {told_of}</p>"
        shown = _operations_of(finding, by_line)
        if shown and at < DRAWN_MAX:
            yield f'<div class="wide">{_drawn(shown)}</div>'
        if finding.story:
            yield f"<pre>{escape(chr(10).join(finding.story))}</pre>"


def _operations_of(finding: Finding, by_line: Mapping[int, Operation]) -> list[Operation]:
    """The operations that a story names by their lines."""
    lines = [int(match[1]) for told in finding.story if (match := _LINE.match(told))]
    return [by_line[line] for line in dict.fromkeys(lines) if line in by_line]


def _drawn(shown: Sequence[Operation]) -> str:
    """One row for each process, a box from invoke to reply; open for ever: to the edge."""
    rows = list(dict.fromkeys(o.invoke.process for o in sorted(shown, key=lambda o: o.start_ns)))
    first = min(o.start_ns for o in shown)
    ends = [o.end_ns for o in shown if o.end_ns != FOREVER]
    last = max([*ends, *(o.start_ns for o in shown)])
    x = Scale(first, last + (last - first) / 20 + 1, LEFT + 20, WIDTH - RIGHT)
    pieces = []
    for row, process in enumerate(rows):
        y = 8 + 34 * row
        pieces.append(drawing.line(LEFT, y + 11, WIDTH - RIGHT, y + 11))
        pieces.append(drawing.text(0, y + 15, f"process {process}", "soft"))
        for o in shown:
            if o.invoke.process != process:
                continue
            is_open = o.end_ns == FOREVER
            kind = "open" if is_open else "write" if o.is_write else "read"
            end = WIDTH - RIGHT if is_open else x(o.end_ns)
            pieces.append(drawing.box(x(o.start_ns), y, end - x(o.start_ns), 22, kind, _short(o)))
            is_late = x(o.start_ns) > WIDTH * 0.8
            at = (x(o.start_ns) - 4, "end") if is_late else (x(o.start_ns) + 4, "start")
            pieces.append(drawing.text(at[0], y + 15, _short(o), anchor=at[1]))
    y = 8 + 34 * len(rows)
    pieces += [
        drawing.text(x(first), y + 10, f"{first / 1e6:.3f} ms", "soft"),
        drawing.text(x(last), y + 10, f"{last / 1e6:.3f} ms", "soft", "end"),
    ]
    return drawing.figure(y + 18, "operations, from asked to answered", pieces)


def _short(operation: Operation) -> str:
    """One operation in a few words."""
    given = "" if operation.argument is None else f" {operation.argument}"
    told = "?" if operation.outcome is Type.INFO else operation.outcome.value
    if operation.is_ok and not operation.is_write:
        told = "nothing" if operation.result is None else str(operation.result)
    at = "" if operation.revision is None else f" @{operation.revision}"
    return f"{operation.f}{given} → {told}{at}"[:70]


# ---- the rest ----


def _by_fault(told: Sequence[Judgement]) -> Iterator[str]:
    rows: list[dict[str, Any]] = [row for j in told for row in j.figures.get("by_fault", ())]
    if not rows:
        return
    names = ("began_ms", "lasted_ms", "without_write_ms", "recovery_ms", "operations", "p99_ms", "proofs")
    told_as = "began, s|lasted, s|longest without a write, ms|first write after healing, ms|operations"
    told_as += "|p99 outside of elections, ms|proofs"
    heads = "".join(f'<th class="n">{head}</th>' for head in told_as.split("|"))
    yield f'<h2>What each fault cost</h2>\n<div class="wide"><table><tr><th>fault</th>{heads}</tr>'
    for row in rows:
        values = [row[name] for name in names]
        cells = [f'<td class="n">{value / 1000:.1f}</td>' for value in values[:2]]
        cells += [f'<td class="n">{"none" if value is None else f"{value:.0f}"}</td>' for value in values[2:]]
        yield f"<tr><td>{escape(str(row['name']))}</td>{''.join(cells)}</tr>"
    yield "</table></div>"


def _answers(operations: Sequence[Operation]) -> str:
    """How often each kind of operation ended how."""
    ends = Counter((o.f, o.outcome.value, o.error or "") for o in operations)
    rows = "".join(
        f'<tr>{"".join(f"<td>{escape(word)}</td>" for word in words)}<td class="n">{count}</td></tr>'
        for words, count in sorted(ends.items())
    )
    return f"<table><tr><th>asked</th><th>told</th><th>why</th><th class='n'>times</th></tr>{rows}</table>"


def _settings(settings: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in settings.items()
    )
    return f"<table>{rows}</table>"
