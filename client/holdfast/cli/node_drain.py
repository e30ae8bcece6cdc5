"""`holdfast node drain`: moves a node's replicas to the others, and waits until it holds none if asked to."""

from __future__ import annotations

from typing import NamedTuple

import click

from holdfast.cli import placement_nodes
from holdfast.cli.following import Step, until_over, wait_option
from holdfast.cli.node_standing import changed, print_change
from holdfast.cli.parameters import ID
from holdfast.cli.placement import NodeFacts, Placement
from holdfast.cli.placement_nodes import NodeChange
from holdfast.cli.verbs import EXIT_REFUSED, Call, FailedError, dry_run_option, note, run, talks, verb

EXAMPLES = """
# Move everything off node 3 and wait until it holds nothing
$ holdfast node drain 3 --wait

# What that would move
$ holdfast node drain 3 --dry-run

# Changed your mind
$ holdfast node uncordon 3
"""


def register(group: click.Group) -> None:
    """Adds the verb to the noun `node`."""
    verb(group, "drain", EXAMPLES)(drain)


class Held(NamedTuple):
    """What a draining node holds still. is_draining: nobody has ended the drain meanwhile."""

    replicas: int
    is_draining: bool


async def look(placement: Placement, node: int) -> Held:
    """By the map and by what the placement group counts, whichever is more: neither may be behind unseen.

    With the placement group's own replica, which is in neither.
    """
    _, shards, group = await placement.map()
    nodes = await placement.nodes()
    found = next((entry for entry in nodes if entry.id == node), None)
    mapped = sum(any(replica.node == node for replica in shard.replicas) for shard in shards.shards)
    counted = found.replicas if found is not None and found.is_placed else 0
    own = group is not None and any(replica.node == node for replica in group.replicas)
    return Held(max(mapped, counted) + own, found is not None and found.draining)


def drained(call: Call, node: int) -> None:
    """Returns when the node holds nothing. Raises FailedError when the drain was ended."""
    most = 0

    def step_of(held: Held) -> Step:
        nonlocal most
        most = max(most, held.replicas)
        text = f"{held.replicas} of {most} replicas left" if most else "holds nothing"
        return Step(most - held.replicas, most, text, not held.replicas or not held.is_draining)

    async def work() -> Held:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await until_over(lambda: look(placement, node), step_of, f"draining node {node}")

    goes_on = (
        f"node {node} goes on draining; `holdfast node drain {node} --wait` follows it,"
        f" `holdfast node uncordon {node}` ends it"
    )
    held = run(work(), goes_on=goes_on)
    if held.replicas:
        told = f"somebody ended the drain of node {node}; it holds {held.replicas} replicas"
        raise FailedError(told, EXIT_REFUSED)


async def _seen(call: Call, before: NodeFacts) -> NodeFacts:
    """The node as it is now."""
    async with Placement(call.endpoints, call.timeout_s) as placement:
        nodes = await placement.nodes()
    return next((entry for entry in nodes if entry.id == before.id), before)


@click.argument("node", type=ID)
@wait_option(default=False)
@dry_run_option
@talks
@click.pass_obj
def drain(call: Call, node: int, wait: bool, dry_run: bool) -> None:
    """Moves every replica of NODE to others; it takes no new ones. `holdfast node uncordon` ends it."""

    async def change(placement: Placement) -> NodeChange:
        return await placement_nodes.set_standing(placement, node, draining=True, dry_run=dry_run)

    found = changed(call, change, dry_run=dry_run)
    if wait and not dry_run:
        if not call.is_json:
            note(found.explanation or f"node {node} is draining")
        drained(call, node)
        found = found._replace(node=run(_seen(call, found.node)), explanation=f"node {node} holds nothing")
    text = f"node {node} is draining; `holdfast node drain {node} --wait` waits until it holds nothing"
    print_change(call, found, text, dry_run=dry_run)
    if wait and not dry_run and not call.is_json:
        note(f"take it out for good: holdfast node remove {node}")
