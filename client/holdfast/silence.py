"""How long a node has said nothing that owes answers, and what follows from it.

    no answer for SILENCE_S            what other replicas can answer is asked there
    nothing heard for PING_AFTER_S     it is asked whether it lives
    and nothing for PONG_S after that  the connection leads nowhere, or its process is stopped: it is given up

A node that lives is not given up for answers that take long: a shard without a leader says nothing for as
long as an election takes. One that was slow a moment ago, or to welcome us, is waited for twice as long as
it took then, so a node that is far away, or has more work than it can do, does not lose its clients. A node
that does not know the question (it says so in its welcome) is given up when answers are missing for HANG_S.

Invariant: a look that comes late judges nobody: this process slept, and what has come is read first.

Reads no clock: `now` is the caller's monotonic time in seconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LOOK_S: Final = 0.04  # between looks
LATE_S: Final = 0.18  # after so long a look comes late
SILENCE_S: Final = 0.2
PING_AFTER_S: Final = 0.12
PONG_S: Final = 0.16
PATIENCE_S_MAX: Final = 1.0  # each of the two above, however slow the node was
HANG_S: Final = 1.0  # twice the longest election timeout of the default configuration, nearly
SLACK_MAX: Final = 4.0


class Look(NamedTuple):
    """What is to be done now. gone: why the connection is given up; empty: it is not."""

    let_go: bool = False
    ping: bool = False
    gone: str = ""


class Silence:
    """Of one connection. can_ping: the node answers whether it lives."""

    def __init__(self) -> None:
        self.can_ping = False
        self.slack = 1.0
        """How much more time the node gets: it failed a moment ago, and may be slow to recover."""
        self._answered_at = 0.0
        self._heard_at = 0.0
        self._pinged_at: float | None = None
        self._looked_at = 0.0
        self._slowest = 0.0

    def begins(self, now: float) -> None:
        """From here on the node owes an answer."""
        self._answered_at = self._heard_at = now
        self._pinged_at = None

    def heard(self, now: float, *, answers: bool) -> None:
        """Something came; answers: and not only the word that it lives."""
        self._slowest = max(now - self._heard_at, 0.9 * self._slowest)
        self._heard_at = now
        self._pinged_at = None
        self.slack = 1.0
        if answers:
            self._answered_at = now

    def watched(self, now: float) -> None:
        """Looks begin, LOOK_S after each other."""
        self._looked_at = now

    def look(self, now: float) -> Look:
        """What follows from the silence so far."""
        if now - self._looked_at > LATE_S:
            self.begins(now)
        self._looked_at = now
        unanswered = now - self._answered_at
        let_go = unanswered > SILENCE_S
        if not self.can_ping:
            limit = HANG_S * self.slack
            return Look(let_go, gone=f"no answer for {limit:.1f} s" if unanswered > limit else "")
        if self._pinged_at is None:
            ping = now - self._heard_at > self._patience(PING_AFTER_S)
            self._pinged_at = now if ping else None
            return Look(let_go, ping)
        limit = self._patience(PONG_S) * self.slack
        gone = now - self._pinged_at > limit
        return Look(let_go, gone=f"no sign of life for {now - self._heard_at:.1f} s" if gone else "")

    def _patience(self, usual_s: float) -> float:
        return max(usual_s, min(2 * self._slowest, PATIENCE_S_MAX))
