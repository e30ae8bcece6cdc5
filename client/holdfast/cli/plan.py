"""`holdfast plan ...`: the planner that splits, merges, moves and heals by itself; its limits and pauses."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli import placement_planning
from holdfast.cli.output import print_json, print_table, size_text
from holdfast.cli.parameters import BYTES, POLICIES
from holdfast.cli.placement import Placement
from holdfast.cli.placement_planning import Explanation, PlanningFacts, ProposalFacts
from holdfast.cli.plan_text import plan_fields
from holdfast.cli.verbs import MILLISECONDS, Call, dry_run_option, note, noun, run, talks, verb

EXAMPLES = """
# What the planner would do now, and why
$ holdfast plan explain

# Keep everything where it is for now
$ holdfast plan pause --all
"""

_PAUSE = """
# No merges for now
$ holdfast plan pause merge

# Nothing by itself: neither splits nor moves nor replacements. Your own plans go on
$ holdfast plan pause --all
"""

_RESUME = """
# Balance again
$ holdfast plan resume balance

# Everything again
$ holdfast plan resume --all
"""

_LIMITS = """
# Limits and pauses as they are
$ holdfast plan limits

# Split at 512 MiB, two plans at once, at most 32 MiB/s of copies into a node
$ holdfast plan limits --split-bytes 512MiB --plans-max 2 --copy-bytes-per-s 32MiB

# Replace a node's replicas when it was down for five minutes
$ holdfast plan limits --replace-after 5m
"""

_EXPLAIN = """
# What it would do, in order, and why it does nothing more
$ holdfast plan explain
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "plan", "The planner: its policies, limits and pauses.", EXAMPLES)
    verb(group, "pause", _PAUSE)(pause)
    verb(group, "resume", _RESUME)(resume)
    verb(group, "limits", _LIMITS)(limits)
    verb(group, "explain", _EXPLAIN)(explain)


def policies_arguments(function: Any) -> Any:
    """POLICY... or --all."""
    function = click.option("--all", "every", is_flag=True, help="Every policy.")(function)
    return click.argument("policies", metavar="POLICY...", nargs=-1, type=click.Choice(POLICIES))(function)


def _chosen(policies: tuple[str, ...], every: bool) -> tuple[str, ...]:
    if every == bool(policies):
        raise click.UsageError(f"name policies ({', '.join(POLICIES)}) or say --all")
    return POLICIES if every else tuple(dict.fromkeys(policies))


async def _set(call: Call, **changes: Any) -> PlanningFacts:
    async with Placement(call.endpoints, call.timeout_s) as placement:
        return await placement_planning.set_planning(placement, **changes)


async def _get(call: Call) -> PlanningFacts:
    async with Placement(call.endpoints, call.timeout_s) as placement:
        return await placement_planning.planning(placement)


def planning_fields(planning: PlanningFacts) -> dict[str, Any]:
    """Limits and pauses as JSON fields."""
    return {**planning._asdict(), "paused": list(planning.paused)}


def _print(call: Call, planning: PlanningFacts, *, dry_run: bool = False) -> None:
    if call.is_json:
        print_json({**planning_fields(planning), "dry_run": dry_run})
        return
    sizes = {"split_bytes", "merge_bytes", "copy_bytes_per_s"}
    rows: list[tuple[str, object]] = [("paused", list(planning.paused) or "nothing")]
    for name, number in planning._asdict().items():
        if name == "replace_after_ms":
            rows.append(("replace-after", f"{number / 1000:g} s"))
        elif name != "paused":
            rows.append((name.replace("_", "-"), size_text(number) if name in sizes else number))
    print_table(("LIMIT", "VALUE"), rows)
    if dry_run:
        note("dry run: nothing was changed")


@policies_arguments
@dry_run_option
@talks
@click.pass_obj
def pause(call: Call, policies: tuple[str, ...], every: bool, dry_run: bool) -> None:
    """Lets policies do nothing for now. Plans under way go on; what you ask for is done.

    POLICY is split-by-size, split-by-load, merge, balance, replace or drain.
    """
    chosen = _chosen(policies, every)
    _print(call, run(_set(call, pause=chosen, dry_run=dry_run), writes=not dry_run), dry_run=dry_run)


@policies_arguments
@dry_run_option
@talks
@click.pass_obj
def resume(call: Call, policies: tuple[str, ...], every: bool, dry_run: bool) -> None:
    """Lets paused policies act again.

    POLICY is split-by-size, split-by-load, merge, balance, replace or drain.
    """
    chosen = _chosen(policies, every)
    _print(call, run(_set(call, resume=chosen, dry_run=dry_run), writes=not dry_run), dry_run=dry_run)


PERCENT = click.IntRange(1, 100)


@click.option("--split-bytes", type=BYTES, help="A shard above it is split.")
@click.option("--merge-bytes", type=BYTES, help="Neighbours that are together below it are merged.")
@click.option("--plans-max", type=click.IntRange(min=1), help="Plans under way at once.")
@click.option("--copy-bytes-per-s", type=BYTES, help="What one node takes in for copies, a second.")
@click.option(
    "--replace-after", "replace_after_ms", type=MILLISECONDS, help="A node down this long is replaced."
)
@click.option("--busy-percent", type=PERCENT, help="Split by load when a node's loop is busier than this ...")
@click.option("--idle-percent", type=PERCENT, help="... while another's is below this.")
@click.option("--skew-percent", type=PERCENT, help="What bytes and leaders may differ by between nodes.")
@dry_run_option
@talks
@click.pass_obj
def limits(call: Call, /, dry_run: bool, **given: int | None) -> None:
    """Sets the planner's limits; without an option, prints them and what is paused."""
    wanted = {name: number for name, number in given.items() if number is not None}
    if not wanted:
        _print(call, run(_get(call)))
        return
    if 0 in wanted.values():
        raise click.UsageError(
            "--replace-after: 0 sets nothing; `holdfast plan pause replace` stops replacing"
        )
    planning = run(_set(call, limits=wanted, dry_run=dry_run), writes=not dry_run)
    _print(call, planning, dry_run=dry_run)


def proposal_fields(proposal: ProposalFacts) -> dict[str, Any]:
    """A proposal as JSON fields: a plan, or a leadership to be handed over."""
    transfer = {"shard": proposal.transfer_group, "to": proposal.transfer_to}
    return {
        "policy": proposal.policy,
        "plan": plan_fields(proposal.plan) if proposal.plan else None,
        "transfer": transfer if proposal.transfer_group else None,
        "why": proposal.why,
    }


def _act(proposal: ProposalFacts) -> str:
    if proposal.transfer_group:
        return f"leader of shard {proposal.transfer_group} to node {proposal.transfer_to}"
    if proposal.plan is None:
        return "nothing"
    plan = proposal.plan
    act = f"{plan.kind} {', '.join(str(shard.group) for shard in plan.sources)}"
    if plan.kind != "move" or not plan.targets:
        return act
    return f"{act} to nodes {','.join(str(replica.node) for replica in plan.targets[0].replicas)}"


@talks
@click.pass_obj
def explain(call: Call) -> None:
    """What the planner would do now, in that order, and why it does nothing more. Changes nothing."""

    async def work() -> Explanation:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await placement_planning.explain(placement)

    found = run(work())
    if call.is_json:
        print_json({"proposals": [proposal_fields(p) for p in found.proposals], "idle": list(found.idle)})
        return
    if found.proposals:
        print_table(("POLICY", "WOULD", "WHY"), [(p.policy, _act(p), p.why) for p in found.proposals])
    else:
        click.echo("nothing to do")
    for reason in found.idle:
        click.echo(f"idle: {reason}")
