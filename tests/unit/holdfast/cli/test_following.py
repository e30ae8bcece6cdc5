"""holdfast.cli.following: a wait outlives a lost answer, ends with Ctrl-C, and leaves the work running."""

from __future__ import annotations

import os
import signal

import grpc
import pytest
from holdfast.cli import following
from holdfast.cli.following import Step, Ticker
from holdfast.errors import Reason
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, plan, refusal

UNDER_WAY = pb.GetPlanResponse(plan=plan())
DONE = pb.GetPlanResponse(plan=plan(pb.Plan.PHASE_DONE))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Looks as fast as the loopback answers."""
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.001)


def follow(*answers):
    service = ScriptedAdmin(GetPlan=[UNDER_WAY, *answers])
    with serving(service) as address:
        return Console().run("op", "show", "7", "--wait", "--endpoints", address)


@pytest.mark.parametrize(
    "gap", [grpc.StatusCode.UNAVAILABLE, refusal(Reason.NO_QUORUM), refusal(Reason.NOT_LEADER)]
)
def test_a_wait_outlives_a_moment_without_an_answer(gap):
    """A leader that changes is told once and waited out."""
    result = follow(gap, gap, DONE)

    assert (result.exit_code, result.stderr.count("still trying")) == (0, 1)


def test_a_wait_ends_when_the_plan_is_not_known_any_more():
    """A refusal that will not pass is not waited out; the plan may go on."""
    result = follow(refusal(Reason.INVALID, message="no plan 7"))

    assert (result.exit_code, "no plan 7" in result.stderr) == (4, True)


def test_a_wait_ends_after_a_long_silence_and_the_plan_goes_on(monkeypatch):
    """Nobody answers: exit code 4, and how to look again."""
    monkeypatch.setattr(following, "SILENT_S_MAX", 0.01)

    result = follow(grpc.StatusCode.UNAVAILABLE)

    assert (result.exit_code, "holdfast op show 7 --wait" in result.stderr) == (4, True)


def test_a_plan_without_news_is_said_to_be_stuck_once(monkeypatch):
    """Where to look is said once, not at every look."""
    monkeypatch.setattr(following, "STUCK_S", 0.0)

    result = follow(*[UNDER_WAY] * 5, DONE)

    assert (result.exit_code, result.stderr.count("holdfast plan explain")) == (0, 1)


def test_ctrl_c_leaves_the_plan_running_and_says_how_to_follow_it():
    """The command ends, the plan does not: exit code 4, its id, no second word to the cluster."""

    def interrupt(_):
        if len(service.requests("GetPlan")) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return UNDER_WAY

    service = ScriptedAdmin(MergeShards=pb.MergeShardsResponse(plan=plan()), GetPlan=interrupt)
    with serving(service) as address:
        result = Console().run("shard", "merge", "2", "3", "--endpoints", address)

    assert result.exit_code == 4
    assert "plan 7 goes on in the cluster; `holdfast op show 7 --wait` follows it" in result.stderr
    assert service.requests("CancelPlan") == []


def test_on_a_terminal_progress_is_one_line_that_moves(monkeypatch, capsys):
    """A bar instead of lines; what stands in brackets is shown as it is."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)

    with Ticker("plan 7") as ticker:
        ticker.show(Step(1, 3, "prepare: [a, b) copies", False))
        ticker.say("no news")

    told = capsys.readouterr()
    assert told.out == ""
    assert "plan 7: prepare" not in told.err
    assert "no news" in told.err


def test_a_plain_line_is_written_for_news_only(capsys):
    """The same text is not repeated."""
    with Ticker("plan 7") as ticker:
        for text in ("prepare", "prepare", "seal"):
            ticker.show(Step(1, 3, text, False))

    assert capsys.readouterr().err == "plan 7: prepare\nplan 7: seal\n"
