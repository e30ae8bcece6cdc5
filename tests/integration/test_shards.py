"""Several shards over one map: who serves which key, and a replica that has to be given a whole state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import holdfast
import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.operations import Compare, Step
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import placement_pb2, types_pb2

from tests.integration.direct import ASK_HERE, Node, error_of, text_key
from tests.integration.process_cluster import ProcessCluster, running, verified, with_client

SPLITS = ("h", "q")
GROUPS = (2, 3, 4)
KEYS = ("apple", "grape", "h", "kiwi", "melon", "q", "quince", "zest")
# What a leader keeps behind its snapshot for late followers (replication.py, trailing_bytes), and more.
KEPT_BEHIND_BYTES = 10 * 1024 * 1024
# The smallest WAL that can be configured: a snapshot is due after some 32 MiB.
SMALL_WAL = "[wal]\nsegment_bytes = 8388608\ntotal_bytes_max = 33554432\n"


def group_of(key: str) -> int:
    return GROUPS[sum(key >= split for split in SPLITS)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("shards"), splits=SPLITS) as found:
        yield found


def test_all_nodes_tell_the_same_map(cluster: ProcessCluster) -> None:
    """Every node names the same shards, without gaps, and the leaders they really have."""
    leaders = {group: cluster.leader(group).number for group in GROUPS}
    said = set()
    for place in cluster.nodes.values():
        with Node(place.address) as node:
            shards = node.placement.GetMap(placement_pb2.GetMapRequest(), timeout=5).map.shards
            said.add(tuple((shard.group, shard.start, shard.end, shard.leader) for shard in shards))
    assert len(said) == 1
    ends = [(b"", b"h"), (b"h", b"q"), (b"q", b"")]
    assert said.pop() == tuple((g, *ends[g - 2], leaders[g]) for g in GROUPS)


def test_every_key_is_reached_through_every_node(cluster: ProcessCluster) -> None:
    """A unary call on any node finds the shard of its key, at a boundary the one that begins there."""
    for place in cluster.nodes.values():
        with Node(place.address) as node:
            for key in KEYS:
                token = node.put(key, key).header.token
                assert [entry.group for entry in token.entries] == [group_of(key)]
                assert node.get(key).item.value == key.encode()


def test_a_node_that_does_not_lead_names_the_leader(cluster: ProcessCluster) -> None:
    """A write at a replica that does not lead is refused NOT_LEADER with the address of the one that does,
    on the stream as for a unary call that may not be sent on.
    """
    leader = cluster.leader(GROUPS[0])
    other = next(node for node in cluster.nodes.values() if node is not leader)
    with Node(other.address) as node:
        with pytest.raises(grpc.RpcError) as refusal:
            node.cache.Put(
                pb.PutRequest(key=text_key("a"), put=pb.Put(value=b"1")), metadata=ASK_HERE, timeout=10
            )
        problem = error_of(refusal.value)
        assert (problem.reason, problem.leader) == (types_pb2.REASON_NOT_LEADER, leader.address)
        with node.stream() as stream:
            put = stream.operation(b"a", stream.stamp_of(GROUPS[0]) + 60_000, put=pb.Put(value=b"1"))
            problem = stream.ask([put])[1][1].error
            assert (problem.reason, problem.leader) == (types_pb2.REASON_NOT_LEADER, leader.address)


def test_a_scan_goes_over_all_shards_in_order(cluster: ProcessCluster) -> None:
    """A scan of the SDK gives every key of every shard once and in order; a page ends with its shard."""

    async def act(client: holdfast.Client) -> None:
        names = sorted(f"{letter}/{n}" for letter in "agmqz" for n in range(30))
        await asyncio.gather(*(client.put(name, name) for name in names))
        found = [item.key.decode() async for item in client.scan()]
        assert [name for name in found if "/" in name] == names
        assert found == sorted(set(found))
        page = await client.scan_page(limit=1000)
        assert page.next == SPLITS[0].encode()
        assert all(item.key < page.next for item in page.items)
        part = [item.key.decode() async for item in client.scan(start="g/", end="m/3")]
        assert [name for name in part if "/" in name] == [n for n in names if "g/" <= n < "m/3"]

    with_client(cluster, act)


def test_a_transaction_stays_in_one_shard(cluster: ProcessCluster) -> None:
    """A transaction works inside each shard, and is refused CROSS_SHARD with its map entries over two."""

    async def act(client: holdfast.Client) -> None:
        for key in ("a", "k", "z"):
            done = await client.txn([Compare.absent(f"{key}/t")], [Step.put(f"{key}/t", "1")])
            assert done.succeeded
        with pytest.raises(HoldfastError) as refusal:
            await client.txn([], [Step.put("a/t", "2"), Step.put("z/t", "2")])
        assert refusal.value.reason is Reason.CROSS_SHARD
        assert {shard.group for shard in refusal.value.shards} == {GROUPS[0], GROUPS[2]}
        assert (await client.get("a/t")).value == b"1"

    with_client(cluster, act)


def test_shards_have_leaders_of_their_own(cluster: ProcessCluster) -> None:
    """Handing over one shard's leadership leaves the others', and a client follows without an error."""

    async def act(client: holdfast.Client) -> None:
        for group in GROUPS:
            before = {g: cluster.leader(g).number for g in GROUPS}
            target = before[group] % 3 + 1
            with Node(cluster.nodes[before[group]].address) as node:
                request = placement_pb2.TransferLeaderRequest(group=group, to_node=target)
                assert node.placement.TransferLeader(request, timeout=10).leader == target
            await asyncio.gather(*(client.put(key, str(group)) for key in KEYS))
            assert {g: cluster.leader(g).number for g in GROUPS} == {**before, group: target}

    with_client(cluster, act)
    verified(cluster)


def test_a_replica_behind_the_log_catches_up_by_a_snapshot(tmp_path: Path) -> None:
    """A follower that was down while the leader's log was cut short is given a snapshot, ends with the same
    state, serves from it, and starts again on it.
    """
    with running(tmp_path, extra=SMALL_WAL) as cluster:
        leader = cluster.leader()
        down = next(node for node in cluster.nodes.values() if node is not leader)

        cut: list[int] = []

        async def fill(client: holdfast.Client) -> None:
            await client.put("first", "1")
            down.kill()
            value = b"v" * 100_000
            written, far = 0, 0
            for turn in range(200):
                await asyncio.gather(*(client.put(f"{turn % 4}/{n}", value) for n in range(10)))
                written += 10 * len(value)
                replica = leader.replicas()[0]
                if not far and written > KEPT_BEHIND_BYTES:
                    far = replica.applied_index
                if far and replica.snapshot_index >= far:
                    break
            else:
                raise AssertionError(f"no snapshot at {far} or later: {leader.replicas()[0]}")
            cut.append(far)

        with_client(cluster, fill)
        down.start()
        cluster.wait_ready()
        verified(cluster)
        assert down.replicas()[0].snapshot_index >= cut[0], "it came by a snapshot"
        with Node(down.address) as node:
            found = node.get("first", ask_here=True, level=types_pb2.LEVEL_ANY)
            assert found.item.value == b"1"
        down.kill()
        down.start()
        cluster.wait_ready()
        verified(cluster)
