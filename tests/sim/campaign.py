"""Many schedules: over both cores, in chunks that are written down as they end and not run twice.

A results file holds one JSON object a line, one line a chunk. A chunk counts for the code it ran
(`code_digest`); a campaign that is started again goes on with the chunks that are missing.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.sim.crash_points import crash_points
from tests.sim.plan import PROFILES, SPREAD, make_plan
from tests.sim.reshape_schedule import schedule_of
from tests.sim.violation import Violation

ROOT = Path(__file__).parents[2]
CODE = ("raft/holdfast_raft", "cachenode/holdfast_node", "client/holdfast", "tests/sim", "tests/property")
NOT_RUN = frozenset(("campaign.py", "__main__.py", "shrink.py", "crash_points.py"))
"""Of tests/sim: what starts schedules and counts them."""
COUNTERS = ("steps", "acknowledged", "faults_each", "kinds", "faults", "counts", "crash_points")
KINDS_SEEN = ("split", "merge", "move", "placement")
RESHAPES_SEEN = (
    *(f"plans: {kind} {end}" for kind in KINDS_SEEN for end in ("done", "cancelled")),
    "copies begun",
)
"""Counts that a campaign with reshapes must have."""
GARBAGE_EVERY = 8
"""Schedules between two collections: the collector's own rhythm costs a tenth of the time."""


class Chunk(NamedTuple):
    """Consecutive seeds. profile, replicas: None: each seed chooses."""

    first: int
    count: int
    profile: str | None
    replicas: int | None


@dataclass
class Result:
    """What schedules did, summed up."""

    schedules: int = 0
    seconds: float = 0.0
    void: list[int] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    faults_each: Counter[str] = field(default_factory=Counter)
    """How many schedules had so many (steps rounded down to hundreds)."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Schedules by profile and replicas."""
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    crash_points: Counter[str] = field(default_factory=Counter)

    def add(self, other: Result) -> None:
        self.schedules += other.schedules
        self.seconds += other.seconds
        self.void += other.void
        self.failures += other.failures
        for name in COUNTERS:
            getattr(self, name).update(getattr(other, name))


def run_chunk(chunk: Chunk) -> Result:
    """Runs a chunk's schedules, violations and all."""
    gc.disable()
    result, began = Result(), time.perf_counter()
    for seed in range(chunk.first, chunk.first + chunk.count):
        if seed % GARBAGE_EVERY == 0:
            gc.collect()
        run_seed(seed, chunk.profile, chunk.replicas, result)
    result.seconds = time.perf_counter() - began
    gc.enable()
    return result


def run_seed(seed: int, profile: str | None, replicas: int | None, result: Result) -> None:
    """Runs one seed's schedule into `result`."""
    plan = make_plan(seed, profile, replicas)
    result.schedules += 1
    try:
        report = schedule_of(plan).run()
    except Violation as problem:
        failure = {"seed": seed, "profile": plan.profile, "replicas": plan.replicas}
        result.failures.append(failure | {"invariant": problem.invariant, "message": str(problem)})
        return
    if not report.counted:
        result.void.append(seed)
    result.kinds[f"{plan.profile} {plan.replicas}"] += 1
    result.steps[str(report.steps // 100 * 100)] += 1
    result.acknowledged[str(report.acknowledged)] += 1
    result.faults_each[str(sum(report.faults.values()))] += 1
    result.counts["writes acknowledged"] += report.acknowledged
    result.faults += report.faults
    result.counts += report.counts
    result.crash_points.update(f"{site} {when}" for site, when in report.crash_points)


def code_digest() -> str:
    """Of all that a schedule runs."""
    planted = [finder for finder in sys.meta_path if type(finder).__module__.startswith("tests.planted")]
    seen = hashlib.sha256(b"planted" * len(planted))
    for folder in CODE:
        paths = (ROOT / folder).rglob("*.py")
        for path in sorted(path for path in paths if "test_" not in path.name and path.name not in NOT_RUN):
            seen.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()[:12]


class Campaign:
    """Chunks of a range of seeds, and a file of what came of them."""

    def __init__(self, chunks: Iterable[Chunk], results: Path | None) -> None:
        self._chunks = list(chunks)
        self._file = results
        self._code = code_digest()
        self.total = Result()
        if results is not None and results.exists():
            for line in results.read_text().splitlines():
                self._take_up(json.loads(line))

    def _take_up(self, line: dict[str, Any]) -> None:
        chunk = Chunk(*line["chunk"])
        if line["code"] == self._code and chunk in self._chunks:
            self._chunks.remove(chunk)
            found = Result(**line["result"])
            for name in COUNTERS:
                setattr(found, name, Counter(getattr(found, name)))
            self.total.add(found)

    @property
    def left(self) -> int:
        """Schedules still to run."""
        return sum(chunk.count for chunk in self._chunks)

    def run(self, jobs: int) -> Iterator[Result]:
        """Runs what is left; yields each chunk's result."""
        with ProcessPoolExecutor(jobs) as pool:
            running = {pool.submit(run_chunk, chunk): chunk for chunk in self._chunks}
            for done in as_completed(running):
                result = done.result()
                self.total.add(result)
                if self._file is not None:
                    self._write(running[done], result)
                yield result

    def _write(self, chunk: Chunk, result: Result) -> None:
        assert self._file is not None
        line = {"code": self._code, "chunk": list(chunk), "result": vars(result)}
        with self._file.open("a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def problems(total: Result, profile: str | None) -> list[str]:
    """Why a campaign proves less than it should; empty: it is a good one."""
    found = [f"{len(total.failures)} violations"] if total.failures else []
    if total.void:
        found.append(f"{len(total.void)} schedules in which too little happened: {total.void[:10]}")
    profiles = [PROFILES[profile]] if profile else [PROFILES[name] for name in SPREAD]
    kinds = {kind for each in profiles for kind in (*each.faults, *each.reshapes)}
    never = sorted(kind for kind in kinds if not total.faults[kind])
    if never:
        found.append(f"faults that never fired: {', '.join(never)}")
    if any(each.reshapes for each in profiles):
        never = [what for what in RESHAPES_SEEN if not total.counts[what]]
        if never:
            found.append(f"reshapes that never happened: {', '.join(never)}")
    return found


def summary(total: Result, seconds: float) -> str:
    """The figures of a campaign, for people."""
    rate = total.schedules / max(seconds, 0.001)
    writes = total.counts["writes acknowledged"]
    bad, void = len(total.failures), len(total.void)
    head = f"{total.schedules} schedules, {bad} violations, {void} void; {rate:.1f} a second"
    middle = (
        f"median of a schedule: {median(total.steps)} steps, {median(total.acknowledged)} acknowledged"
        f" writes, {median(total.faults_each)} faults; {writes} acknowledged in all"
    )
    lines = [
        head,
        middle,
        f"schedules: {_listed(total.kinds)}",
        f"faults that fired: {_listed(total.faults)}",
    ]
    lines.append(f"seen: {_listed(total.counts)}")
    sites, hits = crash_points(), total.crash_points
    hit = [place for place in sites if hits[f"{place} before"] + hits[f"{place} after"]]
    lines.append(f"crash points of wal*.py and snapshots.py: {len(hit)} of {len(sites)} hit")
    for place, what in sites.items():
        before, after = hits[f"{place} before"], hits[f"{place} after"]
        lines.append(f"  {place:22} {what:10} before {before:6} after {after:6}")
    return "\n".join(lines)


def median(counts: Counter[str]) -> int:
    """The lower median of numbers that were counted; 0 of none."""
    values = sorted((int(value), count) for value, count in counts.items())
    left = (sum(counts.values()) + 1) // 2
    for value, count in values:
        left -= count
        if left <= 0:
            return value
    return 0


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
