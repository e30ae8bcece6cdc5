"""How a node joins a cluster: asks any node of it for an id, once, before it has a data directory.

A later start with the same directory asks nothing: who it is stands there, and who the others are in the
last news. Without those (its first start was cut off, or they were lost with the power) it asks again, as who
it is. A directory that is empty again is another node, which gets another id (protocols.md 6: never under
its old replicas' names).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path
from typing import NamedTuple

import grpc
from holdfast.v1 import placement_pb2 as pb

from holdfast_node import talk
from holdfast_node.config import Config
from holdfast_node.identity import DataDirectory, DirectoryRefusedError, new_incarnation, refuse_strangers
from holdfast_node.rpc import convert, status
from holdfast_node.talk import MapNews, NodeNews

log = logging.getLogger(__name__)

METHOD = "/holdfast.v1.Placement/JoinCluster"
ATTEMPTS = 20
PAUSE_S = 0.5
TIMEOUT_S = 5.0


class JoinRefusedError(Exception):
    """The cluster does not take the node; the message says why and what to do."""


class Joined(NamedTuple):
    """What the cluster said."""

    incarnation: int
    news: MapNews


async def settle(config: Config) -> tuple[Config, Joined | None]:
    """The configuration with who this node is; what was said when it had to be asked.

    Raises JoinRefusedError, DirectoryRefusedError.
    """
    if not config.join:
        return config, None
    known = DataDirectory.peek(config.data_dir)
    if known is not None and _has_news(config.data_dir):
        return dataclasses.replace(config, cluster_id=known.cluster_id, node=known.node), None
    if known is None:
        refuse_strangers(config.data_dir)
    incarnation = known.incarnation if known is not None else new_incarnation()
    answer = await _ask(config, incarnation)
    if known is not None and (known.cluster_id, known.node) != (answer.cluster_id, answer.node):
        raise DirectoryRefusedError(
            f"data directory {config.data_dir} belongs to node {known.node} of cluster {known.cluster_id!r};"
            f" {config.join} says node {answer.node} of cluster {answer.cluster_id!r}"
        )
    nodes = tuple(NodeNews(node.id, node.address, node.http, node.zone) for node in answer.nodes)
    placement = tuple(replica.node for replica in answer.placement)
    map_ = convert.map_of(answer.map)
    news = MapNews(map_, nodes, placement, placement_group=answer.placement_group)
    log.info("node.joined cluster=%s node=%d", answer.cluster_id, answer.node)
    return (
        dataclasses.replace(config, cluster_id=answer.cluster_id, node=answer.node),
        Joined(incarnation, news),
    )


def _has_news(path: Path) -> bool:
    """Whether the directory says who the others are."""
    data = DataDirectory.peek_news(path)
    try:
        return data is not None and isinstance(talk.read(data), MapNews)
    except talk.Unreadable:
        return False


async def _ask(config: Config, incarnation: int) -> pb.JoinClusterResponse:
    request = pb.JoinClusterRequest(
        address=config.advertise,
        http=config.http_address,
        zone=config.zone,
        weight=config.weight,
        incarnation=incarnation,
    )
    problem = ""
    async with grpc.aio.insecure_channel(config.join, options=(("grpc.enable_http_proxy", 0),)) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=pb.JoinClusterRequest.SerializeToString,
            response_deserializer=pb.JoinClusterResponse.FromString,
        )
        for _ in range(ATTEMPTS):
            try:
                answer: pb.JoinClusterResponse = await call(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as failure:
                told = status.from_peer(failure, is_write=True)
                problem = str(told)
                if failure.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED):
                    break
                await asyncio.sleep(PAUSE_S)
            else:
                return answer
    raise JoinRefusedError(f"{config.join} does not let this node join: {problem}")
