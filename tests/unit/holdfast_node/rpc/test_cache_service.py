"""The unary twins against whole nodes: by stubs alone, forwarded once, errors in full."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from holdfast.errors import Reason
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import placement_pb2 as placement
from holdfast.v1.cache_pb2_grpc import CacheStub
from holdfast.v1.placement_pb2_grpc import PlacementStub
from holdfast_node.metrics import Traffic
from holdfast_node.routing import Routing
from holdfast_node.rpc.cache_service import CacheService
from holdfast_node.rpc.forward import FORWARDED_KEY, Forwarder
from holdfast_node.rpc.served import Served

from tests.one_node import config_of, error_of, free_ports, led, one_node

KEY = pb.Key(key_text="k")


def on_node(folder: Path, scenario: Callable[[Any], Awaitable[Any]], **raw: Any) -> Any:
    async def main() -> Any:
        async with one_node(config_of(folder, **raw)) as channel:
            await led(channel)
            await led(channel, "z")
            return await scenario(CacheStub(channel))

    return asyncio.run(main())


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_of(caught.value)


def test_every_twin_does_what_its_name_says(tmp_path: Path) -> None:
    """Put, Get, CompareAndSet, Touch, Increment, Scan, Txn and Delete, each by its stub."""

    async def scenario(stub: Any) -> None:
        put = await stub.Put(pb.PutRequest(key=KEY, value_text="one", put=pb.Put(ttl_ms=60_000)))
        got = await stub.Get(pb.GetRequest(key=KEY))
        swapped = await stub.CompareAndSet(
            pb.CompareAndSetRequest(
                key=KEY, compare_and_set=pb.CompareAndSet(revision=put.revision), value_text="two"
            )
        )
        touched = await stub.Touch(pb.TouchRequest(key=KEY, touch=pb.Touch(ttl_ms=90_000)))
        counted = await stub.Increment(
            pb.IncrementRequest(key=pb.Key(key=b"n"), increment=pb.Increment(by=-4))
        )
        page = await stub.Scan(pb.ScanRequest(prefix_text="", scan=pb.Scan(keys_only=True)))
        txn = pb.Txn(
            compares=[pb.Compare(key=b"k", exists=True)], then=[pb.TxnOperation(key=b"k", get=pb.Get())]
        )
        done = await stub.Txn(pb.TxnRequest(txn=txn))
        gone = await stub.Delete(pb.DeleteRequest(key=KEY, delete=pb.Delete(return_previous=True)))
        missing = await stub.Get(pb.GetRequest(key=KEY))

        assert (got.found, got.item.value, got.item.revision) == (True, b"one", put.revision)
        assert 0 < got.item.ttl_ms <= 60_000
        assert put.revision < swapped.revision < touched.revision
        assert counted.number == -4
        assert [item.key for item in page.page.items] == [b"k", b"led", b"n", b"z"]
        assert (done.result.succeeded, done.result.results[0].value) == (True, b"two")
        assert (gone.deleted, gone.previous) == (1, b"two")
        assert (missing.found, missing.HasField("item")) == (False, False)

    on_node(tmp_path, scenario)


def test_a_header_says_who_answered_and_what_was_seen(tmp_path: Path) -> None:
    """A write's token makes a SESSION read see it; the header has node, level and index."""

    async def scenario(stub: Any) -> None:
        put = await stub.Put(pb.PutRequest(key=KEY, value_text="v"))
        got = await stub.Get(pb.GetRequest(key=KEY, get=pb.Get(level=2), token=put.header.token))

        assert (put.header.node, put.header.level) == (1, 0)
        assert (got.header.level, got.item.value) == (2, b"v")
        assert got.header.applied_index >= put.header.applied_index > 0
        assert got.header.token.cluster_id == "test"

    on_node(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "request_message", "code", "reason", "field"),
    [
        ("Get", pb.GetRequest(), grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID, "key"),
        (
            "Put",
            pb.PutRequest(key=KEY, put=pb.Put(ttl_ms=1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            Reason.INVALID,
            "put.ttl_ms",
        ),
        (
            "Get",
            pb.GetRequest(key=pb.Key(namespace="nope", key=b"k")),
            grpc.StatusCode.NOT_FOUND,
            Reason.UNKNOWN_NAMESPACE,
            "namespace",
        ),
        (
            "CompareAndSet",
            pb.CompareAndSetRequest(key=KEY, compare_and_set=pb.CompareAndSet(revision=99)),
            grpc.StatusCode.FAILED_PRECONDITION,
            Reason.CONDITION_FAILED,
            "",
        ),
        (
            "Txn",
            pb.TxnRequest(txn=pb.Txn(compares=[pb.Compare(key=key, exists=True) for key in (b"a", b"z")])),
            grpc.StatusCode.INVALID_ARGUMENT,
            Reason.CROSS_SHARD,
            "",
        ),
    ],
)
def test_a_refusal_comes_in_full(
    tmp_path: Path, method: str, request_message: Any, code: grpc.StatusCode, reason: Reason, field: str
) -> None:
    """A failed call has the status, and our error with reason, field and outcome in its metadata."""

    async def scenario(stub: Any) -> None:
        found, problem = await refusal(getattr(stub, method)(request_message))

        assert (found, problem.reason, problem.field, problem.outcome) == (code, reason, field, 1)

    on_node(tmp_path, scenario, namespaces=[{"name": "default", "splits": ["m"]}])


def test_any_node_answers_a_unary_call(tmp_path: Path) -> None:
    """On three nodes a write sent to a follower is done by the leader, and read back from any."""

    async def main() -> None:
        ports = free_ports(6)
        nodes = [
            {"id": i + 1, "address": f"127.0.0.1:{ports[i]}", "http": f"127.0.0.1:{ports[3 + i]}"}
            for i in range(3)
        ]
        async with AsyncExitStack() as stack:
            starts = [
                stack.enter_async_context(one_node(config_of(tmp_path / str(i), node=i, nodes=nodes)))
                for i in (1, 2, 3)
            ]
            channels = [await start for start in starts]
            stubs = [CacheStub(channel) for channel in channels]
            await led(channels[0])
            leader = 0
            while not leader:
                shards = (await PlacementStub(channels[1]).GetMap(placement.GetMapRequest())).map.shards
                leader = shards[0].leader
            followers = [i for i in range(3) if i + 1 != leader]
            put = await stubs[followers[0]].Put(pb.PutRequest(key=KEY, value_text="v"))
            values = [(await stub.Get(pb.GetRequest(key=KEY))).item.value for stub in stubs]
            code, problem = await refusal(
                stubs[followers[1]].Put(pb.PutRequest(key=KEY), metadata=((FORWARDED_KEY, "1"),))
            )

            assert put.header.node == leader
            assert values == [b"v"] * 3
            assert (code, problem.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.NOT_LEADER)
            assert problem.leader == nodes[leader - 1]["address"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("leader", "connected", "chosen"), [(3, {2, 3}, 3), (3, {2}, 2), (0, {3}, 3), (0, set(), 2)]
)
def test_a_call_goes_to_a_replica_that_is_there(leader: int, connected: set[int], chosen: int) -> None:
    """The leader that the map names may be long gone: a write sent there has no known outcome."""
    replicas = tuple(Replica(node, f"node:{node}") for node in (2, 3))
    entry = Shard("default", KeyRange(b"", b""), 9, 1, replicas, leader)
    served = Served(
        "test", 1, Routing[Any](ShardMap(1, (entry,))), Traffic(), lambda: 0.0, lambda: 0,
        lambda node: f"node:{node}", is_connected=connected.__contains__,
    )  # fmt: skip

    assert CacheService(served, Forwarder())._best_replica((entry,)) == f"node:{chosen}"
