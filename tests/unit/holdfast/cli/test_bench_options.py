"""holdfast.cli.bench_options: what is asked makes sense together, before anybody is asked."""

from __future__ import annotations

from typing import Any

import click
import pytest
from holdfast.cli import bench_options
from holdfast.cli.bench_plan import Plan
from holdfast.cli.verbs import Call

from tests.unit.holdfast.cli.console import Console


def planned(*arguments: str) -> Plan:
    """The plan of `holdfast bench ARGUMENTS`."""
    found: list[Plan] = []

    @click.command()
    @bench_options.bench_options
    def command(**options: Any) -> None:
        found.append(bench_options.plan_of(Call(), options))

    command.main(list(arguments), standalone_mode=False)
    return found[0]


def test_without_a_word_it_is_a_short_even_mix() -> None:
    """50 puts, 50 gets, 64 callers, ten seconds; at a rate more callers, as answers may be late."""
    usual = planned()

    assert (usual.weights, usual.callers) == ({"put": 50, "get": 50}, 64)
    assert (usual.seconds, usual.total, usual.rate) == (10.0, None, None)
    assert usual.fills
    assert planned("--rate", "100").callers == 1024
    assert planned("--rate", "100", "--callers", "8").callers == 8
    assert planned("--count", "5").seconds is None
    assert planned("--count", "5", "--seconds", "1m").seconds == 60


def test_only_named_kinds_are_asked_for() -> None:
    """A weight for one kind leaves the others out; their order does not matter."""
    assert planned("--get", "9", "--put", "1").weights == {"put": 1, "get": 9}
    assert planned("--increment", "1").weights == {"increment": 1}


def test_keys_are_filled_where_something_can_be_found() -> None:
    """Not for increments alone, not when told, not when an earlier bench's keys are taken."""
    assert not planned("--increment", "1").fills
    assert not planned("--no-fill").fills
    assert not planned("--reuse").fills


def test_levels_and_prefixes() -> None:
    """A bound implies its level; prefixes may be bytes, and several."""
    assert planned("--level", "session").level == "SESSION"
    assert planned("--bound", "500ms", "--or-linearizable").bound_ms == 500
    assert planned("--key-prefix", "a", "--key-prefix", "base64:/w==").prefixes == (b"a", b"\xff")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--put", "0"),
        ("--put", "1", "--level", "any"),
        ("--level", "bounded"),
        ("--seconds", "0"),
        ("--key-prefix", ""),
        ("--key-prefix", "k" * 1012),
        ("--value-bytes", "2MiB"),
        ("--processes", "4", "--callers", "2"),
        ("--processes", "4", "--count", "2"),
        ("--keys", "0"),
        ("--rate", "0"),
        ("--zipf", "-1"),
        ("--errors-max", "101"),
    ],
)
def test_what_makes_no_sense_is_a_matter_of_usage(arguments: tuple[str, ...]) -> None:
    """Exit code 2, nothing on stdout, nobody asked."""
    console = Console()
    result = console.run("bench", *arguments)

    assert (result.exit_code, result.stdout, console.asked) == (2, "", [])
