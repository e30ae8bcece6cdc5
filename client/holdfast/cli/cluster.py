"""`holdfast cluster ...`: the whole at a glance, whether it serves, whether its replicas agree."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import click

from holdfast.cli.node import node_fields
from holdfast.cli.output import print_json, print_table, range_text, size_text
from holdfast.cli.placement import NodeFacts, ReplicaFacts
from holdfast.cli.shard import best_replica, gather, row_fields
from holdfast.cli.verbs import EXIT_ERROR, SECONDS, Call, note, noun, run, talks, verb
from holdfast.shardmap import Shard

# A follower this far behind is said to lag; a healthy one is behind by what is in flight.
LAG_ENTRIES_MAX = 10_000
CHECK_EVERY_S = 0.2

EXAMPLES = """
# Nodes, shards and sizes
$ holdfast cluster status

# Does every shard have a leader and a quorum? Exit code 1 if not
$ holdfast cluster health

# Do all replicas hold the same state? Exit code 1 if not
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

_CHECK = """
# Compare the digests of all replicas at equal index
$ holdfast cluster check

# Under write load indexes rarely meet: give it longer
$ holdfast cluster check --wait 30s
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "cluster", "The cluster as a whole.", EXAMPLES)
    verb(group, "status", _STATUS)(status)
    verb(group, "health", _HEALTH)(health)
    verb(group, "check", _CHECK)(check)


@talks
@click.pass_obj
def status(call: Call) -> None:
    """Nodes and shards with their leaders and sizes."""
    cluster_id, epoch, shards, nodes, replicas = run(gather(call))
    rows = [row_fields(shard, best_replica(shard, replicas)) for shard in shards]
    if call.is_json:
        described = [node_fields(node) for node in nodes]
        print_json({"cluster_id": cluster_id, "epoch": epoch, "nodes": described, "shards": rows})
        return
    led = [row["leader"] for row in rows]
    keys = sum(row["keys"] or 0 for row in rows)
    size = size_text(sum(row["bytes"] or 0 for row in rows))
    up = sum(node.state == "up" for node in nodes)
    note(f"cluster {cluster_id}: {up} of {len(nodes)} nodes up, {len(rows)} shards, {keys} keys, {size}")
    print_table(
        ("NODE", "ADDRESS", "STATE", "LEADS", "REPLICAS", "CLOCK"),
        [
            (
                node.id, node.address, node.state, led.count(node.id),
                sum(node.id in row["replicas"] for row in rows), f"{node.clock_offset_ms:+d} ms",
            )
            for node in nodes
        ],
    )  # fmt: skip


def complaints(shards: list[Shard], nodes: list[NodeFacts], replicas: list[ReplicaFacts]) -> Iterable[str]:
    """What is wrong, one sentence each; nothing: the cluster serves and can lose a minority of nodes."""
    for node in nodes:
        if node.state != "up":
            yield f"node {node.id} ({node.address}) is down"
        if abs(node.clock_offset_ms) > 500:
            yield f"the clock of node {node.id} is {node.clock_offset_ms:+d} ms off the others'"
    for shard in shards:
        yield from _complaints_of(shard, replicas)


def _complaints_of(shard: Shard, replicas: list[ReplicaFacts]) -> Iterable[str]:
    best = best_replica(shard, replicas)
    name = f"shard {shard.group} ({shard.namespace} {range_text(shard.range)})"
    if best is None or best.role != "leader":
        yield f"{name} has no leader"
        return
    if not best.has_quorum:
        yield f"the leader of {name}, node {best.node}, has no proven quorum"
    for entry in replicas:
        if entry.shard.group != shard.group:
            continue
        behind = best.commit_index - entry.applied_index
        if entry.stopped_because:
            yield f"the replica of {name} on node {entry.node} has stopped: {entry.stopped_because}"
        elif behind > LAG_ENTRIES_MAX:
            yield f"the replica of {name} on node {entry.node} is {behind} entries behind"


@talks
@click.pass_obj
@click.pass_context
def health(ctx: click.Context, call: Call) -> None:
    """Whether every node is up and every shard has a leader with a quorum. Exit code 1 if not."""
    _, _, shards, nodes, replicas = run(gather(call))
    found = list(complaints(shards, nodes, replicas))
    if call.is_json:
        print_json({"healthy": not found, "complaints": found})
    else:
        for sentence in found or [f"healthy: {len(nodes)} nodes up, {len(shards)} shards led"]:
            click.echo(sentence)
    if found:
        ctx.exit(EXIT_ERROR)


class Verdict(NamedTuple):
    """Whether the replicas of a shard hold the same state: equal, different or unknown."""

    shard: int
    state: str
    applied_index: int
    digests: dict[int, str]  # node -> digest, all at applied_index


def compare(shard: Shard, seen: Iterable[ReplicaFacts]) -> Verdict:
    """Judges one shard by what its replicas said so far; only digests at one index are comparable."""
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


async def _check(call: Call, wait_s: float) -> list[Verdict]:
    seen: list[ReplicaFacts] = []
    until = asyncio.get_running_loop().time() + wait_s
    for turn in itertools.count():
        if turn:
            await asyncio.sleep(CHECK_EVERY_S)
        _, _, shards, _, replicas = await gather(call)
        seen.extend(replicas)
        verdicts = [compare(shard, seen) for shard in shards]
        settled = all(v.state == "equal" for v in verdicts) or any(v.state == "different" for v in verdicts)
        if settled or asyncio.get_running_loop().time() > until:
            return verdicts
    raise AssertionError


@click.option(
    "--wait", "wait_s", type=SECONDS, default=10.0, help="How long to wait for equal indexes. Default: 10s."
)
@talks
@click.pass_obj
@click.pass_context
def check(ctx: click.Context, call: Call, wait_s: float) -> None:
    """Whether all replicas of every shard hold the same state at the same index.

    Exit code 1 when some differ, or when they could not be compared: a replica that does not answer, or
    writes so busy that no two replicas were seen at one index.
    """
    verdicts = run(_check(call, wait_s))
    if call.is_json:
        print_json([_verdict_fields(verdict) for verdict in verdicts])
    else:
        print_table(
            ("SHARD", "REPLICAS", "INDEX", "NODES"),
            [(v.shard, v.state, v.applied_index, sorted(v.digests)) for v in verdicts],
        )
    if any(verdict.state != "equal" for verdict in verdicts):
        ctx.exit(EXIT_ERROR)


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "shard": verdict.shard,
        "replicas": verdict.state,
        "applied_index": verdict.applied_index,
        "digests": {str(node): digest for node, digest in sorted(verdict.digests.items())},
    }
