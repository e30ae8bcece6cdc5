"""`holdfast watch`: changes as they happen, one line each, from where an earlier watch ended if wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from holdfast.cli.output import given, named, print_json_line, shown
from holdfast.cli.session import open_client
from holdfast.cli.verbs import Call, FailedError, note, run, talks, verb
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.types import Event, Mark, MarkKind, WatchPoint

EXAMPLES = """
# Every change of a device, until Ctrl-C
$ holdfast watch device/17/

# What stands first, then what changes; as JSON, one object a line
$ holdfast watch device/17/ --snapshot -o json

# Go on where the last watch ended, also after hours
$ holdfast watch device/ --resume ./watch-point
"""


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "watch", EXAMPLES)(watch)


@click.argument("prefix", default="")
@click.option("--start", help="Instead of PREFIX: from this key ...")
@click.option("--end", help="... up to, without, this one.")
@click.option("--snapshot", is_flag=True, help="First the keys as they stand, then the changes.")
@click.option("--previous", is_flag=True, help="Show the value before each change, where it is still known.")
@click.option("--keys-only", is_flag=True, help="Leave values out.")
@click.option("--count", type=click.IntRange(min=1), help="End after this many events.")
@click.option(
    "--resume", "resume_file", type=click.Path(path_type=Path, dir_okay=False),
    help="File that keeps where the watch is: a later watch goes on there.",
)  # fmt: skip
@click.option("-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="The keys' namespace.")
@talks
@click.pass_obj
def watch(
    call: Call, prefix: str, start: str | None, end: str | None, snapshot: bool, previous: bool,
    keys_only: bool, count: int | None, resume_file: Path | None, namespace: str,
) -> None:  # fmt: skip
    """Prints changes of keys that begin with PREFIX (default: all): cause, revision, key, value.

    Causes: PUT DELETED EXPIRED EVICTED TOUCHED, and SNAPSHOT for a key as it stood. Order is that of each
    shard; in a hashed namespace all shards are watched, unless PREFIX lies inside one unit.
    """
    if prefix and (start is not None or end is not None):
        raise click.UsageError("give PREFIX, or --start and --end")
    bounds = {"prefix": given(prefix)} if start is None and end is None else {}
    bounds |= {name: given(text) for name, text in (("start", start), ("end", end)) if text is not None}
    points = read_points(resume_file) if resume_file is not None else ()

    async def work() -> None:
        seen = 0
        async with (
            open_client(call, namespace, None) as client,
            client.watch(
                **bounds, from_=points, or_snapshot=snapshot, with_previous=previous, keys_only=keys_only
            ) as changes,
        ):
            note(f"watching {shown(given(prefix)) if prefix else 'all keys'} ...")
            try:
                async for change in changes:
                    _print_change(call, change, previous)
                    seen += isinstance(change, Event)
                    if count is not None and seen >= count:
                        return
            finally:
                if resume_file is not None:
                    write_points(resume_file, changes.points)

    try:
        run(work())
    except FailedError as failure:
        # Ctrl-C is how a watch ends.
        if failure.message != "interrupted":
            raise


def _print_change(call: Call, change: Event | Mark, with_previous: bool) -> None:
    if isinstance(change, Mark):
        if call.is_json:
            print_json_line(
                {"mark": change.kind.name, **named("start", change.start), **named("end", change.end)}
            )
        elif change.kind is MarkKind.CAUGHT_UP:
            note("the snapshot is complete; what follows are changes")
        return
    if call.is_json:
        fields: dict[str, Any] = {"event": change.kind.name, **named("key", change.key)}
        if change.value is not None:
            fields |= named("value", change.value)
        if with_previous:
            fields |= named("previous", change.previous)
        print_json_line({**fields, "revision": change.revision, "deadline_ms": change.deadline_ms or None})
        return
    cells = [change.kind.name.ljust(8), str(change.revision), shown(change.key)]
    if change.value is not None:
        cells.append(shown(change.value))
    if with_previous:
        cells.append("previous: " + (shown(change.previous) if change.previous is not None else "not known"))
    click.echo("\t".join(cells))


def read_points(file: Path) -> tuple[WatchPoint, ...]:
    """Where an earlier watch ended; nothing when there was none. Raises FailedError."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return tuple(
            WatchPoint(
                int(p["group"]), int(p["revision"]), bytes.fromhex(p["start"]), bytes.fromhex(p["end"])
            )
            for p in document["points"]
        )
    except FileNotFoundError:
        return ()
    except OSError as problem:
        raise FailedError(f"cannot read {file}: {problem.strerror}") from None
    except (KeyError, TypeError, ValueError) as problem:
        raise FailedError(f"{file} holds no watch points ({problem}); remove it to start from now") from None


def write_points(file: Path, points: Iterable[WatchPoint]) -> None:
    """Keeps where a watch is."""
    document = {
        "points": [
            {"group": p.group, "revision": p.revision, "start": p.start.hex(), "end": p.end.hex()}
            for p in points
        ]
    }
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(document) + "\n", encoding="utf-8")
    new.replace(file)
