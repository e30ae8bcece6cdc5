"""`holdfast node add|set|cordon|uncordon|remove`: a node's standing with the planner.

None of these moves a key by itself: the planner acts on what they say (`holdfast plan explain`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import click

from holdfast.cli import placement_nodes
from holdfast.cli.output import age_text, print_json
from holdfast.cli.parameters import ID, LABEL
from holdfast.cli.placement import Placement
from holdfast.cli.placement_nodes import NodeChange
from holdfast.cli.survey import node_fields
from holdfast.cli.verbs import MILLISECONDS, Call, dry_run_option, note, run, talks, verb

_ADD = """
# Name a node before it joins, so that it gets this zone
$ holdfast node add 10.0.2.7:7400 --zone b

# Then, on that machine
$ holdfast serve --join 10.0.1.5:7400

# A larger machine takes twice the share
$ holdfast node add 10.0.2.8:7400 --zone b --weight 200 --label disk=ssd
"""

_SET = """
# Give node 4 half the share of bytes and leaders
$ holdfast node set 4 --weight 50

# It stands in another zone now
$ holdfast node set 4 --zone c --label rack=12
"""

_CORDON = """
# For the time of a restart: no replicas to node 3, and none replaced for its being down
$ holdfast node cordon 3 --for 10m

# What it would change
$ holdfast node cordon 3 --for 2h --dry-run
"""

_UNCORDON = """
# Back to work before the time is over; also ends a drain
$ holdfast node uncordon 3
"""

_REMOVE = """
# Forget node 3, which holds nothing any more
$ holdfast node remove 3

# Would it be refused?
$ holdfast node remove 3 --dry-run
"""

# A cordon is for maintenance; one that is meant for good is a drain.
CORDON_MS = 10 * 60_000


def register(group: click.Group) -> None:
    """Adds the verbs to the noun `node`."""
    verb(group, "add", _ADD)(add)
    verb(group, "set", _SET)(set_node)
    verb(group, "cordon", _CORDON)(cordon)
    verb(group, "uncordon", _UNCORDON)(uncordon)
    verb(group, "remove", _REMOVE)(remove)


def changed(
    call: Call, change: Callable[[Placement], Awaitable[NodeChange]], *, dry_run: bool, next_step: str = ""
) -> NodeChange:
    """Asks for a change of a node."""

    async def work() -> NodeChange:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await change(placement)

    return run(work(), writes=not dry_run, next_step=next_step or "`holdfast node list` shows the nodes")


def print_change(call: Call, found: NodeChange, text: str, *, dry_run: bool) -> None:
    """The node as it is now; for a person what changed."""
    if call.is_json:
        print_json({**node_fields(found.node), "explanation": found.explanation, "dry_run": dry_run})
        return
    note(found.explanation or text)
    if dry_run:
        note("dry run: nothing was changed")


@click.argument("address", metavar="HOST:PORT")
@click.option("--zone", default="", help="Its failure domain. Default: what the node says itself.")
@click.option("--label", "labels", type=LABEL, multiple=True, help="NAME=VALUE; may be given several times.")
@click.option("--weight", type=click.IntRange(0, 10_000), help="Its share against the others'. Default: 100.")
@dry_run_option
@talks
@click.pass_obj
def add(
    call: Call,
    address: str,
    zone: str,
    labels: tuple[tuple[str, str], ...],
    weight: int | None,
    dry_run: bool,
) -> None:
    """Names a node that is going to join from HOST:PORT, so that it gets these settings.

    The node itself is started there with `holdfast serve --join`.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{address!r} is not HOST:PORT", param_hint="HOST:PORT")
    if weight == 0:
        raise click.UsageError("--weight 0: name the node first, then `holdfast node set ID --weight 0`")
    found = changed(
        call,
        lambda placement: placement_nodes.add(
            placement, address, zone=zone, labels=labels, weight=weight or 0, dry_run=dry_run
        ),
        dry_run=dry_run,
    )
    text = f"{address} is expected; start it there: holdfast serve --join {call.endpoints.split(',')[0]}"
    print_change(call, found, text, dry_run=dry_run)


@click.argument("node", type=ID)
@click.option(
    "--weight", type=click.IntRange(0, 10_000), help="Its share against the others'; 0: it takes none."
)
@click.option("--zone", help="Its failure domain.")
@click.option("--label", "labels", type=LABEL, multiple=True, help="NAME=VALUE; may be given several times.")
@click.option("--drop-label", "drop_labels", multiple=True, metavar="NAME", help="Takes a label away.")
@dry_run_option
@talks
@click.pass_obj
def set_node(
    call: Call, node: int, weight: int | None, zone: str | None, labels: tuple[tuple[str, str], ...],
    drop_labels: tuple[str, ...], dry_run: bool,
) -> None:  # fmt: skip
    """Changes a node's weight, zone or labels; the planner moves what that asks for."""
    if weight is None and zone is None and not labels and not drop_labels:
        raise click.UsageError("name what to change: --weight, --zone, --label, --drop-label")
    wanted: dict[str, Any] = {"weight": weight, "zone": zone, "labels": labels, "drop_labels": drop_labels}
    found = changed(
        call,
        lambda placement: placement_nodes.set_standing(placement, node, **wanted, dry_run=dry_run),
        dry_run=dry_run,
    )
    print_change(call, found, f"node {node} is changed", dry_run=dry_run)


@click.argument("node", type=ID)
@click.option(
    "--for", "for_ms", type=MILLISECONDS, default=CORDON_MS, metavar="DURATION",
    help="How long, such as 30s, 10m, 2h. Default: 10m.",
)  # fmt: skip
@dry_run_option
@talks
@click.pass_obj
def cordon(call: Call, node: int, for_ms: int, dry_run: bool) -> None:
    """Holds the planner back for a while: no replicas to NODE, none replaced for its being down.

    What it holds stays and is served.
    """
    if not for_ms:
        raise click.UsageError("--for 0 is no cordon; `holdfast node uncordon` ends one")
    found = changed(
        call,
        lambda placement: placement_nodes.set_standing(placement, node, cordon_ms=for_ms, dry_run=dry_run),
        dry_run=dry_run,
    )
    until = time.strftime("%H:%M:%S", time.localtime(time.time() + for_ms / 1000))
    text = f"node {node} is cordoned for {age_text(for_ms / 1000)}, until {until}"
    print_change(call, found, text, dry_run=dry_run)


@click.argument("node", type=ID)
@dry_run_option
@talks
@click.pass_obj
def uncordon(call: Call, node: int, dry_run: bool) -> None:
    """Lets NODE take replicas again: ends its cordon, and its drain if it has one."""
    found = changed(
        call,
        lambda placement: placement_nodes.set_standing(
            placement, node, cordon_ms=0, draining=False, dry_run=dry_run
        ),
        dry_run=dry_run,
    )
    print_change(call, found, f"node {node} takes replicas again", dry_run=dry_run)


@click.argument("node", type=ID)
@dry_run_option
@talks
@click.pass_obj
def remove(call: Call, node: int, dry_run: bool) -> None:
    """Forgets NODE for good. Refused while it holds any replica: drain it first.

    Its id is never used again. Stop its process afterwards.
    """
    found = changed(
        call, lambda placement: placement_nodes.remove(placement, node, dry_run=dry_run), dry_run=dry_run,
        next_step=f"`holdfast node show {node}` lists its replicas, `holdfast node drain {node} --wait` moves"
        " them away",
    )  # fmt: skip
    print_change(call, found, f"node {node} is forgotten; its process can be stopped", dry_run=dry_run)
