"""Lets the chaos harness hunt planted bugs in real nodes, and remembers what found them.

    python -m tests.planted.hunt --results FILE [--bug NAME] [--seconds 600]

Each bug is given to nodes that otherwise run as always, and meets short runs of a workload and faults that
its rule is about, with one seed after the other, until a run is INVALID or the time for it is over. What
found it must not break a run of the same seed without the bug. FILE gets a line of JSON for each bug, as
soon as it is known; a bug that was found there, or hunted as long, is not hunted again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from holdfast_chaos.campaign import lines

from tests.planted.bugs import BUGS
from tests.planted.reshape_bugs import RESHAPE_BUGS

ROOT = Path(__file__).parents[2]
INVALID = 1
VERDICT = "verdict.json"
RUN_S = 25.0
NODE = "holdfast_chaos.node"


class Mix(NamedTuple):
    """What a bug meets. more: further options of a run."""

    workload: str
    nemeses: str
    more: tuple[str, ...] = ()


TWO = ("--side-by-side", "2")
THREE = ("--side-by-side", "3")
SPARE = ("--nodes", "5")
DEEP = ("--clients", "6", "--hands", "12")
"""Many operations of a client at a time: frames hold several, and much is under way when something breaks."""
WIDE = ("--clients", "36", "--hands", "1")
"""Each client learns by itself of a shard that has gone elsewhere."""
MANY = ("--clients", "100", "--hands", "1", "--rate", "150")
"""Clients that ask seldom: some ask a leader first when it has long stood still, and wait for its answer."""
QUICK = ("--interval", "1", "--rest", "0")
LOG = Mix("append", "kill-isolated,isolate-leader", (*QUICK, *DEEP))
"""A leader that was cut off and has started again is told of a commit index before its tail is replaced."""
LATE = Mix("append", "delay,kill-leader,kill-isolated,partition-flapping", (*TWO, *QUICK, *DEEP))
DIVERGED = Mix("append", "isolate-leader,transfer-leader,kill-isolated", (*TWO, *QUICK, *DEEP))
"""Who was cut off with entries of its own meets the second leader since, whose appends begin behind them."""
POWER = Mix("append", "power-loss,slow-disks", (*TWO, *QUICK))
VOTES = Mix("append", "power-loss,slow-disks,crash-loop,partition-flapping", (*TWO, *QUICK))
FROZEN = Mix("append", "freeze,partition-flapping,slow-disks", (*THREE, *QUICK, *DEEP))
"""What was said before its sync is seen between the two."""
FROZEN_TAILS = Mix("append", "freeze,isolate-briefly,slow-disks", (*THREE, *QUICK, *DEEP))
"""A tail is replaced by the first entries of the next leader."""
FROZEN_VOTES = Mix("append", "late-votes,freeze", (*TWO, *QUICK, "--rate", "60"))
"""A vote is held up on its way until who asked for it stands again; who has few writes can hand over."""
SNAPSHOTS = Mix("append", "compaction,power-loss,kill-one,isolate-leader", (*TWO, *QUICK))
BEHIND = Mix("append", "compaction,partition-halves,reset,pause-follower", (*TWO, *QUICK))
READS = Mix(
    "register", "isolate-leader,pause-leader,partition-bridge,partition-one-way,delay", (*TWO, *QUICK)
)
ROUNDS = Mix("register", "pause-leader,delay", (*TWO, *QUICK, *MANY))
"""A leader that goes on after a stop finds answers to what it had asked, and who has asked it meanwhile."""
FOLLOWERS = Mix("register", "delay,pause-follower", (*TWO, *QUICK, *DEEP))
"""Replicas ask their leader for an index while its rounds take long."""
AGES = Mix("register", "delay,pause-follower,partition-one-way,partition-halves", (*TWO, *QUICK))
SESSIONS = Mix("session", "pause-follower,delay,partition-one-way,partition-halves", (*TWO, *QUICK))
RETRIES = Mix("counter", "reset,half-open,partition-clients,transfer-leader", (*TWO, *QUICK, *DEEP))
CLOCKS = Mix("ttl", "clock-jump,clock-drift,isolate-leader,transfer-leader", (*TWO, *QUICK))
RESHAPES = Mix("register", "reshape,isolate-leader,pause-follower", (*SPARE, *TWO, *QUICK, *WIDE))
RESHAPES_LATE = Mix(
    "register", "reshape,delay,partition-bridge,partition-one-way", (*SPARE, *TWO, *QUICK, *WIDE)
)
"""Nodes hear of a flip at different times, and clients by the refusals of nodes."""
SENDERS = Mix("append", "isolate-sender", (*SPARE, *QUICK, *DEEP))
RESHAPES_POINTS = Mix("append", "reshape,failpoint,slow-disks", (*SPARE, *TWO, *QUICK))
"""A node ends between a target's birth there and its first snapshot."""
PLANS_TAKEN_BACK = Mix("register", "take-back,delay", (*SPARE, *TWO, *QUICK))
PLANS_LATE = Mix("register", "late-orders", QUICK)
"""An order of a placement leader lies on its way until the next one has taken the plan back."""
MOVES = Mix("register", "move-placement,crash-loop,pause-follower,kill-one", (*SPARE, *THREE, *QUICK))
"""The placement group moves on from nodes, and to nodes, that are not there."""
RECEIVERS = Mix("append", "kill-receiver,slow-disks", (*SPARE, *TWO, *QUICK))
"""Between a phase of a plan and what it asks for lie the disks' syncs."""
PLACEMENT = Mix("register", "move-placement,reshape,transfer-leader,kill-one", (*SPARE, *THREE, *QUICK))
RESHAPES_RETRIES = Mix("counter", "reshape,partition-clients", (*SPARE, *TWO, *QUICK, *DEEP))

MEET: list[tuple[Mix, str]] = [
    (LATE, "d1 d2"),
    (FROZEN_VOTES, "d5"),
    (DIVERGED, "d14"),
    (POWER, "ack-before-sync leader-counts-unsynced no-fsync"),
    (FROZEN, "vote-before-sync"),
    (FROZEN_TAILS, "durable-by-index"),
    (VOTES, "vote-not-persisted"),
    (SNAPSHOTS, "base-before-snapshot-durable snapshot-off-by-one"),
    (BEHIND, "d6"),
    (READS, "read-without-barrier"),
    (ROUNDS, "nonce-reused"),
    (FOLLOWERS, "read-joins-running-round"),
    (AGES, "bounded-age-from-arrival"),
    (SESSIONS, "session-token-ignored"),
    (RETRIES, "dedupe-off dedupe-by-frame mark-ignored session-forgotten-early"),
    (CLOCKS, "expiry-by-local-clock clocks-against-own"),
    (RESHAPES, " ".join(bug.name for bug in RESHAPE_BUGS)),
    (RESHAPES_LATE, "reads-ignore-seal"),
    (SENDERS, "copy-follows-uncommitted"),
    (RECEIVERS, "copy-born-behind placement-copies-forgotten"),
    (RESHAPES_POINTS, "start-without-state"),
    (PLANS_LATE, "plan-floor-missing"),
    (PLANS_TAKEN_BACK, "placement-judges-cancel"),
    (MOVES, "sealed-for-nobody"),
    (PLACEMENT, "placement-outlives-its-seal placement-goes-on-where-it-was"),
    (RESHAPES_RETRIES, "retries-not-carried"),
]
MIXES = {name: mix for mix, names in MEET for name in names.split()}
"""What is not named here meets LOG."""

INVISIBLE = {
    "age-by-leaders-clock": "all processes of a machine share one monotonic clock",
    "callback-applies-twice": "no callback of the node fails, and clients have none there",
    "d13": "what a node says of its commit index is never below what it has applied",
    "own-write-unseen": "what stands in one frame overlaps, so that a read in it may come first",
    "samples-spin": "it costs time on the node's core and breaks no promise",
    "restore-order": "a node evicts only near its memory budget, and the harness's workloads stay below",
    "eviction-by-local-recency": "the same",
    "empty-replica-votes": "who has no replica is asked for no vote: a node that lost its disk joins as new",
    "tail-acked-unsynced": "every end of a process of the harness that may lose power is a loss of power",
    "snapshot-name-unsynced": "the same",
    "sealed-for-nobody": "a group that is led has its state on a majority, so that it must get smaller as it"
    " moves; those of the harness keep three replicas, or damage would take the last one",
}
"""Not hunted: why nobody outside can see them, in nodes as the harness runs them."""

RARE = {
    "d6": "a leader must have a newer snapshot than a follower has confirmed when their connection is made"
    " anew; what is rolled back then is applied again within milliseconds, and until then reads wait for what"
    " their session has seen, or the leader has last told",
    "nonce-reused": "who goes on after a stop reads what peers had answered before it reads new questions,"
    " and who is cut off steps down before another leads: an old answer meets no new round",
    "read-joins-running-round": "a leader has applied what it answers with, and followers hear of a commit"
    " within 2 ms, on the connection that carries the answer to a round: the read must come and end in these",
}
"""Hunted: why it takes luck."""


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
        *("--time", str(RUN_S), "--seed", str(seed), "--program", program),
        # A promise of time is broken by a busy machine too.
        *("--rate-min", "10", "--recovery-ms", "30000", "--p99-ms", "60000", "--out", str(folder)),
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


def nameless(command: str, bug: str) -> str:
    """A run's command, whichever bug it was that its nodes had."""
    return command.replace(f"tests.planted {bug} ", "tests.planted ")


def without(found: Hunted, mix: Mix, home: Path, done: Iterable[Mapping[str, Any]]) -> str:
    """What the same run says of nodes without the bug; as it is written down, if it is.

    The same run is one of the same command: a mix of that name may have been another one then.
    """
    mine = nameless(found.command, found.bug)
    for line in done:
        if line["rules"] and nameless(line["command"], line["bug"]) == mine:
            return str(line["without_it"])
    folder = home / "without"
    return "valid" if run(mix, found.runs, folder) == 0 else ", ".join(broken(folder)) or "void"


def hunt(name: str, seconds: float, keep: Path | None, done: Iterable[Mapping[str, Any]] = ()) -> Hunted:
    """Runs until the bug is found or the time is over."""
    mix = MIXES.get(name, LOG)
    begun = time.monotonic()
    seed = 0
    while time.monotonic() - begun < seconds:
        seed += 1
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home, "run")
            status = run(mix, seed, folder, name)
            click.echo(f"  {name}, seed {seed}, status {status}: {broken(folder)}", err=True)
            if status != INVALID or not (folder / VERDICT).exists():
                continue  # without a verdict the run itself broke, and says nothing
            took, rules = time.monotonic() - begun, broken(folder)
            command = json.loads((folder / "record.jsonl").open().readline()).get("command", "")
            if keep is not None:
                shutil.copytree(
                    folder, keep / name, ignore=shutil.ignore_patterns("nodes"), dirs_exist_ok=True
                )
            found = Hunted(name, round(took, 1), seed, rules, command, "")
            return found._replace(without_it=without(found, mix, Path(home), done))
    return Hunted(name, round(time.monotonic() - begun, 1), seed, [], "", "")


def known(results: Path) -> dict[str, dict[str, Any]]:
    """What is written down already, by bug."""
    return {line["bug"]: line for line in lines(results)}


def told(lines: Iterable[Mapping[str, Any]]) -> str:
    """What became of every bug, as Markdown: found, hunted in vain, not to be seen, not hunted."""
    known = {line["bug"]: line for line in lines}
    rows = ["| bug | found after, s | runs | broken rules | without |", "| --- " * 5 + "|"]
    in_vain = []
    for bug, line in known.items():
        took, runs, rules = f"{line['seconds']:.0f}", line["runs"], ", ".join(line["rules"])
        if rules:
            rows.append(f"| `{bug}` | {took} | {runs} | {rules} | {line['without_it']} |")
        else:
            why = f": {RARE[bug]}" if bug in RARE else ""
            in_vain.append(f"- `{bug}`: in vain, {runs} runs in {took} s{why}")
    unseen = [f"| `{bug}` | {why} |" for bug, why in INVISIBLE.items()]
    left = [f"`{bug}`" for bug in BUGS if bug not in known and bug not in INVISIBLE]
    end = ["", f"Not hunted: {', '.join(left) or 'none'}"]
    return "\n".join([*rows, "", *in_vain, "", "| bug | why |", "| --- | --- |", *unseen, *end])


@click.command()
@click.option("--bug", "names", multiple=True, type=click.Choice(list(BUGS)), help="Default: all.")
@click.option("--seconds", default=600.0, show_default=True, help="For each, at most.")
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Reports of what was found.")
@click.option("--table", is_flag=True, help="Only say what the file holds.")
def main(names: tuple[str, ...], seconds: float, results: Path, keep: Path | None, *, table: bool) -> None:
    """Hunts planted bugs with the chaos harness."""
    done = known(results)
    if table:
        click.echo(told(done.values()))
        return
    for name in names or [name for name in BUGS if name not in INVISIBLE]:
        if name in done and (done[name]["rules"] or done[name]["seconds"] >= seconds):
            continue
        found = hunt(name, seconds, keep, done.values())
        with results.open("a") as file:
            file.write(json.dumps(found._asdict()) + "\n")
        rules = ", ".join(found.rules) or "NOT FOUND"
        click.echo(f"{name}: {rules} after {found.seconds:.0f} s, {found.runs} runs {found.without_it}")


if __name__ == "__main__":
    main()
