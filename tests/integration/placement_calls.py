"""The placement service of a cluster in plain calls, asked of whichever node answers: for tests and runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import grpc
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import placement_pb2_grpc

from tests.integration.process_cluster import ProcessCluster, eventually

POLICIES = (1, 2, 3, 4, 5, 6)
ENDED = (pb.Plan.PHASE_DONE, pb.Plan.PHASE_CANCELLED)


class Placement:
    """See the module docstring."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self._cluster = cluster
        self._channels: dict[str, grpc.Channel] = {}

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def ask(self, verb: str, request: Any) -> Any:
        """The answer of the first node that gives one; what it refuses is raised."""
        problem: grpc.RpcError | None = None
        for node in self._cluster.nodes.values():
            if not node.is_running():
                continue
            channel = self._channels.setdefault(node.address, grpc.insecure_channel(node.address))
            try:
                return getattr(placement_pb2_grpc.PlacementStub(channel), verb)(request, timeout=5)
            except grpc.RpcError as failure:
                problem = failure
                if failure.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
        assert problem is not None, "no node runs"
        raise problem

    def patiently(self, verb: str, request: Any) -> Any:
        """The answer, once the cluster can give it: a leader may be missing for a while."""
        answers: list[Any] = []

        def asked() -> bool:
            try:
                answers.append(self.ask(verb, request))
            except grpc.RpcError:
                return False
            return True

        eventually(asked, f"{verb} is answered")
        return answers[0]

    def pause(self) -> None:
        """Policies off: only what is asked for happens."""
        self.patiently("SetPlanning", pb.SetPlanningRequest(pause=POLICIES))

    def shards(self) -> list[Any]:
        """The map's entries in key order."""
        return list(self.patiently("GetMap", pb.GetMapRequest()).map.shards)

    def group(self) -> Any:
        """The placement group as a map would have it, by a node that is told of it."""
        return self.patiently("GetMap", pb.GetMapRequest()).placement

    def group_is_on(self, *nodes: int) -> bool:
        """Whether every node that runs knows that it is there, and those nodes alone have a replica of it."""
        having = set()
        for node in self._cluster.nodes.values():
            if not node.is_running():
                continue
            channel = self._channels.setdefault(node.address, grpc.insecure_channel(node.address))
            stub = placement_pb2_grpc.PlacementStub(channel)
            try:
                known = stub.GetMap(pb.GetMapRequest(), timeout=5).placement
                here = stub.ListReplicas(pb.ListReplicasRequest(), timeout=5).placement
            except grpc.RpcError:
                return False
            if {replica.node for replica in known.replicas} != set(nodes):
                return False
            if here:
                having.add(node.number)
        running = {n.number for n in self._cluster.nodes.values() if n.is_running()}
        return having == set(nodes) & running

    def plan(self, number: int) -> pb.Plan:
        plan: pb.Plan = self.patiently("GetPlan", pb.GetPlanRequest(id=number)).plan
        return plan

    def see_the_end(self, number: int) -> None:
        """Waits until a plan is done or taken back."""
        eventually(lambda: self.plan(number).phase in ENDED, f"plan {number} has ended")

    def finish(self, number: int) -> None:
        """Waits until a plan is done; one that was taken back is a failure."""
        self.see_the_end(number)
        assert self.plan(number).phase == pb.Plan.PHASE_DONE, self.plan(number)

    def hear_of(self, node: int) -> None:
        """Waits until the placement leader has a node's report."""

        def heard() -> bool:
            nodes = self.patiently("ListNodes", pb.ListNodesRequest()).nodes
            return any(known.id == node and known.heard_ms_ago for known in nodes)

        eventually(heard, f"node {node} is heard of")

    def everywhere_the_same(self) -> bool:
        """Whether every node goes by one map, and hosts exactly what it says."""
        maps, hosted = set(), set()
        for node in self._cluster.nodes.values():
            channel = self._channels.setdefault(node.address, grpc.insecure_channel(node.address))
            stub = placement_pb2_grpc.PlacementStub(channel)
            entries = stub.GetMap(pb.GetMapRequest(), timeout=5).map.shards
            maps.add(tuple((s.group, s.start, s.end, tuple(r.node for r in s.replicas)) for s in entries))
            hosted |= {(replica.shard.group, node.number) for replica in node.replicas()}
        if len(maps) != 1:
            return False
        return hosted == {(group, node) for group, _, _, nodes in maps.pop() for node in nodes}


def random_wish(placement: Placement, kind: str, nodes: list[int], rng: random.Random) -> Callable[[], int]:
    """How to ask for a reshape of that kind of whatever stands; returns the plan's id."""
    shards = placement.shards()
    verb: str
    request: Any
    if kind == "split":
        key = b"w/%05d" % rng.randrange(100_000)  # where SteadyWrites writes
        shard = next(shard for shard in reversed(shards) if shard.start < key)
        verb, request = "SplitShard", pb.SplitShardRequest(group=shard.group, key=key)
    elif kind == "merge":
        at = rng.randrange(len(shards) - 1)
        groups = shards[at].group, shards[at + 1].group
        verb, request = "MergeShards", pb.MergeShardsRequest(group=groups[0], other=groups[1])
    else:
        shard = rng.choice(shards)
        held = [replica.node for replica in shard.replicas]
        free = rng.choice([node for node in nodes if node not in held])
        verb = "MoveShard"
        request = pb.MoveShardRequest(group=shard.group, from_node=rng.choice(held), to_node=free)
    return lambda: placement.patiently(verb, request).plan.id
