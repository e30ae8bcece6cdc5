"""`holdfast serve`: one node in this process. With `dev` the named exception that imports the server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from holdfast.cli.verbs import FailedError, verb

EXAMPLES = """
# First start of a node: make its data directory
$ holdfast serve --config node-1.toml --init

# Every later start
$ holdfast serve --config node-1.toml

# A new node for a running cluster, now and at every later start
$ holdfast serve --join 127.0.0.1:7400 --address 127.0.0.1:7410 --http 127.0.0.1:7510 --data ./node-4
"""


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "serve", EXAMPLES)(serve)


@click.option(
    "--config", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The node's configuration (TOML); see docs/reference/config.md. HOLDFAST_* variables win over it.",
)  # fmt: skip
@click.option("--init", is_flag=True, help="Make an empty data directory into a new node. First start only.")
@click.option("--join", metavar="ADDRESS", help="Join the cluster of which this is any node, HOST:PORT.")
@click.option("--address", metavar="ADDRESS", help="Where this node serves gRPC, HOST:PORT.")
@click.option("--advertise", metavar="ADDRESS", help="Where others reach it, if not there: with --join.")
@click.option("--http", metavar="ADDRESS", help="Where it serves /metrics /healthz /readyz, HOST:PORT.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Its data directory.")
@click.option("--zone", help="Its failure domain.")
@click.option(
    "--weight", type=click.IntRange(0, 10_000), help="Its share of the load, against 100 of others."
)
def serve(
    file: Path | None, init: bool, join: str | None, address: str | None, advertise: str | None,
    http: str | None, data: Path | None, zone: str | None, weight: int | None,
) -> None:  # fmt: skip
    """Runs one node until SIGTERM or Ctrl-C.

    With --config it is a node that the configuration names; with --join the cluster gives it an id, which
    its data directory keeps. An empty directory joins as a new node.
    """
    if file is None and join is None:
        raise click.UsageError("give --config FILE, or --join ADDRESS with --address, --http and --data")
    try:
        from holdfast_node.__main__ import main
    except ModuleNotFoundError as problem:
        raise FailedError(f"{problem.name} is not installed: pip install 'holdfast[cli,server]'") from None
    given = {
        "--config": file, "--join": join, "--address": address, "--advertise": advertise,
        "--http-address": http, "--data-dir": data, "--zone": zone, "--weight": weight,
    }  # fmt: skip
    arguments = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    sys.exit(main([*arguments, *(["--init"] if init else [])]))
