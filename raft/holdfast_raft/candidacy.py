"""How a replica stands for election and answers those who do: pre-votes, votes, campaigns.

Joins Election (when, and whom to support) with Engine (terms and votes); the group tells it what arrives.
A vote, and a request for one, leaves only when the term and vote it stands on are durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.election import Election, Timing
from holdfast_raft.engine import Engine
from holdfast_raft.leadership import Leadership
from holdfast_raft.messages import GroupMessage, PreVote, PreVoteReply, Vote, VoteReply
from holdfast_raft.status import Role


class Owner(Protocol):
    """The group, as far as a candidacy needs it."""

    engine: Engine
    leadership: Leadership | None

    def others(self) -> tuple[int, ...]: ...


class Candidacy:
    """See the module docstring."""

    def __init__(
        self,
        owner: Owner,
        election: Election,
        timing: Timing,
        clock: Clock,
        send: Callable[[int, GroupMessage, int], bool],
    ) -> None:
        """send: (node, body, LSN it depends on)."""
        self.election = election
        self._owner = owner
        self._engine = owner.engine
        self._timing = timing
        self._clock = clock
        self._send = send
        self._has_asked = False
        # Born a moment ago with everybody's vote, and that is not durable yet.
        self.is_to_lead = False
        self._newcomers: dict[int, float] = {}  # peer -> when it said that it is here

    def ask_for_support(self, now: float) -> None:
        """No leader was heard in time: asks who would vote for this replica."""
        self._has_asked = True
        next_term = self._engine.term + 1
        if self.election.ask(now, next_term):
            self.campaign(transfer=False)
            return
        journal = self._engine.journal
        asked = PreVote(next_term, journal.last_index, journal.last_term)
        for peer in self._owner.others():
            self._send(peer, asked, 0)

    def lead_first_term(self, first_term: int) -> None:
        """It was born in that term with every member's vote, and its birth is durable now."""
        self.is_to_lead = False
        engine = self._engine
        if engine.term == first_term and engine.leader is None:
            engine.lead_first_term()

    def take_newcomer(self, sender: int, *, is_first: bool) -> None:
        """A member's replica exists now. Who is to lead the group, or has asked in vain, asks at once.

        Once a heartbeat for each member: whatever is said, it makes no storm.
        """
        now = self._clock.monotonic()
        if self._engine.role is not Role.FOLLOWER or self._engine.leader is not None or self.is_to_lead:
            return
        if now < self._newcomers.get(sender, float("-inf")) + self._timing.heartbeat:
            return
        if is_first or self._has_asked:
            self._newcomers[sender] = now
            self.ask_for_support(now)

    def take_pre_vote(self, sender: int, asked: PreVote) -> None:
        """Somebody asks for support: answers, changes nothing."""
        now = self._clock.monotonic()
        journal = self._engine.journal
        granted = not self._hears_followers(now) and self.election.supports(
            now,
            next_term=asked.next_term,
            current_term=self._engine.term,
            candidate_log=(asked.last_term, asked.last_index),
            own_log=(journal.last_term, journal.last_index),
        )
        self._send(sender, PreVoteReply(asked.next_term, granted), journal.hard_state_lsn)

    def take_pre_vote_reply(self, sender: int, term: int, reply: PreVoteReply) -> None:
        """A majority's support starts the campaign; a refusal from a later term moves ours."""
        if reply.granted:
            if not self._engine.is_leader and self.election.supported(sender, reply.next_term):
                self.campaign(transfer=False)
        elif term > self._engine.term:
            self._engine.follow_nobody(term)

    def campaign(self, *, transfer: bool) -> None:
        """Stands in the next term. transfer: the leader asked for it, so stickiness does not apply."""
        self.election.campaigned(self._clock.monotonic())
        self._engine.campaign()
        journal = self._engine.journal
        asked = Vote(journal.last_index, journal.last_term, transfer)
        for peer in self._owner.others():
            self._send(peer, asked, journal.hard_state_lsn)

    def take_vote_request(self, sender: int, term: int, vote: Vote) -> None:
        """Somebody stands in a term not behind ours."""
        now = self._clock.monotonic()
        sticky = self.election.hears_leader(now) or self._hears_followers(now)
        if sticky and not vote.transfer:
            return  # D17, D21: a leader that is heard is not deposed by whoever asks
        if self._engine.take_vote_request(sender, term, vote):
            self.election.campaigned(now)
            self._send(sender, VoteReply(granted=True), self._engine.journal.hard_state_lsn)

    def _hears_followers(self, now: float) -> bool:
        """Whether this replica leads and a majority answers it."""
        leadership = self._owner.leadership
        return leadership is not None and leadership.heard_quorum(now, self._timing.timeout_min)
