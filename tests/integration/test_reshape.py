"""Shards that split, merge and move under a steady load: nobody who uses them may notice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import holdfast
import pytest
from holdfast.types import EventKind, MarkKind
from holdfast.v1 import placement_pb2 as pb

from tests.integration.placement_calls import Placement, random_wish
from tests.integration.process_cluster import ProcessCluster, eventually, running, verified, with_client
from tests.integration.steady_writes import under_way

WATCHED = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("reshape")) as found:
        yield found


@pytest.fixture
def placement(cluster: ProcessCluster) -> Iterator[Placement]:
    asked = Placement(cluster)
    asked.pause()
    yield asked
    asked.close()


def test_split_merge_and_move_lose_nothing_and_nobody_notices(
    cluster: ProcessCluster, placement: Placement
) -> None:
    """500 writes/s, a counter and a watch go on through all three; no caller gets an error."""

    async def act(client: holdfast.Client) -> None:
        watched: list[tuple[bytes, int]] = []
        async with under_way(client) as load, client.watch(prefix="seen/", or_snapshot=True) as watch:
            begun = asyncio.Event()
            reader = asyncio.create_task(_collect(watch, watched, begun))
            await begun.wait()
            await _put_seen(client, range(100))
            (whole,) = placement.shards()
            split = placement.patiently("SplitShard", pb.SplitShardRequest(group=whole.group, key=b"seen/5"))
            await asyncio.to_thread(placement.finish, split.plan.id)
            await _put_seen(client, range(100, 200))
            left, right = placement.shards()
            merge = placement.patiently(
                "MergeShards", pb.MergeShardsRequest(group=left.group, other=right.group)
            )
            await asyncio.to_thread(placement.finish, merge.plan.id)
            joined = await asyncio.to_thread(cluster.join)
            await asyncio.to_thread(placement.hear_of, joined.number)
            (whole,) = placement.shards()
            request = pb.MoveShardRequest(
                group=whole.group, from_node=whole.replicas[0].node, to_node=joined.number
            )
            move = placement.patiently("MoveShard", request)
            await asyncio.to_thread(placement.finish, move.plan.id)
            await _put_seen(client, range(200, WATCHED))
            done, _ = await asyncio.wait([reader], timeout=20)
            missing = sorted(set(range(WATCHED)) - {number for _, number in watched})
            assert done, f"events are missing: {missing}; {watch!r}"
            await reader
        assert [write.error for write in load.all if write.error] == []
        assert await load.problems(client) == []
        assert sorted(watched) == sorted((f"seen/{number}".encode(), number) for number in range(WATCHED))

    with_client(cluster, act)
    verified(cluster)
    eventually(placement.everywhere_the_same, "every node goes by the map, and holds what it says")


async def _put_seen(client: holdfast.Client, numbers: range) -> None:
    for number in numbers:
        await client.put(f"seen/{number}", str(number))


async def _collect(watch: holdfast.Watch, into: list[tuple[bytes, int]], begun: asyncio.Event) -> None:
    async for event in watch:
        if isinstance(event, holdfast.Mark) and event.kind is MarkKind.CAUGHT_UP:
            begun.set()
        if isinstance(event, holdfast.Event) and event.kind is EventKind.PUT:
            into.append((event.key, int(event.value or b"")))
            if len(into) >= WATCHED:
                return


def test_what_cannot_be_is_refused_with_the_reason(placement: Placement) -> None:
    """A cut outside the shard, a merge of what are not neighbours, a move to where it is."""
    before = placement.shards()
    group, nodes = before[0].group, [replica.node for replica in before[0].replicas]
    refused = (
        ("SplitShard", pb.SplitShardRequest(group=group, key=b"")),
        ("SplitShard", pb.SplitShardRequest(group=99, key=b"m")),
        ("MergeShards", pb.MergeShardsRequest(group=group, other=group)),
        ("MoveShard", pb.MoveShardRequest(group=group, from_node=nodes[0], to_node=nodes[1])),
        ("RemoveNode", pb.RemoveNodeRequest(node=nodes[0])),
        ("CancelPlan", pb.CancelPlanRequest(id=10_000)),
    )
    for verb, request in refused:
        with pytest.raises(grpc.RpcError) as problem:
            placement.ask(verb, request)
        assert problem.value.details(), "a refusal says why"
        assert problem.value.code() is not grpc.StatusCode.INTERNAL
    assert placement.shards() == before


@pytest.mark.parametrize(("kind", "nodes"), [("split", 3), ("merge", 3), ("move", 4)])
def test_a_reshape_survives_the_death_of_any_node(tmp_path: Path, kind: str, nodes: int) -> None:
    """kill -9 of a node at any moment: the reshape goes on or is taken back by itself, nothing is lost."""
    rng = random.Random(kind)
    with running(tmp_path, nodes=nodes, splits=("w/2", "w/5", "w/8")) as cluster:
        placement = Placement(cluster)
        placement.pause()

        async def act(client: holdfast.Client) -> None:
            async with under_way(client) as load:
                for _ in range(3):
                    await load.acknowledged_after(0.0, count=50)
                    plan = random_wish(placement, kind, list(cluster.nodes), rng)()
                    await asyncio.sleep(rng.choice((0.0, 0.01, 0.03, 0.1)))  # a moment of the reshape, any
                    victim = cluster.nodes[rng.choice(list(cluster.nodes))]
                    victim.kill()
                    victim.start()
                    await asyncio.to_thread(cluster.wait_ready)
                    await asyncio.to_thread(placement.see_the_end, plan)
            assert await load.problems(client) == []

        with_client(cluster, act)
        verified(cluster)
        eventually(placement.everywhere_the_same, "every node goes by the map, and holds what it says")
        placement.close()
