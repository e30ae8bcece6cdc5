"""The verbs of holdfast.v1.Placement that change the placement, or ask its leader.

Any node takes them. One whose replica leads the placement group answers; another sends the call on, once.
While the placement group moves, whoever was asked last of the old one sends it on too.
A command that was proposed and not seen applied is *unknown*: ask again what stands.

Invariants: nothing is decided here; by_hand.py and the policies make shapes, the placement group judges.
Whoever answers, also with a refusal, was confirmed as the leader by a majority since it was asked: one that
was cut off tells nothing of what was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import grpc
from holdfast.errors import HoldfastError, Reason, error
from holdfast.types import Outcome
from holdfast.v1 import placement_pb2 as pb
from holdfast_raft.errors import NoQuorum, NotLeader, RaftError, Stopped, Unknown

from holdfast_node.node_core import NodeCore
from holdfast_node.placement import commands
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.by_hand import Desk
from holdfast_node.placement.cluster import Refusal
from holdfast_node.placement.commands import Command
from holdfast_node.placement.conductor import Conductor
from holdfast_node.placement.loads import Loads
from holdfast_node.placement.nodes import removal_problem
from holdfast_node.placement.placing import new_namespace
from holdfast_node.placement.planner import propose
from holdfast_node.placement.plans import as_plan
from holdfast_node.placement.shape import Shape
from holdfast_node.placement.state import PlacementState
from holdfast_node.placement.stored import labels_of
from holdfast_node.rpc import convert, placement_convert
from holdfast_node.rpc.forward import Forwarder, was_forwarded
from holdfast_node.rpc.served import Served

METHOD = "/holdfast.v1.Placement/"
TIMEOUT_S = 10.0
LOOK_WITHIN_S = 1.0
CONFIRMED_WITHIN_S = 1.0
PLANS_DEFAULT = 100
PLANS_MAX = 1000
BY_HAND = "asked for by hand"
_READS = frozenset(("ListPlans", "GetPlan", "ListNamespaces", "GetPlanning", "ExplainPlanning", "ListNodes"))
_REPEATABLE = _READS | {"JoinCluster"}
"""A node that joins gets the same answer again, by its incarnation."""
_NO_ANSWER = frozenset((Reason.LEADERSHIP_LOST, Reason.DEADLINE))
"""What a node says, or is said of one, that may have done it or not."""
REPEATED_WITHIN_S = 2.0
"""For each node: who asks waits for all of them."""


class Leading(NamedTuple):
    """What the leader of the placement group works with."""

    conductor: Conductor
    state: PlacementState
    loads: Loads
    now_ms: int


Handler = Callable[[Leading, Any], Awaitable[Any]]


class PlacementAdmin:
    """Handlers of the verbs."""

    def __init__(self, served: Served, core: NodeCore, forwarder: Forwarder) -> None:
        self._served = served
        self._core = core
        self._forwarder = forwarder

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """By the name of the method."""
        return {name: self._handler(name, *row) for name, row in self._rows().items()}

    def _rows(self) -> dict[str, tuple[Handler, Any, Any]]:
        return {
            "SplitShard": (self._reshape, pb.SplitShardRequest, pb.SplitShardResponse),
            "MergeShards": (self._reshape, pb.MergeShardsRequest, pb.MergeShardsResponse),
            "MoveShard": (self._reshape, pb.MoveShardRequest, pb.MoveShardResponse),
            "ListPlans": (self._list_plans, pb.ListPlansRequest, pb.ListPlansResponse),
            "GetPlan": (self._get_plan, pb.GetPlanRequest, pb.GetPlanResponse),
            "CancelPlan": (self._cancel_plan, pb.CancelPlanRequest, pb.CancelPlanResponse),
            "JoinCluster": (self._join, pb.JoinClusterRequest, pb.JoinClusterResponse),
            "AddNode": (self._add_node, pb.AddNodeRequest, pb.AddNodeResponse),
            "SetNode": (self._set_node, pb.SetNodeRequest, pb.SetNodeResponse),
            "RemoveNode": (self._remove_node, pb.RemoveNodeRequest, pb.RemoveNodeResponse),
            "ListNamespaces": (self._list_namespaces, pb.ListNamespacesRequest, pb.ListNamespacesResponse),
            "CreateNamespace": (
                self._create_namespace,
                pb.CreateNamespaceRequest,
                pb.CreateNamespaceResponse,
            ),
            "SetNamespace": (self._set_namespace, pb.SetNamespaceRequest, pb.SetNamespaceResponse),
            "DeleteNamespace": (
                self._delete_namespace,
                pb.DeleteNamespaceRequest,
                pb.DeleteNamespaceResponse,
            ),
            "GetPlanning": (self._get_planning, pb.GetPlanningRequest, pb.GetPlanningResponse),
            "SetPlanning": (self._set_planning, pb.SetPlanningRequest, pb.SetPlanningResponse),
            "ExplainPlanning": (self._explain, pb.ExplainPlanningRequest, pb.ExplainPlanningResponse),
        }

    def _handler(
        self, name: str, act: Handler, request: Any, response: Any
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(message: Any, context: Any) -> Any:
            leading = await self._confirmed()
            if leading is not None:
                try:
                    return await act(leading, message)
                except HoldfastError as refused:  # its group was sealed meanwhile: another goes on
                    if not _asks_elsewhere(refused):
                        raise
            if was_forwarded(context.invocation_metadata()):
                raise self._not_leading()
            return await self._forward(name, message, response)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    # ---- who answers -----------------------------------------------------------------------------------

    def _leading(self) -> Leading | None:
        conductor = self._core.conductor
        if conductor is None or not conductor.leads:
            return None
        return Leading(conductor, conductor.replica.state, conductor.loads(), self._served.wall_ms())

    async def _confirmed(self) -> Leading | None:
        """Who answers for the placement group; None: another node does. Raises HoldfastError: no quorum."""
        conductor = self._core.conductor
        if conductor is None or not conductor.leads:
            return None
        try:
            # A round that is under way outlasts its reads' deadlines.
            async with asyncio.timeout(CONFIRMED_WITHIN_S):
                told = await _told(partial(conductor.replica.barrier, CONFIRMED_WITHIN_S))
        except TimeoutError:
            told = NoQuorum(f"nobody has confirmed within {CONFIRMED_WITHIN_S} s that this node leads it")
        leading = self._leading()  # not if it was deposed or sealed, or has ended
        if leading is None or isinstance(told, NotLeader | Stopped):
            return None
        if isinstance(told, RaftError):
            raise error(Reason.NO_QUORUM, f"the placement group: {told}")
        return leading

    def _leader(self) -> int | None:
        """The node that leads the placement group, as far as known here; it may be another by now."""
        replica = self._core.placement
        if replica is None:
            return None
        sealed = replica.state.sealed
        return replica.group.leader if sealed is None else sealed.targets[0].replicas[0]

    def _not_leading(self) -> HoldfastError:
        leader = self._leader()
        address = self._served.address_of(leader) if leader else ""
        return error(Reason.NOT_LEADER, "this node does not lead the placement group", leader=address)

    async def _forward(self, name: str, message: Any, response: Any, timeout_s: float | None = None) -> Any:
        """To the leader as far as known, else to any node with a replica; to those that they name next.

        A node that does not answer may have done it: what may be repeated is asked of the next one then.
        """
        may_repeat = name in _REPEATABLE
        timeout_s = timeout_s or (REPEATED_WITHIN_S if may_repeat else TIMEOUT_S)
        core = self._core
        own = self._served.address_of(core.node)
        nodes = [node for node in (self._leader(), *core.book.placement) if node]
        # A change that a node did not answer is asked of no other: who is out of touch comes last.
        nodes.sort(key=lambda node: not self._served.is_connected(node))
        known = [self._served.address_of(node) for node in nodes]
        asked = {own, ""}
        problem = error(
            Reason.NO_QUORUM, f"no node of the placement group answers; it is on nodes {core.book.placement}"
        )
        while known:
            address = known.pop(0)
            if address in asked:
                continue
            asked.add(address)
            try:
                return await self._forwarder.call(
                    address,
                    METHOD + name,
                    message,
                    response.FromString,
                    timeout_s=timeout_s,
                    is_write=name not in _READS,
                )
            except HoldfastError as refused:
                if not (
                    _asks_elsewhere(refused)
                    or _is_unconfirmed(refused)
                    or (may_repeat and refused.reason in _NO_ANSWER)
                ):
                    raise
                problem = refused
                known.insert(0, refused.leader)
        raise problem

    async def _propose(self, leading: Leading, command: Command, dry_run: bool) -> Answer:
        """The command's answer. Raises HoldfastError."""
        if dry_run:
            result: Any = leading.state.tried(command)
        else:
            result = await _told(partial(leading.conductor.replica.propose, command))
        if isinstance(result, RaftError):
            outcome = Outcome.UNKNOWN if isinstance(result, Unknown) else Outcome.REFUSED
            reason = Reason.LEADERSHIP_LOST if outcome is Outcome.UNKNOWN else Reason.NO_QUORUM
            raise error(reason, f"the placement group: {result}", outcome=outcome)
        if isinstance(result, Refusal):
            raise placement_convert.refusal(result)
        assert isinstance(result, Answer), "apply answers every command"
        if not dry_run:
            leading.conductor.look()
        return result

    # ---- plans -----------------------------------------------------------------------------------------

    async def _reshape(self, leading: Leading, request: Any) -> Any:
        desk = Desk(leading.state, leading.loads, leading.now_ms)
        shape: Shape = placement_convert.shape_asked(desk, request)
        responses = {
            pb.SplitShardRequest: pb.SplitShardResponse,
            pb.MergeShardsRequest: pb.MergeShardsResponse,
            pb.MoveShardRequest: pb.MoveShardResponse,
        }
        if request.dry_run:
            plan = as_plan(leading.state, shape, reason=BY_HAND, when_ms=leading.now_ms)
        else:
            command = commands.StartPlan(shape, BY_HAND, leading.now_ms, by_hand=True)
            answer = await self._propose(leading, command, dry_run=False)
            assert answer.plan is not None, "a plan that has started"
            plan = answer.plan
        return responses[type(request)](plan=placement_convert.plan_message(leading.state, plan))

    async def _list_plans(self, leading: Leading, request: Any) -> Any:
        if request.limit > PLANS_MAX:
            raise convert.invalid("limit", f"may be {PLANS_MAX}, is {request.limit}")
        state = leading.state
        plans = sorted(state.plans.values(), key=lambda plan: -plan.id)
        if request.ended:
            plans += reversed(state.ended.values())
        rows = plans[: request.limit or PLANS_DEFAULT]
        return pb.ListPlansResponse(plans=[self._plan(leading, plan) for plan in rows])

    async def _get_plan(self, leading: Leading, request: Any) -> Any:
        plan = leading.state.plan(request.id)
        if plan is None:
            raise convert.invalid("id", f"there is no plan {request.id}; `holdfast op list` names them")
        return pb.GetPlanResponse(plan=self._plan(leading, plan))

    def _plan(self, leading: Leading, plan: Any) -> pb.Plan:
        progress = leading.conductor.progress.get(plan.id, "")
        return placement_convert.plan_message(leading.state, plan, progress)

    async def _cancel_plan(self, leading: Leading, request: Any) -> Any:
        command = commands.CancelPlan(request.id, "taken back by hand", leading.now_ms)
        answer = await self._propose(leading, command, dry_run=False)
        assert answer.plan is not None, "a plan that was named"
        return pb.CancelPlanResponse(plan=self._plan(leading, answer.plan))

    # ---- nodes -----------------------------------------------------------------------------------------

    async def kept_nodes(self, request: Any, context: Any) -> dict[int, pb.Node]:
        """What the placement group keeps of every node, by id; nothing when its leader cannot be asked."""
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):  # of all nodes that are asked
                leading = await self._confirmed()
                if leading is not None:
                    return {number: node_message(leading, number) for number in leading.state.nodes}
                if was_forwarded(context.invocation_metadata()):
                    return {}
                answer = await self._forward("ListNodes", request, pb.ListNodesResponse, LOOK_WITHIN_S)
        except (HoldfastError, TimeoutError):
            return {}
        return {node.id: node for node in answer.nodes if node.weight or node.incarnation or node.expected}

    async def _join(self, leading: Leading, request: Any) -> Any:
        command = commands.JoinNode(
            placement_convert.address_of(request), request.incarnation, 0, request.http, request.zone,
            labels_of(request.labels), request.weight,
        )  # fmt: skip
        answer = await self._propose(leading, command, dry_run=False)
        assert answer.node is not None, "a node that has joined"
        news = leading.conductor.news()
        state = leading.state
        return pb.JoinClusterResponse(
            cluster_id=self._served.cluster_id,
            node=answer.node.id,
            nodes=(pb.Node(**placement_convert.node_fields(node)) for node in state.members().values()),
            map=convert.map_message(news.map),
            placement=(
                convert.replica_message(replica)
                for replica in self._core.book.replicas_of(state.placement.replicas)
            ),
            placement_group=news.placement_group,
        )

    async def _add_node(self, leading: Leading, request: Any) -> Any:
        address = placement_convert.address_of(request)
        command = commands.AddNode(address, request.zone, labels_of(request.labels), request.weight)
        answer = await self._propose(leading, command, request.dry_run)
        return pb.AddNodeResponse(node=self._node(leading, answer), explanation=answer.explanation)

    async def _set_node(self, leading: Leading, request: Any) -> Any:
        command = commands.SetNode(
            request.node,
            placement_convert.cordon_until(request, leading.now_ms),
            request.draining if request.HasField("draining") else None,
            request.weight if request.HasField("weight") else None,
            request.zone if request.HasField("zone") else None,
            labels_of(request.set_labels),
            tuple(request.drop_labels),
        )
        answer = await self._propose(leading, command, request.dry_run)
        return pb.SetNodeResponse(node=self._node(leading, answer), explanation=answer.explanation)

    async def _remove_node(self, leading: Leading, request: Any) -> Any:
        down = [node for node in leading.state.nodes if leading.loads.node(node).down_ms]
        problem = removal_problem(leading.state, request.node, down)
        if problem is not None:
            raise placement_convert.refusal(problem)
        answer = await self._propose(leading, commands.RemoveNode(request.node), request.dry_run)
        return pb.RemoveNodeResponse(node=self._node(leading, answer), explanation=answer.explanation)

    def _node(self, leading: Leading, answer: Answer) -> pb.Node:
        assert answer.node is not None, "what was done to a node names it"
        return (
            node_message(leading, answer.node.id)
            if answer.node.id in leading.state.nodes
            else pb.Node(**placement_convert.node_fields(answer.node))
        )

    # ---- namespaces ------------------------------------------------------------------------------------

    async def _list_namespaces(self, leading: Leading, _: Any) -> Any:
        return pb.ListNamespacesResponse(
            namespaces=[self._namespace(leading, name) for name in sorted(leading.state.namespaces)]
        )

    async def _create_namespace(self, leading: Leading, request: Any) -> Any:
        namespace = placement_convert.namespace_asked(request.namespace)
        command = new_namespace(
            leading.state,
            leading.loads,
            leading.now_ms,
            namespace,
            placement_convert.first_shards(request),
            tuple(request.cuts),
        )
        if isinstance(command, Refusal):
            raise placement_convert.refusal(command)
        answer = await self._propose(leading, command, request.dry_run)
        return pb.CreateNamespaceResponse(
            namespace=placement_convert.namespace_message(leading.state, namespace),
            explanation=answer.explanation,
        )

    async def _set_namespace(self, leading: Leading, request: Any) -> Any:
        command = commands.SetNamespace(
            request.name,
            request.budget_bytes if request.HasField("budget_bytes") else None,
            placement_convert.eviction_asked(request.eviction, "eviction"),
            request.strict_ttl if request.HasField("strict_ttl") else None,
            request.replicas if request.HasField("replicas") else None,
        )
        answer = await self._propose(leading, command, request.dry_run)
        assert answer.namespace is not None, "what was done to a namespace names it"
        message = placement_convert.namespace_message(leading.state, answer.namespace)
        return pb.SetNamespaceResponse(namespace=message, explanation=answer.explanation)

    async def _delete_namespace(self, leading: Leading, request: Any) -> Any:
        if request.confirm != request.name:
            raise convert.invalid("confirm", "must repeat the namespace's name: every key of it goes")
        answer = await self._propose(leading, commands.DeleteNamespace(request.name), request.dry_run)
        assert answer.namespace is not None, "what was done to a namespace names it"
        message = placement_convert.namespace_message(leading.state, answer.namespace)
        return pb.DeleteNamespaceResponse(namespace=message, explanation=answer.explanation)

    def _namespace(self, leading: Leading, name: str) -> pb.Namespace:
        loads = leading.loads.shards
        rows = [loads[row.group] for row in leading.state.row(name) if row.group in loads]
        return placement_convert.namespace_message(
            leading.state,
            leading.state.namespaces[name],
            sum(r.keys for r in rows),
            sum(r.bytes for r in rows),
        )

    # ---- planning --------------------------------------------------------------------------------------

    async def _get_planning(self, leading: Leading, _: Any) -> Any:
        return pb.GetPlanningResponse(planning=placement_convert.planning_message(leading.state.planning))

    async def _set_planning(self, leading: Leading, request: Any) -> Any:
        command = commands.SetPlanning(
            placement_convert.policies(request.pause, "pause"),
            placement_convert.policies(request.resume, "resume"),
            placement_convert.limits_asked(request.limits),
        )
        answer = await self._propose(leading, command, request.dry_run)
        planning = answer.planning or leading.state.planning
        return pb.SetPlanningResponse(planning=placement_convert.planning_message(planning))

    async def _explain(self, leading: Leading, _: Any) -> Any:
        found = propose(leading.state, leading.loads, leading.now_ms)
        return pb.ExplainPlanningResponse(
            proposals=(
                placement_convert.wish_message(leading.state, wish, leading.now_ms) for wish in found.wishes
            ),
            idle=found.idle,
        )


async def _told(ask: Callable[[Callable[[Any], None]], None]) -> Any:
    """What a group calls back with; nobody waits for it any more once this is cancelled."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ask(lambda told: None if future.done() else future.set_result(told))
    return await future


def _asks_elsewhere(refused: HoldfastError) -> bool:
    """Whether another node may answer what this one refuses, without doing it twice."""
    elsewhere = refused.reason in (Reason.NOT_LEADER, Reason.STOPPED)
    return elsewhere and refused.outcome is Outcome.REFUSED


def _is_unconfirmed(refused: HoldfastError) -> bool:
    """Whether it comes from one that leads as it thinks, and was cut off: another may lead."""
    return refused.reason is Reason.NO_QUORUM and refused.outcome is Outcome.REFUSED


def node_message(leading: Leading, number: int) -> pb.Node:
    """A node by what is kept of it and what it reported."""
    state, load = leading.state, leading.loads.node(number)
    heard = leading.conductor.heard.get(number)
    reported = heard.report.replicas if heard is not None else ()
    led = sum(replica.leads and replica.group in state.shards for replica in reported)
    return pb.Node(
        **placement_convert.node_fields(state.nodes[number]),
        state=pb.Node.STATE_UP if load.is_up else pb.Node.STATE_DOWN,
        replicas=len(state.groups_on(number)),
        leaders=led,
        bytes=load.bytes,
        busy_percent=load.busy_percent,
        heard_ms_ago=load.heard_ms_ago,
    )
