"""Waits until something in the cluster is done, and shows how far it is.

On a terminal one line of stderr that moves, otherwise a plain line whenever there is something new. Only
looks: Ctrl-C, a closed terminal or a lost connection leave the work running; what is said then names the
command that follows it on. A cluster that answers nobody for SILENT_S_MAX ends the wait, not the work.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Self, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from holdfast.cli import placement_plans
from holdfast.cli.placement import Placement
from holdfast.cli.placement_calls import PASSING, VerbNotKnownError
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.verbs import (
    EXIT_REFUSED,
    EXIT_UNKNOWN,
    Call,
    FailedError,
    InterruptedCommandError,
    note,
    run,
)
from holdfast.errors import HoldfastError

LOOK_EVERY_S = 0.2
# Longer than any election; a wait outlives the loss of the placement leader.
SILENT_S_MAX = 60.0
# So long without news is worth a word on where to look.
STUCK_S = 30.0

Found = TypeVar("Found")

_STEPS = {"prepare": 0, "seal": 1, "retire": 2, "done": 3, "cancelling": 2, "cancelled": 3}


def wait_option(default: bool = True) -> Callable[[Any], Any]:
    """--wait/--no-wait."""
    told = "wait" if default else "no-wait"
    return click.option(
        "--wait/--no-wait", "wait", default=default,
        help=f"Whether to wait until it is done, with progress on stderr. Default: {told}.",
    )  # fmt: skip


class Step(NamedTuple):
    """How far it is: done of total, and a few words."""

    done: int
    total: int
    text: str
    is_over: bool


class Ticker:
    """Progress on stderr: a bar on a terminal, else a line for each new text."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = ""
        self._is_bar = sys.stderr.isatty()
        self._bar = Progress(
            SpinnerColumn(), TextColumn(title), BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(), console=Console(stderr=True), transient=True, disable=not self._is_bar,
        )  # fmt: skip
        self._task = self._bar.add_task(title, total=1, text="")

    def __repr__(self) -> str:
        return f"<Ticker {self._title}: {self._last}>"

    def show(self, step: Step) -> None:
        """The newest there is to say."""
        self._bar.update(self._task, completed=step.done, total=step.total or 1, text=step.text)
        if step.text != self._last and not self._is_bar:
            note(f"{self._title}: {step.text}")
        self._last = step.text

    def say(self, text: str) -> None:
        """Something besides; the bar stays below it."""
        if self._is_bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            note(text)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


async def until_over(
    look: Callable[[], Awaitable[Found]], step_of: Callable[[Found], Step], title: str
) -> Found:
    """Looks until what was found is over. Raises FailedError when nobody answers for SILENT_S_MAX."""
    answered = news = time.monotonic()
    told = silent = False
    last = ""
    with Ticker(title) as ticker:
        while True:
            now = time.monotonic()
            try:
                found = await look()
            except (HoldfastError, FailedError) as problem:
                if not _may_pass(problem) or now - answered > SILENT_S_MAX:
                    raise
                if not silent:
                    ticker.say(f"{title}: {problem}; still trying")
                silent = True
            else:
                answered, silent = now, False
                step = step_of(found)
                ticker.show(step)
                if step.is_over:
                    return found
                if step.text != last:
                    last, news = step.text, now
                elif now - news > STUCK_S and not told:
                    told = True
                    ticker.say(
                        f"{title}: no news for {STUCK_S:.0f} s; `holdfast plan explain` says what holds it"
                    )
            await asyncio.sleep(LOOK_EVERY_S)


def _may_pass(problem: HoldfastError | FailedError) -> bool:
    if isinstance(problem, HoldfastError):
        return problem.reason in PASSING
    return not isinstance(problem, VerbNotKnownError)


def plan_step(plan: PlanFacts) -> Step:
    """How far a plan is."""
    text = plan.phase + (f": {plan.progress}" if plan.progress else "")
    return Step(_STEPS.get(plan.phase, 0), 3, text, plan.has_ended)


def followed(call: Call, number: int) -> PlanFacts:
    """The plan when it has ended. Raises FailedError when it is not known how it goes."""

    async def work() -> PlanFacts:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await until_over(
                lambda: placement_plans.plan(placement, number), plan_step, f"plan {number}"
            )

    follow = f"`holdfast op show {number} --wait` follows it"
    goes_on = f"plan {number} goes on in the cluster; {follow}, `holdfast op cancel {number}` takes it back"
    try:
        return run(work(), goes_on=goes_on)
    except (VerbNotKnownError, InterruptedCommandError):
        raise
    except FailedError as problem:
        told = f"{problem.message}. Plan {number} goes on without this command; {follow}"
        raise FailedError(told, EXIT_UNKNOWN) from None


def refuse_other_end(plan: PlanFacts, wanted: str) -> None:
    """Raises FailedError when the plan has ended, and not as wanted (done | cancelled)."""
    if not plan.has_ended or plan.phase == wanted:
        return
    if plan.phase == "cancelled":
        why = plan.progress or "it does not say why"
        told = f"plan {plan.id} was cancelled: {why}; the shards are as they were. Mend that and ask again"
    else:
        told = f"plan {plan.id} is {plan.phase}: it was too late to take it back"
    raise FailedError(told, EXIT_REFUSED)


def tell_how_to_follow(plan: PlanFacts) -> None:
    """For a plan that nobody waits for."""
    if not plan.has_ended:
        note(f"plan {plan.id} is under way; follow it: holdfast op show {plan.id} --wait")
