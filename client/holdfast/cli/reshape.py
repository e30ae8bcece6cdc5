"""`holdfast shard split|merge|move|transfer-leader`: what changes a shard.

The first three are plans: the cluster carries them out whether or not this command waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import click

from holdfast.cli import placement_plans
from holdfast.cli.following import followed, refuse_other_end, tell_how_to_follow, wait_option
from holdfast.cli.output import given, print_json
from holdfast.cli.parameters import HASH_BOUND, ID, NODE_IDS
from holdfast.cli.placement import Placement
from holdfast.cli.placement_plans import PlanFacts
from holdfast.cli.plan_text import print_plan
from holdfast.cli.survey import gather
from holdfast.cli.verbs import Call, FailedError, dry_run_option, note, run, talks, verb

_SPLIT = """
# Cut shard 2 in two: the right part begins with this key
$ holdfast shard split 2 --at device/5

# In two parts of about the same bytes, or of about the same load
$ holdfast shard split 2 --middle
$ holdfast shard split 2 --by-load

# Of a hashed namespace: the right part begins with the hashes from 80... on
$ holdfast shard split 4 --at-hash 80

# What would become of it
$ holdfast shard split 2 --middle --dry-run
"""

_MERGE = """
# Join shard 2 and its neighbour 3
$ holdfast shard merge 2 3
"""

_MOVE = """
# Shard 2 on nodes 1, 2 and 4; node 1 is to lead it
$ holdfast shard move 2 --to 1,2,4

# Its replica on node 3 to node 4, the others stay
$ holdfast shard move 2 --from 3 --to 4

# The placement group, whose id `holdfast cluster status` names, moves in the same way
$ holdfast shard move 1 --to 2,3,4

# Start it and do not wait
$ holdfast shard move 2 --from 3 --to 4 --no-wait -o json | jq .id
"""

_TRANSFER = """
# Let the most caught-up follower lead shard 2
$ holdfast shard transfer-leader 2

# Let node 3 lead it
$ holdfast shard transfer-leader 2 --to 3
"""


def register(group: click.Group) -> None:
    """Adds the verbs to the noun `shard`."""
    verb(group, "split", _SPLIT)(split)
    verb(group, "merge", _MERGE)(merge)
    verb(group, "move", _MOVE)(move)
    verb(group, "transfer-leader", _TRANSFER)(transfer_leader)


def carry_out(
    call: Call, start: Callable[[Placement], Coroutine[Any, Any, PlanFacts]], *,
    dry_run: bool, wait: bool, next_step: str,
) -> None:  # fmt: skip
    """Starts a plan, waits for its end if wanted, prints it."""

    async def begin() -> PlanFacts:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await start(placement)

    plan = run(begin(), writes=not dry_run, next_step=next_step)
    if dry_run:
        print_plan(call, plan, dry_run=True)
        return
    if wait and not plan.has_ended:
        plan = followed(call, plan.id)
    print_plan(call, plan)
    tell_how_to_follow(plan)
    refuse_other_end(plan, "done")


@click.argument("shard", type=ID)
@click.option("--at", metavar="KEY", help="The right part begins with this key.")
@click.option("--at-hash", type=HASH_BOUND, help="Hashed namespaces: it begins with this hash, in hex.")
@click.option("--middle", is_flag=True, help="Two parts of about the same bytes.")
@click.option("--by-load", is_flag=True, help="Two parts of about the same load.")
@wait_option()
@dry_run_option
@talks
@click.pass_obj
def split(
    call: Call, shard: int, at: str | None, at_hash: bytes | None, middle: bool, by_load: bool, wait: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    """Cuts SHARD in two, on the nodes it is on. Nothing is copied; writes pause for a moment.

    A cut never falls inside a unit of the namespace.
    """
    if (at is not None) + (at_hash is not None) + middle + by_load != 1:
        raise click.UsageError("say where: one of --at KEY, --at-hash HEX, --middle, --by-load")
    key = given(at) if at is not None else None
    if key == b"":
        raise click.UsageError("--at: the first key of all is no place to cut")
    carry_out(
        call, lambda placement: placement_plans.split(placement, shard, key, at_hash, by_load, dry_run),
        dry_run=dry_run, wait=wait,
        next_step=f"`holdfast shard show {shard}` shows its keys, `holdfast op list` the plans under way",
    )  # fmt: skip


@click.argument("shard", type=ID)
@click.argument("other", type=ID)
@wait_option()
@dry_run_option
@talks
@click.pass_obj
def merge(call: Call, shard: int, other: int, wait: bool, dry_run: bool) -> None:
    """Joins SHARD and OTHER, neighbours in any order, on the nodes they are both on."""
    if shard == other:
        raise click.UsageError("SHARD and OTHER are the same; name two neighbours")
    carry_out(
        call, lambda placement: placement_plans.merge(placement, shard, other, dry_run),
        dry_run=dry_run, wait=wait,
        next_step="`holdfast shard list` shows neighbours and their nodes; when those differ,"
        f" `holdfast shard move {other} --to ...` brings them together first",
    )  # fmt: skip


@click.argument("shard", type=ID)
@click.option(
    "--to",
    "to_nodes",
    type=NODE_IDS,
    required=True,
    help="The nodes it is to be on, the one to lead first; with --from: the one node.",
)
@click.option("--from", "from_node", type=ID, help="Replace the replica on this node only.")
@wait_option()
@dry_run_option
@talks
@click.pass_obj
def move(
    call: Call, shard: int, to_nodes: tuple[int, ...], from_node: int | None, wait: bool, dry_run: bool
) -> None:
    """Gives SHARD another set of nodes: copies while it serves, then hands over at once.

    SHARD may be the placement group's id, which changes with every move of it.
    """
    if from_node is not None and len(to_nodes) != 1:
        raise click.UsageError("with --from one node takes its place: --from 3 --to 4")
    if from_node is not None and from_node == to_nodes[0]:
        raise click.UsageError("--from and --to are the same node")
    nodes = () if from_node is not None else to_nodes
    to_node = to_nodes[0] if from_node is not None else 0
    carry_out(
        call,
        lambda placement: placement_plans.move(placement, shard, nodes, from_node or 0, to_node, dry_run),
        dry_run=dry_run, wait=wait,
        next_step=f"`holdfast node list` shows the nodes, `holdfast shard show {shard}` where it is",
    )  # fmt: skip


@click.argument("shard", type=ID)
@click.option(
    "--to", "to_node", type=ID, default=None, help="Node to lead. Default: the most caught-up follower."
)
@dry_run_option
@talks
@click.pass_obj
def transfer_leader(call: Call, shard: int, to_node: int | None, dry_run: bool) -> None:
    """Hands a shard's leadership to another replica; ends when the other leads."""
    if dry_run:
        _tell_transfer(call, shard, to_node)
        return

    async def work() -> int:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await placement.transfer_leader(shard, to_node or 0)

    leader = run(work(), writes=True, next_step=f"`holdfast shard show {shard}` shows its replicas")
    if call.is_json:
        print_json({"shard": shard, "leader": leader})
    else:
        note(f"node {leader} leads shard {shard}")


def _tell_transfer(call: Call, shard: int, to_node: int | None) -> None:
    """What a transfer would do, by what the replicas say now."""
    survey = run(gather(call))
    shards, replicas = survey.groups, survey.all_replicas
    found = next((entry for entry in shards if entry.group == shard), None)
    if found is None:
        raise FailedError(f"no shard {shard}; the shards are {', '.join(str(s.group) for s in shards)}")
    own = [entry for entry in replicas if entry.shard.group == shard]
    leader = next((entry.node for entry in own if entry.role == "leader"), None)
    followers = [entry for entry in own if entry.role == "follower"]
    best = max(followers, key=lambda e: (e.applied_index, -e.node), default=None)
    chosen = to_node or (best.node if best else None)
    if chosen not in {replica.node for replica in found.replicas}:
        nodes = ", ".join(str(replica.node) for replica in found.replicas)
        raise FailedError(f"no replica of shard {shard} can take over; it has replicas on nodes {nodes}")
    if call.is_json:
        print_json({"shard": shard, "leader": leader, "to": chosen, "dry_run": True})
    else:
        note(
            f"would hand shard {shard} from node {leader or 'unknown'} to node {chosen}; nothing was changed"
        )
