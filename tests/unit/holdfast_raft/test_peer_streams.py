"""peer_streams: the decisions of the handshake that need no socket. The rest: test_grpc_transport."""

from __future__ import annotations

import grpc
import pytest
from holdfast_raft.peer_streams import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, Backoff, Door, describe
from holdfast_raft.peer_wire import Hello


class At:
    """A clock that stands."""

    def __init__(self, wall_ms: int) -> None:
        self._wall_ms = wall_ms

    def monotonic(self) -> float:
        return 0.0

    def wall_ms(self) -> int:
        return self._wall_ms


def door(wall_ms: int = 0) -> Door:
    return Door(Hello("blue", 2, 2000, 0, "", "", 1, ""), {1: ""}, lambda *_: True, At(wall_ms))


def failure(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def test_attempts_at_a_dead_address_back_off_to_the_maximum():
    """Pauses double from the minimum to the maximum, and jitter takes at most half."""
    backoff = Backoff()
    pauses = [backoff.pause(0.0, refused=False, jitter=1.0) for _ in range(8)]
    assert pauses[:3] == pytest.approx(
        [BACKOFF_SECONDS_MIN, 2 * BACKOFF_SECONDS_MIN, 4 * BACKOFF_SECONDS_MIN]
    )
    assert pauses[-1] == BACKOFF_SECONDS_MAX
    assert backoff.pause(0.0, refused=False, jitter=0.0) == BACKOFF_SECONDS_MAX / 2


def test_a_connection_that_stood_a_while_is_dialled_again_quickly():
    """A peer's restart costs the minimum, however long the way to it was."""
    backoff = Backoff()
    for _ in range(8):
        backoff.pause(0.0, refused=False, jitter=1.0)
    assert backoff.pause(60.0, refused=False, jitter=1.0) == BACKOFF_SECONDS_MIN


def test_a_refusal_waits_at_least_the_maximum():
    """Who is refused does not hammer: a new attempt mends nothing."""
    assert Backoff().pause(0.0, refused=True, jitter=0.0) >= BACKOFF_SECONDS_MAX


def test_epochs_grow_with_each_attempt_and_over_restarts():
    """Above the last one, and above all those of a start a millisecond and a million attempts earlier."""
    first = door(wall_ms=1000)
    last = 0
    for _ in range(3):
        last, before = first.epoch_after(last), last
        assert last > before
    assert door(wall_ms=1001).epoch_after(0) > last
    assert door(wall_ms=5).epoch_after(last) == last + 1


@pytest.mark.parametrize(
    ("code", "details", "by_peer"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", True),
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer", True),
        (grpc.StatusCode.UNAVAILABLE, "node 2: this node is shutting down", True),
        (grpc.StatusCode.INTERNAL, "Internal error from Core", True),
        (grpc.StatusCode.UNAVAILABLE, "ping timeout", False),
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection timed out", False),
        (grpc.StatusCode.ABORTED, "node 2: 9000000 bytes wait on the control lane", False),
    ],
)
def test_only_a_process_that_closed_counts_as_closed_by_the_peer(code, details, by_peer):
    """A silent network or a full queue says nothing about the other process."""
    assert describe(failure(code, details)).by_peer is by_peer


def test_a_refusal_is_logged_once_for_each_reason(caplog):
    """A node of another cluster at the door for a week is one line, until it got in meanwhile."""
    at = door()
    for why in ("a", "a", "b", "b"):
        at.complain("node 9", why)
    at.forgive("node 9")
    at.complain("node 9", "b")
    assert [record.message for record in caplog.records] == [
        "peer.refused node 9: a",
        "peer.refused node 9: b",
        "peer.refused node 9: b",
    ]
