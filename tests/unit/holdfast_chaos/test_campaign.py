"""A campaign: what each seed runs, what is written down, how it goes on."""

from __future__ import annotations

import json

from holdfast_chaos import availability
from holdfast_chaos.campaign import line_of, lines, next_seed, summary, table, wish_of
from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.nemesis.known import NEEDS_A_SPARE, NEMESES
from holdfast_chaos.runner import Outcome, Wish, plan_of
from holdfast_chaos.scenarios import DAMAGE
from holdfast_chaos.verdict import Finding, Verdict, judge

from tests.unit.holdfast_chaos.test_availability import busy, fault

SEEDS = range(1, 400)
LINE = {
    "seed": 4,
    "commit": "abc",
    "workload": "set",
    "nodes": 3,
    "verdict": "valid",
    "broken": [],
    "operations": 10,
    "succeeded": 9,
    "seconds": 120.0,
    "faults": {"delay": 2},
    "recovery_ms_worst": 5.0,
}


def test_seeds_reach_everything():
    """Every workload, every nemesis, three nodes and five."""
    every = [wish_of(seed, Wish()) for seed in SEEDS]

    assert {wish.workload for wish in every} == set(GENERATORS)
    assert {name for wish in every for name in wish.nemeses} == set(NEMESES)
    assert {wish.nodes for wish in every} == {3, 5}


def test_a_seed_is_one_run_for_ever():
    """And one that can be: its faults have time, and nodes to spare where they want them."""
    for seed in SEEDS:
        wish = wish_of(seed, Wish(rate=300.0))
        assert wish == wish_of(seed, Wish(rate=300.0))
        assert wish.rate == 300.0
        assert {fault.name for fault in plan_of(wish)} == set(wish.nemeses)
        assert wish.nodes > 3 or NEEDS_A_SPARE.isdisjoint(wish.nemeses)


def test_disks_are_lost_one_at_a_time():
    """Two at once are no minority's."""
    for seed in SEEDS:
        wish = wish_of(seed, Wish())
        assert wish.side_by_side == 1 or not set(DAMAGE) & set(wish.nemeses)


def test_a_campaign_goes_on_where_its_file_ends(tmp_path):
    """In parts, with no run twice."""
    results = tmp_path / "campaign.jsonl"
    assert next_seed(lines(results), 7) == 7

    results.write_text(json.dumps(LINE) + "\n" + json.dumps({**LINE, "seed": 5}) + "\n")

    assert next_seed(lines(results), 7) == 6


def test_a_summary_counts_and_names_what_is_not_valid():
    """Hours, operations, faults; and each run that failed, with its rules and commit."""
    bad = {**LINE, "seed": 9, "verdict": "invalid", "broken": ["set: lost"], "recovery_ms_worst": 700.0}
    told = summary([LINE] * 29 + [bad])

    assert f"30 runs, {30 * LINE['seconds'] / 3600:.1f} h" in told
    assert "invalid 1, valid 29" in told
    assert "300 operations, 270 succeeded" in told
    assert "60 faults: delay 60" in told
    assert "700 ms" in told
    assert told.splitlines()[-1] == "seed 9 at abc: invalid: set: lost"


def test_a_line_says_how_long_faults_went_on():
    """From the first one's beginning to the last one's healing; what is found broken goes by its checker."""
    script = fault(fault(busy((0, 1000), (1300, 9000)), 1000, 1200), 3000, 7500, number=2)
    record = script.record("set", settings={"seconds": 5.0})
    told = (
        availability.check(script.operations, script.notes),
        judge("set", broken=[Finding("lost", "3")]),
    )
    line = line_of(Outcome(record, Verdict.INVALID, told), "abc")

    assert (line["faults_s"], line["seconds"]) == (6.5, 5.0)
    assert (line["faults"], line["broken"], line["verdict"]) == ({"kill": 2}, ["set: lost"], "invalid")
    assert "0.1 h of faults" in summary([line] * 50)
    assert "| set | 2 (0) | 1 | 1 | 0 | 1 840 | 4 | 2 |" in table([line, {**LINE, "verdict": "valid"}])
