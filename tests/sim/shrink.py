"""The shortest plan that still breaks the same invariant."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.sim.plan import Act, Plan
from tests.sim.reshape_schedule import schedule_of
from tests.sim.violation import Violation


def breaks(plan: Plan) -> Violation | None:
    """What a plan breaks."""
    try:
        schedule_of(plan).run()
    except Violation as problem:
        return problem
    return None


def shrink(
    plan: Plan, invariant: str, within: float = 60.0, fails: Callable[[Plan], bool] | None = None
) -> Plan:
    """Leaves out faults, then clients, then time, as long as the invariant still breaks.

    within: seconds to spend. fails: whether a plan still does; for tests.
    """
    until = time.monotonic() + within

    def still(candidate: Plan) -> bool:
        if time.monotonic() > until:
            return False
        if fails is not None:
            return fails(candidate)
        problem = breaks(candidate)
        return problem is not None and problem.invariant == invariant

    plan = _fewer_acts(plan, still)
    while plan.clients > 1 and still(plan._replace(clients=plan.clients - 1)):
        plan = plan._replace(clients=plan.clients - 1)
    for part in (0.25, 0.5, 0.75):
        shorter = plan._replace(seconds=round(plan.seconds * part, 3))
        if still(shorter):
            plan = shorter
            break
    return _shorter_acts(plan, still)


def _fewer_acts(plan: Plan, still: Callable[[Plan], bool]) -> Plan:
    """Zeller's ddmin over the acts: halves first, then quarters, down to one by one."""
    size = max(1, len(plan.acts) // 2)
    while plan.acts:
        for start in range(0, len(plan.acts), size):
            candidate = plan._replace(acts=plan.acts[:start] + plan.acts[start + size :])
            if still(candidate):
                plan = candidate
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
            continue
        size = min(size, max(1, len(plan.acts)))
    return plan


def _shorter_acts(plan: Plan, still: Callable[[Plan], bool]) -> Plan:
    for number, act in enumerate(plan.acts):
        for lasts in (0.01, 0.1):
            if lasts >= act.lasts:
                continue
            acts: tuple[Act, ...] = (*plan.acts[:number], act._replace(lasts=lasts), *plan.acts[number + 1 :])
            if still(plan._replace(acts=acts)):
                plan = plan._replace(acts=acts)
                break
    return plan
