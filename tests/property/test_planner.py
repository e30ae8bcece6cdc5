"""Placement under random clusters and random commands: the planner ends, the map stays whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.balance import byte_shares
from holdfast_node.placement.cluster import Planning, Policy
from holdfast_node.placement.image import Builder
from holdfast_node.placement.loads import NodeLoad
from holdfast_node.placement.outlook import Outlook
from holdfast_node.placement.placing import crowding
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.state import PlacementState
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.placement_world import World, cluster

MIB = 1 << 20
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---- the planner ---------------------------------------------------------------------------------------


@st.composite
def worlds(draw: Any) -> World:
    """3..6 nodes with 10 shards or more each, then nodes that join, drain, fall silent or weigh less."""
    nodes = draw(st.integers(3, 6))
    world = cluster(nodes, draw(st.integers(10, 14)) * nodes, draw(st.sampled_from([0, 0, 3])), kept=False)
    for group in world.shards:
        size = draw(st.integers(40, 80)) * MIB
        world.shards[group] = world.shards[group]._replace(
            bytes=size, leader=draw(st.sampled_from(world.state.shards[group].replicas))
        )
    for i in range(nodes + 1, nodes + 1 + draw(st.integers(0, 3))):
        zone = world.state.nodes[(i - 1) % 3 + 1].zone
        world.state.apply(c.JoinNode(f"10.0.0.{i}:7400", 9000 + i, zone=zone))
        world.nodes[i] = NodeLoad()
    if len(world.nodes) > 4:
        what = draw(st.sampled_from(["nothing", "drain", "down", "light"]))
        if what == "drain":
            world.state.apply(c.SetNode(2, draining=True))
        elif what == "down":
            world.nodes[2] = NodeLoad(down_ms=100_000)
        elif what == "light":
            world.state.apply(c.SetNode(2, weight=50))
    return world


def check_wishes(world: World, wishes: Any) -> None:
    """What must hold of every round."""
    state = world.state
    plans = [wish for wish in wishes if wish.shape is not None]
    touched = Counter(group for wish in plans for group in wish.shape.sources)
    touched.update(wish.transfer_group for wish in wishes if wish.shape is None)
    assert max(touched.values(), default=0) <= 1, "two wishes over one shard"
    over_placement = (state.placement.group,) in [wish.shape.sources for wish in plans]
    assert len(plans) + len(state.plans) <= state.planning.plans_max + over_placement
    coming: dict[int, list[int]] = {}
    for wish in plans:
        row = state.place_of(wish.shape.sources[0])
        assert row is not None
        size = 0 if row.is_placement else world.shards[row.group].bytes
        for node in set(wish.shape.targets[0].replicas) - set(row.replicas):
            coming.setdefault(node, []).append(size)
        if wish.shape.kind is Kind.MOVE and wish.policy is Policy.BALANCE:
            assert crowding(state.nodes, wish.shape.targets[0].replicas) <= crowding(
                state.nodes, row.replicas
            )
    for sizes in coming.values():
        assert len(sizes) == 1 or sum(sizes) <= state.planning.copy_bytes_per_s


@SLOW
@given(worlds())
def test_the_planner_ends_with_an_even_cluster(world):
    """Wishes come true until there are none: within bounds each round, then even in bytes, leaders, zones."""
    for _ in range(600):
        wishes = world.propose().wishes
        if not wishes:
            break
        check_wishes(world, wishes)
        for plan in [world.carry_out(wish) for wish in wishes]:
            if plan is not None:
                world.finish(plan)
    assert not wishes, wishes

    outlook = Outlook(world.state, world.loads, world.now_ms)
    able = {node.id for node in outlook.participants()}
    for row in (world.state.placement, *world.state.shards.values()):
        assert set(row.replicas) <= able
        zones = [world.state.nodes[n].zone for n in row.replicas]
        assert not any(zones) or len(set(zones)) == 3
    assert max(abs(share.skew) for share in byte_shares(outlook)) <= 0.1
    leads = Counter(load.leader for load in world.shards.values())
    weights = sum(world.state.nodes[n].weight for n in able)
    for n in able:
        share = len(world.shards) * world.state.nodes[n].weight / weights
        assert abs(leads[n] - share) <= max(1.0, 0.1 * share) + 1e-9, (leads, able)


@SLOW
@given(st.data(), st.integers(1, 3))
def test_splits_and_merges_end_and_never_part_a_unit(data, parts):
    """Whatever middles leaders report, cuts stand between units, and splitting comes to an end."""
    world = cluster(4, shards=1)
    namespace = world.state.namespaces["default"]
    world.state.namespaces["default"] = namespace._replace(unit_parts=parts)
    world.shards[2] = world.shards[2]._replace(bytes=data.draw(st.integers(0, 4000)) * MIB)
    keys = st.lists(st.sampled_from([b"a", b"b", b"/", b"\xff"]), max_size=7).map(b"".join)
    for _ in range(40):
        for group, load in world.shards.items():
            world.shards[group] = load._replace(middle=data.draw(keys))
        wishes = world.propose().wishes
        for plan in [world.carry_out(wish) for wish in wishes]:
            if plan is not None:
                world.finish(plan)
        world.now_ms += 5 * 60_000
        for row in world.state.shards.values():
            assert not row.start or namespace._replace(unit_parts=parts).units.may_cut(row.start)
    large = [g for g, load in world.shards.items() if load.bytes > world.state.planning.split_bytes]
    for line in world.propose().idle:
        large = [g for g in large if f"shard {g} " not in line or "one unit" not in line]
    assert not large or world.propose().wishes, "a large shard is cut, or it is said why not"


# ---- the state -----------------------------------------------------------------------------------------

NODES = st.integers(0, 9)
PLANS = st.integers(0, 12)
GROUPS = st.integers(0, 16)
CUTS = st.sampled_from([b"", b"0", b"@", b"P", b"`", b"\x80\0", b"\xc0", b"\xf0"])
REPLICAS = st.lists(st.integers(1, 7), min_size=0, max_size=4).map(tuple)
PART = st.builds(Part, CUTS, CUTS, REPLICAS)
PHASES = st.sampled_from(Phase)


@st.composite
def commands(draw: Any, state: PlacementState) -> c.Command:
    """A command of any kind; plans rather often such as may be good."""
    kind = draw(st.sampled_from(["split", "merge", "move", "plan", "step", "step", "step", "other"]))
    rows = state.row("default")
    if kind in ("split", "merge", "move") and rows:
        i = draw(st.integers(0, len(rows) - 1))
        row, following = rows[i], rows[min(i + 1, len(rows) - 1)]
        parts = {
            "split": (
                (cut := draw(CUTS)),
                (Part(row.start, cut, row.replicas), Part(cut, row.end, row.replicas)),
            )[1],
            "merge": (Part(row.start, following.end, row.replicas),),
            "move": (Part(row.start, row.end, draw(REPLICAS)),),
        }[kind]
        sources = (following.group, row.group) if kind == "merge" else (row.group,)
        shape = Shape(Kind[kind.upper()], sources, parts, state.epoch)
        return c.StartPlan(shape, "", 5, draw(st.booleans()))
    if kind == "step" and state.plans:
        plan = state.plans[draw(st.sampled_from(sorted(state.plans)))]
        return c.Advance(plan.id, plan.phase, draw(PHASES), 7)
    any_shape = st.builds(
        Shape, st.sampled_from(Kind), st.lists(GROUPS, max_size=2).map(tuple),
        st.lists(PART, max_size=3).map(tuple), st.integers(0, 9),
    )  # fmt: skip
    addresses = st.integers(1, 9).map("10.0.0.{}:7400".format)
    return draw(
        st.one_of(
            st.tuples(addresses, st.integers(0, 9), NODES).map(lambda t: c.JoinNode(*t)),
            addresses.map(c.AddNode),
            st.tuples(NODES, st.sampled_from([None, 0, 9]), st.sampled_from([None, True, False])).map(
                lambda t: c.SetNode(*t)
            ),
            NODES.map(c.RemoveNode),
            any_shape.map(lambda shape: c.StartPlan(shape, "", 3)),
            st.tuples(PLANS, PHASES, PHASES).map(lambda t: c.Advance(*t, 4)),
            PLANS.map(lambda plan: c.CancelPlan(plan, "why", 4)),
            st.sampled_from(["jobs", "none"]).map(c.DeleteNamespace),
            st.builds(
                lambda parts: c.CreateNamespace(
                    cluster().state.namespaces["default"]._replace(name="jobs"), tuple(parts)
                ),
                st.one_of(st.just([Part(b"", b"", (1, 2))]), st.lists(PART, max_size=3)),
            ),
            st.just(c.SetPlanning(limits=Planning(frozenset(), 0, 0, 6, 0, 0, 0, 0, 0))),
        )
    )


def check_state(state: PlacementState) -> None:
    """What must hold after every command."""
    shard_map = state.shard_map()  # raises unless each namespace is covered once
    assert set(shard_map.namespaces()) == set(state.namespaces)
    assert all(group < state.next_group and group == row.group for group, row in state.shards.items())
    assert all(set(row.replicas) <= set(state.nodes) for row in state.shards.values())
    assert all(set(t.replicas) <= set(state.nodes) for p in state.plans.values() for t in p.targets)
    assert all(node < state.next_node for node in state.nodes)
    sources = Counter(s.group for p in state.plans.values() for s in p.sources)
    assert max(sources.values(), default=0) <= 1, "two plans over one shard"
    for plan in state.plans.values():
        if plan.phase is not Phase.RETIRE:
            assert all(source == state.source(source.group) for source in plan.sources)
    assert len(state.plans) <= max(6, state.planning.plans_max)
    living = [node.address for node in state.nodes.values() if not node.gone]
    assert len(living) == len(set(living))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_map_stays_whole_under_any_commands(data):
    """Shards cover the keys, epochs and ids only grow, a refusal changes nothing, restore equals life."""
    state = cluster(5, shards=3).state
    twin, seen = cluster(5, shards=3).state, set(state.shards)
    for _ in range(data.draw(st.integers(1, 25))):
        command = data.draw(commands(state))
        before, counters = state.digest(), (state.epoch, state.next_node, state.next_group, state.next_plan)
        groups = set(state.shards)
        tried = state.tried(command)
        done = state.apply_entry(c.encode(command))

        assert done == tried
        assert done == twin.apply(command), "the same commands give the same answers"
        after = (state.epoch, state.next_node, state.next_group, state.next_plan)
        assert all(new >= old for new, old in zip(after, counters, strict=True))
        assert isinstance(done, Answer) or state.digest() == before
        fresh = set(state.shards) - groups
        assert not fresh & seen, "a group id was used again"
        assert bool(fresh) <= (state.epoch > counters[0]), "the map changed and its epoch did not"
        seen |= fresh
        check_state(state)
        if data.draw(st.integers(0, 4)) == 0:
            builder = Builder()
            for chunk in twin.freeze().chunks():
                builder.feed(chunk)
            builder.finish()
            twin = PlacementState.restored(builder)
    assert state.digest() == twin.digest()
