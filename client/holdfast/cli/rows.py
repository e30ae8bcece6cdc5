"""Reads settings to load: JSON Lines or CSV with key, value and ttl, checked line by line.

Invariant: every line gives a `Row` or a `BadRow` that says what is wrong with it; reading never stops at a
bad line. Bounds are the SDK's (`operations.py`), so a typo costs no round trip.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from holdfast.cli.verbs import MILLISECONDS
from holdfast.errors import HoldfastError
from holdfast.operations import key_bytes, ttl_in_ms, value_bytes

FIELDS = ("key", "key_b64", "value", "value_b64", "ttl")


class Row(NamedTuple):
    """One key to write. ttl_ms: None = does not expire. line: 1-based."""

    line: int
    key: bytes
    value: bytes
    ttl_ms: int | None


class BadRow(NamedTuple):
    """A line that cannot be loaded."""

    line: int
    problem: str


def of_json_lines(lines: Iterable[str]) -> Iterator[Row | BadRow]:
    """{"key": ..., "value": ..., "ttl": ...} a line; key_b64 and value_b64 for bytes; ttl: seconds or "10m".

    A value that is no text is taken as its JSON.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as problem:
            yield BadRow(number, f"not JSON: {problem}")
            continue
        if not isinstance(fields, dict):
            yield BadRow(number, "not an object with key, value and ttl")
            continue
        yield _row(number, fields)


def of_csv(lines: Iterable[str]) -> Iterator[Row | BadRow]:
    """Columns key, value, ttl in this order, or as a first row with their names says."""
    reader = csv.reader(lines, strict=True)
    names: list[str] = ["key", "value", "ttl"]
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield BadRow(reader.line_num, f"not CSV: {problem}")
            continue
        number += 1
        if not cells:
            continue
        if number == 1 and set(cells) & {"key", "key_b64"}:
            names = cells
            continue
        if len(cells) > len(names):
            yield BadRow(reader.line_num, f"{len(cells)} cells, at most {len(names)} ({', '.join(names)})")
            continue
        yield _row(reader.line_num, {n: c for n, c in zip(names, cells, strict=False) if c or n == "value"})


FORMATS: dict[str, Callable[[Iterable[str]], Iterator[Row | BadRow]]] = {
    "jsonl": of_json_lines,
    "csv": of_csv,
}


def _row(line: int, fields: dict[str, Any]) -> Row | BadRow:
    try:
        _refuse_unknown(fields)
        key = key_bytes(_bytes(fields, "key"))
        return Row(line, key, value_bytes(_bytes(fields, "value")), _ttl(fields.get("ttl")))
    except HoldfastError as problem:
        return BadRow(line, problem.message)
    except ValueError as problem:
        return BadRow(line, str(problem))


def _refuse_unknown(fields: dict[str, Any]) -> None:
    for name in fields:
        if name not in FIELDS:
            raise ValueError(f"{name}: no such field; there are {', '.join(FIELDS)}")


def _bytes(fields: dict[str, Any], name: str) -> bytes:
    coded = fields.get(f"{name}_b64")
    if (name in fields) == (coded is not None):
        raise ValueError(f"{name}: give {name} or {name}_b64")
    if coded is not None:
        try:
            return base64.b64decode(coded, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ValueError(f"{name}_b64: not base64") from None
    found = fields[name]
    if isinstance(found, str):
        return found.encode()
    if name == "key":
        raise ValueError(f"key: must be text, not {found!r}")
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _ttl(found: Any) -> int | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError(f"ttl: must be seconds or text such as 10m, not {found!r}")  # noqa: TRY004 a bad row
    try:
        ttl_ms = MILLISECONDS.parse(str(found))
    except ValueError as problem:
        raise ValueError(f"ttl: {problem}") from None
    return ttl_in_ms(ttl_ms, None, "ttl") or None
