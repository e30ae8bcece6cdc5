"""The guard around unary calls: errors become statuses, defects are caught, time is taken."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from holdfast.errors import Reason, error
from holdfast.types import Outcome
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1.cache_pb2_grpc import CacheStub
from holdfast_node.metrics import Traffic
from holdfast_node.rpc.interceptors import Guard

from tests.one_node import error_of, free_ports


def call(traffic: Traffic, fails: Exception | None) -> Any:
    async def put(_: pb.PutRequest, __: Any) -> pb.PutResponse:
        if fails is not None:
            raise fails
        return pb.PutResponse(revision=1)

    async def main() -> Any:
        server = grpc.aio.server(interceptors=(Guard(traffic),))
        handler = grpc.unary_unary_rpc_method_handler(
            put, pb.PutRequest.FromString, pb.PutResponse.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("holdfast.v1.Cache", {"Put": handler}),)
        )
        address = f"127.0.0.1:{free_ports(1)[0]}"
        server.add_insecure_port(address)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                return await CacheStub(channel).Put(pb.PutRequest())  # type: ignore[misc]
        finally:
            await server.stop(None)

    return asyncio.run(main())


def test_a_success_passes_and_is_timed() -> None:
    """The answer goes through; the call is counted under its method."""
    traffic = Traffic()

    assert call(traffic, None).revision == 1
    assert traffic.calls["Cache/Put"].total == 1


def test_an_error_of_ours_becomes_status_and_details() -> None:
    """The caller gets status and the whole error; it is counted by its reason."""
    traffic = Traffic()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        call(traffic, error(Reason.BUSY, "full", retry_after_ms=9))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_of(caught.value).retry_after_ms == 9
    assert traffic.errors == {Reason.BUSY: 1}


def test_a_defect_is_internal_and_its_outcome_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can say how far a defect had come: unknown to the caller, with its stack in the log."""
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
        call(Traffic(), ZeroDivisionError("on purpose"))

    problem = error_of(caught.value)
    assert (problem.reason, problem.outcome) == (Reason.INTERNAL, Outcome.UNKNOWN)
    assert "on purpose" not in problem.message
    assert "on purpose" in caplog.text
