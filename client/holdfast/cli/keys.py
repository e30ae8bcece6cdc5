"""`holdfast get put del cas incr touch scan`: one client call each, and how its answer is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from holdfast.cli import key_examples as examples
from holdfast.cli.output import (
    given,
    named,
    print_json,
    print_json_line,
    served_fields,
    served_text,
    shown,
)
from holdfast.cli.session import Freshness, freshness, how_fresh, in_namespace, open_client
from holdfast.cli.verbs import EXIT_ERROR, MILLISECONDS, Call, FailedError, note, run, verb
from holdfast.client import Client
from holdfast.types import DeleteResult, IncrementResult, Item, Page, PutResult, Reading


def register(root: click.Group) -> None:
    """Adds the verbs."""
    verb(root, "get", examples.GET)(get)
    verb(root, "put", examples.PUT)(put)
    verb(root, "del", examples.DEL)(delete)
    verb(root, "cas", examples.CAS)(compare_and_set)
    verb(root, "incr", examples.INCR)(increment)
    verb(root, "touch", examples.TOUCH)(touch)
    verb(root, "scan", examples.SCAN)(scan)


def value_arguments(function: Any) -> Any:
    """VALUE or --file."""
    function = click.option(
        "--file", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
        help="Read the value from this file (-: stdin) instead.",
    )(function)  # fmt: skip
    return click.argument("value", required=False)(function)


def value_of(value: str | None, file: Path | None) -> bytes:
    """The value given as VALUE or by --file. Raises click.UsageError."""
    if (value is None) == (file is None):
        raise click.UsageError("give VALUE or --file")
    if file is None:
        assert value is not None
        return given(value)
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as problem:
        raise FailedError(f"cannot read {file}: {problem.strerror}") from None


TTL = click.option("--ttl", "ttl_ms", type=MILLISECONDS, help="Time to live, such as 500ms, 30s, 2h, 7d.")


@click.argument("key")
@how_fresh
@in_namespace
@click.pass_obj
def get(
    call: Call, key: str, level: str | None, bound_ms: int | None, or_linearizable: bool, namespace: str,
    session_file: Path | None,
) -> None:  # fmt: skip
    """Reads a key: the value to stdout, who answered and how fresh to stderr. Exit code 1: no such key."""
    fresh = freshness(level, bound_ms, or_linearizable)
    raw = given(key)

    async def work() -> Reading:
        async with open_client(call, namespace, session_file) as client:
            return await client.get(raw, **fresh.arguments())

    reading = run(work())
    if call.is_json:
        fields = {**named("key", raw), **named("value", reading.value), "revision": reading.revision}
        print_json({**fields, "ttl_ms": reading.ttl_ms, **served_fields(reading.served)})
    elif reading.value is not None:
        click.echo(reading.value)
        lifetime = f", expires in {reading.ttl_ms} ms" if reading.ttl_ms else ""
        note(f"revision {reading.revision}{lifetime}; {served_text(reading.served)}")
    else:
        note(f"no such key: {shown(raw)}; {served_text(reading.served)}")
    if not reading.found:
        click.get_current_context().exit(EXIT_ERROR)


@click.argument("key")
@value_arguments
@TTL
@click.option("--if-revision", type=click.IntRange(min=0), help="Only if the key's revision is this.")
@click.option("--if-absent", is_flag=True, help="Only if the key does not exist.")
@click.option("--if-present", is_flag=True, help="Only if the key exists.")
@click.option("--previous", is_flag=True, help="Print the value before.")
@in_namespace
@click.pass_obj
def put(
    call: Call, key: str, value: str | None, file: Path | None, ttl_ms: int | None, if_revision: int | None,
    if_absent: bool, if_present: bool, previous: bool, namespace: str, session_file: Path | None,
) -> None:  # fmt: skip
    """Writes a key. Without --ttl the key does not expire, also when it did before."""
    if (if_revision is not None) + if_absent + if_present > 1:
        raise click.UsageError("give one of --if-revision, --if-absent, --if-present")
    raw, body = given(key), value_of(value, file)

    async def work() -> PutResult:
        async with open_client(call, namespace, session_file) as client:
            return await client.put(
                raw, body, ttl_ms=ttl_ms, if_revision=if_revision, if_absent=if_absent, if_present=if_present,
                return_previous=previous,
            )  # fmt: skip

    result = run(work(), writes=True)
    _print_write(call, raw, result.revision, previous, result.previous)


def _print_write(call: Call, key: bytes, revision: int, with_previous: bool, previous: bytes | None) -> None:
    if call.is_json:
        before = named("previous", previous) if with_previous else {}
        print_json({**named("key", key), "revision": revision, **before})
        return
    click.echo(f"revision {revision}")
    if with_previous:
        note("previous: " + (shown(previous) if previous is not None else "none"))


@click.argument("key", required=False)
@click.option("--prefix", help="Instead of KEY: all keys that begin with this.")
@click.option("--start", help="Instead of KEY: all keys from this one ...")
@click.option("--end", help="... up to, without, this one.")
@click.option("--paged", is_flag=True, help="For a range: in pages of 1000 keys, each atomic, together not.")
@click.option("--if-revision", type=click.IntRange(min=0), help="Only if the key's revision is this.")
@click.option("--previous", is_flag=True, help="Print the value before.")
@in_namespace
@click.pass_obj
def delete(
    call: Call, key: str | None, prefix: str | None, start: str | None, end: str | None, paged: bool,
    if_revision: int | None, previous: bool, namespace: str, session_file: Path | None,
) -> None:  # fmt: skip
    """Deletes a key, or a range of keys.

    A range is deleted at once, up to 1000 keys of one shard; with --paged there is no such limit.
    """
    of_range = any(text is not None for text in (prefix, start, end))
    if (key is None) != of_range:
        raise click.UsageError("give KEY, or a range by --prefix or --start and --end")
    if of_range and (previous or if_revision is not None):
        raise click.UsageError("--previous and --if-revision are for a single key")
    bounds: dict[str, Any] = {
        name: given(text) if text is not None else None
        for name, text in (("prefix", prefix), ("start", start), ("end", end))
    }

    async def work() -> DeleteResult:
        async with open_client(call, namespace, session_file) as client:
            if key is None:
                return DeleteResult(0, await client.delete_range(**bounds, atomic=not paged))
            return await client.delete(given(key), if_revision=if_revision, return_previous=previous)

    result = run(work(), writes=True)
    if call.is_json:
        fields: dict[str, Any] = {"deleted": result.deleted}
        if key is not None:
            before = named("previous", result.previous) if previous else {}
            fields = {**named("key", given(key)), "revision": result.revision, **fields, **before}
        print_json(fields)
        return
    click.echo(f"deleted {result.deleted}")
    if previous:
        note("previous: " + (shown(result.previous) if result.previous is not None else "none"))


@click.argument("key")
@click.argument("revision", type=click.IntRange(min=0))
@value_arguments
@TTL
@in_namespace
@click.pass_obj
def compare_and_set(
    call: Call, key: str, revision: int, value: str | None, file: Path | None, ttl_ms: int | None,
    namespace: str, session_file: Path | None,
) -> None:  # fmt: skip
    """Writes a key if its revision is REVISION (0: if it does not exist). Exit code 3: it is another."""
    raw, body = given(key), value_of(value, file)

    async def work() -> PutResult:
        async with open_client(call, namespace, session_file) as client:
            return await client.compare_and_set(raw, revision, body, ttl_ms=ttl_ms)

    _print_write(call, raw, run(work(), writes=True).revision, False, None)


@click.argument("key")
@click.argument("by", type=int, default=1)
@click.option("--initial", type=int, default=0, help="What an absent key counts as. Default: 0.")
@click.option("--min", "minimum", type=int, help="Refuse a smaller sum.")
@click.option("--max", "maximum", type=int, help="Refuse a greater sum.")
@TTL
@in_namespace
@click.pass_obj
def increment(
    call: Call, key: str, by: int, initial: int, minimum: int | None, maximum: int | None, ttl_ms: int | None,
    namespace: str, session_file: Path | None,
) -> None:  # fmt: skip
    """Adds BY (default 1) to a decimal number and prints the sum. For a negative BY write: -- KEY -5"""
    raw = given(key)

    async def work() -> IncrementResult:
        async with open_client(call, namespace, session_file) as client:
            return await client.increment(
                raw, by, initial=initial, minimum=minimum, maximum=maximum, ttl_ms=ttl_ms
            )

    result = run(work(), writes=True)
    if call.is_json:
        print_json({**named("key", raw), "value": result.value, "revision": result.revision})
    else:
        click.echo(str(result.value))


@click.argument("key")
@TTL
@in_namespace
@click.pass_obj
def touch(call: Call, key: str, ttl_ms: int | None, namespace: str, session_file: Path | None) -> None:
    """Gives a key a new time to live; without --ttl it no longer expires. Exit code 1: no such key."""
    raw = given(key)

    async def work() -> int:
        async with open_client(call, namespace, session_file) as client:
            return await client.touch(raw, ttl_ms=ttl_ms)

    revision = run(work(), writes=True)
    if call.is_json or revision:
        _print_write(call, raw, revision, False, None)
    else:
        note(f"no such key: {shown(raw)}")
    if not revision:
        click.get_current_context().exit(EXIT_ERROR)


@click.argument("prefix", default="")
@click.option("--start", help="Instead of PREFIX: from this key ...")
@click.option("--end", help="... up to, without, this one.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many keys. Default: all.")
@click.option("--keys-only", is_flag=True, help="Leave values out.")
@click.option("--count", "count_only", is_flag=True, help="Print only how many there are.")
@how_fresh
@in_namespace
@click.pass_obj
def scan(
    call: Call, prefix: str, start: str | None, end: str | None, limit: int | None, keys_only: bool,
    count_only: bool, level: str | None, bound_ms: int | None, or_linearizable: bool, namespace: str,
    session_file: Path | None,
) -> None:  # fmt: skip
    """Prints keys in order, over all shards: key, TAB, value; in JSON one object a line.

    Each page of up to 1000 keys is consistent in itself; all pages together are not one snapshot. In a
    hashed namespace keys are in order inside a unit, and units in the order of their hash.
    """
    if prefix and (start is not None or end is not None):
        raise click.UsageError("give PREFIX, or --start and --end")
    fresh = freshness(level, bound_ms, or_linearizable)
    bounds: dict[str, Any] = {"start": given(start or "") or None, "end": given(end or "") or None}
    if prefix:
        bounds = {"prefix": given(prefix)}

    async def work() -> int:
        found = 0
        async with open_client(call, namespace, session_file) as client:
            async for page in pages(client, bounds, limit, keys_only or count_only, fresh):
                found += len(page.items)
                if not count_only:
                    for item in page.items:
                        _print_item(call, item, page, keys_only)
        return found

    found = run(work())
    if not count_only:
        note(f"{found} keys")
    elif call.is_json:
        print_json({"count": found})
    else:
        click.echo(str(found))


async def pages(
    client: Client, bounds: dict[str, Any], limit: int | None, keys_only: bool, fresh: Freshness
) -> Any:
    """The pages of a range, up to `limit` keys together."""
    cursor, left = b"", limit
    while left is None or left > 0:
        page = await client.scan_page(
            **bounds, limit=min(1000, left or 1000), from_=cursor, keys_only=keys_only, **fresh.arguments()
        )
        yield page
        if left is not None:
            left -= len(page.items)
        if not page.next:
            return
        cursor = page.next


def _print_item(call: Call, item: Item, page: Page, keys_only: bool) -> None:
    if call.is_json:
        value = {} if keys_only else named("value", item.value)
        fields = {**named("key", item.key), **value, "revision": item.revision, "ttl_ms": item.ttl_ms}
        print_json_line({**fields, **served_fields(page.served)})
    else:
        click.echo(shown(item.key) if keys_only else f"{shown(item.key)}\t{shown(item.value)}")
