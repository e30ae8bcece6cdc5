"""Seeded schedules of whole nodes whose shards split, merge and move while nodes, disks and links fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.campaign import RESHAPES_SEEN, Campaign, Chunk, Result, problems

SEEDS = 60


@pytest.fixture(scope="module")
def total() -> Result:
    """What the first seeds did."""
    chunks = [Chunk(first, 10, "reshape", None) for first in range(0, SEEDS, 10)]
    campaign = Campaign(chunks, results=None)
    for _ in campaign.run(jobs=2):
        pass
    return campaign.total


def test_no_schedule_breaks_an_invariant(total: Result) -> None:
    """One owner a key, nothing lost, nothing twice, nothing stale, over every reshape; see violation.py."""
    assert not total.failures, total.failures
    assert not total.void


def test_every_kind_of_reshape_ends_and_is_taken_back(total: Result) -> None:
    """A run in which no plan of a kind ever ended proves nothing of that kind."""
    assert [what for what in RESHAPES_SEEN if not total.counts[what]] == []
    assert total.counts["groups born of others"] > SEEDS


def test_a_campaign_without_some_kind_of_reshape_is_not_good(total: Result) -> None:
    """As one in which some fault never fired."""
    counted = dict(total.counts)
    total.counts["plans: merge done"] = 0
    found = problems(total, "reshape")
    total.counts.update({"plans: merge done": counted["plans: merge done"]})

    assert any("plans: merge done" in problem for problem in found)


TRACES = """
from hashlib import sha256
from tests.sim.plan import make_plan
from tests.sim.reshape_schedule import schedule_of
for seed in range(3):
    lines = []
    schedule_of(make_plan(seed, "reshape"), lines.append).run()
    print(seed, len(lines), sha256("\\n".join(lines).encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    """Every message, fault, apply, plan, and what clients are told."""
    traces = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", TRACES]
        root = Path(__file__).parents[2]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=root)
        traces.append(ran.stdout)
    assert traces[0] == traces[1]
    assert all(int(line.split()[1]) > 500 for line in traces[0].splitlines())
