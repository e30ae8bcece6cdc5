"""How fresh a follower can prove its state to be: the bounded read level's arithmetic. Pure.

A follower's reply to a heartbeat carries the follower's own send time; the leader's next heartbeat echoes
it, with the leader's commit index and the seconds since the send time of its last message that a majority
confirmed. Everything acknowledged up to (echoed time - those seconds) is at or below that commit index.
So age runs from the follower's own clock, and neither a pause nor a leader cut off with a minority makes
a state look fresher than it is (protocols.md 4; arrival times would).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Contact(NamedTuple):
    """One heartbeat's word on freshness."""

    sent_at: float  # own clock: when the reply that it echoes left
    quorum_age: float  # seconds the leader's confirmation was old
    commit_index: int  # applied from here on, the state is that fresh

    def age(self, now: float) -> float:
        """Seconds; an upper bound."""
        return now - self.sent_at + self.quorum_age


class LeaderContact:
    """What a follower knows of its present leader."""

    def __init__(self) -> None:
        self._reached: Contact | None = None
        self._ahead: deque[Contact] = deque(maxlen=16)  # applied has not come that far; oldest first

    def heard(self, contact: Contact) -> None:
        """A heartbeat echoed one of our replies."""
        self._ahead.append(contact)

    def forget(self) -> None:
        """The leader is another one now."""
        self._reached = None
        self._ahead.clear()

    def state_age(self, now: float, applied_index: int) -> float | None:
        """Upper bound of the applied state's age, seconds; None: not known."""
        ahead = self._ahead
        while ahead and applied_index >= ahead[0].commit_index:
            self._reached = ahead.popleft()
        return None if self._reached is None else self._reached.age(now)

    def leadership_age(self, now: float) -> float | None:
        """Seconds since a majority confirmed the leader, as far as known; an upper bound."""
        latest = self._ahead[-1] if self._ahead else self._reached
        return None if latest is None else latest.age(now)
