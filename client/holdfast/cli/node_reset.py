"""`holdfast node reset`: what to do with a damaged data directory. Works on files, asks no cluster."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import click

from holdfast.cli.output import print_json
from holdfast.cli.verbs import Call, FailedError, dry_run_option, note, output_option, verb

# As holdfast_node.identity writes them; not imported, because the base install has no server.
LOCK_FILE = "LOCK"
IDENTITY_FILE = "node.json"

EXAMPLES = """
# The WAL of a stopped node is damaged and cannot be restored: set its data aside
$ holdfast node reset --data ./.holdfast/node-2/data --yes

# What it would do
$ holdfast node reset --data ./.holdfast/node-2/data --dry-run
"""


def register(group: click.Group) -> None:
    """Adds the verb to the noun `node`."""
    verb(group, "reset", EXAMPLES)(reset)


@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The node's data directory.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@output_option
@click.pass_obj
def reset(call: Call, folder: Path, yes: bool, dry_run: bool) -> None:
    """Sets a stopped node's data directory aside; deletes nothing.

    For a damaged WAL when the file cannot be restored. What this node alone had is gone from the cluster's
    point of view: a node that lost its disk is another node, and the others refuse it under the old id.
    The cluster goes on with its other replicas. Started again with `holdfast serve --join`, it comes back as
    a new node with a new id; its old replicas are replaced (`holdfast node remove` forgets the old id).
    So restore the damaged file if there is any way to.
    """
    if not (folder / IDENTITY_FILE).is_file():
        raise FailedError(f"{folder} is not a node's data directory: it holds no {IDENTITY_FILE}")
    if not yes and not dry_run:
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
        if not dry_run:
            try:
                os.rename(folder, aside)  # noqa: PTH104 the lock is held on the folder's own file
            except OSError as problem:
                raise FailedError(f"{folder} cannot become {aside}: {problem.strerror}") from None
    if call.is_json:
        print_json({"data": str(folder), "aside": str(aside), "dry_run": dry_run})
    else:
        note(f"{folder} would become {aside}; nothing was changed" if dry_run else f"{folder} is now {aside}")
