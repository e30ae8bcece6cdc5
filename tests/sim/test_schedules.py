"""Seeded schedules over all profiles: nothing acknowledged is lost, nothing stale is read, all heals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.campaign import Campaign, Chunk, Result, median, problems
from tests.sim.plan import Plan, as_words, from_words, make_plan
from tests.sim.schedule import ACKNOWLEDGED_MIN, FAULTS_MIN, STEPS_MIN
from tests.sim.shrink import shrink

SEEDS = 300


@pytest.fixture(scope="module")
def total() -> Result:
    """What the first seeds did."""
    chunks = [Chunk(first, 25, None, None) for first in range(0, SEEDS, 25)]
    campaign = Campaign(chunks, results=None)
    for _ in campaign.run(jobs=2):
        pass
    return campaign.total


def test_no_schedule_breaks_an_invariant(total: Result) -> None:
    """300 seeds over every profile with 1, 3 and 5 replicas; see violation.py for what must hold."""
    assert not total.failures, total.failures


def test_every_schedule_does_enough_and_every_fault_fires(total: Result) -> None:
    """A run that breaks nothing because little happened proves nothing."""
    assert problems(total, None) == []
    assert median(total.steps) >= STEPS_MIN
    assert median(total.acknowledged) >= ACKNOWLEDGED_MIN
    assert median(total.faults_each) >= FAULTS_MIN


def test_what_must_be_judged_was_there_to_be_judged(total: Result) -> None:
    """Reads of every level, expiry, eviction, snapshots, unknown outcomes: none is missing from the runs."""
    for what in (
        "reads linearizable", "reads session", "reads bounded", "reads any", "keys expired", "keys evicted",
        "snapshots taken", "snapshots installed", "leader changes", "messages lost", "messages coalesced",
        "messages split", "writes unknown", "writes CONDITION_FAILED", "ages checked",
    ):  # fmt: skip
        assert total.counts[what] > 0, what
    assert {kind.split()[1] for kind in total.kinds} == {"1", "3", "5"}


TRACES = """
from hashlib import sha256
from tests.sim.plan import SPREAD, make_plan
from tests.sim.schedule import Schedule
for seed, profile in enumerate(SPREAD, 9):
    lines = []
    Schedule(make_plan(seed, profile, 3), lines.append).run()
    print(profile, len(lines), sha256("\\n".join(lines).encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    """Every message, fault, apply what clients are told, in every profile."""
    traces = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", TRACES]
        root = Path(__file__).parents[2]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=root)
        traces.append(ran.stdout)
    assert traces[0] == traces[1]
    assert all(int(line.split()[1]) > 500 for line in traces[0].splitlines())


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Chunks that are in the file do not run again, and count."""
    file = tmp_path / "results.jsonl"
    first = Campaign([Chunk(0, 2, None, None)], file)
    assert [result.schedules for result in first.run(jobs=1)] == [2]

    again = Campaign([Chunk(0, 2, None, None), Chunk(2, 1, None, None)], file)

    assert again.left == 1
    assert again.total.schedules == 2
    assert again.total.steps == first.total.steps


def test_a_result_of_other_code_does_not_count(tmp_path: Path) -> None:
    """What another version of the product did says nothing about this one."""
    file = tmp_path / "results.jsonl"
    list(Campaign([Chunk(0, 1, None, None)], file).run(jobs=1))
    file.write_text(file.read_text().replace('"code":"', '"code":"other'))

    assert Campaign([Chunk(0, 1, None, None)], file).left == 1


def test_a_shrunk_plan_keeps_what_fails_and_little_else() -> None:
    """Only the faults that the failure needs are left, with one client and the shortest time."""
    plan = next(plan for plan in map(make_plan, range(100)) if len(plan.acts) > 8)
    needed = {plan.acts[1], plan.acts[6]}

    def fails(candidate: Plan) -> bool:
        return {act.how for act in needed} <= {act.how for act in candidate.acts}

    short = shrink(plan, "", fails=fails)

    assert {act.how for act in short.acts} == {act.how for act in needed}
    assert short.clients == 1
    assert short.seconds < plan.seconds


def test_a_plan_can_be_written_on_a_command_line() -> None:
    """What a shrinker prints is what replay reads."""
    for seed in range(50):
        plan = make_plan(seed)
        assert from_words(make_plan(seed, plan.profile, plan.replicas), as_words(plan)) == plan
