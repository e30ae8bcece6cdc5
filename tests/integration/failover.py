"""Repeats the crash runs and prints what they show: `python -m tests.integration.failover [N]`.

    leader   kill -9 of the leader under load: time until writes succeed again
    all      kill -9 of all nodes at once under load, restart
    power    the same on disks that keep nothing but what was synced
    torn     the same, where any sectors of what was not synced survived

Ends with status 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
from pathlib import Path

import holdfast

from tests.integration.crash_runs import Run, end_all, kill_leader
from tests.integration.process_cluster import running

FORGETFUL = "tests.integration.forgetful_node"
KINDS = ("leader", "all", "power", "torn")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 a script


async def repeat(kind: str, times: int) -> list[Run]:
    runs: list[Run] = []
    module = "holdfast_node" if kind in {"leader", "all"} else FORGETFUL
    environment = {"HOLDFAST_TEST_TORN": "7"} if kind == "torn" else {}
    with (
        tempfile.TemporaryDirectory() as home,
        running(Path(home), module=module, environment=environment) as cluster,
    ):
        async with holdfast.connect(cluster.endpoints) as client:
            for number in range(times):
                if kind == "leader":
                    run = await kill_leader(cluster, client, f"{number}/")
                else:
                    how = signal.SIGKILL if kind == "all" else signal.SIGUSR1
                    run = await end_all(cluster, client, f"{number}/", how)
                runs.append(run)
                say(
                    f"{kind:7}{number + 1:4}  back after {run.back_s:6.3f} s  acknowledged"
                    f" {run.acknowledged:6}  unknown {run.unknown:4}  refused {run.refused:5}"
                    f"  problems {len(run.problems)}"
                )
                for problem in run.problems[:10]:
                    say(f"          {problem}")
    return runs


def summary(kind: str, runs: list[Run]) -> str:
    back = [run.back_s for run in runs]
    return (
        f"{kind:7}{len(runs):3} runs  writes succeed again after: median {statistics.median(back):.3f} s,"
        f" worst {max(back):.3f} s  |  {sum(run.acknowledged for run in runs)} acknowledged,"
        f" {sum(len(run.problems) for run in runs)} broken promises"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.failover")
    parser.add_argument("times", nargs="?", type=int, default=10)
    parser.add_argument("--only", choices=KINDS, action="append", help="may be given again; default: all")
    options = parser.parse_args()
    results = {kind: asyncio.run(repeat(kind, options.times)) for kind in options.only or KINDS}
    for kind, runs in results.items():
        say(summary(kind, runs))
    return int(any(run.problems for runs in results.values() for run in runs))


if __name__ == "__main__":
    sys.exit(main())
