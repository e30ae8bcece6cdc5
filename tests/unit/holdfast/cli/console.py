"""A terminal for the tests of the command line: real commands, over the SDK's in-memory fake.

Also a scripted placement service on a real loopback port: a peer that says what a test wants it to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from click.testing import CliRunner, Result
from holdfast.cli.app import root
from holdfast.cli.verbs import Call
from holdfast.connecting import Connecting
from holdfast.testing import FakeClient
from holdfast.v1 import cache_pb2, placement_pb2, types_pb2
from holdfast.v1.placement_pb2_grpc import PlacementServicer, add_PlacementServicer_to_server


class Console:
    """Runs commands one after the other on one fake cluster."""

    def __init__(self) -> None:
        self.fake = FakeClient()
        self.asked: list[dict[str, Any]] = []

    def run(self, *arguments: str, given: str | bytes | None = None) -> Result:
        """Runs `holdfast ARGUMENTS`; a programming error in the command fails the test."""
        call = Call(connect=self._connect)
        result = CliRunner().invoke(root, list(arguments), input=given, obj=call, prog_name="holdfast")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *arguments: str, given: str | bytes | None = None) -> Any:
        """Runs the command with -o json and reads what it printed."""
        return json.loads(self.run(*arguments, "-o", "json", given=given).stdout)

    def _connect(self, endpoints: str, **options: Any) -> Connecting:
        self.asked.append({"endpoints": endpoints, **options})

        async def make() -> FakeClient:
            client = FakeClient(
                namespace=options["namespace"], level=options["level"], timeout_s=options["timeout_s"]
            )
            # The cluster outlives its clients.
            client.backend = client._backend = self.fake.backend
            client._watches = self.fake.backend.watches
            self.fake.backend.closed = False
            if options["session"] is not None:
                client.merge_token(options["session"])
            return client

        return Connecting(make())


class ScriptedPlacement(PlacementServicer):
    """Answers what it was made with; refuses to hand leaderships over unless it leads."""

    def __init__(self, shards: list[Any], nodes: list[Any], replicas: list[Any]) -> None:
        self._shards, self._nodes, self._replicas = shards, nodes, replicas
        self.leader_elsewhere = ""
        self.placement: Any = None
        """The placement group; None: a server that does not tell."""
        self.placement_replicas: list[Any] = []

    def GetMap(self, request, context):  # noqa: N802 gRPC's names
        return placement_pb2.GetMapResponse(
            cluster_id="test", map=cache_pb2.ShardMap(epoch=1, shards=self._shards), placement=self.placement
        )

    def ListNodes(self, request, context):  # noqa: N802 gRPC's names
        return placement_pb2.ListNodesResponse(nodes=self._nodes)

    def ListReplicas(self, request, context):  # noqa: N802 gRPC's names
        return placement_pb2.ListReplicasResponse(
            node=1, replicas=self._replicas, placement=self.placement_replicas
        )

    def TransferLeader(self, request, context):  # noqa: N802 gRPC's names
        if self.leader_elsewhere:
            refusal = types_pb2.Error(
                reason=types_pb2.REASON_NOT_LEADER,
                outcome=types_pb2.OUTCOME_REFUSED,
                message="another leads",
                leader=self.leader_elsewhere,
            )
            context.set_trailing_metadata((("holdfast-error-bin", refusal.SerializeToString()),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "another leads")
        return placement_pb2.TransferLeaderResponse(leader=request.to_node or 2)


@contextmanager
def serving(service: ScriptedPlacement) -> Iterator[str]:
    """Serves on a free loopback port; gives its address."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        add_PlacementServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def shard(group: int = 2, start: bytes = b"", end: bytes = b"", leader: int = 1) -> Any:
    """An entry of the map with replicas on nodes 1 to 3."""
    replicas = [types_pb2.Replica(node=n, address=f"127.0.0.1:{7399 + n}") for n in (1, 2, 3)]
    return types_pb2.Shard(
        namespace="default", start=start, end=end, group=group, epoch=1, replicas=replicas, leader=leader
    )
