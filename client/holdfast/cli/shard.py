"""`holdfast shard ...`: which group serves which keys, and who leads it."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.output import (
    given,
    print_json,
    print_table,
    range_text,
    shard_fields,
    shown,
    size_text,
)
from holdfast.cli.placement import NodeFacts, Placement, ReplicaFacts
from holdfast.cli.verbs import Call, FailedError, note, noun, run, talks, verb
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.shardmap import Shard

EXAMPLES = """
# Every shard with its leader
$ holdfast shard list

# Which shard serves a key
$ holdfast shard locate device/17/brightness
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "shard", "Key ranges, their groups and replicas.", EXAMPLES)
    verb(group, "list", _LIST)(list_shards)
    verb(group, "show", _SHOW)(show)
    verb(group, "locate", _LOCATE)(locate)
    verb(group, "transfer-leader", _TRANSFER)(transfer_leader)


_LIST = """
# Every shard
$ holdfast shard list

# As JSON, for one namespace
$ holdfast shard list -n default -o json
"""

_SHOW = """
# The replicas of shard 2, with their log positions
$ holdfast shard show 2
"""

_LOCATE = """
# The shard of a key, and where to ask
$ holdfast shard locate device/17/brightness
"""

_TRANSFER = """
# Let the most caught-up follower lead shard 2
$ holdfast shard transfer-leader 2

# Let node 3 lead it
$ holdfast shard transfer-leader 2 --to 3
"""


async def gather(call: Call) -> tuple[str, int, list[Shard], list[NodeFacts], list[ReplicaFacts]]:
    """Cluster id, epoch, shards, nodes, and the figures of every replica that answers."""
    async with Placement(call.endpoints, call.timeout_s) as placement:
        cluster_id, shards = await placement.map()
        nodes = await placement.nodes()
        replicas = await placement.replicas([entry for entry in nodes if entry.state == "up"])
    return cluster_id, shards.epoch, list(shards.shards), nodes, replicas


def best_replica(shard: Shard, replicas: list[ReplicaFacts]) -> ReplicaFacts | None:
    """The replica whose figures stand for the shard: the leader of the highest term, else the furthest."""
    own = [entry for entry in replicas if entry.shard.group == shard.group]
    return max(own, key=lambda e: (e.role == "leader", e.term, e.applied_index), default=None)


def with_leader(shard: Shard, best: ReplicaFacts | None) -> Shard:
    """The shard with the leader as its replicas say; the map's word may be older."""
    if best is None:
        return shard
    return shard._replace(leader=best.node if best.role == "leader" else best.shard.leader)


def row_fields(shard: Shard, best: ReplicaFacts | None) -> dict[str, Any]:
    """One row of `shard list`."""
    return {
        **shard_fields(with_leader(shard, best)),
        "keys": best.keys if best else None,
        "bytes": best.bytes if best else None,
    }


@click.option("-n", "--namespace", help="Only this namespace.")
@talks
@click.pass_obj
def list_shards(call: Call, namespace: str | None) -> None:
    """Every shard: its keys, its group, its leader, its replicas, its size."""
    _, _, shards, _, replicas = run(gather(call))
    rows = [row_fields(s, best_replica(s, replicas)) for s in shards if namespace in (None, s.namespace)]
    if call.is_json:
        print_json(rows)
        return
    columns = ("shard", "namespace", "keys in", "leader", "replicas", "keys", "size")
    ranges = {shard.group: range_text(shard.range) for shard in shards}
    print_table(
        [name.upper() for name in columns],
        [
            (
                row["shard"], row["namespace"], ranges[row["shard"]], row["leader"], row["replicas"],
                row["keys"], None if row["bytes"] is None else size_text(row["bytes"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def replica_fields(replica: ReplicaFacts) -> dict[str, Any]:
    """A replica's figures as JSON fields."""
    return {
        "node": replica.node,
        "role": replica.role,
        "term": replica.term,
        "commit_index": replica.commit_index,
        "applied_index": replica.applied_index,
        "last_index": replica.last_index,
        "durable_index": replica.durable_index,
        "snapshot_index": replica.snapshot_index,
        "has_quorum": replica.has_quorum,
        "revision": replica.revision,
        "keys": replica.keys,
        "bytes": replica.bytes,
        "digest": replica.digest or None,
        "stopped_because": replica.stopped_because or None,
    }


@click.argument("shard", type=int)
@talks
@click.pass_obj
def show(call: Call, shard: int) -> None:
    """One shard and every replica of it that answers."""
    _, _, shards, _, replicas = run(gather(call))
    found = next((entry for entry in shards if entry.group == shard), None)
    if found is None:
        raise FailedError(f"no shard {shard}; the shards are {', '.join(str(s.group) for s in shards)}")
    own = [entry for entry in replicas if entry.shard.group == shard]
    if call.is_json:
        row = row_fields(found, best_replica(found, replicas))
        print_json({**row, "replica_status": [replica_fields(entry) for entry in own]})
        return
    note(f"shard {shard}, namespace {found.namespace}, keys in {range_text(found.range)}")
    columns = ("node", "role", "term", "applied", "commit", "durable", "last", "snapshot", "quorum", "keys")
    print_table(
        [name.upper() for name in columns],
        [
            (
                e.node, e.role, e.term, e.applied_index, e.commit_index, e.durable_index, e.last_index,
                e.snapshot_index, e.has_quorum, e.keys,
            )
            for e in own
        ],
    )  # fmt: skip
    for entry in own:
        if entry.stopped_because:
            note(f"node {entry.node}: stopped: {entry.stopped_because}")
    for missing in sorted({r.node for r in found.replicas} - {entry.node for entry in own}):
        note(f"node {missing}: does not answer")


@click.argument("key")
@click.option("-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="The key's namespace.")
@talks
@click.pass_obj
def locate(call: Call, key: str, namespace: str) -> None:
    """The shard that serves a key."""
    _, _, shards, _, replicas = run(gather(call))
    raw = given(key)
    found = next((s for s in shards if s.namespace == namespace and raw in s.range), None)
    if found is None:
        raise FailedError(f"no namespace {namespace!r}")
    shard = with_leader(found, best_replica(found, replicas))
    if call.is_json:
        print_json(row_fields(found, best_replica(found, replicas)))
        return
    leader = shard.address_of(shard.leader) if shard.leader else None
    print_table(
        ("KEY", "SHARD", "KEYS IN", "LEADER", "ADDRESS", "REPLICAS"),
        [
            (
                shown(raw), shard.group, range_text(shard.range), shard.leader or None, leader,
                [replica.node for replica in shard.replicas],
            )
        ],
    )  # fmt: skip


@click.argument("shard", type=int)
@click.option(
    "--to", "to_node", type=int, default=0, help="Node to lead. Default: the most caught-up follower."
)
@talks
@click.pass_obj
def transfer_leader(call: Call, shard: int, to_node: int) -> None:
    """Hands a shard's leadership to another replica; ends when the other leads."""

    async def work() -> int:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await placement.transfer_leader(shard, to_node)

    leader = run(work(), writes=True)
    if call.is_json:
        print_json({"shard": shard, "leader": leader})
    else:
        note(f"node {leader} leads shard {shard}")
