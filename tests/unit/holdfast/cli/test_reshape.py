"""holdfast.cli.reshape: what is asked for is what is typed, and the plan is told to its end."""

from __future__ import annotations

import pytest
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving, shard
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan

FIELDS = {
    "id", "kind", "phase", "sources", "targets", "reason", "progress", "created_ms", "ended_ms", "dry_run",
}  # fmt: skip
SPLIT, MERGE, MOVE = (
    pb.SplitShardResponse(plan=plan()),
    pb.MergeShardsResponse(plan=plan()),
    pb.MoveShardResponse(plan=plan()),
)


def ask(service, *words):
    with serving(service) as address:
        return Console().run(*words, "--endpoints", address)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--at", "k"), pb.SplitShardRequest(group=2, key=b"k")),
        (("--at", "base64:/w=="), pb.SplitShardRequest(group=2, key=b"\xff")),
        (("--at-hash", "8"), pb.SplitShardRequest(group=2, place=b"\x80")),
        (("--at-hash", "c0FF"), pb.SplitShardRequest(group=2, place=b"\xc0\xff")),
        (("--middle",), pb.SplitShardRequest(group=2, middle=True)),
        (("--by-load",), pb.SplitShardRequest(group=2, by_load=True)),
        (("--middle", "--dry-run"), pb.SplitShardRequest(group=2, middle=True, dry_run=True)),
    ],
)
def test_a_split_is_at_a_key_at_a_hash_at_the_middle_or_by_load(words, asked):
    """One of the four, and with --dry-run only what it would be."""
    service = ScriptedAdmin(SplitShard=SPLIT)

    assert ask(service, "shard", "split", "2", *words, "--no-wait").exit_code == 0
    assert service.requests("SplitShard") == [asked]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--to", "1,2,4"), pb.MoveShardRequest(group=2, nodes=[1, 2, 4])),
        (("--from", "3", "--to", "4"), pb.MoveShardRequest(group=2, from_node=3, to_node=4)),
    ],
)
def test_a_move_names_all_nodes_or_one_for_another(words, asked):
    """The first of several is to lead."""
    service = ScriptedAdmin(MoveShard=MOVE)

    assert ask(service, "shard", "move", "2", *words, "--no-wait").exit_code == 0
    assert service.requests("MoveShard") == [asked]


@pytest.mark.parametrize(
    "words",
    [
        ("split", "2"),
        ("split", "2", "--middle", "--by-load"),
        ("split", "2", "--at", ""),
        ("split", "0", "--middle"),
        ("merge", "2", "2"),
        ("merge", "2"),
        ("move", "2"),
        ("move", "2", "--to", "4,5", "--from", "3"),
        ("move", "2", "--to", "4", "--from", "4"),
        ("move", "2", "--to", "4,4"),
        ("move", "2", "--to", "four"),
    ],
)
def test_what_makes_no_sense_is_not_asked(words):
    """Wrong usage is exit code 2, and no node hears of it."""
    service = ScriptedAdmin(SplitShard=SPLIT, MergeShards=MERGE, MoveShard=MOVE)

    assert ask(service, "shard", *words).exit_code == 2
    assert service.asked == []


def test_a_dry_run_says_what_it_would_be_and_waits_for_nothing():
    """The plan has no id yet; the shards it would make are shown."""
    service = ScriptedAdmin(SplitShard=pb.SplitShardResponse(plan=plan(id=0)))
    with serving(service) as address:
        words = ("shard", "split", "2", "--middle", "--dry-run", "--endpoints", address)
        fields = Console().json(*words)
        told = Console().run(*words)

    assert (fields["id"], fields["dry_run"], fields["kind"]) == (None, True, "split")
    assert [(entry["start"], entry["end"]) for entry in fields["targets"]] == [("", "m"), ("m", "")]
    assert set(fields) == FIELDS
    assert "nothing was changed" in told.stderr
    assert service.requests("GetPlan") == []


def test_a_reshape_is_waited_for_and_its_steps_are_told():
    """A line for each new step on stderr, the plan as it ended on stdout."""
    steps = [
        plan(progress="copies 12 of 30 MiB"),
        plan(progress="copies 12 of 30 MiB"),
        plan(pb.Plan.PHASE_SEAL),
        plan(pb.Plan.PHASE_DONE, ended_ms=2000),
    ]
    service = ScriptedAdmin(MergeShards=MERGE, GetPlan=[pb.GetPlanResponse(plan=step) for step in steps])

    result = ask(service, "shard", "merge", "2", "3")

    assert result.exit_code == 0
    assert result.stderr.splitlines()[:3] == [
        "plan 7: prepare: copies 12 of 30 MiB", "plan 7: seal", "plan 7: done",
    ]  # fmt: skip
    assert "starts" in result.stdout


def test_without_waiting_it_is_said_how_to_follow():
    """The plan goes on by itself; its id is the way back to it."""
    service = ScriptedAdmin(MergeShards=MERGE)

    result = ask(service, "shard", "merge", "2", "3", "--no-wait")

    assert (result.exit_code, "holdfast op show 7 --wait" in result.stderr) == (0, True)
    assert service.requests("GetPlan") == []


def test_a_plan_that_was_cancelled_is_exit_code_3():
    """The shards are as they were: refused, with the reason."""
    ended = pb.GetPlanResponse(plan=plan(pb.Plan.PHASE_CANCELLED, "node 4 is full"))
    service = ScriptedAdmin(MoveShard=MOVE, GetPlan=ended)

    result = ask(service, "shard", "move", "2", "--to", "1,2,4")

    assert (result.exit_code, "cancelled: node 4 is full" in result.stderr) == (3, True)


def followers():
    status = pb.ReplicaStatus
    return [
        status(shard=shard(2), role=status.ROLE_FOLLOWER, applied_index=5),
        status(shard=shard(3), role=status.ROLE_FOLLOWER, applied_index=9),
    ]


def test_a_dry_run_of_a_transfer_names_who_would_lead():
    """The most caught-up follower, or the one that was named; only a replica can."""
    service = ScriptedAdmin([shard(2)], [pb.Node(id=1, state=pb.Node.STATE_UP)], followers())
    with serving(service) as address:
        service._nodes[0].address = address
        words = ("shard", "transfer-leader", "2", "--dry-run", "--endpoints", address)
        best, named = Console().json(*words), Console().json(*words, "--to", "3")
        strange = Console().run(*words, "--to", "9")

    assert best == {"shard": 2, "leader": None, "to": 1, "dry_run": True}
    assert named["to"] == 3
    assert (strange.exit_code, "replicas on nodes 1, 2, 3" in strange.stderr) == (1, True)
