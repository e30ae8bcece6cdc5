"""`holdfast node ...`: the processes of the cluster, where they serve and what they hold."""

from __future__ import annotations

import time

import click

from holdfast.cli import node_drain, node_reset, node_standing
from holdfast.cli.output import age_text, namespace_text, print_json, print_table, range_text, size_text
from holdfast.cli.placement import NodeFacts
from holdfast.cli.survey import gather, node_fields, replica_fields, standing
from holdfast.cli.verbs import Call, FailedError, note, noun, run, talks, verb

EXAMPLES = """
# Every node, with the process that serves it
$ holdfast node list

# Hold the planner back while node 3 is restarted
$ holdfast node cordon 3 --for 10m

# Take node 3 out of the cluster for good
$ holdfast node drain 3 --wait
$ holdfast node remove 3
"""

_LIST = """
# Every node
$ holdfast node list

# The process id of node 1, to kill it
$ holdfast node list -o json | jq '.[] | select(.id == 1) | .pid'
"""

_SHOW = """
# Node 2 and the replicas it hosts
$ holdfast node show 2
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "node", "The processes of the cluster.", EXAMPLES)
    verb(group, "list", _LIST)(list_nodes)
    verb(group, "show", _SHOW)(show)
    node_standing.register(group)
    node_drain.register(group)
    node_reset.register(group)


@talks
@click.pass_obj
def list_nodes(call: Call) -> None:
    """Every node: where it serves, whether it is heard from, which process it is."""
    nodes = run(gather(call)).nodes
    rows = [node_fields(node) for node in nodes]
    if call.is_json:
        print_json(rows)
        return
    columns = ("id", "address", "http", "zone", "state", "standing", "pid", "version")
    held = [(row["replicas"], row["leaders"], size_text(row["bytes"] or 0)) for row in rows]
    print_table(
        [*(name.upper() for name in columns), "REPLICAS", "LEADS", "SIZE"],
        [[*(row[name] for name in columns), *more] for row, more in zip(rows, held, strict=True)],
    )


def _standing_text(node: NodeFacts) -> str:
    """Its standing for a person, with what goes with it."""
    now_ms = time.time() * 1000
    told = standing(node, now_ms)
    if told == "cordoned":
        told += f" for {age_text((node.cordoned_until_ms - now_ms) / 1000)} more"
    if node.is_placed:
        told += f", weight {node.weight}, busy {node.busy_percent} %"
    labels = ",".join(f"{name}={value}" for name, value in node.labels)
    return told + (f", labels {labels}" if labels else "")


@click.argument("node", type=int)
@talks
@click.pass_obj
def show(call: Call, node: int) -> None:
    """One node and the replicas it hosts, of shards and of the placement group."""
    survey = run(gather(call))
    nodes = survey.nodes
    found = next((entry for entry in nodes if entry.id == node), None)
    if found is None:
        raise FailedError(f"no node {node}; the nodes are {', '.join(str(n.id) for n in nodes)}")
    own = [entry for entry in survey.all_replicas if entry.node == node]
    if call.is_json:
        hosted = [
            {
                "shard": entry.shard.group,
                "namespace": namespace_text(entry.shard.namespace),
                **replica_fields(entry),
            }
            for entry in own
        ]
        # `replicas` has always been the list here; how many `node list` counts.
        print_json({**node_fields(found), "clock_offset_ms": found.clock_offset_ms, "replicas": hosted})
        return
    pid = found.pid or "not known"
    note(f"node {node} at {found.address}: {found.state}, pid {pid}, clock {found.clock_offset_ms:+d} ms")
    note(_standing_text(found))
    columns = ("shard", "namespace", "keys in", "role", "term", "applied", "quorum", "keys")
    print_table(
        [name.upper() for name in columns],
        [
            (
                e.shard.group, namespace_text(e.shard.namespace),
                range_text(e.shard) if e.shard.namespace else None,
                e.role, e.term, e.applied_index, e.has_quorum,
                e.keys if e.shard.namespace else None,
            )
            for e in own
        ],
    )  # fmt: skip
