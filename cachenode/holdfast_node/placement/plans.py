"""How plans start, go on and end; when one is done the map has other shards.

Invariants:
- A shape becomes a plan only by `judge`, on the state it is applied to: whoever planned it may have looked
  at an older one.
- A plan's phase goes only along plan.py's order; a repeated or late step changes nothing.
- RETIRE is the one step that changes the map: sources out, targets in, epoch + 1, in one go. Of a plan
  over the placement group itself that is done by its Seal (ending.py), never by an Advance.
Not here: when a step is due (reshape.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import Reason

from holdfast_node.cache.seal import Target
from holdfast_node.config import SHARDS_MAX
from holdfast_node.placement.answer import Answer, Result
from holdfast_node.placement.cluster import PLACEMENT_NAMESPACE, Refusal, ShardRow, ids
from holdfast_node.placement.commands import Advance, CancelPlan, StartPlan
from holdfast_node.placement.content import ENDED_MAX, Content
from holdfast_node.placement.namespaces import REPLICAS_MAX, tiling_problem
from holdfast_node.placement.nodes import unknown_node
from holdfast_node.placement.plan import Kind, Phase, Plan
from holdfast_node.placement.shape import Shape

REASON_CHARACTERS_MAX = 500
_FIELDS = {Kind.SPLIT: "group", Kind.MERGE: "other", Kind.MOVE: "group"}
_MAY_FOLLOW = {
    Phase.PREPARE: (Phase.SEAL, Phase.CANCELLING),
    Phase.SEAL: (Phase.RETIRE, Phase.CANCELLING),
    Phase.RETIRE: (Phase.DONE,),
    Phase.CANCELLING: (Phase.CANCELLED, Phase.RETIRE),
}


# ---- starting ------------------------------------------------------------------------------------------


def start(content: Content, c: StartPlan) -> Result:
    """A shape becomes a plan, with ids."""
    problem = judge(content, c.shape, c.when_ms)
    if problem is not None:
        return problem
    first = content.next_group
    content.next_group += len(c.shape.targets)
    plan = as_plan(content, c.shape, content.next_plan, first, c.reason, c.when_ms)
    content.next_plan += 1
    content.plans[plan.id] = plan
    if c.by_hand:
        content.by_hand.add(plan.id)
    return Answer(content.epoch, f"plan {plan.id} has begun", plan=plan)


def as_plan(
    content: Content, shape: Shape, plan: int = 0, first_group: int = 0, reason: str = "", when_ms: int = 0
) -> Plan:
    """The plan that a good shape becomes; without ids: what it would be."""
    return Plan(
        id=plan,
        kind=shape.kind,
        namespace=_first(content, shape).namespace,
        sources=tuple(content.source(group) for group in sorted(shape.sources)),
        targets=tuple(
            Target(group=first_group + i if first_group else 0, start=start, end=end, replicas=replicas)
            for i, (start, end, replicas) in enumerate(shape.targets)
        ),
        reason=reason[:REASON_CHARACTERS_MAX],
        created_ms=when_ms,
    )


def _first(content: Content, shape: Shape) -> ShardRow:
    row = content.place_of(shape.sources[0])
    assert row is not None, "a good shape ends what is there"
    return row


def judge(content: Content, shape: Shape, now_ms: int) -> Refusal | None:
    """Why a shape may not become a plan now; None: it may."""
    if shape.epoch != content.epoch:
        return Refusal(
            Reason.CONDITION_FAILED,
            f"this was planned at epoch {shape.epoch} of the map, which is at {content.epoch} now: look"
            " again",
        )
    return (
        _sources_problem(content, shape)
        or _targets_problem(content, shape)
        or _newcomers_problem(content, shape, now_ms)
        or _limit_problem(content, shape)
    )


def _sources_problem(content: Content, shape: Shape) -> Refusal | None:
    field = _FIELDS[shape.kind]
    wanted = 2 if shape.kind is Kind.MERGE else 1
    if len(shape.sources) != wanted or len(set(shape.sources)) != wanted:
        return Refusal(Reason.INVALID, f"{shape.kind.name} takes {wanted} different shards", field)
    for group in shape.sources:
        problem = source_problem(content, group, shape.kind)
        if problem is not None:
            return problem._replace(field=problem.field or field)
    return None


def source_problem(content: Content, group: int, kind: Kind, field: str = "") -> Refusal | None:
    """Why no plan may end this shard now."""
    if group == content.placement.group and kind is not Kind.MOVE:
        return Refusal(
            Reason.INVALID,
            f"group {group} is the placement group, which has no keys to split or merge: it can be moved,"
            f" `holdfast shard move {group} --to ...`",
            field,
        )
    if content.place_of(group) is None:
        return Refusal(
            Reason.INVALID,
            f"no shard is served by group {group} at epoch {content.epoch} of the map:"
            " see `holdfast shard list`",
            field,
        )
    over = content.plan_over(group)
    # A target that cannot come to stand, its nodes being gone, may be moved before its plan is done.
    if over is None or (over.phase is Phase.RETIRE and kind is Kind.MOVE and _is_last(over, group)):
        return None
    return Refusal(
        Reason.BUSY,
        f"plan {over.id} ({over.kind.name}, {over.phase.name}) is under way over shard {group}: wait for it,"
        f" or `holdfast op cancel {over.id}`",
        field,
    )


def _is_last(over: Plan, group: int) -> bool:
    return all(source.group != group for source in over.sources)


def _targets_problem(content: Content, shape: Shape) -> Refusal | None:
    rows = [row for group in shape.sources if (row := content.place_of(group)) is not None]
    rows.sort(key=lambda row: row.start)
    namespace = content.space_of(rows[0])
    if shape.kind is Kind.MERGE:
        problem = merge_problem(rows[0], rows[1])
        if problem is not None:
            return problem
    wanted = 2 if shape.kind is Kind.SPLIT else 1
    if len(shape.targets) != wanted:
        return Refusal(
            Reason.INVALID, f"{shape.kind.name} makes {wanted} shards, not {len(shape.targets)}", "key"
        )
    tiling = tiling_problem(namespace, shape.targets, rows[0].start, rows[-1].end)
    if tiling is not None:
        return tiling._replace(field="key")
    return _replicas_problem(rows[0], shape)


def merge_problem(left: ShardRow, right: ShardRow) -> Refusal | None:
    """Why two shards cannot be merged in place."""
    if left.namespace != right.namespace or not left.end or left.end != right.start:
        return Refusal(
            Reason.INVALID,
            f"shards {left.group} and {right.group} are not neighbours: {_where(left)} and {_where(right)}",
            "other",
        )
    if set(left.replicas) != set(right.replicas):
        return Refusal(
            Reason.INVALID,
            f"shards {left.group} and {right.group} are on nodes {ids(sorted(left.replicas))} and"
            f" {ids(sorted(right.replicas))}: move one first, `holdfast shard move {right.group}"
            f" --to {','.join(map(str, left.replicas))}`",
            "other",
        )
    return None


def _where(row: ShardRow) -> str:
    return (
        f"{row.namespace} [{row.start!r}, {row.end!r})"
        if row.end
        else f"{row.namespace} [{row.start!r}, ...)"
    )


def _replicas_problem(row: ShardRow, shape: Shape) -> Refusal | None:
    for part in shape.targets:
        if not 1 <= len(part.replicas) <= REPLICAS_MAX:
            return Refusal(
                Reason.INVALID, f"a shard has 1..{REPLICAS_MAX} replicas, not {len(part.replicas)}", "nodes"
            )
        twice = sorted({node for node in part.replicas if part.replicas.count(node) > 1})
        if twice:
            return Refusal(Reason.INVALID, f"node {twice[0]} is named twice", "nodes")
        stays = set(part.replicas) == set(row.replicas)
        if shape.kind is not Kind.MOVE and not stays:
            return Refusal(
                Reason.INVALID,
                f"{shape.kind.name} stays on nodes {ids(row.replicas)}: move it apart",
                "nodes",
            )
        if shape.kind is Kind.MOVE and stays:
            return Refusal(
                Reason.INVALID,
                f"{_named(row)} is on nodes {ids(row.replicas)} already; for another leader:"
                " `holdfast shard transfer-leader`",
                "nodes",
            )
    return None


def _named(row: ShardRow) -> str:
    return f"the placement group, {row.group}," if row.is_placement else f"shard {row.group}"


def _newcomers_problem(content: Content, shape: Shape, now_ms: int) -> Refusal | None:
    if shape.kind is not Kind.MOVE:
        return None
    held = _first(content, shape).replicas
    for number in shape.targets[0].replicas:
        node = content.nodes.get(number)
        if node is None:
            return unknown_node(content, number, "nodes")
        why = node.why_no_replica(now_ms) if number not in held else ""
        if why:
            return Refusal(Reason.CONDITION_FAILED, f"node {number} {why}", "nodes")
    return None


def _limit_problem(content: Content, shape: Shape) -> Refusal | None:
    # What heals the placement group heals everything: it does not wait for others, and there is one at most.
    if len(content.plans) >= content.planning.plans_max and shape.sources != (content.placement.group,):
        return Refusal(
            Reason.BUSY,
            f"{len(content.plans)} plans are under way ({ids(sorted(content.plans))}), the most at once:"
            " wait, or raise it with `holdfast plan limits`",
        )
    if shape.kind is Kind.SPLIT and len(content.shards) >= SHARDS_MAX:
        return Refusal(Reason.CONDITION_FAILED, f"the cluster has {SHARDS_MAX} shards, the most there may be")
    return None


# ---- going on ------------------------------------------------------------------------------------------


def advance(content: Content, c: Advance) -> Result:
    """A plan goes on; nothing happens when it is not, or no longer, in the phase it is to leave."""
    plan = content.plan(c.plan)
    if plan is None:
        return unknown_plan(content, c.plan)
    if plan.phase is not c.from_phase:
        explanation = f"plan {plan.id} is in {plan.phase.name}"
        return Answer(content.epoch, explanation, changed=False, plan=plan)
    if c.to_phase not in _MAY_FOLLOW.get(c.from_phase, ()):
        return Refusal(
            Reason.INVALID, f"a plan does not go from {c.from_phase.name} to {c.to_phase.name}", "to_phase"
        )
    if c.to_phase is Phase.RETIRE and plan.namespace == PLACEMENT_NAMESPACE:
        return Refusal(Reason.INVALID, f"only its Seal brings plan {plan.id} to RETIRE", "to_phase")
    plan = plan._replace(phase=c.to_phase)
    if c.to_phase is Phase.CANCELLING:
        plan = plan._replace(why_cancelled=(c.why or "a source refused it")[:REASON_CHARACTERS_MAX])
    if c.to_phase is Phase.RETIRE:
        plan = plan._replace(why_cancelled="")
        flip(content, plan, c.when_ms)
    if plan.is_open:
        content.plans[plan.id] = plan
    else:
        plan = plan._replace(ended_ms=c.when_ms)
        _end(content, plan)
    return Answer(content.epoch, f"plan {plan.id} is in {plan.phase.name}", plan=plan)


def flip(content: Content, plan: Plan, when_ms: int) -> None:
    """The map's shards: the sources go, the targets come."""
    if plan.namespace == PLACEMENT_NAMESPACE:
        (target,) = plan.targets
        content.placement = content.placement._replace(
            group=target.group, replicas=target.replicas, epoch=content.step_epoch(), plan=plan.id
        )
        return
    rows = [content.shards.pop(source.group) for source in plan.sources]
    rows.sort(key=lambda row: row.start)
    epoch = content.step_epoch()
    for target in plan.targets:
        content.shards[target.group] = ShardRow(
            target.group,
            plan.namespace,
            target.start,
            target.end,
            target.replicas,
            epoch,
            plan.id,
            split_ms=_split_ms(plan, rows, when_ms),
            kept=rows[0].kept if target.start == rows[0].start else plan.id in content.by_hand,
        )


def _split_ms(plan: Plan, rows: Sequence[ShardRow], when_ms: int) -> int:
    return when_ms if plan.kind is Kind.SPLIT else max(row.split_ms for row in rows)


def _end(content: Content, plan: Plan) -> None:
    del content.plans[plan.id]
    content.by_hand.discard(plan.id)
    content.ended[plan.id] = plan
    while len(content.ended) > ENDED_MAX:
        del content.ended[next(iter(content.ended))]


def cancel(content: Content, c: CancelPlan) -> Result:
    """Somebody wants a plan taken back."""
    plan = content.plan(c.plan)
    if plan is None:
        return unknown_plan(content, c.plan)
    if plan.phase is Phase.CANCELLING:
        explanation = f"plan {plan.id} is being taken back"
        return Answer(content.epoch, explanation, changed=False, plan=plan)
    if plan.phase not in (Phase.PREPARE, Phase.SEAL):
        return Refusal(Reason.CONDITION_FAILED, f"plan {plan.id} {_WHY_NOT[plan.phase]}", "id")
    why = c.why or "asked for"
    step = Advance(plan.id, plan.phase, Phase.CANCELLING, c.when_ms, why)
    return advance(content, step)


_WHY_NOT = {
    Phase.RETIRE: "is decided: its sources are sealed and its targets serve; it will be done by itself",
    Phase.DONE: "is done; to undo it, plan the opposite",
    Phase.CANCELLED: "was cancelled already",
}


def unknown_plan(content: Content, plan: int) -> Refusal:
    """There is no such plan, or none that is remembered."""
    if 0 < plan < content.next_plan:
        return Refusal(
            Reason.INVALID, f"plan {plan} has ended, and only the last {ENDED_MAX} are remembered", "id"
        )
    return Refusal(
        Reason.INVALID, f"there is no plan {plan}; open: {ids(sorted(content.plans)) or 'none'}", "id"
    )
