"""The public API as an operator calls it, asked of whichever node answers, past the gates.

Only what `holdfast.v1.Placement` offers: the harness's eyes, and the hands of its nemeses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import grpc
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import placement_pb2_grpc

POLICIES: Final = tuple(
    value for value in pb.Planning.Policy.values() if value not in (0, pb.Planning.POLICY_DRAIN)
)
"""What the planner does without being asked; a drain is asked for."""
LOOK_WITHIN_S: Final = 0.2
LOOK_EVERY_S: Final = 0.02
PHASE_EVERY_S: Final = 0.003
PREPARE, SEAL, RETIRE = pb.Plan.PHASE_PREPARE, pb.Plan.PHASE_SEAL, pb.Plan.PHASE_RETIRE
CANCELLED: Final = pb.Plan.PHASE_CANCELLED
ENDED: Final = (pb.Plan.PHASE_DONE, CANCELLED)
TIMEOUT_S: Final = 2.0
Refused = (grpc.aio.AioRpcError, TimeoutError)
"""What a wish that is not granted raises; it may have been granted all the same."""
_OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200))


class LostPlanError(Exception):
    """A plan that was acknowledged is not known."""


class Replica(NamedTuple):
    """What a replica says of itself.

    Attributes:
        leads: with a quorum.
        is_leader: with or without one.
        members: the nodes that have, or are to have, a replica of the group.
        is_placement: of the placement group, which holds no keys.
    """

    node: int
    group: int
    leads: bool
    term: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    digest: str
    members: tuple[int, ...] = ()
    is_leader: bool = False
    is_placement: bool = False


class Ending(NamedTuple):
    """Of a plan. phase: `done` or `cancelled`; why: of one that was taken back."""

    phase: str
    why: str


class Admin:
    """See the module docstring. addresses: of the nodes to ask, by number, those that run.

    channels: to share with another one, which closes them.
    """

    def __init__(
        self,
        addresses: Callable[[], dict[int, str]],
        channels: dict[str, grpc.aio.Channel] | None = None,
    ) -> None:
        self._addresses = addresses
        self._channels = {} if channels is None else channels

    def _stub(self, address: str) -> Any:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return placement_pb2_grpc.PlacementStub(channel)

    async def ask(self, verb: str, request: Any, timeout_s: float = TIMEOUT_S) -> Any:
        """The answer of the first node that gives one; what all refuse is raised, the last refusal."""
        problem: grpc.aio.AioRpcError | None = None
        for address in self._addresses().values():
            try:
                return await getattr(self._stub(address), verb)(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as failure:
                problem = failure
        if problem is None:
            raise TimeoutError("no node runs")
        raise problem

    def only(self, number: int) -> Admin:
        """The same, asked of one node alone."""
        return Admin(
            lambda: {n: address for n, address in self._addresses().items() if n == number}, self._channels
        )

    async def patiently(self, verb: str, request: Any, within_s: float = 30.0) -> Any:
        """The answer, once the cluster can give it: a leader may be missing for a while."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while True:
            try:
                return await self.ask(verb, request)
            except (grpc.aio.AioRpcError, TimeoutError):
                if loop.time() > end:
                    raise
                await asyncio.sleep(0.1)

    async def replicas(self, number: int, timeout_s: float = TIMEOUT_S) -> tuple[Replica, ...]:
        """The replicas on a node, of shards and of the placement group; none: it does not answer."""
        try:
            answer = await self.only(number).ask("ListReplicas", pb.ListReplicasRequest(), timeout_s)
        except Refused:
            return ()
        of_shards = (_replica(answer.node, said) for said in answer.replicas)
        of_placement = (_replica(answer.node, said) for said in answer.placement)
        return (*of_shards, *(replica._replace(is_placement=True) for replica in of_placement))

    async def label(self, number: int, node: int, name: str, value: str, within_s: float) -> None:
        """Sets a label of a node, by one try at one node. Raises Refused."""
        request = pb.SetNodeRequest(node=node, set_labels={name: value})
        await self.only(number).ask("SetNode", request, within_s)

    async def labels(self, number: int, node: int, within_s: float) -> dict[str, str] | None:
        """A node's labels, by one try at one node; None: it could not ask who knows. Raises Refused."""
        answer = await self.only(number).ask("ListNodes", pb.ListNodesRequest(), within_s)
        return next((dict(n.labels) for n in answer.nodes if n.id == node and n.incarnation), None)

    async def all_replicas(self, timeout_s: float = TIMEOUT_S) -> tuple[Replica, ...]:
        """The replicas on every node that answers."""
        found = await asyncio.gather(*(self.replicas(number, timeout_s) for number in self._addresses()))
        return tuple(replica for own in found for replica in own)

    async def leaders(self, timeout_s: float = 0.5, *, of_shards: bool = False) -> dict[int, int]:
        """Group -> node id that leads it with a quorum; the highest term wins.

        of_shards: without the placement group.
        """
        found: dict[int, Replica] = {}
        for replica in await self.all_replicas(timeout_s):
            if of_shards and replica.is_placement:
                continue
            known = found.get(replica.group)
            if replica.leads and (known is None or replica.term > known.term):
                found[replica.group] = replica
        return {group: replica.node for group, replica in found.items()}

    async def shards(self) -> Sequence[Any]:
        """The map's entries."""
        return list((await self.patiently("GetMap", pb.GetMapRequest())).map.shards)

    async def transfer(self, number: int, group: int, to_node: int = 0) -> int:
        """Asks the node that leads a group to hand it over; the id of the node that leads then.

        to_node: an id; 0: to whoever has caught up most.
        """
        request = pb.TransferLeaderRequest(group=group, to_node=to_node, timeout_ms=1000)
        return int((await self.only(number).ask("TransferLeader", request)).leader)

    async def pause_planner(self) -> None:
        """Only what is asked for happens."""
        await self.patiently("SetPlanning", pb.SetPlanningRequest(pause=POLICIES))

    async def placement_group(self) -> Any:
        """The placement group, as the map would have it."""
        return (await self.patiently("GetMap", pb.GetMapRequest())).placement

    async def remove(self, node: int, within_s: float) -> None:
        """Forgets a node that holds nothing any more, asking so long."""
        await self.patiently("RemoveNode", pb.RemoveNodeRequest(node=node), within_s)

    async def groups_on(self, node: int) -> list[int]:
        """The groups that have a replica on a node by the map, the placement group among them."""
        groups = await self._groups()
        return [group.group for group in groups if node in {replica.node for replica in group.replicas}]

    async def _groups(self) -> tuple[Any, ...]:
        """All that the map names, the placement group too."""
        answer = await self.patiently("GetMap", pb.GetMapRequest())
        return (answer.placement, *answer.map.shards)

    async def drain(self, node: int, *, is_draining: bool) -> None:
        """Says that a node is to be emptied, or no more."""
        await self.patiently("SetNode", pb.SetNodeRequest(node=node, draining=is_draining))

    async def ids_at(self, known_as: str) -> list[int]:
        """The ids of nodes that are known by an address."""
        nodes = (await self.patiently("ListNodes", pb.ListNodesRequest())).nodes
        return [node.id for node in nodes if node.address == known_as]

    async def split(self, group: int) -> int:
        """Cuts a shard in its middle; the plan."""
        request = pb.SplitShardRequest(group=group, middle=True)
        return int((await self.ask("SplitShard", request)).plan.id)

    async def merge(self, group: int, other: int) -> int:
        """Joins two neighbours; the plan."""
        request = pb.MergeShardsRequest(group=group, other=other)
        return int((await self.ask("MergeShards", request)).plan.id)

    async def move(self, group: int, source: int, target: int, within_s: float = 0.0) -> Any:
        """Gives a replica to another node, asking so long; the plan."""
        request = pb.MoveShardRequest(group=group, from_node=source, to_node=target)
        answer = await (
            self.patiently("MoveShard", request, within_s) if within_s else self.ask("MoveShard", request)
        )
        return answer.plan

    async def cancel(self, plan: int) -> None:
        """Takes a plan back, if it can be."""
        await self.ask("CancelPlan", pb.CancelPlanRequest(id=plan))

    async def comes_to(self, plan: int, phases: Collection[int], within_s: float) -> bool:
        """Waits until a plan is in one of these phases, or has ended, or long enough; whether it is."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while loop.time() < end:
            with suppress(*Refused):
                phase = (await self.ask("GetPlan", pb.GetPlanRequest(id=plan))).plan.phase
                if phase in phases or phase in ENDED:
                    return phase in phases
            await asyncio.sleep(PHASE_EVERY_S)
        return False

    async def see_led(self, group: int, plan: int, within_s: float) -> None:
        """Waits until a group that a plan makes is led, or the plan has ended. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while group not in await self.leaders() and not await self.comes_to(plan, ENDED, LOOK_EVERY_S):
            if loop.time() > end:
                raise TimeoutError(f"group {group} has no leader")
            await asyncio.sleep(LOOK_EVERY_S)

    async def see_the_end(self, plan: int, within_s: float = 60.0) -> Ending:
        """Waits until a plan is done or taken back. Raises LostPlanError, TimeoutError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while True:
            try:
                found = (await self.patiently("GetPlan", pb.GetPlanRequest(id=plan), within_s)).plan
            except grpc.aio.AioRpcError as failure:
                if failure.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise LostPlanError(f"it was acknowledged, and {failure.details()}") from None
                raise
            if found.phase in ENDED:
                return Ending(pb.Plan.Phase.Name(found.phase).removeprefix("PHASE_").lower(), found.progress)
            if loop.time() > end:
                raise TimeoutError(f"plan {plan} has not ended: {found.progress}")
            await asyncio.sleep(0.1)

    async def open_plans(self) -> list[str]:
        """Plans that have not ended, and what each waits for."""
        found = (await self.patiently("ListPlans", pb.ListPlansRequest())).plans
        return [f"plan {plan.id} ({plan.reason}): {plan.progress}" for plan in found]

    async def leftovers(self) -> list[str]:
        """Replicas of groups that the map does not name."""
        known = {group.group for group in await self._groups()}
        replicas = await self.all_replicas()
        return [f"node {r.node} still has group {r.group}" for r in replicas if r.group not in known]

    async def close(self) -> None:
        """Hangs up."""
        for channel in self._channels.values():
            await channel.close(None)

    def __repr__(self) -> str:
        return f"<Admin of {len(self._addresses())} nodes>"


async def looks(admin: Admin, number: int) -> AsyncIterator[tuple[Replica, ...]]:
    """What a node says of its replicas, again and again; nothing of them while it does not answer."""
    while True:
        yield await admin.replicas(number, LOOK_WITHIN_S)
        await asyncio.sleep(LOOK_EVERY_S)


def _replica(node: int, said: Any) -> Replica:
    is_leader = said.role == pb.ReplicaStatus.ROLE_LEADER
    return Replica(
        node,
        said.shard.group,
        is_leader and said.has_quorum,
        said.term,
        said.commit_index,
        said.applied_index,
        said.snapshot_index,
        said.digest,
        tuple(replica.node for replica in said.shard.replicas),
        is_leader,
    )


def equal_at_one_index(replicas: Iterable[Replica]) -> bool:
    """Whether all replicas of each group stand at one index."""
    places: dict[int, set[int]] = {}
    for replica in replicas:
        places.setdefault(replica.group, set()).add(replica.applied_index)
    return bool(places) and all(len(seen) == 1 for seen in places.values())
