"""What can be asked of `holdfast bench`: its options, and the plan they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from holdfast.cli.bench_plan import DELETE, GET, KINDS, NAME_BYTES, PUT, Plan
from holdfast.cli.output import given
from holdfast.cli.parameters import BYTES
from holdfast.cli.session import freshness, how_fresh
from holdfast.cli.verbs import MILLISECONDS, SECONDS, Call
from holdfast.keys import DEFAULT_NAMESPACE, KEY_BYTES_MAX, VALUE_BYTES_MAX

Function = TypeVar("Function", bound=Callable[..., Any])

SECONDS_UNLESS_TOLD: Final = 10.0
MIX_UNLESS_TOLD: Final = {PUT: 50, GET: 50}
CALLERS_UNLESS_TOLD: Final = 64
CALLERS_OF_A_RATE: Final = 1024
KEYS_MAX: Final = 10**9
PROCESSES_MAX: Final = 256

_OPTIONS = (
    click.option(
        "--put", type=click.IntRange(min=0), help="Weight of puts. No weight given: 50 puts, 50 gets."
    ),
    click.option("--get", type=click.IntRange(min=0), help="Weight of gets."),
    click.option("--delete", type=click.IntRange(min=0), help="Weight of deletes."),
    click.option(
        "--increment", type=click.IntRange(min=0), help="Weight of increments, on keys of their own."
    ),
    click.option(
        "--callers", type=click.IntRange(min=1),
        help="Operations under way at once, over all processes. Default: 64; with --rate at most 1024.",
    ),
    click.option(
        "--rate", type=click.FloatRange(min=0, min_open=True),
        help="Operations a second, due at equal intervals; latency counts from when one was due."
        " Default: each caller asks again as soon as it is answered.",
    ),
    click.option("--seconds", type=SECONDS, help="How long to measure. Default: 10s, or until --count."),
    click.option("--count", type=click.IntRange(min=1), help="End after this many operations."),
    click.option(
        "--warmup", "warmup_s", type=SECONDS, default=1.0,
        help="The same load before, not counted. Default: 1s.",
    ),
    how_fresh,
    click.option(
        "--keys", type=click.IntRange(1, KEYS_MAX), default=10_000, show_default=True,
        help="How many keys; all are written first.",
    ),
    click.option(
        "--zipf", type=click.FloatRange(0, 10), default=0.0,
        help="Some keys are asked for more often than others, by Zipf's law with this exponent, such as 0.99."
        " Default: all alike.",
    ),
    click.option(
        "--value-bytes", type=BYTES, default=256, show_default=True, help="Size of a value, such as 4KiB."
    ),
    click.option("--ttl", "ttl_ms", type=MILLISECONDS, help="Time to live of what is written, such as 30s."),
    click.option(
        "--key-prefix", "prefixes", multiple=True, default=("bench-",), show_default=True,
        help="What all keys begin with; given several times, the keys are dealt among them.",
    ),
    click.option("--keep", is_flag=True, help="Leave the keys; otherwise they are deleted in the end."),
    click.option(
        "--reuse", is_flag=True, help="Take the keys that an earlier bench left with --keep, and leave them."
    ),
    click.option("--no-fill", is_flag=True, help="Do not write all keys first: gets may find nothing."),
    click.option(
        "--processes", type=click.IntRange(1, PROCESSES_MAX), default=1, show_default=True,
        help="Processes that make the load; one fills about one core.",
    ),
    click.option(
        "--seed", type=int, default=1, show_default=True, help="The same seed asks for the same keys."
    ),
    click.option(
        "--errors-max", "errors_percent_max", type=click.FloatRange(0, 100), default=1.0, show_default=True,
        metavar="PERCENT", help="Exit code 1 when more failed, or were due and never begun.",
    ),
    click.option(
        "-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="The keys' namespace."
    ),
)  # fmt: skip


def bench_options(function: Function) -> Function:
    """All of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def plan_of(call: Call, options: dict[str, Any]) -> Plan:
    """The plan that the options make. Raises click.UsageError."""
    weights = {kind: options[kind] for kind in KINDS if options[kind]}
    if not weights:
        if any(options[kind] is not None for kind in KINDS):
            raise click.UsageError("all weights are 0: give --put, --get, --delete or --increment one")
        weights = MIX_UNLESS_TOLD
    rate, seconds, count = options["rate"], options["seconds"], options["count"]
    callers = options["callers"] or (CALLERS_UNLESS_TOLD if rate is None else CALLERS_OF_A_RATE)
    processes = options["processes"]
    if processes > min(callers, count or callers):
        raise click.UsageError(f"{processes} processes need as many callers, and operations")
    if seconds is None and count is None:
        seconds = SECONDS_UNLESS_TOLD
    if seconds is not None and seconds <= 0:
        raise click.UsageError("--seconds must be more than 0")
    if options["value_bytes"] > VALUE_BYTES_MAX:
        raise click.UsageError(f"--value-bytes: a value has at most {VALUE_BYTES_MAX} bytes")
    fresh = freshness(options["level"], options["bound_ms"], options["or_linearizable"])
    if GET not in weights and fresh != (None, None, False):
        raise click.UsageError("--level and --bound are for gets, and there are none")
    return Plan(
        endpoints=call.endpoints,
        timeout_s=call.timeout_s,
        namespace=options["namespace"],
        weights=weights,
        callers=callers,
        rate=rate,
        seconds=seconds,
        total=count,
        warmup_s=options["warmup_s"],
        level=None if fresh.level is None else fresh.level.name,
        bound_ms=fresh.bound_ms,
        or_linearizable=fresh.or_linearizable,
        prefixes=_prefixes(options["prefixes"]),
        keys=options["keys"],
        value_bytes=options["value_bytes"],
        ttl_ms=options["ttl_ms"],
        zipf=options["zipf"],
        seed=options["seed"],
        fills=not (options["no_fill"] or options["reuse"]) and {PUT, GET, DELETE} & set(weights) != set(),
    )


def _prefixes(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    prefixes = tuple(given(text) for text in texts)
    for prefix in prefixes:
        if not 0 < len(prefix) <= KEY_BYTES_MAX - NAME_BYTES:
            raise click.UsageError(
                f"--key-prefix has 1 to {KEY_BYTES_MAX - NAME_BYTES} bytes: a number comes after it"
            )
    return prefixes
