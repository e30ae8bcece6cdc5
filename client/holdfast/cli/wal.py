"""`holdfast wal dump|verify`: looks at a node's write-ahead log without changing it, stopped or running.

With `dev` and `serve` a named exception: it imports the server's replication package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from holdfast.cli.output import print_json, print_json_line
from holdfast.cli.verbs import EXIT_ERROR, Call, FailedError, note, noun, output_option, verb

EXAMPLES = """
# Would a node start on this WAL?
$ holdfast wal verify ./.holdfast/node-1/data
"""

_DUMP = """
# Every record of the WAL, one a line
$ holdfast wal dump ./.holdfast/node-1/data

# What happened in group 2, as JSON
$ holdfast wal dump ./.holdfast/node-1/data --group 2 -o json
"""

_VERIFY = """
# Exit code 0: a node would start on it; 1: it is damaged, and where
$ holdfast wal verify ./.holdfast/node-1/data
"""

FOLDER = "wal"


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "wal", "A node's write-ahead log, read only.", EXAMPLES)
    verb(group, "dump", _DUMP)(dump)
    verb(group, "verify", _VERIFY)(verify)


def data_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """DATA: the node's data directory."""
    return click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))(function)


def _open(data: Path) -> tuple[Any, Any]:
    """The inspector and the disk. Raises FailedError."""
    try:
        from holdfast_raft import wal_inspect
        from holdfast_raft.file_disk import ReadOnlyDisk
    except ModuleNotFoundError as problem:
        raise FailedError(f"{problem.name} is not installed: pip install 'holdfast[cli,server]'") from None
    if not (data / FOLDER).is_dir():
        raise FailedError(f"{data} is not a node's data directory: it holds no folder {FOLDER!r}")
    return wal_inspect, ReadOnlyDisk(data)


@data_argument
@click.option("--group", type=int, help="Only records of this group.")
@output_option
@click.pass_obj
def dump(call: Call, data: Path, group: int | None) -> None:
    """Prints what stands in every segment of DATA's WAL, oldest first, also what no longer counts."""
    inspect, disk = _open(data)
    for line in inspect.dump(disk):
        if group is not None and line.group != group:
            continue
        if call.is_json:
            print_json_line({**line._asdict(), "fields": dict(line.fields)})
            continue
        fields = " ".join(f"{name}={value}" for name, value in line.fields.items())
        click.echo(f"{line.segment}\t{line.offset}\t{line.lsn}\t{line.kind}\t{line.group}\t{fields}")


@data_argument
@output_option
@click.pass_context
def verify(ctx: click.Context, data: Path) -> None:
    """Reads the whole WAL of DATA as a start would. Exit code 1: a start would refuse it."""
    inspect, disk = _open(data)
    verdict = inspect.verify(disk)
    if ctx.obj.is_json:
        names = ("damage", "segments", "records", "groups", "last_lsn", "synced_to", "torn")
        print_json({"ok": verdict.ok, **{name: getattr(verdict, name) for name in names}})
    elif verdict.ok:
        click.echo(
            f"ok: {verdict.records} records of {verdict.groups} groups in {verdict.segments} segments,"
            f" synced to {verdict.synced_to} of {verdict.last_lsn}"
        )
        if verdict.torn:
            note(f"a torn tail will be cut: {verdict.torn}")
    else:
        click.echo(f"damaged: {verdict.damage}")
    if not verdict.ok:
        ctx.exit(EXIT_ERROR)
