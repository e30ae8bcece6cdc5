"""How a plan is carried out, as pure transitions: what is known of its shards -> what to do next.

The log of the last source judges: only a Seal applied there makes the targets true, only an Abort applied
there lets the plan be forgotten. What a report says of an applied state is proof, whoever sent it; what no
report says proves nothing.

Invariants:
- Every step may be done again, by this placement leader or the next, at any time.
- A Seal is asked for only in the order of the sources' ids, and of a move only while every new replica
  holds a durable copy that is close behind and said so a moment ago.
- The map flips only after the last source's Seal is known to be applied.
- A source of a merge that waits is released only with the proof of an Abort in the last one.
- A plan is done only when every target replica stands on a snapshot of its own, or was superseded: until
  then its sources stay.
Not here: who talks to whom (conductor.py), what an entry does (cache/state.py).
Source: protocols.md 7; Lamport, Malkhi & Zhou, "Reconfiguring a State Machine" (2010).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from holdfast_node.cache.seal import OtherSource, Target
from holdfast_node.placement.plan import Kind, Phase, Plan, Source

COPY_BEHIND_BYTES_MAX = 1024 * 1024
"""What a copy may lack when the Seal is asked for: what is left is the pause that clients see."""
SAID_WITHIN_MS = 1000
MERGE_STALE_MS_MAX = 300
"""How old a replica may say that its state is: one that keeps up shows the time of two heartbeats each way
(protocols.md 7 allows 100 ms of lag, which is what this leaves beside them).
"""


class ReplicaFacts(NamedTuple):
    """What a node last said of one of its replicas.

    Attributes:
        leads: whether it leads, with everything of earlier terms applied.
        applied: index.
        sealed: the plan whose Seal ended it here; 0: none. seal_index, seal_term: of that entry.
        floor: the highest plan id aborted here.
        stands: it has a durable snapshot of its own, or the log from its very beginning.
        staleness_ms: how old its applied state may be; -1: not known.
        said_ms_ago: age of the report.
    """

    leads: bool = False
    applied: int = 0
    sealed: int = 0
    seal_index: int = 0
    seal_term: int = 0
    floor: int = 0
    stands: bool = False
    staleness_ms: int = -1
    said_ms_ago: int = 0


class CopyFacts(NamedTuple):
    """What a node last said of a copy it makes. durable: all it has followed is on disk. begun: by this
    process of the node; what an earlier one left begins anew.
    """

    durable: bool = False
    behind_bytes: int = 0
    said_ms_ago: int = 0
    problem: str = ""
    begun: bool = True


class Facts(NamedTuple):
    """All that is known: replicas and copies by (group, node), and the groups that a later plan ended."""

    replicas: Mapping[tuple[int, int], ReplicaFacts] = {}
    copies: Mapping[tuple[int, int], CopyFacts] = {}
    superseded: frozenset[int] = frozenset()


# ---- steps ---------------------------------------------------------------------------------------------


class Advance(NamedTuple):
    """The plan enters `phase`: an entry of the placement group. RETIRE also flips the map."""

    phase: Phase


class AskSeal(NamedTuple):
    """`node`, who leads the source, is to propose the Seal."""

    node: int
    group: int
    decides: bool
    others: tuple[OtherSource, ...]


class AskAbort(NamedTuple):
    """`node`, who leads the source, is to propose the Abort."""

    node: int
    group: int


class AskUnseal(NamedTuple):
    """`node`, who leads the source, is to propose the Unseal: the last source's Abort is applied."""

    node: int
    group: int


class AskCopy(NamedTuple):
    """`node` is to copy and follow the source under the target's id."""

    node: int
    target: Target
    source: int
    from_nodes: tuple[int, ...]


class AskSnapshot(NamedTuple):
    """`node` is to make a snapshot of its replica, so that it needs the source no more."""

    node: int
    group: int


Step = Advance | AskSeal | AskAbort | AskUnseal | AskCopy | AskSnapshot


class Next(NamedTuple):
    """What to do now, and what is waited for, for a person."""

    steps: tuple[Step, ...]
    progress: str


def advance(plan: Plan, facts: Facts) -> Next:
    """What to do for an open plan."""
    if plan.phase is Phase.PREPARE:
        return _prepare(plan, facts)
    if plan.phase is Phase.SEAL:
        return _seal(plan, facts)
    if plan.phase is Phase.CANCELLING:
        return _cancel(plan, facts)
    return _retire(plan, facts)


# ---- phases --------------------------------------------------------------------------------------------


def _prepare(plan: Plan, facts: Facts) -> Next:
    if any(_is_aborted(plan, source, facts) for source in plan.sources):
        return Next((Advance(Phase.CANCELLING),), "a source has refused it")
    missing = _not_ready(plan, facts)
    if missing:
        return Next(tuple(_copies_to_start(plan, facts)), missing)
    return Next((Advance(Phase.SEAL),), "ready")


def _seal(plan: Plan, facts: Facts) -> Next:
    if _is_aborted(plan, plan.decider, facts):
        return Next((Advance(Phase.CANCELLING),), "the last source has refused it")
    others: list[OtherSource] = []
    for source in plan.sources:
        if _is_sealed(plan, source, facts):
            others.append(_sealed_at(plan, source, facts))
            continue
        if _is_aborted(plan, source, facts):
            return Next((Advance(Phase.CANCELLING),), f"group {source.group} has refused it")
        # Once one source of a merge is sealed its clients wait: there is no better moment to wait for.
        missing = "" if others else _not_ready(plan, facts)
        if missing:
            return Next(tuple(_copies_to_start(plan, facts)), missing)
        leader = _leader(source, facts)
        if leader is None:
            return Next((), f"group {source.group} has no leader")
        decides = source is plan.decider
        return Next(
            (AskSeal(leader, source.group, decides, tuple(others) if decides else ()),),
            f"group {source.group} is being sealed",
        )
    return Next((Advance(Phase.RETIRE),), "sealed")


def _cancel(plan: Plan, facts: Facts) -> Next:
    if _is_sealed(plan, plan.decider, facts):
        return Next((Advance(Phase.RETIRE),), "it was already decided when it was taken back")
    if not _is_aborted(plan, plan.decider, facts):
        return _ask(plan.decider, facts, AskAbort)
    for source in plan.sources[:-1]:
        if not _is_aborted(plan, source, facts):
            return _ask(source, facts, AskUnseal)
    return Next((Advance(Phase.CANCELLED),), "taken back")


def _ask(source: Source, facts: Facts, what: type[AskAbort | AskUnseal]) -> Next:
    leader = _leader(source, facts)
    if leader is None:
        return Next((), f"group {source.group} has no leader")
    return Next((what(leader, source.group),), f"group {source.group} is told")


def _retire(plan: Plan, facts: Facts) -> Next:
    steps: dict[int, Step] = {}  # by node: one snapshot at a time, as it serves meanwhile
    waiting: list[str] = []
    for target in plan.targets:
        if target.group in facts.superseded:
            continue
        for node in target.replicas:
            known = facts.replicas.get((target.group, node))
            if known is not None and known.stands:
                continue
            waiting.append(f"{target.group} on node {node}")
            if known is not None:
                steps.setdefault(node, AskSnapshot(node, target.group))
    if not waiting:
        return Next((Advance(Phase.DONE),), "done")
    return Next(
        (*steps.values(), *_copies_to_start(plan, facts)),
        "waits for the replicas to stand on their own: " + ", ".join(waiting),
    )


# ---- what is known -------------------------------------------------------------------------------------


def _said_of(source: Source, facts: Facts) -> Iterator[ReplicaFacts]:
    for node in source.replicas:
        known = facts.replicas.get((source.group, node))
        if known is not None:
            yield known


def _is_aborted(plan: Plan, source: Source, facts: Facts) -> bool:
    """An Abort, or an Unseal, of this plan is applied there: no Seal of it ever will be again."""
    return any(known.floor >= plan.id for known in _said_of(source, facts))


def _is_sealed(plan: Plan, source: Source, facts: Facts) -> bool:
    """Its Seal of this plan is applied and stands."""
    sealed = any(known.sealed == plan.id for known in _said_of(source, facts))
    # A replica that lags may still show the Seal that an Unseal has lifted.
    return sealed and not _is_aborted(plan, source, facts)


def _sealed_at(plan: Plan, source: Source, facts: Facts) -> OtherSource:
    known = next(known for known in _said_of(source, facts) if known.sealed == plan.id)
    return OtherSource(source.group, known.seal_index, known.seal_term)


def _leader(source: Source, facts: Facts) -> int | None:
    """Who leads, by the freshest report."""
    leading = [
        (known.said_ms_ago, node)
        for node in source.replicas
        if (known := facts.replicas.get((source.group, node))) is not None and known.leads
    ]
    return min(leading)[1] if leading else None


def _not_ready(plan: Plan, facts: Facts) -> str:
    """What keeps the plan from being sealed; '': nothing."""
    for source in plan.sources:
        if _leader(source, facts) is None:
            return f"group {source.group} has no leader"
    for node, target in plan.newcomers():
        missing = _copy_missing(node, target, facts)
        if missing:
            return missing
    for target in plan.targets:
        missing = _not_to_be_born(plan, target, facts)
        if missing:
            return missing
    if plan.kind is Kind.MERGE:
        return _merge_not_ready(plan, facts)
    return ""


def _not_to_be_born(plan: Plan, target: Target, facts: Facts) -> str:
    """Why no majority of a target could be born of a Seal; '': one could.

    A source that is itself new may still lack replicas. Whoever has none of it, and does not copy it, waits.
    """
    source = plan.sources[0]
    copying = {node for node, newcomers in plan.newcomers() if newcomers == target}
    without = [
        node for node in target.replicas if node not in copying and (source.group, node) not in facts.replicas
    ]
    if 2 * (len(target.replicas) - len(without)) > len(target.replicas):
        return ""
    return f"group {source.group} has not come to node {', '.join(map(str, without))} yet"


def _copy_missing(node: int, target: Target, facts: Facts) -> str:
    """What a new replica lacks; '': nothing."""
    copy = facts.copies.get((target.group, node))
    missing = ""
    if (target.group, node) in facts.replicas:
        pass
    elif copy is None or not copy.begun:
        missing = f"node {node} has not begun its copy"
    elif copy.problem:
        missing = f"node {node} copies: {copy.problem}"
    elif not copy.durable or copy.behind_bytes > COPY_BEHIND_BYTES_MAX:
        missing = f"node {node} copies, {copy.behind_bytes} bytes behind"
    elif copy.said_ms_ago > SAID_WITHIN_MS:
        missing = f"node {node} was last heard {copy.said_ms_ago} ms ago"
    return missing


def _merge_not_ready(plan: Plan, facts: Facts) -> str:
    """Every replica of both is there and close: whoever lags would make both wait."""
    for source in plan.sources:
        for node in source.replicas:
            known = facts.replicas.get((source.group, node))
            if known is None or known.said_ms_ago > SAID_WITHIN_MS:
                return f"node {node} does not report"
            if not 0 <= known.staleness_ms <= MERGE_STALE_MS_MAX:
                return f"group {source.group} lags on node {node}"
    return ""


def _copies_to_start(plan: Plan, facts: Facts) -> Iterator[AskCopy]:
    source = plan.sources[0]
    for node, target in plan.newcomers():
        copy = facts.copies.get((target.group, node))
        if (target.group, node) in facts.replicas or (copy is not None and copy.begun):
            continue
        reported = {n: facts.replicas.get((source.group, n)) for n in source.replicas}
        # A follower rather than the leader: it has time. Those not heard of come last, but they come: the
        # copy keeps to these nodes, and whoever is heard of now may be gone before it has ended.
        holders = sorted(
            source.replicas, key=lambda n: ((r := reported[n]) is None, r is not None and r.leads)
        )
        if any(reported.values()):
            yield AskCopy(node, target, source.group, tuple(holders))
