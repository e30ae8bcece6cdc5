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
"""


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "serve", EXAMPLES)(serve)


@click.option(
    "--config", "file", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The node's configuration (TOML); see docs/reference/config.md. HOLDFAST_* variables win over it.",
)  # fmt: skip
@click.option("--init", is_flag=True, help="Make an empty data directory into a new node. First start only.")
def serve(file: Path, init: bool) -> None:
    """Runs one node until SIGTERM or Ctrl-C."""
    try:
        from holdfast_node.__main__ import main
    except ModuleNotFoundError as problem:
        raise FailedError(f"{problem.name} is not installed: pip install 'holdfast[cli,server]'") from None
    sys.exit(main(["--config", str(file), *(["--init"] if init else [])]))
