"""`holdfast namespace ...`: kinds of keys that live apart, each with its policy."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click

from holdfast.cli import placement_namespaces
from holdfast.cli.output import given, named, print_json, print_table, size_text
from holdfast.cli.parameters import BYTES
from holdfast.cli.placement import Placement
from holdfast.cli.placement_namespaces import NamespaceChange, NamespaceFacts
from holdfast.cli.verbs import Call, FailedError, dry_run_option, note, noun, run, talks, verb
from holdfast.keys import NAMESPACE

EXAMPLES = """
# Every namespace with its policy and size
$ holdfast namespace list

# One that never evicts
$ holdfast namespace create alarms --noevict
"""

_LIST = """
# Every namespace with its policy and size
$ holdfast namespace list
"""

_SHOW = """
# The policy of one namespace
$ holdfast namespace show default
"""

_CREATE = """
# A namespace that never evicts, 256 MiB a shard
$ holdfast namespace create alarms --budget 256MiB --noevict

# Settings of a fleet: the keys of device/17 stay together (two parts of device/17/mode), four shards
$ holdfast namespace create fleet --unit 2 --cut device/3 --cut device/5 --cut device/7

# Keys that begin with a serial number, spread evenly over eight shards; each device's stay together
$ holdfast namespace create devices --unit 1 --hashed --shards 8
"""

_SET = """
# Twice the budget
$ holdfast namespace set fleet --budget 512MiB

# Five replicas of each shard from now on; the planner adds them
$ holdfast namespace set alarms --replicas 5 --noevict
"""

_DELETE = """
# Asks for the name once more when this is a terminal
$ holdfast namespace delete fleet

# In a script
$ holdfast namespace delete fleet --confirm fleet

# What would go
$ holdfast namespace delete fleet --dry-run
"""


def register(root: click.Group) -> None:
    """Adds the noun and its verbs."""
    group = noun(root, "namespace", "Kinds of keys, each with its policy.", EXAMPLES)
    verb(group, "list", _LIST)(list_namespaces)
    verb(group, "create", _CREATE)(create)
    verb(group, "set", _SET)(set_policy)
    verb(group, "show", _SHOW)(show)
    verb(group, "delete", _DELETE)(delete)


def namespace_fields(namespace: NamespaceFacts) -> dict[str, Any]:
    """A namespace as JSON fields; budget null: the default."""
    return {
        "name": namespace.name,
        "budget_bytes": namespace.budget_bytes or None,
        "eviction": namespace.eviction,
        "strict_ttl": namespace.strict_ttl,
        "replicas": namespace.replicas,
        "unit_parts": namespace.unit_parts,
        **named("unit_separator", namespace.unit_separator),
        "hashed": namespace.hashed,
        "shards": namespace.shards,
        "keys": namespace.keys,
        "bytes": namespace.bytes,
    }


async def _known(call: Call) -> list[NamespaceFacts]:
    async with Placement(call.endpoints, call.timeout_s) as placement:
        return await placement_namespaces.namespaces(placement)


def _policy(namespace: NamespaceFacts) -> str:
    """The policy for a person."""
    budget = size_text(namespace.budget_bytes) if namespace.budget_bytes else "default"
    words = [namespace.eviction, f"budget {budget}", f"{namespace.replicas} replicas"]
    if namespace.unit_parts:
        words.append(f"unit of {namespace.unit_parts}")
    words += ["hashed"] * namespace.hashed + ["strict ttl"] * namespace.strict_ttl
    return ", ".join(words)


def _print(call: Call, found: list[NamespaceFacts]) -> None:
    if call.is_json:
        print_json([namespace_fields(entry) for entry in found])
        return
    print_table(
        ("NAMESPACE", "SHARDS", "KEYS", "SIZE", "POLICY"),
        [(n.name, n.shards, n.keys, size_text(n.bytes), _policy(n)) for n in found],
    )


@talks
@click.pass_obj
def list_namespaces(call: Call) -> None:
    """Every namespace: its policy, its shards, what it holds."""
    _print(call, run(_known(call)))


@click.argument("name")
@talks
@click.pass_obj
def show(call: Call, name: str) -> None:
    """One namespace: its policy, its shards, what it holds."""
    known = run(_known(call))
    found = next((entry for entry in known if entry.name == name), None)
    if found is None:
        raise FailedError(f"no namespace {name!r}; there are {', '.join(n.name for n in known) or 'none'}")
    if call.is_json:
        print_json(namespace_fields(found))
        return
    rows = [(field.replace("_", " "), value) for field, value in namespace_fields(found).items()]
    print_table(("FIELD", "VALUE"), rows)


def _changed(
    call: Call, change: Callable[[Placement], Awaitable[NamespaceChange]], text: str, *, dry_run: bool
) -> None:
    """Asks for a change of a namespace and prints what it is now."""

    async def work() -> NamespaceChange:
        async with Placement(call.endpoints, call.timeout_s) as placement:
            return await change(placement)

    found = run(work(), writes=not dry_run, next_step="`holdfast namespace list` shows those there are")
    if call.is_json:
        fields = namespace_fields(found.namespace)
        print_json({**fields, "explanation": found.explanation, "dry_run": dry_run})
        return
    note(found.explanation or text)
    if dry_run:
        note("dry run: nothing was changed")


def _one_byte(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> bytes:
    separator = given(value) if value is not None else b"/"
    if len(separator) != 1:
        raise click.BadParameter(f"{value!r} is not one byte")
    return separator


@click.argument("name")
@click.option(
    "--budget", "budget_bytes", type=BYTES, help="What the keys of one shard may take, such as 256MiB."
)
@click.option("--noevict", is_flag=True, help="Refuse writes when the budget is full, instead of evicting.")
@click.option(
    "--strict-ttl", is_flag=True, help="No read serves a key past its time, by the replica's clock."
)
@click.option("--replicas", type=click.IntRange(1, 7), default=3, show_default=True, help="Of each shard.")
@click.option(
    "--unit",
    "unit_parts",
    type=click.IntRange(0, 16),
    default=0,
    help="Parts of a key that no cut separates. Default: the whole key.",
)
@click.option("--unit-separator", callback=_one_byte, help="What divides the parts of a key. Default: /.")
@click.option(
    "--hashed",
    is_flag=True,
    help="Spread keys by the hash of their unit: for keys that grow, such as serial numbers.",
)
@click.option("--shards", type=click.IntRange(1, 4096), help="Shards to begin with; hashed: cut evenly.")
@click.option(
    "--cut", "cuts", multiple=True, metavar="KEY", help="A shard begins with this key; several times."
)
@dry_run_option
@talks
@click.pass_obj
def create(
    call: Call, name: str, budget_bytes: int | None, noevict: bool, strict_ttl: bool, replicas: int,
    unit_parts: int, unit_separator: bytes, hashed: bool, shards: int | None, cuts: tuple[str, ...],
    dry_run: bool,
) -> None:  # fmt: skip
    """Makes a namespace. Its name: 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit.

    With --hashed the keys of one unit stay together and in order, but units are in the order of their hash: a
    scan, delete or watch of more than one unit asks every shard.
    """
    if not NAMESPACE.match(name):
        raise click.UsageError(f"{name!r} is no name for a namespace: 1 to 64 of a-z 0-9 . _ -")
    at = tuple(sorted(map(given, cuts)))
    if hashed and at:
        raise click.UsageError("--cut names keys, and a hashed namespace is cut by hashes: give --shards")
    if not hashed and shards not in (None, len(at) + 1):
        raise click.UsageError(f"{shards} shards of ordered keys need {shards - 1} --cut; or say --hashed")
    wanted = NamespaceFacts(
        name=name,
        budget_bytes=budget_bytes or 0,
        eviction="noevict" if noevict else "clock",
        strict_ttl=strict_ttl,
        replicas=replicas,
        unit_parts=unit_parts,
        unit_separator=unit_separator,
        hashed=hashed,
        shards=shards or len(at) + 1,
    )
    _changed(
        call, lambda placement: placement_namespaces.create(placement, wanted, cuts=at, dry_run=dry_run),
        f"namespace {name} is there", dry_run=dry_run,
    )  # fmt: skip


@click.argument("name")
@click.option(
    "--budget", "budget_bytes", type=BYTES, help="What the keys of one shard may take, such as 256MiB."
)
@click.option("--noevict/--evict", default=None, help="Refuse writes when the budget is full, or evict.")
@click.option("--strict-ttl/--no-strict-ttl", default=None, help="No read serves a key past its time.")
@click.option("--replicas", type=click.IntRange(1, 7), help="Of each shard; the planner adds or drops them.")
@dry_run_option
@talks
@click.pass_obj
def set_policy(
    call: Call, name: str, budget_bytes: int | None, noevict: bool | None, strict_ttl: bool | None,
    replicas: int | None, dry_run: bool,
) -> None:  # fmt: skip
    """Changes a namespace's policy; what is not named stays. Unit and hashing are fixed for good."""
    if (budget_bytes, noevict, strict_ttl, replicas) == (None, None, None, None):
        raise click.UsageError("name what to change: --budget, --noevict, --strict-ttl, --replicas")
    _changed(
        call,
        lambda placement: placement_namespaces.set_policy(
            placement, name, budget_bytes=budget_bytes, noevict=noevict, strict_ttl=strict_ttl,
            replicas=replicas, dry_run=dry_run,
        ),
        f"namespace {name} is changed", dry_run=dry_run,
    )  # fmt: skip


def _is_asked_by_a_person() -> bool:
    return sys.stdin.isatty()


@click.argument("name")
@click.option(
    "--confirm", metavar="NAME", help="The name once more. Without it, it is asked for on a terminal."
)
@dry_run_option
@talks
@click.pass_obj
def delete(call: Call, name: str, confirm: str | None, dry_run: bool) -> None:
    """Drops a namespace with every key in it. There is no way back."""
    if confirm is None and dry_run:
        confirm = name
    if confirm is None and _is_asked_by_a_person():
        confirm = click.prompt(f"Every key of {name} goes for good. Its name once more", err=True)
    if confirm is None:
        raise click.UsageError(f"every key of {name} goes for good: repeat its name with --confirm {name}")
    if confirm != name:
        raise click.UsageError(f"{confirm!r} is not {name!r}: nothing was deleted")
    _changed(
        call,
        lambda placement: placement_namespaces.delete(placement, name, confirm, dry_run=dry_run),
        f"namespace {name} is gone", dry_run=dry_run,
    )  # fmt: skip
