"""holdfast.cli.placement_calls: looks ask everyone, changes are sent once, refusals are followed and told."""

from __future__ import annotations

import grpc
import pytest
from holdfast.errors import Reason
from holdfast.types import Outcome
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan, refusal

MERGE = ("shard", "merge", "2", "3", "--no-wait", "--endpoints")
MERGED = pb.MergeShardsResponse(plan=plan())


def test_a_verb_that_the_node_does_not_know_is_told_as_its_version():
    """UNIMPLEMENTED is no riddle: the node is older than the command line."""
    with serving(ScriptedAdmin()) as address:
        for words in (MERGE, ("op", "list", "--endpoints"), ("namespace", "list", "--endpoints")):
            result = Console().run(*words, address)

            assert (result.exit_code, "the version there does not know it" in result.stderr) == (1, True)
            assert "holdfast node list" in result.stderr


def test_another_endpoint_may_know_the_verb():
    """While a cluster is being upgraded, the next endpoint is asked."""
    with serving(ScriptedAdmin()) as old, serving(ScriptedAdmin(MergeShards=MERGED)) as new:
        assert Console().run(*MERGE, f"{old},{new}").exit_code == 0


def test_a_change_goes_to_the_first_endpoint_that_can_be_reached():
    """One that is not there costs a moment, not the change."""
    with serving(ScriptedAdmin()) as dead:
        pass
    service = ScriptedAdmin(MergeShards=MERGED)
    with serving(service) as address:
        result = Console().run(*MERGE, f"{dead},{address}")

    assert (result.exit_code, len(service.requests("MergeShards"))) == (0, 1)


def test_no_endpoint_at_all_is_exit_code_1():
    """Nothing was sent, so nothing is unknown."""
    with serving(ScriptedAdmin()) as dead:
        pass

    result = Console().run(*MERGE, dead)

    assert (result.exit_code, "no endpoint answers" in result.stderr) == (1, True)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN])
def test_a_change_that_broke_off_is_unknown_and_not_sent_again(code):
    """It may have happened: exit code 4, no second endpoint is asked."""
    first, second = ScriptedAdmin(MergeShards=code), ScriptedAdmin(MergeShards=MERGED)
    with serving(first) as one, serving(second) as other:
        result = Console().run(*MERGE, f"{one},{other}")

    assert (result.exit_code, "it may have happened" in result.stderr) == (4, True)
    assert second.requests("MergeShards") == []


def test_a_look_that_broke_off_is_asked_of_the_next():
    """A dry run changes nothing, so it may be asked twice."""
    first = ScriptedAdmin(MergeShards=grpc.StatusCode.UNAVAILABLE)
    with serving(first) as one, serving(ScriptedAdmin(MergeShards=MERGED)) as other:
        assert Console().run(*MERGE[:-2], "--dry-run", "--endpoints", f"{one},{other}").exit_code == 0


def test_a_refusal_is_exit_code_3_with_what_to_do_next():
    """The node's sentence, that nothing happened, and the command that helps."""
    said = refusal(Reason.INVALID, message="shards 2 and 3 are no neighbours")
    with serving(ScriptedAdmin(MergeShards=said)) as address:
        result = Console().run(*MERGE, address)

    assert result.exit_code == 3
    assert "shards 2 and 3 are no neighbours; nothing happened" in result.stderr
    assert "Next: `holdfast shard list`" in result.stderr


def test_an_unknown_outcome_in_the_nodes_words_is_exit_code_4():
    """The leadership ended under way: nobody says that it did not happen."""
    said = refusal(Reason.LEADERSHIP_LOST, Outcome.UNKNOWN)
    with serving(ScriptedAdmin(MergeShards=said)) as address:
        assert Console().run(*MERGE, address).exit_code == 4


def test_a_refusal_without_words_goes_by_its_code():
    """A code that means refused is exit code 3."""
    with serving(ScriptedAdmin(MergeShards=grpc.StatusCode.NOT_FOUND)) as address:
        result = Console().run(*MERGE, address)

    assert (result.exit_code, "nothing happened" in result.stderr) == (3, True)


def test_a_refusal_that_names_the_leader_is_followed():
    """Any node may be asked; one that cannot send it on says who can."""
    leader = ScriptedAdmin(MergeShards=MERGED)
    with serving(leader) as there:
        follower = ScriptedAdmin(MergeShards=refusal(Reason.NOT_LEADER, leader=there))
        with serving(follower) as address:
            assert Console().run(*MERGE, address).exit_code == 0

    assert len(leader.requests("MergeShards")) == 1


def test_a_leader_that_may_have_done_it_is_not_asked_twice():
    """NOT_LEADER with an unknown outcome is no hint to send it again."""
    service = ScriptedAdmin()
    with serving(service) as address:
        service.scripts["MergeShards"] = refusal(Reason.NOT_LEADER, Outcome.UNKNOWN, leader=address)
        result = Console().run(*MERGE, address)

    assert (result.exit_code, len(service.requests("MergeShards"))) == (4, 1)


def test_a_leader_that_keeps_changing_ends_the_attempt():
    """Hints are followed a few times, then it is refused."""
    service = ScriptedAdmin()
    with serving(service) as address:
        service.scripts["MergeShards"] = refusal(Reason.NOT_LEADER, leader=address)
        result = Console().run(*MERGE, address)

    assert (result.exit_code, len(service.requests("MergeShards"))) == (3, 4)


def test_a_node_that_is_cut_off_is_passed_over_when_looking():
    """Another may know; when none does, the refusal is told."""
    alone = ScriptedAdmin(ListPlans=refusal(Reason.NO_QUORUM))
    with serving(alone) as one, serving(ScriptedAdmin(ListPlans=pb.ListPlansResponse())) as other:
        passed = Console().run("op", "list", "--endpoints", f"{one},{other}")
        told = Console().run("op", "list", "--endpoints", one)

    assert (passed.exit_code, told.exit_code, "NO_QUORUM" in told.stderr) == (0, 3, True)
