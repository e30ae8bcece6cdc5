"""The verbs that change the placement: answered by the leader, sent on once by anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from holdfast.errors import HoldfastError, Reason, error
from holdfast.types import Outcome
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1.placement_pb2_grpc import PlacementStub
from holdfast_node.placement.cluster import Refusal
from holdfast_node.rpc import placement_admin, status
from holdfast_node.rpc.forward import FORWARDED_KEY, Forwarder
from holdfast_node.rpc.placement_admin import PlacementAdmin
from holdfast_raft.errors import NoQuorum, NotLeader, RaftError, Stopped

from tests.one_node import config_of, error_of, free_ports, led, one_node

Scenario = Callable[[Any], Awaitable[Any]]


def on_node(folder: Path, scenario: Scenario) -> Any:
    """Against a whole node that leads its placement group, and plans nothing by itself."""

    async def main() -> Any:
        async with one_node(config_of(folder)) as channel:
            await led(channel)
            stub: Any = PlacementStub(channel)
            async with asyncio.timeout(20):
                while not await _paused(stub):  # noqa: ASYNC110 - another program's doing
                    await asyncio.sleep(0.02)
                return await scenario(stub)

    return asyncio.run(main())


async def _paused(stub: Any) -> bool:
    try:
        await stub.SetPlanning(pb.SetPlanningRequest(pause=range(1, 7)))
    except grpc.aio.AioRpcError as failure:
        if error_of(failure).reason not in (Reason.NOT_LEADER, Reason.NO_QUORUM):
            raise
        return False
    nodes = (await stub.ListNodes(pb.ListNodesRequest())).nodes
    return bool(nodes[0].incarnation)


async def refused(call: Awaitable[Any]) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value)


async def ended(stub: Any, number: int) -> pb.Plan:
    while True:
        plan = (await stub.GetPlan(pb.GetPlanRequest(id=number))).plan
        if plan.ended_ms:
            return plan  # type: ignore[no-any-return]
        await asyncio.sleep(0.02)


def test_a_split_and_a_merge_by_hand(tmp_path: Path) -> None:
    """Each answers with its plan; dry_run says what would be and does nothing."""

    async def scenario(stub: Any) -> None:
        asked = pb.SplitShardRequest(group=2, key=b"m", dry_run=True)
        tried = (await stub.SplitShard(asked)).plan
        assert (tried.id, [s.start for s in tried.targets]) == (0, [b"", b"m"])
        assert not (await stub.ListPlans(pb.ListPlansRequest(ended=True))).plans

        split = (await stub.SplitShard(pb.SplitShardRequest(group=2, key=b"m"))).plan
        done = await ended(stub, split.id)
        assert (done.phase, done.kind, done.reason) == (
            pb.Plan.PHASE_DONE,
            pb.Plan.KIND_SPLIT,
            "asked for by hand",
        )
        left, right = [s.group for s in done.targets]
        merge = (await stub.MergeShards(pb.MergeShardsRequest(group=left, other=right))).plan
        assert (await ended(stub, merge.id)).phase == pb.Plan.PHASE_DONE
        listed = (await stub.ListPlans(pb.ListPlansRequest(ended=True, limit=1))).plans
        assert [plan.id for plan in listed] == [merge.id]
        problem = await refused(stub.CancelPlan(pb.CancelPlanRequest(id=merge.id)))
        assert (problem.reason, problem.field) == (Reason.CONDITION_FAILED, "id")

    on_node(tmp_path, scenario)


def test_what_cannot_be_is_refused_by_field(tmp_path: Path) -> None:
    """Bad input never is an internal error, and always says what is wrong."""

    async def scenario(stub: Any) -> None:
        calls = (
            (stub.SplitShard(pb.SplitShardRequest(group=2)), Reason.INVALID, "where"),
            (stub.SplitShard(pb.SplitShardRequest(group=9, key=b"m")), Reason.INVALID, "group"),
            (stub.MoveShard(pb.MoveShardRequest(group=2)), Reason.INVALID, "nodes"),
            (stub.MoveShard(pb.MoveShardRequest(group=2, nodes=[1], to_node=1)), Reason.INVALID, "nodes"),
            (stub.GetPlan(pb.GetPlanRequest(id=9)), Reason.INVALID, "id"),
            (stub.ListPlans(pb.ListPlansRequest(limit=1001)), Reason.INVALID, "limit"),
            (stub.SetNode(pb.SetNodeRequest(node=1, cordon_ms=1 << 40)), Reason.INVALID, "cordon_ms"),
            (stub.SetNode(pb.SetNodeRequest(node=9)), Reason.INVALID, "node"),
            (stub.AddNode(pb.AddNodeRequest(address="127.0.0.1:55536")), Reason.INVALID, "address"),
            (stub.RemoveNode(pb.RemoveNodeRequest(node=1)), Reason.CONDITION_FAILED, "node"),
            (stub.DeleteNamespace(pb.DeleteNamespaceRequest(name="default")), Reason.INVALID, "confirm"),
            (
                stub.SetNamespace(pb.SetNamespaceRequest(name="default", eviction=9)),
                Reason.INVALID,
                "eviction",
            ),
            (
                stub.CreateNamespace(pb.CreateNamespaceRequest(namespace=pb.Namespace(name="a", eviction=9))),
                Reason.INVALID,
                "namespace.eviction",
            ),
            (stub.SetPlanning(pb.SetPlanningRequest(pause=[99])), Reason.INVALID, "pause"),
            (
                stub.JoinCluster(pb.JoinClusterRequest(address="nowhere", incarnation=1)),
                Reason.INVALID,
                "address",
            ),
        )
        for call, reason, field in calls:
            problem = await refused(call)
            assert (problem.reason, problem.field) == (reason, field), problem

    on_node(tmp_path, scenario)


def test_nodes_come_and_go(tmp_path: Path) -> None:
    """Expected, joined, changed, removed; who joins is told all it needs to begin."""

    async def scenario(stub: Any) -> None:
        address = "127.0.0.1:7999"
        tried = await stub.AddNode(pb.AddNodeRequest(address=address, dry_run=True))
        assert tried.node.expected
        assert len((await stub.ListNodes(pb.ListNodesRequest())).nodes) == 1
        added = (await stub.AddNode(pb.AddNodeRequest(address=address, zone="z"))).node
        joined = await stub.JoinCluster(pb.JoinClusterRequest(address=address, incarnation=5))
        assert (joined.cluster_id, joined.node) == ("test", added.id)
        assert [node.id for node in joined.nodes] == [1, added.id]
        assert [replica.node for replica in joined.placement] == [1]
        assert joined.placement_group == 1
        assert joined.map.epoch == (await stub.GetMap(pb.GetMapRequest())).map.epoch
        again = await stub.JoinCluster(pb.JoinClusterRequest(address=address, incarnation=5))
        assert again.node == added.id, "an answer that was lost has not made another"

        request = pb.SetNodeRequest(node=added.id, draining=True, weight=5, set_labels={"rack": "r1"})
        changed = await stub.SetNode(request)
        assert (changed.node.draining, changed.node.weight, changed.node.labels) == (True, 5, {"rack": "r1"})
        assert changed.explanation
        assert (await stub.RemoveNode(pb.RemoveNodeRequest(node=added.id))).node.id == added.id
        (left,) = (await stub.ListNodes(pb.ListNodesRequest())).nodes
        assert (left.id, left.replicas, left.state) == (1, 1, pb.Node.STATE_UP)

    on_node(tmp_path, scenario)


def test_namespaces_come_and_go(tmp_path: Path) -> None:
    """With their shards; what they hold is counted."""

    async def scenario(stub: Any) -> None:
        wanted = pb.Namespace(name="jobs", budget_bytes=8 << 20, replicas=1)
        tried = pb.CreateNamespaceRequest(namespace=wanted, cuts=[b"m"], dry_run=True)
        await stub.CreateNamespace(tried)
        assert len((await stub.ListNamespaces(pb.ListNamespacesRequest())).namespaces) == 1
        made = (
            await stub.CreateNamespace(pb.CreateNamespaceRequest(namespace=wanted, cuts=[b"m"]))
        ).namespace
        assert (made.shards, made.budget_bytes) == (2, 8 << 20)
        changed = (await stub.SetNamespace(pb.SetNamespaceRequest(name="jobs", strict_ttl=True))).namespace
        assert (changed.strict_ttl, changed.budget_bytes) == (True, 8 << 20)
        listed = (await stub.ListNamespaces(pb.ListNamespacesRequest())).namespaces
        assert [space.name for space in listed] == ["default", "jobs"]
        await stub.DeleteNamespace(pb.DeleteNamespaceRequest(name="jobs", confirm="jobs"))
        gone = await refused(stub.GetMap(pb.GetMapRequest(namespace="jobs")))
        assert gone.reason == Reason.UNKNOWN_NAMESPACE

    on_node(tmp_path, scenario)


def test_what_the_planner_goes_by(tmp_path: Path) -> None:
    """Its limits, its pauses, and what it would do now."""

    async def scenario(stub: Any) -> None:
        limits = pb.Planning(split_bytes=64 << 20)
        changed = await stub.SetPlanning(pb.SetPlanningRequest(resume=[1], limits=limits))
        assert (changed.planning.split_bytes, list(changed.planning.paused)) == (64 << 20, [2, 3, 4, 5, 6])
        assert (await stub.GetPlanning(pb.GetPlanningRequest())).planning == changed.planning
        explained = await stub.ExplainPlanning(pb.ExplainPlanningRequest())
        assert not explained.proposals
        assert explained.idle

    on_node(tmp_path, scenario)


# ---- sent on -------------------------------------------------------------------------------------------


class Peer:
    """Another node: gives one prepared error, or an answer; it notes that it was asked."""

    def __init__(self, number: int, problem: HoldfastError | None = None) -> None:
        self.number, self.problem = number, problem
        self.asked = 0
        self.address = f"127.0.0.1:{free_ports(1)[0]}"

    async def answer(self, _: Any, context: Any) -> pb.GetPlanningResponse:
        self.asked += 1
        assert (FORWARDED_KEY, "1") in [(key, value) for key, value in context.invocation_metadata()]
        if self.problem is not None:
            await context.abort(status.code_of(self.problem), "m", status.trailers(self.problem))
        return pb.GetPlanningResponse(planning=pb.Planning(plans_max=self.number))

    @asynccontextmanager
    async def serving(self) -> Any:
        server = grpc.aio.server()
        row = grpc.unary_unary_rpc_method_handler(
            self.answer, lambda _: None, lambda message: message.SerializeToString()
        )
        names = ("GetPlanning", "SetPlanning", "JoinCluster")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("holdfast.v1.Placement", dict.fromkeys(names, row)),)
        )
        server.add_insecure_port(self.address)
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)


def sent_on(
    peers: list[Peer],
    *,
    leader: int | None = None,
    silent: tuple[Peer, ...] = (),
    apart: tuple[Peer, ...] = (),
    verb: str = "GetPlanning",
    metadata: tuple[tuple[str, str], ...] = (),
    conductor: Any = None,
) -> Any:
    """What node 9 answers, which does not lead unless it is told so; its placement group is on the peers."""
    addresses = {peer.number: peer.address for peer in peers}
    group = SimpleNamespace(leader=leader)
    core: Any = SimpleNamespace(
        node=9,
        conductor=conductor or SimpleNamespace(leads=False),
        placement=SimpleNamespace(state=SimpleNamespace(sealed=None), group=group),
        book=SimpleNamespace(placement=tuple(addresses)),
    )
    served: Any = SimpleNamespace(
        address_of=lambda node: addresses.get(node, ""),
        wall_ms=lambda: 0,
        is_connected=lambda node: node not in {peer.number for peer in apart},
    )

    async def main() -> Any:
        forwarder = Forwarder()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(forwarder.close)
            for peer in peers:
                if peer not in silent:
                    await stack.enter_async_context(peer.serving())
            handler: Any = PlacementAdmin(served, core, forwarder).handlers()[verb]
            request = handler.request_deserializer(b"")
            context = SimpleNamespace(invocation_metadata=lambda: metadata)
            return await handler.unary_unary(request, context)

    return asyncio.run(main())


def test_a_call_goes_to_the_leader_that_is_known() -> None:
    """And to nobody else."""
    peers = [Peer(1), Peer(2)]

    assert sent_on(peers, leader=2).planning.plans_max == 2
    assert [peer.asked for peer in peers] == [0, 1]


def test_without_a_known_leader_everybody_is_asked() -> None:
    """Until one leads, or names who does."""
    one, three = Peer(1, error(Reason.NOT_LEADER, "m")), Peer(3)
    two = Peer(2, error(Reason.NOT_LEADER, "m", leader=three.address))

    assert sent_on([one, two, three]).planning.plans_max == 3
    assert [one.asked, two.asked, three.asked] == [1, 1, 1]


def test_a_question_is_asked_again_elsewhere_when_a_node_does_not_answer() -> None:
    """Nothing can have happened by it; of a change nobody knows, and it is not repeated."""
    dead, living = Peer(1), Peer(2)
    assert sent_on([dead, living], leader=1, silent=(dead,)).planning.plans_max == 2

    with pytest.raises(HoldfastError) as caught:
        sent_on([dead, living], leader=1, silent=(dead,), verb="SetPlanning")

    assert caught.value.outcome is Outcome.UNKNOWN


def test_who_is_out_of_touch_is_asked_last() -> None:
    """A change that a dead node did not answer would be in doubt for as long as the node is dead."""
    dead, living = Peer(1), Peer(2)
    for leader in (None, 1):
        sent_on([dead, living], leader=leader, silent=(dead,), apart=(dead,), verb="SetPlanning")

    assert living.asked == 2


def test_a_join_is_asked_again_elsewhere() -> None:
    """The same incarnation gets the same answer, so that nothing can be done twice."""
    dead, living = Peer(1), Peer(2)
    sent_on([dead, living], leader=1, silent=(dead,), verb="JoinCluster")

    assert living.asked == 1


def test_a_refusal_of_the_leader_is_the_answer() -> None:
    """It is not asked for elsewhere."""
    peers = [Peer(1, error(Reason.CONDITION_FAILED, "m")), Peer(2)]

    with pytest.raises(HoldfastError) as caught:
        sent_on(peers, leader=1)

    assert caught.value.reason is Reason.CONDITION_FAILED
    assert peers[1].asked == 0


def test_a_call_that_was_sent_on_is_not_sent_on_again() -> None:
    """Two nodes with old ideas of each other cannot play ball with it; the leader is named."""
    peer = Peer(1)

    with pytest.raises(HoldfastError) as caught:
        sent_on([peer], leader=1, metadata=((FORWARDED_KEY, "1"),))

    assert (caught.value.reason, caught.value.leader, peer.asked) == (Reason.NOT_LEADER, peer.address, 0)


def test_nobody_to_ask_is_said() -> None:
    """With where the placement group is."""
    with pytest.raises(HoldfastError, match="it is on nodes"):
        sent_on([])


def test_a_command_that_came_behind_the_seal_is_sent_on() -> None:
    """Its leader was asked a moment too late: nothing happened there, and the next group's leader answers."""
    moved = Refusal(Reason.NOT_LEADER, "the placement group has moved")
    replica = SimpleNamespace(
        state=None, propose=lambda _, done: done(moved), barrier=lambda _, done: done(7)
    )
    sealed = SimpleNamespace(leads=True, replica=replica, loads=lambda: None)
    peer = Peer(1)

    assert sent_on([peer], verb="SetPlanning", conductor=sealed).planning.plans_max == 1

    with pytest.raises(HoldfastError) as caught:
        sent_on([peer], verb="SetPlanning", conductor=sealed, metadata=((FORWARDED_KEY, "1"),))
    assert (caught.value.reason, peer.asked) == (Reason.NOT_LEADER, 1)


def leader(told: int | RaftError | None, *, seals: bool = False) -> Any:
    """Leads the placement group, as it thinks.

    told: what its barrier comes to; None: to nothing. seals: then it is sealed.
    """

    def barrier(_: float, done: Callable[[int | RaftError], None]) -> None:
        conductor.leads = not seals
        if told is not None:
            done(told)

    planning = SimpleNamespace(plans_max=9)
    replica = SimpleNamespace(state=SimpleNamespace(planning=planning), barrier=barrier)
    conductor = SimpleNamespace(leads=True, replica=replica, loads=lambda: None)
    return conductor


@pytest.mark.parametrize(
    "conductor",
    [
        leader(NotLeader(1)),
        leader(Stopped("retired")),
        leader(7, seals=True),
        leader(NoQuorum("n"), seals=True),
    ],
)
def test_who_was_deposed_meanwhile_sends_the_question_on(conductor: Any) -> None:
    """It would tell what was; whoever leads now answers."""
    peer = Peer(1)

    assert sent_on([peer], conductor=conductor).planning.plans_max == 1
    assert peer.asked == 1


@pytest.mark.parametrize("told", [NoQuorum("no majority"), None])
def test_who_cannot_confirm_that_it_leads_says_so(told: RaftError | None, monkeypatch: Any) -> None:
    """Not what it knew last: others may have been told otherwise since. None: its round does not end."""
    monkeypatch.setattr(placement_admin, "CONFIRMED_WITHIN_S", 0.05)
    with pytest.raises(HoldfastError) as caught:
        sent_on([Peer(1)], conductor=leader(told))

    assert (caught.value.reason, caught.value.outcome) == (Reason.NO_QUORUM, Outcome.REFUSED)


def test_who_leads_as_it_thinks_does_not_end_the_search() -> None:
    """It refuses since nobody confirms it, so nothing happened; whoever leads now is asked next."""
    apart, living = Peer(1, error(Reason.NO_QUORUM, "m")), Peer(2)

    assert sent_on([apart, living], leader=1, verb="SetPlanning").planning.plans_max == 2
