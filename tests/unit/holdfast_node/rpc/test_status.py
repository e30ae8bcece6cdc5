"""How errors leave a unary call, and what another node's failure means."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import Metadata
from holdfast.errors import Reason, error
from holdfast.types import Outcome
from holdfast_node.rpc import status


def failure(code: grpc.StatusCode, *metadata: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, Metadata(), Metadata(*metadata), "words")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_status(reason: Reason) -> None:
    """No reason is without a status, and none of them is OK."""
    assert status.code_of(error(reason, "m")) is not grpc.StatusCode.OK


@pytest.mark.parametrize("reason", list(Reason))
def test_an_unknown_outcome_never_leaves_as_unavailable(reason: Reason) -> None:
    """Generic clients repeat UNAVAILABLE by themselves; that would be an effect twice."""
    problem = error(reason, "m", outcome=Outcome.UNKNOWN)

    assert status.code_of(problem) is not grpc.StatusCode.UNAVAILABLE


def test_another_nodes_error_comes_back_as_it_was() -> None:
    """Reason, outcome and hints survive the hop."""
    sent = error(Reason.NOT_LEADER, "m", leader="127.0.0.1:9")

    got = status.from_peer(failure(grpc.StatusCode.UNAVAILABLE, *status.trailers(sent)), is_write=True)

    assert (got.reason, got.outcome, got.leader) == (Reason.NOT_LEADER, Outcome.REFUSED, "127.0.0.1:9")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_broken_connection_leaves_a_write_unknown(code: grpc.StatusCode) -> None:
    """Without word from the other node a write may have happened; a read has not."""
    assert status.from_peer(failure(code), is_write=True).outcome is Outcome.UNKNOWN
    assert status.from_peer(failure(code), is_write=False).outcome is Outcome.REFUSED


def test_an_unreadable_error_counts_as_none() -> None:
    """Garbage in the metadata is no refusal."""
    got = status.from_peer(failure(grpc.StatusCode.INTERNAL, (status.ERROR_KEY, b"\xff\xff")), is_write=True)

    assert got.outcome is Outcome.UNKNOWN
