"""Where foreign things stop: what import-linter cannot say about the floors of ARCHITECTURE.md."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.repo.sources import imports, module_name, package_files, syntax

# Pure: no asyncio, grpc, clock, randomness, files. Facts in, decisions out.
PURE = (
    "holdfast.types",
    "holdfast.keys",
    "holdfast.shardmap",
    "holdfast.token",
    "holdfast.errors",
    "holdfast.retry",
    "holdfast.silence",
    "holdfast.clocks",
    "holdfast.cli.bench_course",
    "holdfast.cli.bench_plan",
    "holdfast.cli.bench_summary",
    "holdfast.cli.bench_tally",
    "holdfast.cli.latencies",
    "holdfast.cli.zipf",
    "holdfast_raft.errors",
    "holdfast_raft.machine",
    "holdfast_raft.messages",
    "holdfast_raft.status",
    "holdfast_raft.transport",
    "holdfast_raft.guard",
    "holdfast_raft.readindex",
    "holdfast_raft.election",
    "holdfast_node.limits",
    "holdfast_node.routing",
    "holdfast_node.stamp",
    "holdfast_node.cache",
    "holdfast_node.cache.*",
    "holdfast_node.placement.[!cr]*",
    "holdfast_node.placement.cluster",
    "holdfast_node.placement.commands",
    "holdfast_node.placement.content",
    "holdfast_node.placement.reshape",
    "holdfast_node.placement.replacing",
    "holdfast_node.talk",
    "holdfast_node.rpc.convert",
    "holdfast_node.rpc.placement_convert",
    "holdfast_chaos.append_list",
    "holdfast_chaos.availability",
    "holdfast_chaos.bank",
    "holdfast_chaos.cluster.wires",
    "holdfast_chaos.counter",
    "holdfast_chaos.course",
    "holdfast_chaos.drawing",
    "holdfast_chaos.expiring",
    "holdfast_chaos.generator",
    "holdfast_chaos.guarantees",
    "holdfast_chaos.judging",
    "holdfast_chaos.linearizability",
    "holdfast_chaos.model",
    "holdfast_chaos.operation",
    "holdfast_chaos.outcomes",
    "holdfast_chaos.record",
    "holdfast_chaos.replicas",
    "holdfast_chaos.report",
    "holdfast_chaos.rotation",
    "holdfast_chaos.schedule",
    "holdfast_chaos.search",
    "holdfast_chaos.sets",
    "holdfast_chaos.sightings",
    "holdfast_chaos.timeline",
    "holdfast_chaos.unit_model",
    "holdfast_chaos.values",
    "holdfast_chaos.verdict",
    "holdfast_chaos.watch_notes",
    "holdfast_chaos.watching",
)
IMPURE = {
    "asyncio", "datetime", "grpc", "io", "logging", "os", "pathlib", "random", "secrets", "selectors",
    "signal", "socket", "subprocess", "tempfile", "threading", "time", "uuid", "uvloop",
}  # fmt: skip

# Foreign thing -> the modules that may import it.
STOPS_AT = {
    "pysyncobj": ("holdfast_raft.engine",),
    "prometheus_client": ("holdfast_node.metrics",),
    "click": ("holdfast.cli", "holdfast.cli.*", "holdfast_chaos.cli"),
    "rich": ("holdfast.cli", "holdfast.cli.*"),
    "uvloop": (
        "holdfast.cli.bench_worker",  # where it is installed
        "holdfast_node.server",
        "holdfast_node.__main__",
        "holdfast_chaos.cli",
        "holdfast_chaos.node.__main__",
    ),
    "grpc_reflection": ("holdfast_node.server",),
    "grpc_health": ("holdfast_node.health", "holdfast_node.server"),
    # Message classes: where bytes become our own types.
    "holdfast.v1": (
        "holdfast.stream",
        "holdfast.watch",
        "holdfast.wire",
        "holdfast.channels",
        "holdfast.cli.placement",
        "holdfast.cli.placement_*",
        "holdfast_node.cache.commands",
        "holdfast_node.cache.decoding",
        "holdfast_node.rpc.*",
        "holdfast_node.talk",
        "holdfast_node.server",  # reflection wants the descriptors
        "holdfast_chaos.cluster.admin",
    ),
    "holdfast_node.v1": (
        "holdfast_node.cache.commands",
        "holdfast_node.cache.decoding",
        "holdfast_node.cache.image",
        "holdfast_node.placement.commands",
        "holdfast_node.placement.image",
        "holdfast_node.placement.stored",
        "holdfast_node.rpc.*",
        "holdfast_node.talk",
    ),
    "holdfast_raft.v1": ("holdfast_raft.peer_greeting", "holdfast_raft.peer_wire"),
}


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def brings(name: str, thing: str) -> bool:
    return name == thing or name.startswith(thing + ".")


@pytest.mark.parametrize("thing", sorted(STOPS_AT))
def test_a_foreign_thing_stops_where_the_architecture_says(thing):
    """Stub classes, PySyncObj, prometheus and click are imported by the named modules only."""
    strays = [
        module_name(path)
        for path in package_files()
        if any(brings(name, thing) for name in imports(path))
        and not matches(module_name(path), STOPS_AT[thing])
        and not brings(module_name(path), thing)
    ]

    assert strays == []


def acts(path: Path) -> set[str]:
    """What of a module's imports acts. `random` may be imported to name the type of a generator handed in."""
    found = {name.partition(".")[0] for name in imports(path)} & IMPURE
    uses = {
        node.attr
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
    }
    makes = any(
        isinstance(node, ast.Call) and ast.unparse(node.func) == "random.Random"
        for node in ast.walk(syntax(path))
    )
    return found - {"random"} if uses == {"Random"} and not makes else found


def test_a_pure_module_imports_nothing_that_acts():
    """A pure module imports no event loop, network, clock, randomness or file access."""
    strays = {
        module_name(path): sorted(found)
        for path in package_files()
        if matches(module_name(path), PURE) and (found := acts(path))
    }

    assert strays == {}


def test_every_name_of_the_pure_list_exists():
    """A module that was renamed does not silently leave the list of pure modules."""
    names = [module_name(path) for path in package_files()]

    assert [pattern for pattern in PURE if not any(fnmatch(name, pattern) for name in names)] == []
