"""Between placement's words and protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.units import Units
from holdfast.v1 import placement_pb2 as pb
from holdfast_node.cache.policy import Eviction
from holdfast_node.cache.seal import Target
from holdfast_node.placement.by_hand import Desk
from holdfast_node.placement.cluster import PLANNING_BOUNDS, Namespace, Planning, Policy, Refusal
from holdfast_node.placement.loads import Loads
from holdfast_node.placement.outlook import Wish
from holdfast_node.placement.plan import Kind, Phase, Plan, Source
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.state import PlacementState
from holdfast_node.rpc import placement_convert as convert

from tests.unit.holdfast_node.placement.test_replica import FIRST

HERE = (1, 2, 3)


def state() -> PlacementState:
    made = PlacementState()
    made.apply(FIRST)
    return made


def refusal(act: Any) -> HoldfastError:
    with pytest.raises(HoldfastError) as caught:
        act()
    return caught.value


def test_a_refusal_keeps_its_reason_and_field() -> None:
    """The client's error says what the placement group said."""
    problem = convert.refusal(Refusal(Reason.BUSY, "a plan is under way", "group"))

    assert (problem.reason, problem.message, problem.field) == (Reason.BUSY, "a plan is under way", "group")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SplitShardRequest(group=2), "where"),
        (pb.SplitShardRequest(group=2, middle=False), "where"),
        (pb.MoveShardRequest(group=2), "nodes"),
        (pb.MoveShardRequest(group=2, from_node=1), "nodes"),
        (pb.MoveShardRequest(group=2, nodes=[1], from_node=1), "nodes"),
    ],
)
def test_a_request_that_says_too_little_or_too_much_is_refused(request_: Any, field: str) -> None:
    """Before anything is looked up."""
    desk = Desk(state(), Loads(), 0)

    assert refusal(lambda: convert.shape_asked(desk, request_)).field == field


def test_a_split_at_a_key_becomes_a_shape() -> None:
    """What the desk makes of it; its refusals come as errors."""
    desk = Desk(state(), Loads(), 0)
    shape = convert.shape_asked(desk, pb.SplitShardRequest(group=2, key=b"m"))

    assert (shape.kind, shape.sources, [part.start for part in shape.targets]) == (
        Kind.SPLIT,
        (2,),
        [b"", b"m"],
    )
    assert (
        refusal(lambda: convert.shape_asked(desk, pb.SplitShardRequest(group=9, key=b"m"))).field == "group"
    )


def test_a_plan_is_told_with_addresses() -> None:
    """Sources and targets as shards; why it was cancelled goes before what it waits for."""
    plan = Plan(
        7, Kind.MOVE, "default", (Source(2, b"", b"", HERE),), (Target(3, b"", b"", (9, 1)),),
        Phase.CANCELLING, "by hand", 5, 0, "taken back",
    )  # fmt: skip

    message = convert.plan_message(state(), plan, "copies")

    assert (message.kind, message.phase, message.progress) == (
        pb.Plan.KIND_MOVE,
        pb.Plan.PHASE_CANCELLING,
        "taken back",
    )
    assert [(r.node, r.address) for r in message.targets[0].replicas] == [(9, ""), (1, "127.0.0.1:7401")]
    assert (message.sources[0].epoch, message.targets[0].epoch) == (1, 0)
    assert convert.plan_message(state(), plan._replace(why_cancelled=""), "copies").progress == "copies"


@pytest.mark.parametrize(
    ("enum", "known"), [(pb.Plan.Kind, Kind), (pb.Plan.Phase, Phase), (pb.Planning.Policy, Policy)]
)
def test_numbers_are_those_of_the_contract(enum: Any, known: Any) -> None:
    """A value that the wire does not know would come out as a number without a name."""
    assert {value for _, value in enum.items() if value} == {int(member) for member in known}


def test_a_wish_is_told_as_its_plan_or_its_transfer() -> None:
    """Without ids: it is none yet."""
    shape = Shape(Kind.SPLIT, (2,), (Part(b"", b"m", HERE), Part(b"m", b"", HERE)), 1)
    told = convert.wish_message(state(), Wish(Policy.SPLIT_BY_SIZE, "too large", shape), 0)
    moved = convert.wish_message(state(), Wish(Policy.BALANCE, "spread", transfer_group=2, transfer_to=3), 0)

    assert (told.why, told.plan.id, len(told.plan.targets)) == ("too large", 0, 2)
    assert (moved.transfer_group, moved.transfer_to, moved.HasField("plan")) == (2, 3, False)


def test_a_cordon_has_an_end() -> None:
    """Absent: as it is; 0: lifted; too long: refused."""
    assert convert.cordon_until(pb.SetNodeRequest(), 1000) is None
    assert convert.cordon_until(pb.SetNodeRequest(cordon_ms=0), 1000) == 0
    assert convert.cordon_until(pb.SetNodeRequest(cordon_ms=500), 1000) == 1500
    too_long = pb.SetNodeRequest(cordon_ms=convert.CORDON_MS_MAX + 1)
    assert refusal(lambda: convert.cordon_until(too_long, 0)).field == "cordon_ms"


def test_what_a_new_namespace_does_not_say_is_as_usual() -> None:
    """And what it says is taken."""
    usual = Namespace("jobs")
    assert convert.namespace_asked(pb.Namespace(name="jobs")) == usual
    asked = convert.namespace_asked(
        pb.Namespace(name="jobs", budget_bytes=5 << 20, eviction=2, strict_ttl=True, replicas=1, unit_parts=2,
                     unit_separator=b":", hashed=True)
    )  # fmt: skip
    assert (asked.budget_bytes, asked.eviction, asked.strict_ttl) == (5 << 20, Eviction.NOEVICT, True)
    assert (asked.replicas, asked.units) == (1, Units(2, b":", hashed=True))
    message = convert.namespace_message(state(), asked, 3, 4)
    assert (message.name, message.keys, message.bytes, message.shards) == ("jobs", 3, 4, 0)
    assert convert.namespace_asked(message) == asked


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"unit_separator": b"::"}, "namespace.unit_separator"),
        ({"eviction": 9}, "namespace.eviction"),
    ],
)
def test_what_a_namespace_cannot_be_is_refused(fields: dict[str, Any], field: str) -> None:
    """By field, before it is proposed."""
    problem = refusal(lambda: convert.namespace_asked(pb.Namespace(name="jobs", **fields)))

    assert (problem.reason, problem.field) == (Reason.INVALID, field)


def test_a_new_namespace_has_as_many_shards_as_its_cuts_make() -> None:
    """Or as many as it says; both only when they agree."""
    assert convert.first_shards(pb.CreateNamespaceRequest()) == 1
    assert convert.first_shards(pb.CreateNamespaceRequest(shards=4)) == 4
    assert convert.first_shards(pb.CreateNamespaceRequest(cuts=[b"m"], shards=2)) == 2
    disagree = pb.CreateNamespaceRequest(cuts=[b"m"], shards=3)
    assert refusal(lambda: convert.first_shards(disagree)).field == "shards"
    long = pb.CreateNamespaceRequest(cuts=[b"m" * 1025])
    assert refusal(lambda: convert.first_shards(long)).field == "cuts"


def test_planning_goes_both_ways() -> None:
    """Every limit has its field; what is absent is as it is."""
    planning = Planning(frozenset((Policy.MERGE, Policy.SPLIT_BY_SIZE)))
    message = convert.planning_message(planning)

    assert list(message.paused) == [int(Policy.SPLIT_BY_SIZE), int(Policy.MERGE)]
    assert convert.limits_asked(message) == planning._replace(paused=frozenset())
    assert set(PLANNING_BOUNDS) == {field.name for field in pb.Planning.DESCRIPTOR.fields} - {"paused"}
    assert convert.policies((1, 3), "pause") == (Policy.SPLIT_BY_SIZE, Policy.MERGE)
    assert refusal(lambda: convert.policies((99,), "pause")).field == "pause"


def test_a_wish_over_the_placement_group_is_told_like_any_other() -> None:
    """Without a namespace, over no range, with its nodes' addresses."""
    content = state()
    shape = Shape(Kind.MOVE, (1,), (Part(b"", b"", (1, 2)),), content.epoch)

    plan = convert.wish_message(content, Wish(Policy.REPLACE, "why", shape), 7).plan

    assert [(s.group, s.namespace, s.start, s.end) for s in plan.sources] == [(1, "", b"", b"")]
    assert [replica.address for replica in plan.targets[0].replicas] == ["127.0.0.1:7401", "127.0.0.1:7402"]
