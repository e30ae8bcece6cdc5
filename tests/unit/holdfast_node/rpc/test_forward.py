"""Forwarding, against small servers that answer what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from holdfast.errors import HoldfastError, Reason, error
from holdfast.types import Outcome
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.rpc import status
from holdfast_node.rpc.forward import Forwarder, was_forwarded

from tests.one_node import free_ports

METHOD = "/holdfast.v1.Cache/Put"


class Peer:
    """A node that gives one prepared error, or an answer; it notes each call's metadata."""

    def __init__(self, problem: HoldfastError | None = None) -> None:
        self.problem = problem
        self.calls: list[Any] = []
        self.address = f"127.0.0.1:{free_ports(1)[0]}"

    async def put(self, _: pb.PutRequest, context: Any) -> pb.PutResponse:
        self.calls.append(context.invocation_metadata())
        if self.problem is not None:
            await context.abort(status.code_of(self.problem), "m", status.trailers(self.problem))
        return pb.PutResponse(revision=7)

    @asynccontextmanager
    async def serving(self) -> Any:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self.put, pb.PutRequest.FromString, pb.PutResponse.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("holdfast.v1.Cache", {"Put": handler}),)
        )
        server.add_insecure_port(self.address)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)


def forwarding(peers: list[Peer], scenario: Callable[[Forwarder], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        forwarder = Forwarder()
        async with peers[0].serving(), peers[-1].serving() if len(peers) > 1 else peers[0].serving():
            try:
                return await scenario(forwarder)
            finally:
                await forwarder.close()

    return asyncio.run(main())


async def send(forwarder: Forwarder, address: str) -> Any:
    return await forwarder.call(
        address, METHOD, pb.PutRequest(), pb.PutResponse.FromString, timeout_s=10, is_write=True
    )


def test_a_forwarded_call_is_marked() -> None:
    """The other node can tell that it must not forward it again."""
    first, second = Peer(), Peer()

    answer = forwarding([first, second], lambda f: send(f, first.address))

    assert answer.revision == 7
    assert was_forwarded(first.calls[0])
    assert not was_forwarded((("user-agent", "x"),))
    assert not was_forwarded(None)


def test_a_definite_not_leader_is_followed_once() -> None:
    """The hint is followed; a second NOT_LEADER is the answer."""
    first, second = Peer(), Peer()
    first.problem = error(Reason.NOT_LEADER, "m", leader=second.address)

    assert forwarding([first, second], lambda f: send(f, first.address)).revision == 7

    second.problem = error(Reason.NOT_LEADER, "m", leader=first.address)
    with pytest.raises(HoldfastError) as caught:
        forwarding([first, second], lambda f: send(f, first.address))

    assert caught.value.reason is Reason.NOT_LEADER
    assert (len(first.calls), len(second.calls)) == (2, 2)


def test_a_write_that_may_have_happened_is_never_sent_again() -> None:
    """An unknown outcome is handed back after one attempt, whatever hint it carries."""
    first, second = Peer(), Peer()
    first.problem = error(Reason.LEADERSHIP_LOST, "m", outcome=Outcome.UNKNOWN, leader=second.address)

    with pytest.raises(HoldfastError) as caught:
        forwarding([first, second], lambda f: send(f, first.address))

    assert caught.value.outcome is Outcome.UNKNOWN
    assert (len(first.calls), len(second.calls)) == (1, 0)


def test_a_node_that_is_gone_leaves_a_write_unknown() -> None:
    """A refused connection cannot be told from a lost answer."""
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    first, second = Peer(), Peer()

    with pytest.raises(HoldfastError) as caught:
        forwarding([first, second], lambda f: send(f, nobody))

    assert caught.value.outcome is Outcome.UNKNOWN
