"""Lets the chaos harness hunt planted bugs in real nodes, and remembers what found them.

    python -m tests.planted.hunt --results FILE [--bug NAME] [--seconds 600]

Each bug is given to nodes that otherwise run as always, and meets short runs of a workload and faults that
its rule is about, with one seed after the other, until a run is INVALID or the time for it is over. What
found it must not break a run of the same seed without the bug. FILE gets a line of JSON for each bug, as
soon as it is known; a bug that has a line there is not hunted again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
from holdfast_chaos.campaign import lines

from tests.planted.bugs import BUGS
from tests.planted.reshape_bugs import RESHAPE_BUGS

ROOT = Path(__file__).parents[2]
INVALID = 1
VERDICT = "verdict.json"
RUN_S = 40.0
NODE = "holdfast_chaos.node"


class Mix(NamedTuple):
    """What a bug meets. more: further options of a run."""

    workload: str
    nemeses: str
    more: tuple[str, ...] = ()


TWO = ("--side-by-side", "2")
SPARE = ("--nodes", "5", "--side-by-side", "2")
LOG = Mix("append", "isolate-leader,partition-halves,partition-flapping,kill-leader,pause-leader", TWO)
POWER = Mix("append", "power-loss,isolate-leader,kill-leader,kill-all", TWO)
POINTS = Mix("append", "power-loss,failpoint,isolate-leader")
READS = Mix("register", "isolate-leader,pause-leader,partition-bridge,partition-one-way,delay", TWO)
RETRIES = Mix("counter", "reset,client-crash,half-open,kill-leader,isolate-leader", TWO)
SESSIONS = Mix("session", "pause-follower,delay,partition-one-way,kill-one", TWO)
CLOCKS = Mix("ttl", "clock-jump,clock-drift,kill-leader,transfer-leader", TWO)
SNAPSHOTS = Mix("append", "disk-full,failpoint,wiped-disk,kill-leader")
DISKS = Mix("append", "wiped-disk,isolate-leader,kill-leader")
RESHAPES = Mix("register", "reshape,kill-one,isolate-leader,pause-leader", SPARE)
RESHAPES_POWER = Mix("append", "reshape,power-loss,kill-one", SPARE)
RESHAPES_RETRIES = Mix("counter", "reshape,reset,kill-leader", SPARE)

MEET: list[tuple[Mix, str]] = [
    (POWER, "ack-before-sync leader-counts-unsynced durable-by-index vote-before-sync vote-not-persisted"),
    (POWER, "no-fsync tail-acked-unsynced"),
    (POINTS, "base-before-snapshot-durable snapshot-name-unsynced snapshot-off-by-one"),
    (SNAPSHOTS, "d6 d13"),
    (DISKS, "empty-replica-votes"),
    (READS, "read-without-barrier nonce-reused read-joins-running-round"),
    (READS, "bounded-age-from-arrival age-by-leaders-clock"),
    (SESSIONS, "session-token-ignored own-write-unseen"),
    (RETRIES, "dedupe-off dedupe-by-frame mark-ignored session-forgotten-early callback-applies-twice"),
    (CLOCKS, "expiry-by-local-clock clocks-against-own"),
    (RESHAPES, " ".join(bug.name for bug in RESHAPE_BUGS)),
    (RESHAPES_POWER, "start-without-state sources-dropped-early"),
    (RESHAPES_RETRIES, "retries-not-carried"),
]
MIXES = {name: mix for mix, names in MEET for name in names.split()}
"""What is not named here meets LOG."""


class Hunted(NamedTuple):
    """What became of a bug. rules: that broke, by checker; empty: not found in `seconds`."""

    bug: str
    seconds: float
    runs: int
    rules: list[str]
    command: str
    without_it: str


def run(mix: Mix, seed: int, folder: Path, bug: str = "") -> int:
    """One run; its exit status."""
    program = f"tests.planted {bug} {NODE}" if bug else NODE
    command = [
        *(sys.executable, "-m", "holdfast_chaos", "run"),
        *("--workload", mix.workload, "--nemesis", mix.nemeses, *mix.more),
        *("--time", str(RUN_S), "--interval", "2", "--seed", str(seed), "--program", program),
        *("--rate-min", "10", "--recovery-ms", "20000", "--out", str(folder)),
    ]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True).returncode


def broken(folder: Path) -> list[str]:
    """What a run's judges found; nothing when it was not judged."""
    if not (folder / VERDICT).exists():
        return []
    verdict = json.loads((folder / VERDICT).read_text())
    return sorted(
        {
            f"{judgement['checker']}: {finding['rule']}"
            for judgement in verdict["checkers"]
            if judgement["verdict"] == "invalid"
            for finding in judgement["findings"]
        }
    )


def hunt(name: str, seconds: float, keep: Path | None) -> Hunted:
    """Runs until the bug is found or the time is over."""
    mix = MIXES.get(name, LOG)
    begun = time.monotonic()
    seed = 0
    while time.monotonic() - begun < seconds:
        seed += 1
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home, "run")
            if run(mix, seed, folder, name) != INVALID or not (folder / VERDICT).exists():
                continue  # without a verdict the run itself broke, and says nothing
            took, rules = time.monotonic() - begun, broken(folder)
            command = json.loads((folder / "record.jsonl").open().readline()).get("command", "")
            if keep is not None:
                shutil.copytree(
                    folder, keep / name, ignore=shutil.ignore_patterns("nodes"), dirs_exist_ok=True
                )
            without = Path(home, "without")
            clean = "valid" if run(mix, seed, without) == 0 else ", ".join(broken(without)) or "not judged"
            return Hunted(name, round(took, 1), seed, rules, command, clean)
    return Hunted(name, round(time.monotonic() - begun, 1), seed, [], "", "")


def known(results: Path) -> dict[str, dict[str, Any]]:
    """What is written down already, by bug."""
    return {line["bug"]: line for line in lines(results)}


@click.command()
@click.option("--bug", "names", multiple=True, type=click.Choice(list(BUGS)), help="Default: all.")
@click.option("--seconds", default=600.0, show_default=True, help="For each, at most.")
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Reports of what was found.")
def main(names: tuple[str, ...], seconds: float, results: Path, keep: Path | None) -> None:
    """Hunts planted bugs with the chaos harness."""
    done = known(results)
    for name in names or BUGS:
        if name in done:
            continue
        found = hunt(name, seconds, keep)
        with results.open("a") as file:
            file.write(json.dumps(found._asdict()) + "\n")
        told = ", ".join(found.rules) or "NOT FOUND"
        click.echo(f"{name}: {told} after {found.seconds:.0f} s, {found.runs} runs {found.without_it}")


if __name__ == "__main__":
    main()
