"""What a leader may send a follower next."""

from __future__ import annotations

from holdfast_raft.messages import AppendReply
from holdfast_raft.progress import (
    BYTES_IN_FLIGHT_MAX,
    MESSAGES_IN_FLIGHT_MAX,
    PROBE_TICKS_MAX,
    Phase,
    Progress,
)


def matched(index: int) -> AppendReply:
    return AppendReply(True, index)


def replicating(match: int = 10) -> Progress:
    made = Progress(match + 1, now=0.0)
    made.sent(match, 0)
    made.replied(matched(match))
    return made


def test_one_probe_at_a_time_until_one_matches() -> None:
    """A probing follower gets a second message only after the first was answered."""
    progress = Progress(11, now=0.0)

    progress.sent(10, 0)
    assert not progress.may_send()
    progress.replied(AppendReply(False, 4))

    assert (progress.phase, progress.next, progress.may_send()) == (Phase.PROBE, 5, True)


def test_a_match_opens_the_pipeline() -> None:
    """After a match appends follow each other up to the window of messages."""
    progress = replicating()

    for n in range(MESSAGES_IN_FLIGHT_MAX):
        assert progress.may_send()
        progress.sent(11 + n, 1)

    assert not progress.may_send()
    progress.replied(matched(11))
    assert progress.may_send()
    assert progress.next == 11 + MESSAGES_IN_FLIGHT_MAX


def test_the_window_is_bounded_in_bytes_too() -> None:
    """A few large appends fill it."""
    progress = replicating()

    progress.sent(11, BYTES_IN_FLIGHT_MAX)

    assert not progress.may_send()


def test_a_mismatch_while_replicating_goes_back_to_probing_above_the_match() -> None:
    """What is known to match is never sent again."""
    progress = replicating(match=10)
    progress.sent(20, 5)

    progress.replied(AppendReply(False, 12))

    assert (progress.phase, progress.match, progress.next) == (Phase.PROBE, 10, 13)


def test_a_mismatch_that_a_success_has_overtaken_says_nothing() -> None:
    """D2: a stale rejection does not move next back."""
    progress = replicating(match=10)
    progress.sent(20, 5)
    progress.replied(matched(20))

    progress.replied(AppendReply(False, 3))

    assert (progress.phase, progress.match, progress.next) == (Phase.REPLICATE, 20, 21)


def test_a_new_connection_starts_from_what_is_known() -> None:
    """Nothing sent on the old one counts as on its way."""
    progress = replicating(match=10)
    progress.sent(20, 5)

    progress.reconnected()

    assert (progress.phase, progress.next, progress.may_send()) == (Phase.PROBE, 11, True)


def test_an_installed_snapshot_moves_match_and_goes_on_by_probing() -> None:
    """The entries behind the snapshot follow."""
    progress = Progress(5, now=0.0)
    progress.needs_snapshot()
    assert not progress.may_send()

    progress.snapshot_installed(40)

    assert (progress.match, progress.next, progress.phase) == (40, 41, Phase.PROBE)


def test_what_stays_unanswered_for_too_long_is_started_over() -> None:
    """A probe soon, a full pipeline later; an answer begins the count anew."""
    progress = Progress(5, now=0.0)
    progress.sent(4, 0)
    assert [progress.stalled() for _ in range(PROBE_TICKS_MAX)] == [False] * (PROBE_TICKS_MAX - 1) + [True]

    progress.restart()
    progress.sent(4, 0)
    progress.replied(matched(4))
    progress.sent(9, 5)
    assert not any(progress.stalled() for _ in range(PROBE_TICKS_MAX))
    assert any(progress.stalled() for _ in range(4 * PROBE_TICKS_MAX))


def test_an_idle_follower_never_counts_as_stalled() -> None:
    """Nothing under way, nothing to wait for."""
    progress = replicating()

    assert not any(progress.stalled() for _ in range(100 * PROBE_TICKS_MAX))
