"""`holdfast dev`: a whole cluster on this machine, for trying things out and for the tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from holdfast.cli import dev_layout
from holdfast.cli.dev_layout import Shape, Wanted
from holdfast.cli.output import given, print_json_line, shown
from holdfast.cli.supervisor import Supervisor
from holdfast.cli.verbs import Call, FailedError, note, output_option, run, verb

EXAMPLES = """
# Three nodes, one shard, state in ./.holdfast; Ctrl-C stops them
$ holdfast dev

# Six shards, somewhere else, on other ports
$ holdfast dev --shards 6 --data ./six --base-port 8400

# Cut the keys where you know they divide
$ holdfast dev --split-at device/5 --split-at user/ --data ./cut
"""


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "dev", EXAMPLES)(dev)


@click.option("--nodes", type=click.IntRange(1, dev_layout.NODES_MAX), help="How many nodes. Default: 3.")
@click.option(
    "--shards", type=click.IntRange(1, dev_layout.SHARDS_MAX),
    help="How many shards, cut evenly over names of digits and small letters. Default: 1.",
)  # fmt: skip
@click.option(
    "--split-at", multiple=True, metavar="KEY", help="Cut the keys here instead; may be given again."
)
@click.option(
    "--base-port", type=click.IntRange(1, 55_000),
    help="Node i (from 0) serves gRPC on this + i, HTTP on this + 100 + i, the other nodes on"
    " this + 10000 + i. Default: 7400.",
)  # fmt: skip
@click.option(
    "--data", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(".holdfast"),
    show_default=True, help="Where everything is kept; a later start goes on with it.",
)  # fmt: skip
@output_option
@click.pass_obj
def dev(
    call: Call,
    nodes: int | None,
    shards: int | None,
    split_at: tuple[str, ...],
    base_port: int | None,
    folder: Path,
) -> None:
    """Runs a whole cluster on this machine until Ctrl-C.

    The shape (nodes, shards) is fixed at the first start and kept with the data. A node that dies is
    reported and started again.
    """
    if importlib.util.find_spec("holdfast_node") is None or importlib.util.find_spec("pysyncobj") is None:
        raise FailedError("the server is not installed: pip install 'holdfast[cli,server]'")
    with dev_layout.locked(folder):
        wanted = Wanted(nodes, shards, tuple(given(text) for text in split_at), base_port)
        shape = dev_layout.settle(folder, wanted)
        if shape.base_port + dev_layout.PEER_OFFSET + shape.nodes > 65_535:
            raise FailedError(f"--base-port {shape.base_port} leaves no room for the nodes' own ports")
        taken = dev_layout.ports_in_use(shape)
        if taken:
            raise FailedError(
                "in use by another process: " + ", ".join(taken) + "; choose another --base-port"
            )
        dev_layout.write(folder, shape)
        note(f"starting {shape.nodes} nodes, state in {folder} ...")
        run(_supervise(call, folder, shape))
    note("stopped")


async def _supervise(call: Call, folder: Path, shape: Shape) -> None:
    supervisor = Supervisor(folder, shape, note)
    await supervisor.run(lambda: _print_json(shape) if call.is_json else _print_welcome(folder, shape))


def _print_json(shape: Shape) -> None:
    nodes = [{"id": n, "address": shape.address(n), "http": shape.http(n)} for n in shape.node_ids()]
    print_json_line({"cluster_id": shape.cluster_id, "nodes": nodes, "shards": len(shape.splits) + 1})


def _print_welcome(folder: Path, shape: Shape) -> None:
    endpoints = ",".join(shape.address(node) for node in shape.node_ids())
    click.echo(f"cluster {shape.cluster_id} serves")
    for node in shape.node_ids():
        log = dev_layout.node_home(folder, node) / "log"
        click.echo(
            f"  node {node}  gRPC {shape.address(node)}  HTTP http://{shape.http(node)}/metrics  log {log}"
        )
    if shape.splits:
        click.echo(f"  {len(shape.splits) + 1} shards, cut at {', '.join(map(shown, shape.splits))}")
    click.echo("try, in another terminal:")
    if shape.base_port != 7400:
        click.echo(f"  export HOLDFAST_ENDPOINTS={endpoints}")
    last = shape.address(shape.nodes)
    click.echo("  holdfast put device/17/brightness 80")
    click.echo(f"  holdfast get device/17/brightness --endpoints {last}")
    click.echo("  holdfast cluster status")
    click.echo("Ctrl-C stops the cluster; its state stays.")
