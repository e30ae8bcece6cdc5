"""A placement service that takes the admin verbs: answers by script, on a real loopback port.

A script is what a method answers: a message, a `types_pb2.Error` (refused with it), a `grpc.StatusCode`
(fails with it), or a list of these, one a call, the last one for ever. A method without a script is one
that the node's version does not know.
"""

from __future__ import annotations

from typing import Any

import grpc
from holdfast.errors import Reason
from holdfast.types import Outcome
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import types_pb2

from tests.unit.holdfast.cli.console import ScriptedPlacement, shard


class ScriptedAdmin(ScriptedPlacement):
    """Keeps what it was asked."""

    def __init__(self, shards: Any = (), nodes: Any = (), replicas: Any = (), **scripts: Any) -> None:
        super().__init__(list(shards), list(nodes), list(replicas))
        self.scripts = scripts
        self.asked: list[tuple[str, Any]] = []

    def requests(self, method: str) -> list[Any]:
        """Every request of one method, in order."""
        return [request for name, request in self.asked if name == method]

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append((method, request))
        said = self.scripts.get(method, grpc.StatusCode.UNIMPLEMENTED)
        if callable(said):
            said = said(request)
        if isinstance(said, list):
            said = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(said, types_pb2.Error):
            context.set_trailing_metadata((("holdfast-error-bin", said.SerializeToString()),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, said.message)
        if isinstance(said, grpc.StatusCode):
            context.abort(said, "scripted")
        return said


def _handler(method: str) -> Any:
    def handle(self: ScriptedAdmin, request: Any, context: grpc.ServicerContext) -> Any:
        return self.answer(method, request, context)

    return handle


for _method in pb.DESCRIPTOR.services_by_name["Placement"].methods:
    if _method.name not in ("GetMap", "ListNodes", "ListReplicas", "TransferLeader"):
        setattr(ScriptedAdmin, _method.name, _handler(_method.name))


def refusal(reason: Reason = Reason.INVALID, outcome: Outcome = Outcome.REFUSED, **more: Any) -> Any:
    """What a node says when it does not do it."""
    return types_pb2.Error(reason=int(reason), outcome=int(outcome), **{"message": "scripted", **more})


def plan(phase: int = pb.Plan.PHASE_PREPARE, progress: str = "", **more: Any) -> Any:
    """Plan 7: shard 2 split at m."""
    fields: dict[str, Any] = {
        "id": 7, "kind": pb.Plan.KIND_SPLIT, "created_ms": 1000, "reason": "asked for",
        "sources": [shard(2)], "targets": [shard(4, b"", b"m"), shard(5, b"m")],
    }  # fmt: skip
    return pb.Plan(phase=phase, progress=progress, **{**fields, **more})
