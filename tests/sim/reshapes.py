"""What a schedule does to the map: plans that it starts and takes back, and harm at a plan's very steps.

An act is a fault as in faults.py: a function of (schedule, act). It asks whoever leads the placement group,
as an admin verb would; what is refused has not fired.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_node.cache.seal import Target
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.by_hand import Desk
from holdfast_node.placement.cluster import Refusal, ShardRow
from holdfast_node.placement.commands import CancelPlan, StartPlan
from holdfast_node.placement.plan import Plan
from holdfast_node.placement.shape import Shape
from holdfast_node.placement.state import PlacementState

from tests.sim.clients import COUNTERS, KEYS
from tests.sim.faults import Fault, Heal, _nothing

if TYPE_CHECKING:
    from tests.sim.cluster import SimNode
    from tests.sim.core_cluster import CoreCluster
    from tests.sim.plan import Act
    from tests.sim.reshape_schedule import ReshapeSchedule

CUTS = (*KEYS[1:], *COUNTERS)
SHARDS_MAX = 4
"""With more, neighbours are merged instead."""
WORDS = (
    "prepare", "copying", "seal", "half-sealed", "sealed", "born", "retire", "done", "cancelling",
    "cancelled",
)  # fmt: skip
"""What a plan comes to; see CoreCluster.happened."""
DELAYS = (0.0, 0.0003, 0.002, 0.02)
"""Seconds between that and the harm."""

Wish = Callable[[PlacementState, Desk, random.Random], Shape | Refusal | None]


def propose(cluster: CoreCluster, wish: Wish, rng: random.Random, started: Callable[[Plan], None]) -> bool:
    """Asks for a plan; `started` is told of it. False: nobody is asked, or it is refused."""
    node = cluster.placement_leader()
    if node is None or node.core.conductor is None or node.core.placement is None:
        return False
    now_ms = node.clock_ms()
    state = node.core.placement.state
    shape = wish(state, Desk(state, node.core.conductor.loads(), now_ms), rng)
    if not isinstance(shape, Shape):
        return False

    def answered(result: object) -> None:
        if isinstance(result, Answer) and result.plan is not None:
            started(result.plan)

    node.core.placement.propose(StartPlan(shape, "asked for", now_ms, by_hand=True), answered)
    return True


def cancel(cluster: CoreCluster, plan: int) -> bool:
    """Asks for a plan to be taken back."""
    node = cluster.placement_leader()
    if node is None or node.core.placement is None:
        return False
    node.core.placement.propose(CancelPlan(plan, "asked for", node.clock_ms()), lambda _: None)
    return True


# ---- shapes --------------------------------------------------------------------------------------------


def _free(state: PlacementState) -> list[ShardRow]:
    rows = sorted(state.shards.values(), key=lambda row: row.start)
    return [row for row in rows if state.plan_over(row.group) is None]


def split(state: PlacementState, desk: Desk, rng: random.Random) -> Shape | Refusal | None:
    """Somewhere inside some shard."""
    if len(state.shards) >= SHARDS_MAX:
        return merge(state, desk, rng)
    choices = [
        (row.group, key)
        for row in _free(state)
        for key in CUTS
        if row.start < key and (not row.end or key < row.end)
    ]
    return desk.split_at(*rng.choice(choices)) if choices else None


def merge(state: PlacementState, desk: Desk, rng: random.Random) -> Shape | Refusal | None:
    """Two neighbours; if they are apart, one is moved to the other."""
    rows = _free(state)
    pairs = [(a, b) for a in rows for b in rows if a.end and a.end == b.start]
    if not pairs:
        return split(state, desk, rng) if len(state.shards) < SHARDS_MAX else None
    together = [(a, b) for a, b in pairs if set(a.replicas) == set(b.replicas)]
    left, right = rng.choice(together or pairs)
    return desk.merge(left.group, right.group) if together else desk.move(right.group, left.replicas)


def move(state: PlacementState, desk: Desk, rng: random.Random) -> Shape | Refusal | None:
    """One replica to another node."""
    choices = [
        (row.group, here, there)
        for row in _free(state)
        for here in row.replicas
        for there in sorted(state.nodes)
        if there not in row.replicas
    ]
    return desk.move_one(*rng.choice(choices)) if choices else None


def move_two(state: PlacementState, desk: Desk, rng: random.Random) -> Shape | Refusal | None:
    """To other nodes, all at once, as far as there are any."""
    rows = _free(state)
    if not rows:
        return None
    row = rng.choice(rows)
    others = [node for node in sorted(state.nodes) if node not in row.replicas]
    nodes = (*others, *row.replicas)[: len(row.replicas)]
    return desk.move(row.group, nodes)


def move_placement(state: PlacementState, desk: Desk, rng: random.Random) -> Shape | Refusal | None:
    """The placement group, to some nodes: as many as it has, or more, or fewer."""
    nodes = sorted(state.nodes)
    return desk.move(state.placement.group, rng.sample(nodes, min(rng.choice((1, 2, 3, 3, 3)), len(nodes))))


WISHES: dict[str, Wish] = {"split": split, "merge": merge, "move": move, "move-two": move_two}


# ---- acts ----------------------------------------------------------------------------------------------


def _plan_of(wish: Wish) -> Fault:
    def fire(schedule: ReshapeSchedule, act: Act) -> Heal | None:
        asked = propose(schedule.cluster, wish, random.Random(act.how), lambda _: None)
        return _nothing if asked else None

    return fire  # type: ignore[return-value]


def _cancel(schedule: ReshapeSchedule, act: Act) -> Heal | None:
    """A plan that is taken back: after a while, or when it has come to something."""
    rng = random.Random(act.how)
    word, delay = rng.choice((*WORDS[:5], None, None)), rng.choice((*DELAYS, 0.05, 0.1))
    wish = WISHES[rng.choice(("split", "merge", "merge", "merge", "move"))]
    return _taken_back(schedule, wish, rng, word, delay)


def _cancel_placement(schedule: ReshapeSchedule, act: Act) -> Heal | None:
    """A move of the placement group that is taken back, by itself or by who leads it then."""
    rng = random.Random(act.how)
    word, delay = rng.choice(("prepare", "copying", "seal", "seal", None)), rng.choice((*DELAYS, 0.05))
    return _taken_back(schedule, move_placement, rng, word, delay)


def _taken_back(
    schedule: ReshapeSchedule, wish: Wish, rng: random.Random, word: str | None, delay: float
) -> Heal | None:
    cluster = schedule.cluster

    def started(plan: Plan) -> None:
        if word is None:
            schedule.later(delay * 2, lambda: _cancel_plan(cluster, plan.id))
            return

        def heard(what: str, number: int) -> None:
            if what == word and number == plan.id:
                cluster.listeners.remove(heard)
                schedule.later(delay, lambda: _cancel_plan(cluster, plan.id))

        cluster.listeners.append(heard)

    return _nothing if propose(cluster, wish, rng, started) else None


def _at_phase(schedule: ReshapeSchedule, act: Act) -> Heal | None:
    """When some plan comes to something next, one of those who take part goes, or all."""
    rng, cluster = random.Random(act.how), schedule.cluster
    word, who, delay = rng.choice(WORDS[:8]), rng.choice(list(VICTIMS)), rng.choice(DELAYS)
    power = rng.random() < 0.6
    schedule.fired["at-phase"] -= 1  # counted when it is reached

    def heard(what: str, number: int) -> None:
        if what == word:
            cluster.listeners.remove(heard)
            schedule.later(delay, lambda: strike(number))

    def strike(number: int) -> None:
        plan = cluster.lineage.placement.plans[number]
        struck = [node for node in VICTIMS[who](cluster, plan, rng) if node.driver is not None]
        schedule.fired["at-phase"] += bool(struck)
        schedule.say(f"{word}: {who} of plan {number} goes: {[node.number for node in struck]}")
        for node in struck:
            node.lose_power() if power else node.kill()
            schedule.later(act.lasts, lambda node=node: schedule.start(node))  # type: ignore[misc]

    cluster.listeners.append(heard)
    return _nothing


def _old_word(schedule: ReshapeSchedule, act: Act) -> Heal | None:
    """What a placement leader says of a plan comes late: by then the next one has taken the plan back."""
    rng, cluster, network = random.Random(act.how), schedule.cluster, schedule.cluster.network
    word, late = rng.choice(("seal", "seal", "half-sealed")), rng.uniform(0.3, 0.6)
    schedule.fired["old-word"] -= 1  # counted when it is reached

    def heard(what: str, number: int) -> None:
        node = cluster.placement_leader()
        if what != word or node is None or schedule.healthy:
            return
        cluster.listeners.remove(heard)
        plan = cluster.lineage.placement.plans[number]
        asked = cluster.leader(plan.decider.group)
        others = [asked] if asked is not None and asked is not node else cluster.others(node)
        schedule.fired["old-word"] += 1
        schedule.say(f"{word}: what node {node.number} says of plan {number} comes late")
        for other in others:  # at once: its orders come next
            network.stall(node.number, other.number)
        schedule.later(0.003, lambda: _cancel_plan(cluster, number))
        schedule.later(0.02, lambda: _hand_over(cluster, cluster.placement_group))
        schedule.later(late, lambda: _unstall(cluster, node, others))

    cluster.listeners.append(heard)
    return _nothing


def _late_copy(schedule: ReshapeSchedule, act: Act) -> Heal | None:
    """A copy begins anew when its source was sealed long ago, has gone on since and has a newer snapshot."""
    cluster = schedule.cluster
    schedule.fired["late-copy"] -= 1  # counted when it is reached

    def heard(what: str, number: int) -> None:
        plan = cluster.lineage.placement.plans[number]
        newcomers = {node for node, _ in plan.newcomers()}
        if what != "sealed" or not newcomers:
            return
        cluster.listeners.remove(heard)
        source = plan.decider.group
        schedule.later(0.0, lambda: strike(sorted(newcomers)))
        schedule.later(0.03, lambda: _hand_over(cluster, source))
        schedule.later(0.2, lambda: _snapshot_all(cluster, source))

    def strike(numbers: list[int]) -> None:
        schedule.fired["late-copy"] += 1
        for number in numbers:
            node = cluster.nodes[number]
            node.lose_power()
            schedule.later(0.3 + act.lasts, lambda node=node: schedule.start(node))  # type: ignore[misc]

    cluster.listeners.append(heard)
    return _nothing


def _cancel_plan(cluster: CoreCluster, plan: int) -> None:
    cancel(cluster, plan)


def _unstall(cluster: CoreCluster, node: SimNode, others: list[SimNode]) -> None:
    for other in others:
        cluster.network.unstall(node.number, other.number)


def _hand_over(cluster: CoreCluster, group: int) -> None:
    """Whoever leads the group lets another do so."""
    leader = cluster.leader(group)
    if leader is not None:
        leader.group(group).transfer(None, leader.monotonic() + 0.5, lambda _: None)


def _snapshot_all(cluster: CoreCluster, group: int) -> None:
    for node in cluster.core_nodes():
        if node.driver is not None and group in node.driver.groups:
            node.group(group).want_snapshot()


Victims = Callable[["CoreCluster", Plan, random.Random], "list[SimNode]"]


def _placement_leader(cluster: CoreCluster, plan: Plan, rng: random.Random) -> list[SimNode]:
    node = cluster.placement_leader()
    return [node] if node is not None else []


def _source_leader(cluster: CoreCluster, plan: Plan, rng: random.Random) -> list[SimNode]:
    node = cluster.leader(rng.choice(plan.sources).group)
    return [node] if node is not None else []


def _source_follower(cluster: CoreCluster, plan: Plan, rng: random.Random) -> list[SimNode]:
    source = rng.choice(plan.sources)
    leader = cluster.leader(source.group)
    followers = [n for n in source.replicas if leader is None or n != leader.number]
    return [cluster.nodes[rng.choice(followers)]] if followers else []


def _target_leader(cluster: CoreCluster, plan: Plan, rng: random.Random) -> list[SimNode]:
    target = rng.choice(plan.targets)
    return [cluster.leader(target.group) or cluster.nodes[target.replicas[0]]]


def _joining(cluster: CoreCluster, plan: Plan, rng: random.Random) -> list[SimNode]:
    nodes = [node for node, _ in plan.newcomers()]
    target: Target = rng.choice(plan.targets)
    return [cluster.nodes[rng.choice(nodes or list(target.replicas))]]


def _everybody(cluster: CoreCluster, plan: Plan, rng: random.Random) -> list[SimNode]:
    return list(cluster.nodes.values())


VICTIMS: dict[str, Victims] = {
    "placement leader": _placement_leader,
    "source leader": _source_leader,
    "source follower": _source_follower,
    "target leader": _target_leader,
    "joining node": _joining,
    "everybody": _everybody,
}

ACTS: dict[str, Fault] = {
    **{name: _plan_of(wish) for name, wish in WISHES.items()},
    "move-placement": _plan_of(move_placement),
    "cancel-placement": _cancel_placement,  # type: ignore[dict-item]
    "cancel": _cancel,  # type: ignore[dict-item]
    "at-phase": _at_phase,  # type: ignore[dict-item]
    "old-word": _old_word,  # type: ignore[dict-item]
    "late-copy": _late_copy,  # type: ignore[dict-item]
}
