"""`holdfast node ...`: the processes of the cluster; and what to do with a damaged data directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import click

from holdfast.cli.output import print_json, print_table, range_text
from holdfast.cli.placement import NodeFacts
from holdfast.cli.shard import gather, replica_fields
from holdfast.cli.verbs import Call, FailedError, note, noun, output_option, run, talks, verb

# As holdfast_node.identity writes them; not imported, because the base install has no server.
LOCK_FILE = "LOCK"
IDENTITY_FILE = "node.json"

EXAMPLES = """
# Every node, with the process that serves it
$ holdfast node list
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

_RESET = """
# The WAL of a stopped node is damaged and cannot be restored: set its data aside
$ holdfast node reset --data ./.holdfast/node-2/data --yes
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "node", "The processes of the cluster.", EXAMPLES)
    verb(group, "list", _LIST)(list_nodes)
    verb(group, "show", _SHOW)(show)
    verb(group, "reset", _RESET)(reset)


def node_fields(node: NodeFacts) -> dict[str, Any]:
    """One row of `node list`."""
    return {
        "id": node.id,
        "address": node.address,
        "http": node.http,
        "zone": node.zone,
        "state": node.state,
        "pid": node.pid or None,
        "version": node.version,
    }


@talks
@click.pass_obj
def list_nodes(call: Call) -> None:
    """Every node: where it serves, whether it is heard from, which process it is."""
    _, _, _, nodes, _ = run(gather(call))
    rows = [node_fields(node) for node in nodes]
    if call.is_json:
        print_json(rows)
        return
    columns = ("id", "address", "http", "zone", "state", "pid", "version")
    print_table([name.upper() for name in columns], [[row[name] for name in columns] for row in rows])


@click.argument("node", type=int)
@talks
@click.pass_obj
def show(call: Call, node: int) -> None:
    """One node and the replicas it hosts."""
    _, _, _, nodes, replicas = run(gather(call))
    found = next((entry for entry in nodes if entry.id == node), None)
    if found is None:
        raise FailedError(f"no node {node}; the nodes are {', '.join(str(n.id) for n in nodes)}")
    own = [entry for entry in replicas if entry.node == node]
    if call.is_json:
        hosted = [{"shard": entry.shard.group, **replica_fields(entry)} for entry in own]
        print_json({**node_fields(found), "clock_offset_ms": found.clock_offset_ms, "replicas": hosted})
        return
    pid = found.pid or "not known"
    note(f"node {node} at {found.address}: {found.state}, pid {pid}, clock {found.clock_offset_ms:+d} ms")
    columns = ("shard", "namespace", "keys in", "role", "term", "applied", "quorum", "keys")
    print_table(
        [name.upper() for name in columns],
        [
            (
                e.shard.group, e.shard.namespace, range_text(e.shard.range), e.role, e.term,
                e.applied_index, e.has_quorum, e.keys,
            )
            for e in own
        ],
    )  # fmt: skip


@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The node's data directory.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def reset(call: Call, folder: Path, yes: bool) -> None:
    """Sets a stopped node's data directory aside; deletes nothing.

    For a damaged WAL when the file cannot be restored. What this node alone had is gone from the cluster's
    point of view: a node that lost its disk is another node, and the others refuse it under the old id.
    The cluster goes on with its other replicas; bringing a replacement in is a move, which this version does
    not do yet. So restore the damaged file if there is any way to.
    """
    if not (folder / IDENTITY_FILE).is_file():
        raise FailedError(f"{folder} is not a node's data directory: it holds no {IDENTITY_FILE}")
    if not yes:
        click.confirm(
            f"Set the data of {folder} aside? The node will not be the same again", abort=True, err=True
        )
    aside = folder.with_name(f"{folder.name}.reset-{time.strftime('%Y%m%dT%H%M%S')}")
    with (folder / LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise FailedError(
                f"{folder} is in use by pid {lock.read().strip()}: stop the node first"
            ) from None
        os.rename(folder, aside)  # noqa: PTH104 the lock is held on the folder's own file
    if call.is_json:
        print_json({"data": str(folder), "aside": str(aside)})
    else:
        note(f"{folder} is now {aside}")
