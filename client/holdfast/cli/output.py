"""What goes to stdout: aligned columns for people, stable JSON for programs.

Keys and values are bytes. For people: the text, or `base64:...` where it is no printable text; the same
form is accepted where a key is given. In JSON: the field `key` when it is UTF-8, else `key_b64`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from holdfast.shardmap import Shard
from holdfast.types import Served

BASE64 = "base64:"


def text_of(data: bytes) -> str | None:
    """The bytes as text; None: they are no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def shown(data: bytes) -> str:
    """Bytes for a person, on one line."""
    text = text_of(data)
    if text is None or not text.isprintable() or text.startswith(BASE64):
        return BASE64 + base64.b64encode(data).decode()
    return text


def given(text: str) -> bytes:
    """Bytes as a person wrote them. Raises click.BadParameter."""
    if not text.startswith(BASE64):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(BASE64), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise click.BadParameter(f"{text!r} is not base64: {problem}") from None


def named(name: str, data: bytes | None) -> dict[str, Any]:
    """The JSON field of some bytes: `name`, or `name`_b64 where they are no UTF-8."""
    if data is None:
        return {name: None}
    text = text_of(data)
    return {name: text} if text is not None else {f"{name}_b64": base64.b64encode(data).decode()}


def served_fields(served: Served | None) -> dict[str, Any]:
    """Who answered, and how fresh: the JSON fields of every read."""
    if served is None:
        return {"level": None, "served_by": None, "applied_index": None, "age_ms": None}
    return {
        "level": served.level.name,
        "served_by": served.node,
        "applied_index": served.applied_index,
        "age_ms": served.age_ms,
    }


def served_text(served: Served | None) -> str:
    """The same for a person."""
    if served is None:
        return "not known who answered"
    age = "age not known" if served.age_ms is None else f"age {served.age_ms} ms"
    return f"{served.level.name} from node {served.node}, index {served.applied_index}, {age}"


def shard_fields(shard: Shard) -> dict[str, Any]:
    """What the map says of a shard, as JSON fields."""
    start, end = shard.range
    if shard.units is None:
        bounds = named("start", start) | named("end", end)
    else:
        bounds = {"start": start.hex(), "end": end.hex()}
    return {
        "shard": shard.group,
        "namespace": namespace_text(shard.namespace),
        **bounds,
        "hashed": shard.units is not None,
        "epoch": shard.epoch,
        "group": shard.group,
        "leader": shard.leader or None,
        "replicas": [replica.node for replica in shard.replicas],
    }


def namespace_text(namespace: str) -> str:
    """A namespace; the placement group has none, which could be mistaken for one that is not told."""
    return namespace or "(placement)"


def range_text(shard: Shard) -> str:
    """What a shard holds, for a person: [start, end), open ends empty; of a hashed namespace in hex."""
    start, end = map(shown, shard.range) if shard.units is None else (bound.hex() for bound in shard.range)
    keys = f"[{start}, {end or '...'})"
    return keys if shard.units is None else f"hash {keys}"


def print_json(document: Any) -> None:
    """One document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Mapping[str, Any]) -> None:
    """One document of a stream, on one line; written at once."""
    click.echo(json.dumps(document, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns, the last one ragged; absent values are a dash."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        padded = [text.ljust(width) for text, width in zip(row[:-1], widths[:-1], strict=True)]
        click.echo("  ".join([*padded, row[-1]]).rstrip())


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    return str(value)


def age_text(seconds: float) -> str:
    """A lapse of time for a person, in the one unit that fits."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size_text(count: int) -> str:
    """Bytes for a person."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
