"""peer_door, and peer_link's word on endings: what needs no socket. The rest: test_tcp_transport."""

from __future__ import annotations

import pytest
from holdfast_raft.peer_door import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, Backoff, Door
from holdfast_raft.peer_greeting import Hello
from holdfast_raft.peer_link import ending_of


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
    ("error", "by_peer"),
    [
        (None, True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (BrokenPipeError(32, "Broken pipe"), True),
        (TimeoutError(110, "Connection timed out"), False),
        (OSError(113, "No route to host"), False),
    ],
)
def test_only_a_process_that_closed_counts_as_closed_by_the_peer(error, by_peer):
    """A silent network says nothing about the other process."""
    assert ending_of(error).by_peer is by_peer


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
