"""holdfast.cli.node_standing: what the planner may do with a node is what was typed."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin, refusal

NODE = pb.Node(id=3, address="h:3", incarnation=5, weight=100)
SET = pb.SetNodeResponse(node=NODE, explanation="node 3 changes")


def service(**scripts):
    return ScriptedAdmin(
        SetNode=SET, AddNode=pb.AddNodeResponse(node=NODE), RemoveNode=pb.RemoveNodeResponse(node=NODE),
        **scripts,
    )  # fmt: skip


def ask(scripted, *words):
    with serving(scripted) as address:
        return Console().run("node", *words, "--endpoints", address)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("cordon", "3"), pb.SetNodeRequest(node=3, cordon_ms=600_000)),
        (("cordon", "3", "--for", "30s"), pb.SetNodeRequest(node=3, cordon_ms=30_000)),
        (
            ("cordon", "3", "--for", "2h", "--dry-run"),
            pb.SetNodeRequest(node=3, cordon_ms=7_200_000, dry_run=True),
        ),
        (("uncordon", "3"), pb.SetNodeRequest(node=3, cordon_ms=0, draining=False)),
        (("drain", "3"), pb.SetNodeRequest(node=3, draining=True)),
        (("set", "3", "--weight", "0"), pb.SetNodeRequest(node=3, weight=0)),
        (
            ("set", "3", "--zone", "b", "--label", "disk=ssd", "--drop-label", "old"),
            pb.SetNodeRequest(node=3, zone="b", set_labels={"disk": "ssd"}, drop_labels=["old"]),
        ),
    ],
)
def test_a_standing_is_set_as_typed_and_nothing_else_with_it(words, asked):
    """What is not named stays: absent is not zero."""
    scripted = service()

    result = ask(scripted, *words)

    assert (result.exit_code, "node 3 changes" in result.stderr) == (0, True)
    assert scripted.requests("SetNode") == [asked]


def test_a_node_is_named_before_it_joins():
    """Address, zone, labels and weight; and how to start it."""
    scripted = service()

    result = ask(scripted, "add", "10.0.0.7:7400", "--zone", "b", "--label", "disk=ssd", "--weight", "200")

    assert scripted.requests("AddNode") == [
        pb.AddNodeRequest(address="10.0.0.7:7400", zone="b", labels={"disk": "ssd"}, weight=200)
    ]
    assert "holdfast serve --join" in result.stderr


def test_a_node_that_holds_replicas_is_not_removed_and_what_to_do_first_is_said():
    """Drain, then remove."""
    scripted = service()
    scripted.scripts["RemoveNode"] = refusal(Reason.CONDITION_FAILED, message="node 3 holds 4 replicas")

    result = ask(scripted, "remove", "3")

    assert result.exit_code == 3
    assert "node 3 holds 4 replicas" in result.stderr
    assert "holdfast node drain 3 --wait" in result.stderr


def test_a_dry_run_says_so_and_asks_for_no_more():
    """The request carries it; the answer is said to have changed nothing."""
    scripted = service()

    result = ask(scripted, "remove", "3", "--dry-run")

    assert scripted.requests("RemoveNode") == [pb.RemoveNodeRequest(node=3, dry_run=True)]
    assert "nothing was changed" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("cordon", "3", "--for", "0"), ("cordon", "3", "--for", "soon"), ("set", "3"), ("remove", "three"),
        ("set", "3", "--label", "ssd"), ("add", "nowhere"), ("add", "h:1", "--weight", "0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_asked(words):
    """Wrong usage is exit code 2, and no node hears of it."""
    scripted = service()

    assert ask(scripted, *words).exit_code == 2
    assert scripted.asked == []


def test_a_change_as_json_is_the_node_with_what_changed():
    """The fields of `node list`, the explanation, whether it was a dry run."""
    with serving(service()) as address:
        fields = Console().json("node", "cordon", "3", "--endpoints", address)

    assert (fields["id"], fields["explanation"], fields["dry_run"]) == (3, "node 3 changes", False)
