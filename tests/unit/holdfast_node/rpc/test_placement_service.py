"""Placement against a whole node: map, nodes, replicas, handing over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from holdfast.errors import Reason
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1.placement_pb2_grpc import PlacementStub

from tests.one_node import config_of, error_of, one_node

TWO_SHARDS = [{"name": "default", "splits": ["m"]}, {"name": "other"}]


def on_node(folder: Path, scenario: Callable[[Any], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with one_node(config_of(folder, namespaces=TWO_SHARDS)) as channel:
            return await scenario(PlacementStub(channel))

    return asyncio.run(main())


def test_the_map_has_every_shard_and_may_be_narrowed(tmp_path: Path) -> None:
    """All entries in order, or one namespace's; an unknown one is NOT_FOUND."""

    async def scenario(stub: Any) -> None:
        whole = await stub.GetMap(pb.GetMapRequest())
        part = await stub.GetMap(pb.GetMapRequest(namespace="other"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetMap(pb.GetMapRequest(namespace="nope"))

        assert (whole.cluster_id, whole.map.epoch) == ("test", 1)
        assert [(s.namespace, s.start, s.end) for s in whole.map.shards] == [
            ("default", b"", b"m"), ("default", b"m", b""), ("other", b"", b""),
        ]  # fmt: skip
        assert [s.namespace for s in part.map.shards] == ["other"]
        assert error_of(caught.value).reason == Reason.UNKNOWN_NAMESPACE

    on_node(tmp_path, scenario)


def test_the_node_describes_itself(tmp_path: Path) -> None:
    """Address, pid and version of the answering node are known."""

    async def scenario(stub: Any) -> None:
        (node,) = (await stub.ListNodes(pb.ListNodesRequest())).nodes

        assert (node.id, node.state, node.pid) == (1, pb.Node.STATE_UP, os.getpid())
        assert node.address
        assert node.http
        assert node.version

    on_node(tmp_path, scenario)


def test_replicas_come_with_index_and_digest(tmp_path: Path) -> None:
    """Each hosted replica has its shard, its role and the digest of its state, the placement group's too."""

    async def scenario(stub: Any) -> None:
        found = await stub.ListReplicas(pb.ListReplicasRequest())

        assert found.node == 1
        assert [r.shard.group for r in found.replicas] == [2, 3, 4]
        assert all(len(r.digest) == 64 for r in found.replicas)
        assert [(r.shard.namespace, len(r.digest)) for r in found.placement] == [("", 64)]
        assert all(r.applied_index <= r.commit_index for r in (*found.replicas, *found.placement))

    on_node(tmp_path, scenario)


def test_a_transfer_to_nowhere_is_refused(tmp_path: Path) -> None:
    """An unknown group and a time-out over the limit name their field; a group of one has no one to lead."""

    async def scenario(stub: Any) -> None:
        problems = []
        for request in (
            pb.TransferLeaderRequest(group=99),
            pb.TransferLeaderRequest(group=2, timeout_ms=700_000),
            pb.TransferLeaderRequest(group=2, to_node=9),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.TransferLeader(request)
            problems.append(error_of(caught.value))

        assert [p.field for p in problems] == ["group", "timeout_ms", ""]
        assert problems[2].reason in {Reason.NO_QUORUM, Reason.NOT_LEADER}
        assert {p.outcome for p in problems} == {1}

    on_node(tmp_path, scenario)
