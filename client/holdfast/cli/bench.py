"""`holdfast bench`: how fast your cluster answers, by a load that you describe.

Invariant: it writes under its prefixes only, refuses to begin when keys are there that it did not write, and
so deletes nothing in the end but its own.

Teachers: YCSB (fill, then a mix; Zipf's law), wrk2 (a rate without coordinated omission), redis-benchmark
and etcd's benchmark for what people ask of such a command.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
from typing import Any, NamedTuple

import click

from holdfast.cli import bench_summary
from holdfast.cli.bench_course import Course
from holdfast.cli.bench_crew import Crew
from holdfast.cli.bench_options import bench_options, plan_of
from holdfast.cli.bench_plan import Plan
from holdfast.cli.bench_screen import Screen
from holdfast.cli.output import print_json, print_table, shown
from holdfast.cli.session import open_client
from holdfast.cli.verbs import (
    EXIT_ERROR,
    EXIT_REFUSED,
    Call,
    FailedError,
    InterruptedCommandError,
    explain,
    note,
    run,
    talks,
    verb,
)
from holdfast.client import Client
from holdfast.errors import HoldfastError

EXAMPLES = """
# Half puts, half gets, 64 callers, ten seconds
$ holdfast bench

# Mostly reads that may come from any replica that has caught up, as many at once as 256 callers bring
$ holdfast bench --put 5 --get 95 --level session --callers 256 --seconds 30s

# What 2000 operations a second feel like: latency counts from when each was due
$ holdfast bench --rate 2000 --seconds 1m

# A few keys are asked for most, by four processes, values of 4 KiB
$ holdfast bench --get 100 --zipf 0.99 --keys 1000000 --value-bytes 4KiB --processes 4

# Over all shards: in a hashed namespace, or with a prefix for each shard
$ holdfast bench -n devices
$ holdfast bench --key-prefix b-bench- --key-prefix m-bench- --key-prefix z-bench-

# In a script: exit code 1 when more than one in a thousand failed
$ holdfast bench --count 100000 --errors-max 0.1 -o json | jq '.operations_per_s, .p99_ms'
"""


# For a page of keys, in a cluster that may just have had a bad time; --timeout is for what is measured.
DELETE_S = 30.0


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "bench", EXAMPLES)(bench)


class Measured(NamedTuple):
    """What came of it."""

    course: Course
    is_interrupted: bool
    loop: str
    is_clean: bool


@bench_options
@talks
@click.pass_obj
@click.pass_context
def bench(ctx: click.Context, call: Call, /, **options: Any) -> None:
    """Measures how fast the cluster answers: rate, latencies, errors, who served the reads.

    It writes its keys, warms up, measures, and deletes its keys. A line each second to stderr (on a terminal
    a table that moves), the summary to stdout. Ctrl-C ends it early with the summary of what was measured.

    Without --rate each caller asks again as soon as it is answered. With --rate operations are due at equal
    intervals, whatever the answers: latency counts from when one was due, so a cluster that stands still for
    a second shows it in every operation of that second. What was due and never begun is told.

    Errors are counted by reason, and their latencies are not among those of the answered; they end nothing.
    Exit code: 1 when more than --errors-max percent failed or were due and never begun, and when the keys
    could not be deleted; 3 and nothing written when no node answers, or when there are keys under the prefix
    already.

    Keys that begin alike lie in one shard, unless the namespace is hashed.
    """
    plan = plan_of(call, options)
    processes = options["processes"]
    leaves = options["keep"] or options["reuse"]
    measured = run(_bench(call, plan, processes, leaves=leaves, expects_none=not options["reuse"]))
    tally = measured.course.whole
    if measured.is_interrupted and not tally.seconds:
        raise InterruptedCommandError("interrupted: nothing was measured")
    if call.is_json:
        fields = bench_summary.summary_fields(measured.course)
        settings = bench_summary.setting_fields(plan, processes, measured.loop)
        print_json({**fields, "interrupted": measured.is_interrupted, "settings": settings})
    else:
        for number, table in enumerate(bench_summary.tables(tally)):
            if number:
                click.echo()
            print_table(table.columns, table.rows)
        for sentence in bench_summary.remarks(plan, tally):
            note(sentence)
        if measured.is_interrupted:
            note(f"ended early, after {tally.seconds:.1f} s")
    missed = bench_summary.missed_percent(tally)
    if missed > options["errors_percent_max"]:
        note(f"{missed:.1f} % failed or were never begun, more than {options['errors_percent_max']:g} %")
    if missed > options["errors_percent_max"] or not measured.is_clean:
        ctx.exit(EXIT_ERROR)


async def _bench(call: Call, plan: Plan, processes: int, *, leaves: bool, expects_none: bool) -> Measured:
    async with open_client(call, plan.namespace, None) as client:
        if expects_none:
            await _expect_none(client, plan)
        crew = Crew(plan.split(processes))
        is_clean = leaves
        try:
            course = await _measure(crew, plan)
        finally:
            if not leaves:
                is_clean = await _delete_all(client, plan)
        return Measured(course, crew.is_stopped, crew.loop, is_clean)


async def _measure(crew: Crew, plan: Plan) -> Course:
    loop = asyncio.get_running_loop()

    def attend(*, to_signals: bool) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            if to_signals:
                loop.add_signal_handler(number, stop)
            else:
                loop.remove_signal_handler(number)

    def stop() -> None:
        attend(to_signals=False)  # whoever asks twice does not want to wait
        crew.stop()

    attend(to_signals=True)
    try:
        with Screen(plan) as screen:
            await crew.prepare(screen.filled)
            if crew.is_stopped:
                raise InterruptedCommandError("interrupted: nothing was measured")
            screen.begins()
            return await crew.measure(screen.second)
    finally:
        attend(to_signals=False)
        await crew.close()


async def _expect_none(client: Client, plan: Plan) -> None:
    for prefix in plan.prefixes:
        async for item in client.scan(prefix=prefix, limit=1, keys_only=True):
            raise FailedError(
                f"there are keys that begin with {shown(prefix)}, such as {shown(item.key)}; nothing happened"
                f"\nNext: choose another --key-prefix; or, when an earlier bench left them, --reuse them,"
                f" or delete them: {_deletion(plan, prefix)}",
                EXIT_REFUSED,
            )


async def _delete_all(client: Client, plan: Plan) -> bool:
    """Deletes the keys of the bench; tells what is left, and returns whether that is nothing."""
    note("deleting the keys of the bench")
    try:
        for prefix in plan.prefixes:
            await client.delete_range(prefix=prefix, timeout_s=DELETE_S)
    except BaseException as problem:
        why = explain(problem) if isinstance(problem, HoldfastError) else "interrupted"
        left = "; ".join(_deletion(plan, prefix) for prefix in plan.prefixes)
        note(f"the keys of the bench could not be deleted ({why}); delete them: {left}")
        if not isinstance(problem, HoldfastError):
            raise
        return False
    return True


def _deletion(plan: Plan, prefix: bytes) -> str:
    """The command that deletes the keys of a prefix."""
    return f"holdfast del -n {plan.namespace} --paged --prefix {shlex.quote(shown(prefix))}"
