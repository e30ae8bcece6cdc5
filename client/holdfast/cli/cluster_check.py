"""`holdfast cluster check`: everything an operator would want to see verified before calling it a day.

Every shard, and the placement group, has a leader with a quorum; its replicas hold the same state at the
same index, and stand in as many zones and on as many hosts as they could; no node is down, no plan overdue,
no node far off its share.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import click

from holdfast.cli import placement_planning, placement_plans
from holdfast.cli.complaints import called, of_nodes, of_placement, of_plans, of_shard, of_skew
from holdfast.cli.output import namespace_text, print_json, print_table
from holdfast.cli.placement import Placement, ReplicaFacts
from holdfast.cli.placement_calls import VerbNotKnownError
from holdfast.cli.survey import Survey, gather
from holdfast.cli.verbs import EXIT_ERROR, SECONDS, Call, note, run, talks, verb
from holdfast.shardmap import Shard

CHECK_EVERY_S = 0.2

EXAMPLES = """
# One line a shard, one for each thing that is wrong; exit code 1 if there is any
$ holdfast cluster check

# Under write load indexes rarely meet: give it longer
$ holdfast cluster check --wait 30s

# What is wrong, for a program
$ holdfast cluster check -o json | jq -r '.[].complaints[]'
"""


def register(group: click.Group) -> None:
    """Adds the verb to the noun `cluster`."""
    verb(group, "check", EXAMPLES)(check)


class Verdict(NamedTuple):
    """Whether the replicas of a group hold the same state: equal, different or unknown."""

    shard: int
    state: str
    applied_index: int
    digests: dict[int, str]  # node -> digest, all at applied_index


def compare(shard: Shard, seen: Iterable[ReplicaFacts]) -> Verdict:
    """Judges one group by what its replicas said so far; only digests at one index are comparable."""
    at: dict[int, dict[int, str]] = {}
    for entry in seen:
        if entry.shard.group == shard.group and entry.digest:
            at.setdefault(entry.applied_index, {})[entry.node] = entry.digest
    wanted = {replica.node for replica in shard.replicas}
    for index in sorted(at, reverse=True):
        if len(set(at[index].values())) > 1:
            return Verdict(shard.group, "different", index, at[index])
    for index in sorted(at, reverse=True):
        if set(at[index]) == wanted:
            return Verdict(shard.group, "equal", index, at[index])
    most = max(at, key=lambda index: (len(at[index]), index), default=0)
    return Verdict(shard.group, "unknown", most, at.get(most, {}))


class Look(NamedTuple):
    """What the last look found, and the verdicts on all looks, in the order of its groups."""

    survey: Survey
    verdicts: list[Verdict]


async def _look(call: Call, wait_s: float) -> Look:
    seen: list[ReplicaFacts] = []
    until = asyncio.get_running_loop().time() + wait_s
    for turn in itertools.count():
        if turn:
            await asyncio.sleep(CHECK_EVERY_S)
        survey = await gather(call)
        seen.extend(survey.all_replicas)
        verdicts = [compare(shard, seen) for shard in survey.groups]
        settled = all(v.state == "equal" for v in verdicts) or any(v.state == "different" for v in verdicts)
        if settled or asyncio.get_running_loop().time() > until:
            return Look(survey, verdicts)
    raise AssertionError


def of_verdict(shard: Shard, verdict: Verdict) -> Iterable[str]:
    """What is wrong with the replicas' states."""
    if verdict.state == "different":
        told = ", ".join(f"node {node} {digest}" for node, digest in sorted(verdict.digests.items()))
        yield (
            f"the replicas of {called(shard)} differ at index {verdict.applied_index}: {told};"
            " keep the data of these nodes and report it"
        )
    elif verdict.state == "unknown":
        nodes = ",".join(map(str, sorted(verdict.digests))) or "none"
        yield (
            f"the replicas of {called(shard)} could not be compared: only nodes {nodes} were seen"
            " at one index; --wait gives it longer"
        )


async def _of_planner(call: Call, survey: Survey) -> list[str]:
    """Overdue plans, and skew that the planner would have mended; nothing from servers without a planner."""
    async with Placement(call.endpoints, call.timeout_s) as placement:
        try:
            plans = await placement_plans.plans(placement, ended=False)
            planning = await placement_planning.planning(placement)
        except VerbNotKnownError as problem:
            note(f"plans and skew were not checked: {problem.message}")
            return []
    found = list(of_plans(plans, time.time() * 1000))
    if "balance" in planning.paused:
        note("skew was not checked: balancing is paused (`holdfast plan resume balance`)")
        return found
    return found + list(of_skew(survey.shards, survey.nodes, survey.replicas, planning.skew_percent or 10))


@click.option(
    "--wait", "wait_s", type=SECONDS, default=10.0, help="How long to wait for equal indexes. Default: 10s."
)
@talks
@click.pass_obj
@click.pass_context
def check(ctx: click.Context, call: Call, wait_s: float) -> None:
    """Whether everything is as it should be.

    Every shard, and the placement group, has a leader with a quorum; all its replicas hold the same state at
    the same index and stand in as many zones and on as many hosts as they could; no node is down, no plan
    overdue, no node far off its share of bytes and leaders. Exit code 1 when something is wrong, or when
    replicas could not be compared: one that does not answer, or writes so busy that no two were seen at one
    index.
    """
    survey, verdicts = run(_look(call, wait_s))
    at_large = [*of_nodes(survey.nodes), *run(_of_planner(call, survey))]
    rows = [
        (shard, verdict, _of_one(survey, shard, verdict))
        for shard, verdict in zip(survey.groups, verdicts, strict=True)
    ]
    found = at_large + [sentence for _, _, sentences in rows for sentence in sentences]
    if call.is_json:
        whole = [{"shard": None, **_nothing_compared(), "complaints": at_large}] if at_large else []
        print_json([_row_fields(*row) for row in rows] + whole)
    else:
        print_table(
            ("SHARD", "NAMESPACE", "REPLICAS", "INDEX", "NODES", "VERDICT"),
            [
                (
                    v.shard,
                    namespace_text(shard.namespace),
                    v.state,
                    v.applied_index,
                    sorted(v.digests),
                    "wrong" if sentences else "ok",
                )
                for shard, v, sentences in rows
            ],
        )
        for sentence in found:
            note(sentence)
    if found:
        ctx.exit(EXIT_ERROR)


def _of_one(survey: Survey, shard: Shard, verdict: Verdict) -> list[str]:
    return [
        *of_shard(shard, survey.all_replicas),
        *of_verdict(shard, verdict),
        *of_placement(shard, survey.nodes),
    ]


def _row_fields(shard: Shard, verdict: Verdict, sentences: list[str]) -> dict[str, Any]:
    return {
        "shard": verdict.shard,
        "namespace": namespace_text(shard.namespace),
        "replicas": verdict.state,
        "applied_index": verdict.applied_index,
        "digests": {str(node): digest for node, digest in sorted(verdict.digests.items())},
        "complaints": sentences,
    }


def _nothing_compared() -> dict[str, Any]:
    """The fields of a row that is about the cluster as a whole."""
    return {"namespace": None, "replicas": None, "applied_index": None, "digests": {}}
