"""How a node joins: asks once, and again only while it does not know who the others are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from holdfast.errors import HoldfastError, Reason, error
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import types_pb2 as types
from holdfast_node import talk
from holdfast_node.config import Config, from_mapping
from holdfast_node.identity import LOCK, DataDirectory, DirectoryRefusedError
from holdfast_node.rpc import joining, status
from holdfast_node.rpc.joining import JoinRefusedError, settle

from tests.one_node import free_ports


class Cluster:
    """A node of a cluster that takes whoever comes, or says why not; it notes who came."""

    def __init__(self, *problems: HoldfastError, node: int = 4) -> None:
        self.problems = list(problems)
        self.asked: list[pb.JoinClusterRequest] = []
        self.node = node
        self.address = f"127.0.0.1:{free_ports(1)[0]}"

    async def join(self, request: pb.JoinClusterRequest, context: Any) -> pb.JoinClusterResponse:
        self.asked.append(request)
        if self.problems:
            problem = self.problems.pop(0)
            await context.abort(status.code_of(problem), str(problem), status.trailers(problem))
        return pb.JoinClusterResponse(
            cluster_id="prod",
            node=self.node,
            nodes=[pb.Node(id=1, address=self.address), pb.Node(id=self.node, address=request.address)],
            map={"epoch": 3, "shards": [types.Shard(namespace="default", group=2, epoch=1)]},
            placement=[types.Replica(node=1, address=self.address)],
            placement_group=9,
        )

    @asynccontextmanager
    async def serving(self) -> Any:
        server = grpc.aio.server()
        row = grpc.unary_unary_rpc_method_handler(
            self.join, pb.JoinClusterRequest.FromString, pb.JoinClusterResponse.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("holdfast.v1.Placement", {"JoinCluster": row}),)
        )
        server.add_insecure_port(self.address)
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)


def config_of(cluster: Cluster, folder: Path, **raw: Any) -> Config:
    plain = {
        "join": cluster.address, "data_dir": str(folder), "address": "127.0.0.1:7404",
        "http_address": "127.0.0.1:7504",
    }  # fmt: skip
    return from_mapping({**plain, **raw})


def with_cluster(cluster: Cluster, scenario: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with cluster.serving():
            return await scenario()

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for between two attempts."""
    monkeypatch.setattr(joining, "PAUSE_S", 0.0)
    monkeypatch.setattr(joining, "ATTEMPTS", 3)


def make_directory(folder: Path, incarnation: int, news: bytes | None = None) -> None:
    """What an earlier start left."""
    with DataDirectory.open(
        folder, cluster_id="prod", node=4, shape=[], init=True, incarnation=incarnation
    ) as directory:
        if news is not None:
            directory.remember(news)


def test_a_node_that_does_not_join_asks_nobody(tmp_path: Path) -> None:
    """Who it is stands in its configuration."""
    cluster = Cluster()
    raw = {
        "cluster_id": "test", "node": 1, "data_dir": str(tmp_path), "http_address": "127.0.0.1:1",
        "nodes": [{"id": 1, "address": "127.0.0.1:7400"}],
    }  # fmt: skip
    config = from_mapping(raw)

    assert asyncio.run(settle(config)) == (config, None)
    assert cluster.asked == []


def test_a_new_node_is_given_its_id(tmp_path: Path) -> None:
    """And with it the cluster: its name, nodes, map and where its placement group is."""
    cluster = Cluster()
    config = config_of(cluster, tmp_path / "d", zone="z", weight=50)

    settled, joined = with_cluster(cluster, lambda: settle(config))

    [asked] = cluster.asked
    assert (asked.address, asked.http, asked.zone, asked.weight) == (
        "127.0.0.1:7404",
        "127.0.0.1:7504",
        "z",
        50,
    )
    assert (settled.cluster_id, settled.node) == ("prod", 4)
    assert joined.incarnation == asked.incarnation != 0
    assert [node.id for node in joined.news.nodes] == [1, 4]
    assert (joined.news.map.epoch, joined.news.placement, joined.news.placement_group) == (3, (1,), 9)
    assert not (tmp_path / "d").exists(), "nothing is made before it is known who it is"


def test_a_cluster_that_cannot_answer_yet_is_asked_again(tmp_path: Path) -> None:
    """As the same node: an answer that was lost has not made another."""
    cluster = Cluster(error(Reason.NO_QUORUM, "no leader"), error(Reason.NOT_LEADER, "not here"))

    settled, _ = with_cluster(cluster, lambda: settle(config_of(cluster, tmp_path / "d")))

    assert settled.node == 4
    assert len({asked.incarnation for asked in cluster.asked}) == 1
    assert len(cluster.asked) == 3


def test_a_cluster_that_says_no_is_asked_once(tmp_path: Path) -> None:
    """What is wrong with the request stays wrong; the reason comes with the refusal."""
    cluster = Cluster(error(Reason.INVALID, "'nowhere' is not HOST:PORT", field="address"))

    with pytest.raises(JoinRefusedError, match="is not HOST:PORT"):
        with_cluster(cluster, lambda: settle(config_of(cluster, tmp_path / "d")))
    assert len(cluster.asked) == 1


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    """After some attempts."""
    cluster = Cluster()

    with pytest.raises(JoinRefusedError, match=cluster.address):
        asyncio.run(settle(config_of(cluster, tmp_path / "d")))


def test_a_later_start_asks_nobody(tmp_path: Path) -> None:
    """Who it is stands in its directory, who the others are in its last news."""
    cluster = Cluster()
    news = talk.write(talk.MapNews(talk.ShardMap(3, ()), (talk.NodeNews(1, "a:1", "", ""),), (1,)))
    make_directory(tmp_path / "d", 77, news)

    settled, joined = asyncio.run(settle(config_of(cluster, tmp_path / "d")))

    assert (settled.cluster_id, settled.node, joined) == ("prod", 4, None)


@pytest.mark.parametrize("news", [None, b"", b"\xff\xff"], ids=["never written", "lost", "damaged"])
def test_a_node_without_its_news_asks_as_who_it_is(tmp_path: Path, news: bytes | None) -> None:
    """Its first start was cut off, or the power went: without them it would know nobody, for ever."""
    cluster = Cluster()
    make_directory(tmp_path / "d", 77, news)

    settled, joined = with_cluster(cluster, lambda: settle(config_of(cluster, tmp_path / "d")))

    assert [asked.incarnation for asked in cluster.asked] == [77]
    assert settled.node == 4
    assert [node.id for node in joined.news.nodes] == [1, 4]


def test_a_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """`join` names a cluster that knows it not."""
    cluster = Cluster(node=9)
    make_directory(tmp_path / "d", 77)

    with pytest.raises(DirectoryRefusedError, match="belongs to node 4 of cluster 'prod'"):
        with_cluster(cluster, lambda: settle(config_of(cluster, tmp_path / "d")))


def test_a_directory_with_something_else_in_it_is_refused_before_an_id_is_taken(tmp_path: Path) -> None:
    """But not for what a first start that was cut off has left."""
    cluster = Cluster()
    (tmp_path / LOCK).write_text("1")
    settled, _ = with_cluster(cluster, lambda: settle(config_of(cluster, tmp_path)))
    assert settled.node == 4
    cluster.asked.clear()
    (tmp_path / "photos").mkdir()

    with pytest.raises(DirectoryRefusedError, match="it holds 'photos'"):
        asyncio.run(settle(config_of(cluster, tmp_path)))
    assert cluster.asked == []
