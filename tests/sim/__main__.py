"""The simulator's command line: `python -m tests.sim --help`."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from tests.sim import campaign as campaigns
from tests.sim.plan import PROFILES, Plan, as_words, from_words, make_plan
from tests.sim.reshape_schedule import schedule_of
from tests.sim.shrink import breaks, shrink
from tests.sim.violation import Violation

CHUNKS = 200
"""Of a large campaign; a small one's chunks are smaller than needed to see it move."""
CHUNK_MIN, CHUNK_MAX = 25, 500


class Seeds(click.ParamType):
    """FIRST:END, or a number N for 0:N."""

    name = "seeds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        first, _, end = str(value).rpartition(":")
        try:
            return range(int(first or 0), int(end))
        except ValueError:
            self.fail(f"{value!r} is neither a number nor FIRST:END", param, ctx)


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option(
        "--profile", type=click.Choice(list(PROFILES)), help="Default: each seed chooses."
    )(command)
    return click.option("--replicas", type=click.Choice([1, 3, 5]), help="Default: each seed chooses.")(
        command
    )


@click.group()
def main() -> None:
    """Whole clusters under virtual time, seeded faults and an oracle. See docs/evidence/simulator.md."""


@main.command()
@click.option("--seeds", type=Seeds(), default="300", show_default=True, help="N, or FIRST:END.")
@_chosen
@click.option("--jobs", type=int, default=2, show_default=True, help="Processes.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="Goes on with this file (of the same seeds), and adds to it.",
)
def run(seeds: range, profile: str | None, replicas: int | None, jobs: int, results: Path | None) -> None:
    """Runs a range of seeds; fails at a violation, a void schedule or a fault that never fired."""
    size = min(CHUNK_MAX, max(CHUNK_MIN, len(seeds) // CHUNKS))
    chunks = [
        campaigns.Chunk(first, min(size, seeds.stop - first), profile, replicas)
        for first in range(seeds.start, seeds.stop, size)
    ]
    campaign = campaigns.Campaign(chunks, results)
    began = time.perf_counter()
    left = campaign.left
    with click.progressbar(length=left, label="schedules", file=sys.stderr) as bar:
        for done in campaign.run(jobs):
            bar.update(done.schedules)
            for failure in done.failures:
                click.echo(f"\nseed {failure['seed']} {failure['message']}", err=True)
    total = campaign.total
    seconds = (time.perf_counter() - began) * total.schedules / max(left, 1)
    click.echo(campaigns.summary(total, seconds))
    for failure in total.failures[:1]:
        _explain(make_plan(failure["seed"], failure["profile"], failure["replicas"]))
    for problem in (found := campaigns.problems(total, profile)):
        click.echo(f"NOT GOOD: {problem}")
    sys.exit(1 if found else 0)


@main.command()
@click.option("--seeds", type=Seeds(), required=True, help="N, or FIRST:END.")
@_chosen
def find(seeds: range, profile: str | None, replicas: int | None) -> None:
    """Runs seeds up to the first violation; prints it as JSON. Exit code 1: there is none."""
    gc.disable()
    for seed in seeds:
        if seed % campaigns.GARBAGE_EVERY == 0:
            gc.collect()
        plan = make_plan(seed, profile, replicas)
        problem = breaks(plan)
        if problem is not None:
            found = {"seed": seed, "profile": plan.profile, "replicas": plan.replicas}
            found |= {"invariant": problem.invariant, "message": str(problem), "ran": seed - seeds.start + 1}
            click.echo(json.dumps(found))
            return
    sys.exit(1)


@main.command()
@click.option("--seed", type=int, required=True)
@_chosen
@click.option("--only", help="The plan as a shrinker wrote it.")
@click.option(
    "--trace", "wanted", type=click.Choice(["no", "short", "full"]), default="short", show_default=True
)
def replay(seed: int, profile: str | None, replicas: int | None, only: str | None, wanted: str) -> None:
    """Runs one schedule again and tells what happens. Exit code 1: it breaks an invariant."""
    plan = make_plan(seed, profile, replicas)
    if only:
        plan = from_words(plan, only)
    try:
        report = schedule_of(plan, _printer(wanted)).run()
    except Violation as problem:
        click.echo(f"VIOLATION of {problem}")
        sys.exit(1)
    click.echo(f"holds: {report}")


@main.command(name="shrink")
@click.option("--seed", type=int, required=True)
@_chosen
def shrink_command(seed: int, profile: str | None, replicas: int | None) -> None:
    """Cuts a failing schedule down and prints its trace."""
    _explain(make_plan(seed, profile, replicas))


def _printer(wanted: str) -> Callable[[str], None] | None:
    if wanted == "no":
        return None
    if wanted == "full":
        return click.echo
    return lambda line: None if " -> " in line else click.echo(line)


def _explain(plan: Plan) -> None:
    """The shortest schedule found, its trace, and how to see it again."""
    problem = breaks(plan)
    if problem is None:
        click.echo(f"seed {plan.seed} breaks nothing")
        return
    short = shrink(plan, problem.invariant)
    click.echo(f"\n{problem}\nshortened from {len(plan.acts)} faults to {len(short.acts)}:")
    lines: list[str] = []
    try:
        schedule_of(short, lines.append).run()
    except Violation as found:
        lines.append(f"VIOLATION of {found}")
    click.echo("\n".join([line for line in lines if " -> " not in line][-400:]))
    command = (
        f"python -m tests.sim replay --seed {plan.seed} --profile {plan.profile} --replicas {plan.replicas}"
    )
    click.echo(f"\nagain, with every message:\n  {command} --trace full --only '{as_words(short)}'")


if __name__ == "__main__":
    main()
