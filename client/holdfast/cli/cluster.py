"""`holdfast cluster ...`: the whole at a glance, and whether it serves."""

from __future__ import annotations

import click

from holdfast.cli import cluster_check, placement_group, placement_plans
from holdfast.cli.complaints import complaints
from holdfast.cli.output import print_json, print_table, size_text
from holdfast.cli.placement import Placement
from holdfast.cli.placement_calls import VerbNotKnownError
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.plan_text import plan_fields
from holdfast.cli.survey import best_replica, gather, node_fields, row_fields, standing
from holdfast.cli.verbs import EXIT_ERROR, Call, note, noun, run, talks, verb

EXAMPLES = """
# Nodes, shards and sizes
$ holdfast cluster status

# Does every shard have a leader and a quorum? Exit code 1 if not
$ holdfast cluster health

# Is everything as it should be, down to the bytes of every replica? Exit code 1 if not
$ holdfast cluster check
"""

_STATUS = """
# The whole at a glance
$ holdfast cluster status

# From a node that is not the default
$ holdfast cluster status --endpoints 127.0.0.1:7402
"""

_HEALTH = """
# One line for each thing that is wrong; exit code 1 if there is any
$ holdfast cluster health

# In a script
$ holdfast cluster health -o json | jq .healthy
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "cluster", "The cluster as a whole.", EXAMPLES)
    verb(group, "status", _STATUS)(status)
    verb(group, "health", _HEALTH)(health)
    cluster_check.register(group)


@talks
@click.pass_obj
def status(call: Call) -> None:
    """Nodes and shards with their leaders and sizes, where the placement group is, and the plans under
    way.
    """
    survey = run(gather(call))
    cluster_id, nodes = survey.cluster_id, survey.nodes
    rows = [row_fields(shard, best_replica(shard, survey.replicas)) for shard in survey.shards]
    plans = run(_under_way(call))
    group = placement_group.of(survey)
    if call.is_json:
        described = [node_fields(node) for node in nodes]
        fields = {"cluster_id": cluster_id, "epoch": survey.epoch, "nodes": described, "shards": rows}
        placement = None if group is None else group.fields()
        under_way = None if plans is None else [plan_fields(plan) for plan in plans]
        print_json({**fields, "placement": placement, "plans": under_way})
        return
    led = [row["leader"] for row in rows]
    keys = sum(row["keys"] or 0 for row in rows)
    size = size_text(sum(row["bytes"] or 0 for row in rows))
    up = sum(node.state == "up" for node in nodes)
    note(f"cluster {cluster_id}: {up} of {len(nodes)} nodes up, {len(rows)} shards, {keys} keys, {size}")
    print_table(
        ("NODE", "ADDRESS", "STATE", "STANDING", "LEADS", "REPLICAS", "CLOCK"),
        [
            (
                node.id, node.address, node.state, standing(node), led.count(node.id),
                sum(node.id in row["replicas"] for row in rows), f"{node.clock_offset_ms:+d} ms",
            )
            for node in nodes
        ],
    )  # fmt: skip
    if group is not None:
        note(str(group))
    if plans:
        note(f"plans under way: {len(plans)}; `holdfast op list` shows them")


async def _under_way(call: Call) -> list[PlanFacts] | None:
    """Plans that have not ended; None: an older server, which has none."""
    async with Placement(call.endpoints, call.timeout_s) as placement:
        try:
            return await placement_plans.plans(placement, ended=False)
        except VerbNotKnownError:
            return None


@talks
@click.pass_obj
@click.pass_context
def health(ctx: click.Context, call: Call) -> None:
    """Whether every node is up and every shard, and the placement group, has a leader with a quorum.

    Exit code 1 if not.
    """
    survey = run(gather(call))
    found = list(complaints(survey))
    if call.is_json:
        print_json({"healthy": not found, "complaints": found})
    else:
        for sentence in found or [f"healthy: {len(survey.nodes)} nodes up, {len(survey.shards)} shards led"]:
            click.echo(sentence)
    if found:
        ctx.exit(EXIT_ERROR)
