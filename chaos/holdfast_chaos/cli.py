"""The command line, `python -m holdfast_chaos`: runs, judges, reports.

Exit status: 0 valid · 1 invalid · 2 usage, or a file that is no record · 3 unknown or void.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click
import uvloop

from holdfast_chaos.campaign import line_of, lines, next_seed, summary, table, wish_of
from holdfast_chaos.cluster.node_process import NodeEndedError
from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.judging import WORKLOADS, Budget, judgements
from holdfast_chaos.nemesis.known import NEMESES, REPLICAS, fitting
from holdfast_chaos.record import Header, RecordError
from holdfast_chaos.record_file import load
from holdfast_chaos.report import page
from holdfast_chaos.runner import Outcome, Wish, judged, plan_of, run
from holdfast_chaos.scenarios import DAMAGE, SCENARIOS, wishes
from holdfast_chaos.schedule import KINDS
from holdfast_chaos.search import STEPS_MAX
from holdfast_chaos.verdict import Judgement, Verdict, as_json, overall

REPORT: Final = "report.html"
EXIT: Final = {Verdict.VALID: 0, Verdict.INVALID: 1, Verdict.UNKNOWN: 3, Verdict.VOID: 3}
JUDGE_S: Final = 300.0
"""For all searches of a run; what is not judged by then is UNKNOWN, and `check` may be given longer."""
_SEVERITY: Final = (0, 3, 1)
"""Of several runs the worst counts."""


class NoRunError(click.ClickException):
    """A run that did not begin, so that it says nothing."""

    exit_code = 3


@click.group("holdfast_chaos")
def root() -> None:
    """Breaks a cluster on purpose, and judges what its clients saw."""


@root.command("run")
@click.option("--workload", type=click.Choice(sorted(GENERATORS)), default="register", show_default=True)
@click.option(
    "--nemesis", default="", help="Names with commas, or `all` but freeze; see `list`. [default: none]"
)
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--time", "seconds", type=click.FloatRange(8), default=60.0, show_default=True, help="Seconds.")
@click.option(
    "--rate", type=click.FloatRange(1), default=600.0, show_default=True, help="Operations a second."
)
@click.option("--rate-min", type=float, default=100.0, show_default=True, help="Fewer a second: void.")
@click.option("--clients", type=click.IntRange(1), default=12, show_default=True)
@click.option("--hands", type=click.IntRange(1), default=3, show_default=True, help="In flight, of a client.")
@click.option("--seed", type=int, help="Of operations and faults. [default: by the clock]")
@click.option(
    "--interval", type=click.FloatRange(0.5), default=5.0, show_default=True, help="Between faults."
)
@click.option("--side-by-side", type=click.IntRange(1), default=1, show_default=True, help="Faults at once.")
@click.option("--rest", type=float, default=2.5, show_default=True, help="Without a fault, after one alone.")
@click.option("--recovery-ms", type=float, default=2000.0, show_default=True, help="Bound after healing.")
@click.option("--p99-ms", type=float, default=500.0, show_default=True, help="Bound in minority faults.")
@click.option("--program", default="", help="What of Python runs a node, as after `python -m`.")
@click.option("--scenario", type=click.Choice(sorted(SCENARIOS)), help="Instead of a workload and nemeses.")
@click.option("--out", type=click.Path(path_type=Path), help="A new folder. [default: chaos-runs/TIME]")
def run_command(
    out: Path | None, nemesis: str, program: str, seed: int | None, scenario: str | None, **facts: Any
) -> None:
    """Starts a cluster, breaks it, and judges what its clients saw.

    \b
    Examples:
      # A minute of the leader being killed
      python -m holdfast_chaos run --workload register --nemesis kill-leader
      # Every nemesis in turn, with several workloads, ten minutes
      python -m holdfast_chaos run --scenario all --time 600
      # Your own build of a node, on five nodes
      python -m holdfast_chaos run --nemesis kill-all --nodes 5 --program "my_node_module"
    """  # noqa: D301 - \b is click's, not Python's
    seed = time.time_ns() % 1_000_000 if seed is None else seed
    if out is not None and out.exists():
        raise click.UsageError(f"{out} is there already; --out names a new folder")
    folder = out or Path("chaos-runs") / time.strftime("%Y%m%dT%H%M%S")
    started = ("-m", *program.split()) if program else ()
    base = Wish(nemeses=nemeses_named(nemesis, facts["nodes"]), seed=seed, program=started, **facts)
    parts = [("", base)] if scenario is None else wishes(scenario, base)
    raise SystemExit(max([_one_run(wish, folder / name) for name, wish in parts], key=_SEVERITY.index))


def _one_run(wish: Wish, folder: Path) -> int:
    """Runs, judges, reports; the exit status."""
    return EXIT[_run_and_report(wish, folder).verdict]


def _run_and_report(wish: Wish, folder: Path) -> Outcome:
    wish = wish._replace(command=command_of(wish))
    skipped = set(wish.nemeses) - {fault.name for fault in plan_of(wish)}
    if skipped:
        click.echo(f"no time for: {', '.join(sorted(skipped))}", err=True)
    try:
        path = uvloop.run(run(wish, folder, lambda line: click.echo(line, err=True)))
    except NodeEndedError as problem:
        raise NoRunError(str(problem)) from problem
    outcome = judged(path, JUDGE_S)
    _print(outcome.record.header, outcome.judgements)
    (folder / REPORT).write_text(page(outcome.record, outcome.judgements), encoding="utf-8")
    click.echo(f"report: {folder / REPORT}")
    return outcome


@root.command("campaign")
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A line of JSON for each run; a campaign goes on where this file ends.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Begin no run after; 0: only say what FILE holds.",
)
@click.option("--first-seed", type=int, default=1, show_default=True, help="Of a new campaign.")
@click.option("--rate", type=click.FloatRange(1), default=600.0, show_default=True)
@click.option("--rate-min", type=float, default=50.0, show_default=True, help="Fewer a second: void.")
@click.option("--recovery-ms", type=float, default=2000.0, show_default=True, help="Bound after healing.")
@click.option("--p99-ms", type=float, default=500.0, show_default=True, help="Bound in minority faults.")
@click.option("--commit", default="", help="Written into each line. [default: of the folder, by git]")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for runs that are not valid.")
def campaign_command(
    results: Path, minutes: float, first_seed: int, commit: str, keep: Path | None, **facts: Any
) -> None:
    """Runs one mix of faults after another, on three and five nodes.

    \b
    Examples:
      # An hour of it, and another one later
      python -m holdfast_chaos campaign --results campaign.jsonl --minutes 60
    """  # noqa: D301 - \b is click's, not Python's
    end = time.monotonic() + 60 * minutes
    commit = commit or _commit()
    while time.monotonic() < end:
        seed = next_seed(lines(results), first_seed)
        folder = Path(tempfile.mkdtemp(prefix="holdfast-campaign-")) / str(seed)
        outcome = _run_and_report(wish_of(seed, Wish(**facts)), folder)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line_of(outcome, commit)) + "\n")
        if keep is not None and outcome.verdict is not Verdict.VALID:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, keep / str(seed))
        shutil.rmtree(folder.parent, ignore_errors=True)
    known = lines(results)
    click.echo(f"{summary(known)}\n\n{table(known)}")
    raise SystemExit(max((EXIT[Verdict(line["verdict"])] for line in known), key=_SEVERITY.index, default=0))


def _commit() -> str:
    command = ("git", "rev-parse", "--short", "HEAD")
    asked = subprocess.run(command, check=False, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"


def nemeses_named(text: str, nodes: int) -> tuple[str, ...]:
    """The names in an option, for so many nodes. Raises UsageError."""
    if text == "all":
        return fitting((name for name in NEMESES if name != "freeze"), nodes)
    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in NEMESES:
            raise click.UsageError(f"no nemesis {name!r}; `list` names them")
        if not fitting([name], nodes):
            raise click.UsageError(f"{name} needs a node to spare: --nodes {REPLICAS + 1} or more")
    if "freeze" in names and (damage := [name for name in names if name in DAMAGE]):
        told = "freeze asks disks for what was said, and does not go with what takes it from them"
        raise click.UsageError(f"{told}: {', '.join(damage)}")
    return names


def command_of(wish: Wish) -> str:
    """The command line that runs the same again: the same faults at the same times, the same questions."""
    words = ["python -m holdfast_chaos run"]
    words += [f"--nemesis {','.join(wish.nemeses)}"] if wish.nemeses else []
    words += [f'--program "{" ".join(wish.program[1:])}"'] if wish.program else []
    shown = {"time": wish.seconds, **wish._asdict()}
    for name in ("nemeses", "program", "seconds", "command"):
        del shown[name]
    words += [f"--{name.replace('_', '-')} {value}" for name, value in shown.items()]
    return " ".join(words)


@root.command("list")
def list_command() -> None:
    """Names the workloads, the nemeses and the scenarios."""
    click.echo("workloads, and what judges each:")
    for name in sorted(GENERATORS):
        click.echo(f"  {name:<10} {', '.join(WORKLOADS[name])}")
    click.echo("nemeses:")
    for name, kind in KINDS.items():
        if name in NEMESES:
            about = (NEMESES[name].__doc__ or "").strip().splitlines()[0]
            click.echo(f"  {name:<20} {kind.shortest_s:g}-{kind.longest_s:g} s  {about}")
    click.echo("scenarios:")
    for name, parts in SCENARIOS.items():
        for part in parts:
            click.echo(f"  {name:<10} {part.workload:<10} {', '.join(part.nemeses)}")


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


@root.command("report")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The page. [default: report.html beside FILE]")
def report_command(file: Path, out: Path | None) -> None:
    """Judges a saved record and draws its page.

    \b
    Examples:
      # The page of a run, again
      python -m holdfast_chaos report chaos-runs/20260101T120000/record.jsonl
    """  # noqa: D301 - \b is click's, not Python's
    try:
        record = load(file)
        told = judgements(record)
    except (RecordError, UnicodeDecodeError) as problem:
        raise click.UsageError(f"{file}: {problem}") from None
    target = out or file.with_name(REPORT)
    target.write_text(page(record, told), encoding="utf-8")
    click.echo(f"{overall(told)}: {target}")


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
