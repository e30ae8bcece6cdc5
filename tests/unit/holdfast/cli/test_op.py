"""holdfast.cli.op: plans under way and ended, followed and taken back."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan, refusal

DONE = pb.Plan.PHASE_DONE
CANCELLED = pb.Plan.PHASE_CANCELLED


def ask(service, *words):
    with serving(service) as address:
        return Console().run(*words, "--endpoints", address)


def listed(*plans):
    return pb.ListPlansResponse(plans=plans)


def test_list_shows_what_is_under_way_and_history_what_has_ended():
    """One plan is in one of the two."""
    service = ScriptedAdmin(
        ListPlans=listed(plan(id=8), plan(DONE, id=7, ended_ms=3000), plan(CANCELLED, id=6))
    )
    with serving(service) as address:
        under_way = Console().json("op", "list", "--endpoints", address)
        ended = Console().json("op", "history", "--endpoints", address)
        last = Console().json("op", "history", "--limit", "1", "--endpoints", address)

    assert [entry["id"] for entry in under_way] == [8]
    assert [entry["id"] for entry in ended] == [7, 6]
    assert [entry["id"] for entry in last] == [7]
    assert [request.ended for request in service.requests("ListPlans")] == [False, True, True]


def test_an_empty_list_says_where_to_look():
    """Nothing under way is an answer, and the planner says why."""
    result = ask(ScriptedAdmin(ListPlans=listed()), "op", "list")

    assert (result.exit_code, "holdfast plan explain" in result.stderr) == (0, True)


def test_a_plan_of_a_newer_server_is_shown_with_its_number():
    """A phase that this version has no word for does not break the list."""
    result = ask(ScriptedAdmin(ListPlans=listed(plan(99, kind=98))), "op", "list")

    assert (result.exit_code, "98" in result.stdout, "99" in result.stdout) == (0, True, True)


def test_show_tells_the_shards_and_why():
    """Sources, targets and the reason."""
    result = ask(ScriptedAdmin(GetPlan=pb.GetPlanResponse(plan=plan(progress="copies"))), "op", "show", "7")

    assert "plan 7: split, prepare: copies\nwhy: asked for" in result.stderr
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["ends", "2"], ["starts", "4"], ["starts", "5"],
    ]  # fmt: skip


def test_show_with_wait_follows_to_the_end():
    """Cancelled on the way is exit code 3."""
    steps = [plan(), plan(), plan(DONE)]
    done = ScriptedAdmin(GetPlan=[pb.GetPlanResponse(plan=step) for step in steps])
    gone = ScriptedAdmin(GetPlan=pb.GetPlanResponse(plan=plan(CANCELLED)))

    assert ask(done, "op", "show", "7", "--wait").exit_code == 0
    assert ask(gone, "op", "show", "7", "--wait").exit_code == 3
    assert ask(gone, "op", "show", "7").exit_code == 0


def test_an_id_that_no_plan_has_is_refused_with_where_to_look():
    """The lists show the ids there are."""
    result = ask(ScriptedAdmin(GetPlan=refusal(message="no plan 9")), "op", "show", "9")

    assert (result.exit_code, "holdfast op history" in result.stderr) == (3, True)


def test_cancel_waits_until_it_is_taken_back():
    """Done when the shards are as they were."""
    service = ScriptedAdmin(
        CancelPlan=pb.CancelPlanResponse(plan=plan(pb.Plan.PHASE_CANCELLING)),
        GetPlan=pb.GetPlanResponse(plan=plan(CANCELLED)),
    )

    result = ask(service, "op", "cancel", "7")

    assert (result.exit_code, "plan 7: cancelled" in result.stderr) == (0, True)


def test_a_plan_that_was_too_far_is_not_cancelled():
    """Refused by the cluster, or done before it was heard: exit code 3 both times."""
    sealed = ScriptedAdmin(CancelPlan=refusal(Reason.CONDITION_FAILED, message="its sources are sealed"))
    done = ScriptedAdmin(CancelPlan=pb.CancelPlanResponse(plan=plan(DONE)))

    assert "sealed" in ask(sealed, "op", "cancel", "7").stderr
    assert (ask(sealed, "op", "cancel", "7").exit_code, ask(done, "op", "cancel", "7").exit_code) == (3, 3)


def test_a_dry_run_of_a_cancellation_only_looks():
    """By the phase it is in: possible before the seal, refused after."""
    early = ScriptedAdmin(GetPlan=pb.GetPlanResponse(plan=plan()))
    late = ScriptedAdmin(GetPlan=pb.GetPlanResponse(plan=plan(pb.Plan.PHASE_RETIRE)))

    assert ask(early, "op", "cancel", "7", "--dry-run").exit_code == 0
    assert ask(late, "op", "cancel", "7", "--dry-run").exit_code == 3
    assert early.requests("CancelPlan") == late.requests("CancelPlan") == []
