"""Searches the simulator's seeds for every planted bug, and remembers where each was found.

    python -m tests.planted.search                 every bug; fails if one escapes
    python -m tests.planted.search --recorded      each at the seed it was found at: a minute
    python -m tests.planted.search --searches 5 --write   several searches, for the median; writes them down

Each run is a process of its own (tests.planted), as a bug is planted before the product is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median_low
from threading import Lock
from typing import Any, NamedTuple

import click

from tests.planted.bugs import BUGS
from tests.planted.reshape_bugs import RESHAPE_BUGS

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("recorded.json")
PAGE = ROOT / "docs/evidence/simulator.md"
BEGIN, END = "<!-- planted: begin -->", "<!-- planted: end -->"
SEARCHED_IN = {
    "snapshot-name-unsynced": "snapshots",
    "sealed-for-nobody": "reshape",
    **{bug.name: "reshape" for bug in RESHAPE_BUGS},
}
"""Bugs that need more than 5 000 seeds of all profiles, or a profile that seeds do not choose."""
APART = 100_000
"""Seeds between the starts of two searches."""


class Found(NamedTuple):
    """Where a bug was found first, and after how many seeds each search found it (0: it escaped)."""

    seed: int
    profile: str
    replicas: int
    invariant: str
    needed: list[int]


def search(name: str, seeds: int, searches: int) -> Found | None:
    """Runs searches from several starting points, each of at most so many seeds; None: all in vain."""
    first: dict[str, Any] | None = None
    needed = []
    for start in range(0, searches * APART, APART):
        only = ["--profile", SEARCHED_IN[name]] if name in SEARCHED_IN else []
        ran = _planted(name, "find", "--seeds", f"{start}:{start + seeds}", *only)
        found = json.loads(ran.stdout) if ran.returncode == 0 else None
        if found is None and ran.returncode != 1:
            raise click.ClickException(f"{name}: {ran.stderr[-2000:]}")
        if found is not None:
            _needs_the_bug(name, found)
        needed.append(found["ran"] if found else 0)
        first = first or found
    if first is None:
        return None
    return Found(first["seed"], first["profile"], first["replicas"], first["invariant"], needed)


def again(name: str, found: Found) -> str:
    """Replays a bug at its recorded seed; '' if it is found there as recorded, else what came instead."""
    ran = _planted(name, "replay", "--trace", "no", *_where(found))
    if ran.returncode == 1 and f"VIOLATION of {found.invariant}" in ran.stdout:
        return ""
    return f"exit code {ran.returncode}: {(ran.stdout + ran.stderr)[-500:]}"


def _needs_the_bug(name: str, found: dict[str, Any]) -> None:
    """What breaks without the bug too says nothing about it."""
    where = [
        "--seed",
        f"{found['seed']}",
        "--profile",
        found["profile"],
        "--replicas",
        f"{found['replicas']}",
    ]
    command = [sys.executable, "-m", "tests.sim", "replay", "--trace", "no", *where]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if ran.returncode:
        raise click.ClickException(f"{name}: {where} fails without the bug: {ran.stdout[-500:]}")


def _where(found: Found) -> list[str]:
    return ["--seed", f"{found.seed}", "--profile", found.profile, "--replicas", f"{found.replicas}"]


def _planted(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.planted", name, "tests.sim", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


def recorded() -> dict[str, Found]:
    """What was written down."""
    return {name: Found(**found) for name, found in json.loads(RECORDED.read_text()).items()}


def table(found: dict[str, Found]) -> str:
    """For docs/evidence/simulator.md."""
    lines = [
        "| bug | what is broken | rule | caught by | seeds needed (median, all) | replay |",
        "|---|---|---|---|---|---|",
    ]
    for name, bug in BUGS.items():
        if name not in found:
            continue
        one = found[name]
        needed = ", ".join(str(count) if count else "none" for count in one.needed)
        needed += f" of `{SEARCHED_IN[name]}`" if name in SEARCHED_IN else ""
        middle = median_low([count or sys.maxsize for count in one.needed])
        command = f"`python -m tests.planted {name} tests.sim replay {' '.join(_where(one))}`"
        lines.append(
            f"| {name} | {bug.what} | {bug.rule} | {one.invariant} | **{middle}** ({needed}) | {command} |"
        )
    return "\n".join(lines)


def write_down(known: dict[str, Found]) -> None:
    """What was found, to recorded.json and into the page."""
    ordered = {name: known[name]._asdict() for name in BUGS if name in known}
    RECORDED.write_text(json.dumps(ordered, indent=1) + "\n")
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n" + table(known) + "\n" + END + rest.split(END)[1])


@click.command()
@click.option("--bug", "names", multiple=True, type=click.Choice(list(BUGS)), help="Default: all.")
@click.option("--seeds", default=5000, show_default=True, help="At most, in each search.")
@click.option("--searches", default=1, show_default=True, help="Starting points.")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--recorded", "only_recorded", is_flag=True, help="Only replay the recorded seeds.")
@click.option("--write", is_flag=True, help="Write recorded.json and the table of docs/evidence.")
def main(
    names: tuple[str, ...], seeds: int, searches: int, jobs: int, only_recorded: bool, write: bool
) -> None:
    """Looks for every planted bug; the exit code says whether one escaped."""
    wanted = names or tuple(BUGS)
    known = recorded() if RECORDED.exists() else {}
    escaped: list[str] = []
    writing = Lock()

    def one(name: str) -> str:
        if only_recorded:
            problem = again(name, known[name]) if name in known else "it is not recorded"
            escaped.extend([name] if problem else [])
            return problem or f"found at seed {known[name].seed}: {known[name].invariant}"
        found = search(name, seeds, searches)
        if found is None or not all(found.needed):
            escaped.append(name)
        if found is None:
            return f"ESCAPED {searches} searches of {seeds} seeds"
        with writing:
            known[name] = found
            if write:
                write_down(known)
        return f"{found.invariant}, after {found.needed} seeds"

    with ThreadPoolExecutor(jobs) as pool:
        for name, told in zip(wanted, pool.map(one, wanted), strict=True):
            click.echo(f"{name:28} {told}")
    if escaped:
        raise click.ClickException(f"escaped: {', '.join(sorted(escaped))}")


if __name__ == "__main__":
    main()
