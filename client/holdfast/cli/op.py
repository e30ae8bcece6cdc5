"""`holdfast op ...`: reshapes under way and those of before. A plan is named by its id."""

from __future__ import annotations

import click

from holdfast.cli import placement_plans
from holdfast.cli.following import followed, refuse_other_end, tell_how_to_follow, wait_option
from holdfast.cli.parameters import ID
from holdfast.cli.placement import Placement
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.plan_text import print_plan, print_plans
from holdfast.cli.verbs import EXIT_REFUSED, Call, FailedError, dry_run_option, note, noun, run, talks, verb

EXAMPLES = """
# What is under way
$ holdfast op list

# Follow plan 7 to its end
$ holdfast op show 7 --wait
"""

_LIST = """
# Plans under way, with what each waits for
$ holdfast op list
"""

_SHOW = """
# Plan 7: its shards, why it was made, how far it is
$ holdfast op show 7

# Follow it to its end; exit code 3 when it is cancelled
$ holdfast op show 7 --wait
"""

_CANCEL = """
# Take plan 7 back; refused once its sources are sealed
$ holdfast op cancel 7

# Would it still be possible?
$ holdfast op cancel 7 --dry-run
"""

_HISTORY = """
# The last 20 plans that have ended
$ holdfast op history

# As JSON, how long each took
$ holdfast op history --limit 100 -o json | jq '.[] | .ended_ms - .created_ms'
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "op", "Reshapes: plans under way and ended.", EXAMPLES)
    verb(group, "list", _LIST)(list_plans)
    verb(group, "show", _SHOW)(show)
    verb(group, "cancel", _CANCEL)(cancel)
    verb(group, "history", _HISTORY)(history)


async def _plans(call: Call, *, ended: bool, limit: int = 0) -> list[PlanFacts]:
    async with Placement(call.endpoints, call.timeout_s) as placement:
        return await placement_plans.plans(placement, ended=ended, limit=limit)


async def _plan(call: Call, number: int) -> PlanFacts:
    async with Placement(call.endpoints, call.timeout_s) as placement:
        return await placement_plans.plan(placement, number)


LIMIT = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Most to show."
)
NEXT = "`holdfast op list` shows the plans under way, `holdfast op history` those that have ended"


@talks
@click.pass_obj
def list_plans(call: Call) -> None:
    """Plans under way."""
    found = [plan for plan in run(_plans(call, ended=False)) if not plan.has_ended]
    print_plans(call, found)
    if not found:
        note("nothing is under way; `holdfast plan explain` says what the planner would do")


@LIMIT
@talks
@click.pass_obj
def history(call: Call, limit: int) -> None:
    """Plans that have ended, the newest first."""
    # The answer begins with those under way.
    found = [plan for plan in run(_plans(call, ended=True, limit=limit + 100)) if plan.has_ended]
    print_plans(call, found[:limit])


@click.argument("plan", type=ID)
@wait_option(default=False)
@talks
@click.pass_obj
def show(call: Call, plan: int, wait: bool) -> None:
    """One plan: its shards, why it was made, how far it is."""
    found = run(_plan(call, plan), next_step=NEXT)
    if wait and not found.has_ended:
        found = followed(call, plan)
    print_plan(call, found)
    if wait:
        refuse_other_end(found, "done")


@click.argument("plan", type=ID)
@wait_option()
@dry_run_option
@talks
@click.pass_obj
def cancel(call: Call, plan: int, wait: bool, dry_run: bool) -> None:
    """Takes a plan back; the shards are then as they were. Refused once its sources are sealed."""
    if dry_run:
        _tell_cancel(call, run(_plan(call, plan), next_step=NEXT))
        return

    async def work() -> PlanFacts:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await placement_plans.cancel(placement, plan)

    found = run(work(), writes=True, next_step=f"`holdfast op show {plan}` shows how far it is")
    if wait and not found.has_ended:
        found = followed(call, plan)
    print_plan(call, found)
    tell_how_to_follow(found)
    refuse_other_end(found, "cancelled")


def _tell_cancel(call: Call, plan: PlanFacts) -> None:
    """Whether a cancellation would be taken, by the phase the plan is in now."""
    if not plan.can_be_cancelled:
        raise FailedError(f"plan {plan.id} is {plan.phase}: it cannot be taken back any more", EXIT_REFUSED)
    print_plan(call, plan, dry_run=True)
    note("it would be taken back")
