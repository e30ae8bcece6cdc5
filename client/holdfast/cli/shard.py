"""`holdfast shard ...`: which group serves which keys, and who leads it."""

from __future__ import annotations

import click

from holdfast.cli import placement_group, reshape, shard_top
from holdfast.cli.output import given, print_json, print_table, range_text, shown, size_text
from holdfast.cli.survey import best_replica, gather, replica_fields, row_fields, with_leader
from holdfast.cli.verbs import Call, FailedError, note, noun, run, talks, verb
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.shardmap import ShardMap

EXAMPLES = """
# Every shard with its leader
$ holdfast shard list

# Which shard serves a key
$ holdfast shard locate device/17/brightness

# Which shards are busiest
$ holdfast shard top

# Cut one in two where its bytes are halved
$ holdfast shard split 2 --middle
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "shard", "Key ranges, their groups and replicas.", EXAMPLES)
    verb(group, "list", _LIST)(list_shards)
    verb(group, "show", _SHOW)(show)
    verb(group, "locate", _LOCATE)(locate)
    shard_top.register(group)
    reshape.register(group)


_LIST = """
# Every shard
$ holdfast shard list

# As JSON, for one namespace
$ holdfast shard list -n default -o json
"""

_SHOW = """
# The replicas of shard 2, with their log positions
$ holdfast shard show 2

# The placement group's; `holdfast cluster status` names its id
$ holdfast shard show 1
"""

_LOCATE = """
# The shard of a key, and where to ask
$ holdfast shard locate device/17/brightness

# Also where keys are spread by hash
$ holdfast shard locate -n fleet SN-00042/brightness
"""


@click.option("-n", "--namespace", help="Only this namespace.")
@talks
@click.pass_obj
def list_shards(call: Call, namespace: str | None) -> None:
    """Every shard: its keys, its group, its leader, its replicas, its size.

    Shards of a hashed namespace hold ranges of hashes, which are shown in hex.
    """
    survey = run(gather(call))
    shards = [shard for shard in survey.shards if namespace in (None, shard.namespace)]
    rows = [row_fields(shard, best_replica(shard, survey.replicas)) for shard in shards]
    if call.is_json:
        print_json(rows)
        return
    columns = ("shard", "namespace", "keys in", "leader", "replicas", "keys", "size")
    ranges = {shard.group: range_text(shard) for shard in shards}
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


@click.argument("shard", type=int)
@talks
@click.pass_obj
def show(call: Call, shard: int) -> None:
    """One shard, or the placement group, and every replica of it that answers."""
    survey = run(gather(call))
    shards, replicas = survey.shards, survey.replicas
    found = next((entry for entry in shards if entry.group == shard), None)
    group = placement_group.of(survey)
    if group is not None and group.shard.group == shard:
        found, replicas = group.shard, group.replicas
    if found is None:
        raise FailedError(f"no shard {shard}; the shards are {', '.join(str(s.group) for s in shards)}")
    own = [entry for entry in replicas if entry.shard.group == shard]
    if call.is_json:
        row = row_fields(found, best_replica(found, replicas))
        print_json({**row, "replica_status": [replica_fields(entry) for entry in own]})
        return
    if found.namespace:
        note(f"shard {shard}, namespace {found.namespace}, keys in {range_text(found)}")
    else:
        note(str(group))
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
    raw = given(key)
    survey = run(gather(call))
    shards, replicas = survey.shards, survey.replicas
    found = ShardMap(survey.epoch, shards).locate(namespace, raw)
    if found is None:
        there = ", ".join(sorted({entry.namespace for entry in shards}))
        raise FailedError(f"no namespace {namespace!r}; there are {there}")
    shard = with_leader(found, best_replica(found, replicas))
    if call.is_json:
        print_json(row_fields(found, best_replica(found, replicas)))
        return
    leader = shard.address_of(shard.leader) if shard.leader else None
    print_table(
        ("KEY", "SHARD", "KEYS IN", "LEADER", "ADDRESS", "REPLICAS"),
        [
            (
                shown(raw), shard.group, range_text(shard), shard.leader or None, leader,
                [replica.node for replica in shard.replicas],
            )
        ],
    )  # fmt: skip
