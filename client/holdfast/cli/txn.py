"""`holdfast txn`: a transaction written as JSON, carried out all or nothing on keys of one shard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click

from holdfast.cli.output import given, named, print_json
from holdfast.cli.session import in_namespace, open_client
from holdfast.cli.verbs import EXIT_ERROR, MILLISECONDS, Call, run, verb
from holdfast.errors import HoldfastError
from holdfast.operations import Compare, Step
from holdfast.types import StepResult, TxnResult

EXAMPLES = """
# Swap in a new setting if the device's document is still revision 42, else read it
$ echo '{"compares":  [{"key": "device/17", "revision": 42}],
         "then":      [{"put": {"key": "device/17", "value": "on", "ttl": "1h"}}],
         "otherwise": [{"get": {"key": "device/17"}}]}' | holdfast txn -

# From a file
$ holdfast txn swap.json
"""

# step -> the fields it may have besides `key`, and what the client calls them.
FIELDS: dict[str, dict[str, str]] = {
    "get": {},
    "put": {
        "value": "value",
        "ttl": "ttl_ms",
        "if_revision": "if_revision",
        "if_absent": "if_absent",
        "if_present": "if_present",
        "previous": "return_previous",
    },
    "delete": {"if_revision": "if_revision", "previous": "return_previous"},
    "increment": {
        "by": "by",
        "initial": "initial",
        "minimum": "minimum",
        "maximum": "maximum",
        "ttl": "ttl_ms",
    },
    "touch": {"ttl": "ttl_ms"},
}
KINDS: dict[str, type] = {
    "value": str, "if_revision": int, "if_absent": bool, "if_present": bool, "previous": bool, "by": int,
    "initial": int, "minimum": int, "maximum": int,
}  # fmt: skip


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "txn", EXAMPLES)(txn)


class SpecError(ValueError):
    """The JSON is not a transaction; the message names the place."""


def parse(document: Any) -> tuple[list[Compare], list[Step], list[Step]]:
    """Compares, then, otherwise. Raises SpecError."""
    if not isinstance(document, Mapping):
        raise SpecError("a transaction is an object with compares, then and otherwise")
    for name in document:
        if name not in ("compares", "then", "otherwise"):
            raise SpecError(f"{name}: no such part; there are compares, then and otherwise")
    lists = []
    for name in ("compares", "then", "otherwise"):
        entries = document.get(name, [])
        if not isinstance(entries, list):
            raise SpecError(f"{name}: must be a list")
        lists.append([(f"{name}[{i}]", entry) for i, entry in enumerate(entries)])
    compares = [_compare(where, entry) for where, entry in lists[0]]
    return compares, [_step(*entry) for entry in lists[1]], [_step(*entry) for entry in lists[2]]


def _fields(where: str, entry: Any, allowed: set[str]) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise SpecError(f"{where}: must be an object")
    for name in entry:
        if name not in allowed | {"key"}:
            raise SpecError(f"{where}.{name}: no such field; there are key, {', '.join(sorted(allowed))}")
    if not isinstance(entry.get("key"), str):
        raise SpecError(f"{where}.key: is required, as text")
    return entry


def _compare(where: str, entry: Any) -> Compare:
    fields = _fields(where, entry, {"revision", "exists"})
    key, revision, exists = given(fields["key"]), fields.get("revision"), fields.get("exists")
    if (revision is None) == (exists is None):
        raise SpecError(f"{where}: give revision or exists")
    if exists is not None:
        if not isinstance(exists, bool):
            raise SpecError(f"{where}.exists: must be true or false")
        return Compare.exists(key) if exists else Compare.absent(key)
    if not isinstance(revision, int) or isinstance(revision, bool) or revision < 0:
        raise SpecError(f"{where}.revision: must be a number, 0 or more")
    return Compare.revision(key, revision)


def _step(where: str, entry: Any) -> Step:
    if not isinstance(entry, Mapping) or len(entry) != 1 or next(iter(entry)) not in FIELDS:
        raise SpecError(f"{where}: must be an object with one of {', '.join(FIELDS)}")
    kind: str
    body: Any
    kind, body = next(iter(entry.items()))
    where = f"{where}.{kind}"
    fields = _fields(where, body, set(FIELDS[kind]))
    arguments: dict[str, Any] = {
        FIELDS[kind][name]: _value(f"{where}.{name}", name, fields[name]) for name in fields if name != "key"
    }
    if kind == "put" and "value" not in arguments:
        raise SpecError(f"{where}.value: is required")
    key: str = fields["key"]
    step: Step = getattr(Step, kind)(given(key), **arguments)
    return step


def _value(where: str, name: str, value: Any) -> Any:
    if name == "ttl":
        try:
            return MILLISECONDS.parse(str(value))
        except ValueError as problem:
            raise SpecError(f"{where}: {problem}") from None
    if not isinstance(value, KINDS[name]) or (KINDS[name] is int and isinstance(value, bool)):
        raise SpecError(f"{where}: must be {_NAMES[KINDS[name]]}, not {value!r}")
    return given(str(value)) if name == "value" else value


_NAMES = {str: "text", int: "a number", bool: "true or false"}


@click.argument("spec", type=click.File("r", encoding="utf-8"))
@in_namespace
@click.pass_obj
def txn(call: Call, spec: IO[str], namespace: str, session_file: Path | None) -> None:
    """Carries out the transaction in the JSON file SPEC (-: stdin).

    Does `then` if all `compares` hold, else `otherwise`, all or nothing; all keys must lie in one shard.
    Prints the results as JSON. Exit code 1: the compares did not hold.
    """
    try:
        compares, then, otherwise = parse(json.load(spec))
    except (SpecError, HoldfastError) as problem:
        raise click.UsageError(f"{spec.name}: {problem}") from None
    except ValueError as problem:
        raise click.UsageError(f"{spec.name}: not JSON: {problem}") from None

    async def work() -> TxnResult:
        async with open_client(call, namespace, session_file) as client:
            return await client.txn(compares, then, otherwise)

    result = run(work(), writes=True)
    done = then if result.succeeded else otherwise
    results = [_result_fields(step, found) for step, found in zip(done, result.results, strict=False)]
    print_json({"succeeded": result.succeeded, "revision": result.revision, "results": results})
    if not result.succeeded:
        click.get_current_context().exit(EXIT_ERROR)


def _result_fields(step: Step, found: StepResult) -> dict[str, Any]:
    fields: dict[str, Any] = {"step": step.kind, **named("key", step.key), "revision": found.revision}
    if step.kind == "get":
        return {**fields, **named("value", found.value), "ttl_ms": found.ttl_ms}
    if step.return_previous:
        fields |= named("previous", found.value)
    if step.kind == "increment":
        fields["value"] = found.number
    if step.kind == "delete":
        fields["deleted"] = found.deleted
    return fields
