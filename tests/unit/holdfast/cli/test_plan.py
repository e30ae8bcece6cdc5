"""holdfast.cli.plan: the planner's pauses and limits as typed, and what it says of itself."""

from __future__ import annotations

import pytest
from holdfast.cli.parameters import POLICIES
from holdfast.cli.placement_planning import _name, _policy
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan

P = pb.Planning
NOW = P(
    paused=[P.POLICY_MERGE], split_bytes=256 << 20, merge_bytes=32 << 20, plans_max=4,
    copy_bytes_per_s=64 << 20, replace_after_ms=60_000, busy_percent=70, idle_percent=50, skew_percent=10,
)  # fmt: skip


def service(**scripts):
    return ScriptedAdmin(
        GetPlanning=pb.GetPlanningResponse(planning=NOW), SetPlanning=pb.SetPlanningResponse(planning=NOW),
        **scripts,
    )  # fmt: skip


def ask(scripted, *words):
    with serving(scripted) as address:
        return Console().run("plan", *words, "--endpoints", address)


def test_every_policy_of_the_proto_can_be_typed():
    """A policy added to the proto is one to pause."""
    assert sorted(map(_policy, POLICIES)) == [number for number in P.Policy.values() if number]
    assert tuple(map(_name, map(_policy, POLICIES))) == POLICIES


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("pause", "merge", "drain"), pb.SetPlanningRequest(pause=[P.POLICY_MERGE, P.POLICY_DRAIN])),
        (("resume", "balance"), pb.SetPlanningRequest(resume=[P.POLICY_BALANCE])),
        (("pause", "--all"), pb.SetPlanningRequest(pause=[1, 2, 3, 4, 5, 6])),
        (("resume", "--all", "--dry-run"), pb.SetPlanningRequest(resume=[1, 2, 3, 4, 5, 6], dry_run=True)),
        (
            ("limits", "--split-bytes", "1GiB", "--plans-max", "2", "--replace-after", "5m"),
            pb.SetPlanningRequest(limits=P(split_bytes=1 << 30, plans_max=2, replace_after_ms=300_000)),
        ),
        (
            ("limits", "--copy-bytes-per-s", "32MiB", "--skew-percent", "20", "--dry-run"),
            pb.SetPlanningRequest(limits=P(copy_bytes_per_s=32 << 20, skew_percent=20), dry_run=True),
        ),
    ],
)
def test_pauses_and_limits_are_set_as_typed(words, asked):
    """What is not named stays."""
    scripted = service()

    assert ask(scripted, *words).exit_code == 0
    assert scripted.requests("SetPlanning") == [asked]


def test_limits_without_an_option_are_printed():
    """Nothing is set; pauses are shown along."""
    scripted = service()
    with serving(scripted) as address:
        told = Console().run("plan", "limits", "--endpoints", address)
        fields = Console().json("plan", "limits", "--endpoints", address)

    assert scripted.requests("SetPlanning") == []
    assert "split-bytes       256.0 MiB" in told.stdout
    assert (fields["paused"], fields["replace_after_ms"], fields["dry_run"]) == (["merge"], 60_000, False)


@pytest.mark.parametrize(
    "words",
    [
        ("pause",), ("pause", "merge", "--all"), ("pause", "sleep"), ("limits", "--replace-after", "0"),
        ("limits", "--busy-percent", "101"), ("limits", "--split-bytes", "0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_asked(words):
    """Wrong usage is exit code 2, and no node hears of it."""
    scripted = service()

    assert ask(scripted, *words).exit_code == 2
    assert scripted.asked == []


def test_the_planner_explains_what_it_would_do_and_why_nothing_more():
    """Reshapes and leaderships in its order, then the reasons for doing nothing."""
    moved = plan(id=0, kind=pb.Plan.KIND_MOVE, targets=[shard(4)])
    answer = pb.ExplainPlanningResponse(
        proposals=[
            pb.Proposal(policy=P.POLICY_DRAIN, plan=moved, why="node 3 is draining"),
            pb.Proposal(policy=P.POLICY_BALANCE, transfer_group=5, transfer_to=2, why="node 2 leads too few"),
        ],
        idle=["merge: paused"],
    )
    with serving(service(ExplainPlanning=answer)) as address:
        told = Console().run("plan", "explain", "--endpoints", address).stdout
        fields = Console().json("plan", "explain", "--endpoints", address)

    assert "drain    move 2 to nodes 1,2,3        node 3 is draining" in told
    assert "balance  leader of shard 5 to node 2  node 2 leads too few" in told
    assert "idle: merge: paused" in told
    assert [entry["policy"] for entry in fields["proposals"]] == ["drain", "balance"]
    assert fields["proposals"][1] | {"why": ""} == {
        "policy": "balance", "plan": None, "transfer": {"shard": 5, "to": 2}, "why": "",
    }  # fmt: skip


def test_a_planner_with_nothing_to_do_says_so():
    """Silence would be no answer."""
    told = ask(service(ExplainPlanning=pb.ExplainPlanningResponse(idle=["balance: within 10 %"])), "explain")

    assert told.stdout == "nothing to do\nidle: balance: within 10 %\n"
