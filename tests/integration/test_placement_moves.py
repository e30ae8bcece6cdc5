"""The placement group moves between real processes, under load and kills; nobody loses sight of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import holdfast
import pytest
from holdfast.v1 import placement_pb2 as pb

from tests.integration.command_line import Holdfast
from tests.integration.placement_calls import Placement
from tests.integration.process_cluster import (
    NodeProcess,
    ProcessCluster,
    eventually,
    running,
    verified,
    with_client,
)
from tests.integration.steady_writes import under_way

REPLACE, DRAIN, BALANCE = 5, 6, 4


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    with running(tmp_path, nodes=4) as found:
        yield found


@pytest.fixture
def placement(cluster: ProcessCluster) -> Iterator[Placement]:
    asked = Placement(cluster)
    asked.pause()
    for node in cluster.nodes:
        asked.hear_of(node)
    yield asked
    asked.close()


def on(placement: Placement) -> list[int]:
    """The nodes of the placement group."""
    return [replica.node for replica in placement.group().replicas]


def test_the_command_line_moves_it_under_load(cluster: ProcessCluster, placement: Placement) -> None:
    """Through a node that has no part in it; writers notice nothing, and the old nodes let go of it."""
    command = Holdfast(cluster.endpoints)
    assert sorted(on(placement)) == [1, 2, 3]
    asked = ("--endpoints", cluster.nodes[4].address)

    async def act(client: holdfast.Client) -> None:
        async with under_way(client) as load:
            await load.acknowledged_after(0.0, count=100)
            tried = await asyncio.to_thread(
                command.json, "shard", "move", "1", "--to", "4,3,2", "--dry-run", *asked
            )
            assert (tried["id"], tried["targets"][0]["replicas"]) == (None, [4, 3, 2])
            moved = await asyncio.to_thread(command.json, "shard", "move", "1", "--to", "4,3,2", *asked)
            assert (moved["phase"], moved["sources"][0]["namespace"]) == ("done", "(placement)")
            await load.acknowledged_after(0.0, count=300)
        assert [write.error for write in load.all if write.error] == []
        assert await load.problems(client) == []

    with_client(cluster, act)
    eventually(lambda: placement.group_is_on(2, 3, 4), "everybody knows where it is")
    status = command.json("cluster", "status", *asked)["placement"]
    assert sorted(status["replicas"]) == [2, 3, 4]
    shown = command.json("shard", "show", str(status["group"]), *asked)
    assert {entry["node"] for entry in shown["replica_status"]} == {2, 3, 4}
    led = command.json("shard", "transfer-leader", str(status["group"]), "--to", "3")
    assert led["leader"] == 3
    ended = command.json("op", "history")
    assert [plan["kind"] for plan in ended] == ["move"]
    verified(cluster)
    eventually(placement.everywhere_the_same, "every node goes by the map, and holds what it says")


def test_what_cannot_be_done_with_it_is_refused_with_the_reason(placement: Placement) -> None:
    """It has no keys to cut or to join; where it is it cannot be moved to; it keeps its nodes from going."""
    group = placement.group().group
    refused = (
        ("SplitShard", pb.SplitShardRequest(group=group, key=b"m"), "placement group"),
        ("MergeShards", pb.MergeShardsRequest(group=group, other=2), "placement group"),
        ("MoveShard", pb.MoveShardRequest(group=group, nodes=on(placement)), "already"),
        ("CreateNamespace", pb.CreateNamespaceRequest(namespace=pb.Namespace(name="")), "1..64"),
    )
    for verb, request, says in refused:
        with pytest.raises(grpc.RpcError) as problem:
            placement.ask(verb, request)
        assert says in problem.value.details()
        assert problem.value.code() is grpc.StatusCode.INVALID_ARGUMENT, verb


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.1, 0.3])
def test_it_survives_the_death_of_its_leader_while_it_moves(
    cluster: ProcessCluster, placement: Placement, moment: float
) -> None:
    """kill -9 of the leader at some moment: the move goes on, or is taken back, and somebody leads."""

    async def act(client: holdfast.Client) -> None:
        async with under_way(client) as load:
            await load.acknowledged_after(0.0, count=50)
            group = placement.group().group
            request = pb.MoveShardRequest(group=group, from_node=on(placement)[0], to_node=4)
            plan = placement.patiently("MoveShard", request).plan.id
            await asyncio.sleep(moment)  # of the move, any
            leader = next((n for n in cluster.nodes.values() if _leads(n)), cluster.nodes[2])
            leader.kill()
            leader.start()
            await asyncio.to_thread(cluster.wait_ready)
            await asyncio.to_thread(placement.see_the_end, plan)
        assert await load.problems(client) == []

    with_client(cluster, act)
    placement.patiently("SetPlanning", pb.SetPlanningRequest(pause=[1]))  # it takes commands
    eventually(lambda: placement.group_is_on(*on(placement)), "nothing is left of another")
    verified(cluster)


def _leads(node: NodeProcess) -> bool:
    return any(replica.role == pb.ReplicaStatus.ROLE_LEADER for replica in node.placement())


def test_the_first_node_can_be_drained_and_removed(cluster: ProcessCluster, placement: Placement) -> None:
    """Refused with the reason while it holds the placement group; then it is forgotten, and all goes on."""
    command = Holdfast(cluster.nodes[2].address)
    for shard in placement.shards():
        if 1 in [replica.node for replica in shard.replicas]:
            request = pb.MoveShardRequest(group=shard.group, from_node=1, to_node=4)
            placement.finish(placement.patiently("MoveShard", request).plan.id)
    with pytest.raises(grpc.RpcError) as problem:
        placement.ask("RemoveNode", pb.RemoveNodeRequest(node=1))
    assert "node 1 holds a replica of the placement group" in problem.value.details()

    placement.patiently("SetPlanning", pb.SetPlanningRequest(resume=[DRAIN]))
    drained = command("node", "drain", "1", "--wait")
    assert drained.status == 0, drained.err
    eventually(lambda: placement.group_is_on(2, 3, 4), "the placement group has left node 1")
    removed = command("node", "remove", "1")
    assert removed.status == 0, removed.err

    cluster.nodes[1].kill()
    assert command("put", "k", "v").status == 0
    joined = cluster.join(through=3)
    placement.hear_of(joined.number)


def test_a_dead_node_of_it_is_replaced_and_finds_its_way_back(
    cluster: ProcessCluster, placement: Placement
) -> None:
    """The policy heals it first; who comes back after the move, and who joins through it, is told."""
    victim = cluster.nodes[1]
    victim.kill()
    limits = pb.Planning(replace_after_ms=2000)
    placement.patiently("SetPlanning", pb.SetPlanningRequest(resume=[REPLACE], limits=limits))
    eventually(lambda: placement.group_is_on(2, 3, 4), "it is replaced")

    victim.start()
    eventually(victim.is_ready, "the node serves again")
    placement.hear_of(1)
    eventually(lambda: placement.group_is_on(2, 3, 4), "the node that came back has let go of its replica")
    joined = cluster.join()  # through node 1
    placement.hear_of(joined.number)
    eventually(lambda: placement.group_is_on(2, 3, 4), "who joined knows where it is")


def test_a_cluster_that_began_with_one_node_gets_three_replicas_of_it(tmp_path: Path) -> None:
    """By itself, as soon as three nodes are there."""
    with running(tmp_path, nodes=1) as cluster:
        placement = Placement(cluster)
        for _ in range(2):
            placement.hear_of(cluster.join().number)
        eventually(lambda: placement.group_is_on(1, 2, 3), "it has grown")
        cluster.nodes[1].kill()
        placement.patiently("SetPlanning", pb.SetPlanningRequest(pause=[BALANCE]))
        placement.close()
