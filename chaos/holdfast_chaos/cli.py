"""The command line, `python -m holdfast_chaos`: judges a saved record.

Exit status: 0 valid · 1 invalid · 2 usage, or a file that is no record · 3 unknown or void.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from holdfast_chaos.judging import Budget, judgements
from holdfast_chaos.record import Header, RecordError
from holdfast_chaos.record_file import load
from holdfast_chaos.search import STEPS_MAX
from holdfast_chaos.verdict import Judgement, Verdict, as_json, overall

EXIT: Final = {Verdict.VALID: 0, Verdict.INVALID: 1, Verdict.UNKNOWN: 3, Verdict.VOID: 3}


@click.group("holdfast_chaos")
def root() -> None:
    """Breaks a cluster on purpose, and judges what its clients saw."""


@root.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=STEPS_MAX,
    show_default=True,
    help="Steps of a search, for each key.",
)
@click.option("--seconds", type=click.FloatRange(0), help="Time for all searches. [default: no limit]")
def check(file: Path, output: str, steps: int, seconds: float | None) -> None:
    """Judges a saved record again.

    \b
    Examples:
      # Judge a record, for a person
      python -m holdfast_chaos check record.jsonl
      # For a program, with a larger budget for keys that were left unknown
      python -m holdfast_chaos check record.jsonl -o json --steps 50000000
    """  # noqa: D301 - \b is click's, not Python's
    until = None if seconds is None else time.monotonic() + seconds
    budget = Budget(steps, None if until is None else lambda: time.monotonic() > until)
    try:
        record = load(file)
        told = judgements(record, budget)
    except (RecordError, UnicodeDecodeError) as problem:
        raise click.UsageError(f"{file}: {problem}") from None
    if record.torn:
        click.echo("the last line broke off and was dropped", err=True)
    if output == "json":
        header = {**record.header._asdict(), "settings": dict(record.header.settings)}
        document = {"file": str(file), "header": header, "torn": record.torn, **as_json(told)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(record.header, told)
    raise SystemExit(EXIT[overall(told)])


def _print(header: Header, told: Iterable[Judgement]) -> None:
    every = tuple(told)
    faults = ", ".join(header.nemeses) or "no faults"
    click.echo(
        f"{header.workload} on {header.nodes} nodes, {faults}, seed {header.seed}: {overall(every).upper()}"
    )
    for judgement in every:
        figures = ", ".join(f"{n} {v}" for n, v in judgement.figures.items() if not isinstance(v, list))
        click.echo(f"  {judgement.checker:<16} {judgement.verdict:<8} {figures}".rstrip())
        for finding in judgement.findings:
            where = f"{finding.key}: " if finding.key else ""
            click.echo(f"    {finding.rule}: {where}{finding.message}")
            for line in finding.story:
                click.echo(f"      {line}")
        if judgement.found > len(judgement.findings):
            click.echo(f"    ... and {judgement.found - len(judgement.findings)} more")
    click.echo(f"replay: {header.command}")
