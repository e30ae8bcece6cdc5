"""One group's replica on this node: proposals in, outcomes out, messages both ways.

Joins the parts that each know one thing - engine (consensus state), guard (message rules), election
(when to stand), leadership (what the followers have), proposals (who waits) - and knows the order in
which they act. Synchronous and on the loop thread; the driver calls `receive`, `turn` and `tick`.

Invariants:
- A message that promises something leaves only when the WAL record it depends on is durable (`lsn`).
- Every `done` of propose, barrier, wait_applied and transfer is called exactly once.
- A replica that cannot go on (unknown entry, contradicted commit) stops and says why; it never skips.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

from holdfast_raft.candidacy import Candidacy
from holdfast_raft.clock import Clock
from holdfast_raft.contact import Contact, LeaderContact
from holdfast_raft.election import Election, Timing
from holdfast_raft.engine import REGULAR, Engine
from holdfast_raft.errors import (
    Busy,
    DiskFull,
    LeadershipLost,
    NoQuorum,
    NotLeader,
    RaftError,
    Stopped,
    StoppedMidway,
    TooLarge,
)
from holdfast_raft.guard import Broken
from holdfast_raft.handover import Handover
from holdfast_raft.index_requests import IndexRequests, Waiting
from holdfast_raft.journal import Journal
from holdfast_raft.leadership import Leadership
from holdfast_raft.machine import StateMachine
from holdfast_raft.messages import (
    Addressed,
    Append,
    AppendReply,
    Gone,
    GroupMessage,
    Heartbeat,
    Here,
    IndexReply,
    IndexRequest,
    MatchNotice,
    Payload,
    PreVote,
    PreVoteReply,
    SnapshotChunk,
    SnapshotReply,
    TermNotice,
    TimeoutNow,
    Vote,
    VoteReply,
)
from holdfast_raft.proposals import (
    Applied,
    AppliedDone,
    AppliedWaits,
    Proposal,
    ProposalDone,
    Proposals,
    answer,
)
from holdfast_raft.readindex import BarrierRounds, Done
from holdfast_raft.replication import Replication
from holdfast_raft.snapshots import SnapshotInfo
from holdfast_raft.status import GroupStatus, Role
from holdfast_raft.wal import Born

logger = logging.getLogger(__name__)

ENTRY_BYTES_MAX = 2 * 1024 * 1024 - 4096
"""An entry of 1 MiB, or one operation a little above it; a quarter of the smallest WAL segment."""
FIRST_LEADER_PATIENCE = 2.0
"""Seconds the other members of a new group give the one that is meant to lead it."""
PROPOSALS_IN_FLIGHT_MAX = 1024
PROPOSED_BYTES_MAX = 64 * 1024 * 1024
APPLY_BYTES_A_TURN = 2 * 1024 * 1024
APPLY_ENTRIES_A_TURN = 64


class Surroundings(Protocol):
    """What a group needs of its node; the driver."""

    me: int
    clock: Clock
    timing: Timing
    rng: random.Random
    barriers: BarrierRounds
    on_leadership: Callable[[bool], None]
    """Told when a replica serves as leader, or does so no more."""

    def send(self, peer: int, group: int, term: int, body: GroupMessage, lsn: int, bulk: bool) -> bool:
        """Queues a message that may leave once `lsn` is durable (0: at once). False: not connected."""
        ...

    def is_connected(self, peer: int) -> bool: ...
    def mark(self, group: Group) -> None:
        """The group has something to do in the next turn."""
        ...

    def call_at(self, when: float, act: Callable[[], None]) -> None: ...
    def when_durable(self, lsn: int, act: Callable[[], None]) -> None: ...
    def flush(self) -> None:
        """What was sent leaves now instead of at the end of the turn."""
        ...

    def disk_is_full(self) -> bool: ...
    def entries_fit(self, size_bytes: int) -> bool: ...
    def next_request(self) -> int:
        """A number never used before by this process."""
        ...


class Group:
    """See the module docstring. `propose`, `barrier`, `wait_applied`, `transfer` are what its owner uses."""

    def __init__(
        self, born: Born, journal: Journal, machine: StateMachine, node: Surroundings,
        replication: Callable[[Group], Replication], stands_at: int,
    ) -> None:  # fmt: skip
        """stands_at: index up to which `machine` has applied the log."""
        self.id = born.group
        self.born = born
        self.members = members = born.members
        self.machine = machine
        self.journal = journal
        self.engine = Engine(node.me, members, journal, stands_at)
        self.leadership: Leadership | None = None
        self.stopped = ""
        self.leader_changes = 0
        self._node = node
        self._others = tuple(member for member in members if member != node.me)
        self._election = Election(frozenset(members), node.me, node.timing, node.rng)
        self._candidacy = Candidacy(self, self._election, node.timing, node.clock, self._send)
        self._replication = replication(self)
        self._proposals = Proposals()
        self._applied_waits = AppliedWaits()
        self._index_requests = IndexRequests()
        self._handover = Handover()
        self._waits = self._proposals, self._applied_waits, self._index_requests, self._handover
        self._led_since = float("inf")
        self._contact = LeaderContact()
        self._seen_leader: int | None = None
        self._machine_leads = False
        self._told_at_once = 0  # index of an entry proposed so; 0: none
        self._election.start(node.clock.monotonic(), patience=self._first_patience())

    def _first_patience(self) -> float | None:
        """How long to wait before the first election of this process; None: as always.

        A new, empty group is led by the member named first, so that leaders spread over the nodes as the
        map says: the others wait for it a while. One that goes on from others' state is born with a leader.
        A group of one has nobody to wait for.
        """
        if len(self.members) == 1:
            return 0.0
        if self.engine.term > self.born.base_term:
            return None
        return 0.0 if self.members[0] == self._node.me else FIRST_LEADER_PATIENCE

    # ---- what the owner asks -------------------------------------------------------------------------

    @property
    def term(self) -> int:
        return self.engine.term

    @property
    def leader(self) -> int | None:
        """Who leads, as far as is known here; who is about to, having been born to lead, says so too."""
        return self._node.me if self._candidacy.is_to_lead else self.engine.leader

    @property
    def applied_index(self) -> int:
        return self.engine.applied_index

    @property
    def commit_index(self) -> int:
        return self.engine.commit_index

    @property
    def is_leader(self) -> bool:
        """Leads, with everything of earlier terms applied."""
        return self._machine_leads

    def can_propose(self) -> bool:
        """Whether a proposal would be taken now; if not for the window, a turn comes when it is."""
        return (
            self._machine_leads
            and not self._handover.under_way
            and len(self._proposals) < PROPOSALS_IN_FLIGHT_MAX
            and self._proposals.size_bytes < PROPOSED_BYTES_MAX
        )

    def propose(
        self, data: bytes, context: object, deadline: float, done: ProposalDone, *, at_once: bool = False
    ) -> None:
        """Appends an entry if this replica leads.

        Args:
            data: the entry.
            context: handed to the machine's `apply` on this replica only.
            deadline: clock.monotonic() seconds; past it `done` gets DeadlinePassed (outcome unknown).
            done: called exactly once with Applied or a RaftError; a refusal may come before this returns.
            at_once: clients wait until every replica has applied it, so the followers hear of its commit
                before it is applied here.
        """
        refusal = self._refusal(len(data))
        if refusal is not None:
            answer(done, refusal)
            return
        index = self.engine.append(data)
        self._proposals.add(index, Proposal(self.engine.term, len(data), context, deadline, done))
        if at_once:
            self._told_at_once = index
        self._node.mark(self)

    def _refusal(self, size_bytes: int) -> RaftError | None:
        refusal: RaftError | None = None
        if self.stopped:
            refusal = Stopped(self.stopped)
        elif not self.engine.is_leader:
            refusal = NotLeader(self.leader)
        elif size_bytes > ENTRY_BYTES_MAX:
            refusal = TooLarge(f"the entry has {size_bytes} bytes; at most {ENTRY_BYTES_MAX} are taken")
        elif self._node.disk_is_full():
            refusal = DiskFull("the data disk is full; free space and writes go on")
        elif not self._machine_leads:
            refusal = Busy("the start of the leadership", 20)
        elif not self.can_propose():
            refusal = Busy("the window of proposals", 20)
        return refusal

    def barrier(self, deadline: float, done: Done) -> None:
        """A point from which a read is linearizable: done(index) once the leadership was confirmed by a
        majority after this call. On the leader `index` is applied by then; on a follower wait for it.
        """
        if self.stopped:
            answer(done, Stopped(self.stopped))
        elif self.engine.is_leader or self._candidacy.is_to_lead:
            if self._machine_leads:
                self._node.barriers.join(
                    self, deadline, lambda point: self._barrier_met(point, deadline, done)
                )
            else:
                self._index_requests.hold(Waiting(deadline, done))
            self._node.mark(self)
        else:
            self._ask_index(deadline, done)

    def _ask_index(self, deadline: float, done: Done) -> None:
        request = self._node.next_request()
        if self.leader is not None and self._send(self.leader, IndexRequest(request)):
            self._index_requests.ask(request, Waiting(deadline, done))
        else:
            answer(done, NotLeader(None))

    def _barrier_met(self, point: int | RaftError, deadline: float, done: Done) -> None:
        if isinstance(point, RaftError) or self.applied_index >= point:
            answer(done, point)
        else:
            self.wait_applied(point, deadline, lambda error: done(point if error is None else error))

    def wait_applied(self, index: int, deadline: float, done: AppliedDone) -> None:
        """done(None) once `index` is applied here; done(error) at the deadline or when stopped."""
        if self.applied_index >= index:
            answer(done, None)
        elif self.stopped:
            answer(done, Stopped(self.stopped))
        else:
            self._applied_waits.add(index, deadline, done)

    def transfer(self, to_node: int | None, deadline: float, done: Done) -> None:
        """Hands the leadership over; done(node) once another leads. None: the most caught-up follower."""
        if self.leadership is None or not self._machine_leads:
            answer(done, NotLeader(self.leader))
            return
        connected = [node for node in self._others if self._node.is_connected(node)]
        target = self.leadership.most_caught_up(connected) if to_node is None else to_node
        if target == self._node.me:
            answer(done, target)
        elif target is None or target not in connected:
            answer(
                done, NoQuorum(f"node {target} is not connected" if target else "no follower is connected")
            )
        elif self._handover.under_way:
            answer(done, Busy("the hand-over of the leadership", 100))
        else:
            self._handover.begin(target, deadline, done)
            self._node.mark(self)

    def tell(self, node: int, data: bytes) -> bool:
        """Sends bytes to the machine's owner on another node; no promise that they arrive."""
        return self._send(node, Payload(data))

    def has_quorum(self) -> bool:
        """Whether a majority has confirmed the leader within the longest election timeout."""
        age = self.staleness_of_leadership()
        return age is not None and age <= self._node.timing.timeout_max

    def staleness_of_leadership(self) -> float | None:
        """Seconds since the send time of the last message of the leader a majority confirmed."""
        now = self._node.clock.monotonic()
        if self.leadership is not None:
            age = now - self.leadership.confirmed_at(now)
            return age if age != float("inf") else None
        return self._contact.leadership_age(now)

    def staleness_ms(self) -> int | None:
        """Upper bound of the age of the applied state, ms; None: not known (protocols.md 4)."""
        now = self._node.clock.monotonic()
        if self.leadership is not None:
            if not self._machine_leads or self.applied_index < self.commit_index:
                return None
            age = now - self.leadership.confirmed_at(now)
            return None if age == float("inf") else int(age * 1000) + 1
        state_age = self._contact.state_age(now, self.applied_index)
        return None if state_age is None else int(state_age * 1000) + 1

    def status(self) -> GroupStatus:
        """The replica's figures now."""
        return GroupStatus(
            group=self.id,
            role=Role.STOPPED if self.stopped else self.engine.role,
            term=self.term,
            leader=self.leader,
            commit_index=self.commit_index,
            applied_index=self.applied_index,
            last_index=self.journal.last_index,
            durable_index=self.journal.durable_index,
            snapshot_index=self._replication.snapshot_index,
            has_quorum=self.has_quorum(),
            leader_changes=self.leader_changes,
            log_bytes=self.journal.held_bytes,
            stopped_because=self.stopped,
        )

    # ---- what the driver calls -----------------------------------------------------------------------

    def receive(self, sender: int, message: Addressed) -> None:
        """Takes a message of a member; what its term does not allow is dropped or answered with ours."""
        if self.stopped or sender not in self._others:
            return
        body, term = message.body, message.term
        self._node.mark(self)
        if isinstance(body, PreVote):
            self._candidacy.take_pre_vote(sender, body)
        elif isinstance(body, PreVoteReply):
            self._candidacy.take_pre_vote_reply(sender, term, body)
        elif isinstance(body, Payload):
            self.machine.received(sender, body.data)
        elif isinstance(body, IndexRequest):
            self._take_index_request(sender, body)
        elif isinstance(body, IndexReply):
            self._take_index_reply(body)
        elif isinstance(body, Gone | Here):
            self._take_fate(sender, body)
        elif term < self.term:  # D5: a reply counts only in the term in which it was said
            if isinstance(body, Append | Vote | SnapshotChunk | TimeoutNow):
                self._send(sender, TermNotice(), self.journal.hard_state_lsn)
        else:
            self._take_current(sender, term, body)
        self._notice_change()

    def _take_fate(self, sender: int, body: Gone | Here) -> None:
        """A member's replica has ended, or exists now."""
        if isinstance(body, Gone):
            logger.warning("group %d is retired on node %d", self.id, sender)
        elif self.leadership is not None:
            self._replication.reconnected(sender)  # what it was sent before it was born went nowhere
        else:
            self._candidacy.take_newcomer(sender, is_first=self.members[0] == self._node.me)

    def _take_current(self, sender: int, term: int, body: GroupMessage) -> None:
        """A message of the present term or a later one."""
        if isinstance(body, Vote):
            self._candidacy.take_vote_request(sender, term, body)
        elif isinstance(body, Append):
            self._take_append(sender, term, body)
        elif isinstance(body, SnapshotChunk):
            self._hear_leader(sender, term)
            self._replication.take_chunk(sender, body)
        elif term > self.term:
            self.engine.follow_nobody(term)  # a reply from the future: our term is over
        else:
            self._take_reply(sender, term, body)

    def _take_reply(self, sender: int, term: int, body: GroupMessage) -> None:
        """A reply, or a leader's request, of exactly the present term."""
        if isinstance(body, AppendReply):
            self._take_append_reply(sender, body)
        elif isinstance(body, VoteReply):
            if body.granted:
                self.engine.take_vote(sender, term)
        elif isinstance(body, TimeoutNow):
            if sender == self.leader:
                self._candidacy.campaign(transfer=True)
        elif isinstance(body, MatchNotice):
            self._take_match_notice(body.index)
        elif isinstance(body, SnapshotReply) and self.leadership is not None:
            self.leadership.heard(sender, self._node.clock.monotonic())
            self._replication.take_snapshot_reply(sender, body)

    def hear_heartbeat(self, sender: int, beat: Heartbeat, echoed_at: float | None, now: float) -> int | None:
        """A leader's heartbeat; None: accepted, else the term to tell it (D17).

        echoed_at: our own send time of the reply it had received before it sent this.
        """
        if self.stopped or sender not in self._others:
            return 0
        engine = self.engine
        if engine.follows(sender, beat.term):  # twenty times a second in every quiet group: nothing is new
            self._election.heard_leader(now)
        elif beat.term < engine.term:
            return engine.term
        else:
            self._hear_leader(sender, beat.term)
            self._notice_change()
        if beat.commit_index > engine.commit_index:
            before = engine.commit_index
            engine.hear_commit(beat.commit_index)
            if engine.commit_index > before:
                self._node.mark(self)
        if echoed_at is not None:
            self._contact.heard(Contact(echoed_at, beat.quorum_age_ms / 1000, beat.commit_index))
        return None

    def heartbeat(self, now: float) -> Heartbeat | None:
        """What to tell the followers, if this replica leads."""
        if self.leadership is None or self.stopped:
            return None
        # Until this term's no-op is applied, the commit index may lie behind what an earlier leader
        # acknowledged: a confirmed leader says nothing about the age of a state that has only that.
        age = min(now - self.leadership.confirmed_at(now), 3600.0) if self._machine_leads else 3600.0
        return Heartbeat(self.id, self.term, self.commit_index, int(age * 1000) + 1)

    def heartbeat_accepted(self, sender: int, sent_at: float) -> None:
        """A follower accepted a heartbeat that this node sent at `sent_at`."""
        if self.leadership is not None and sender in self.leadership.followers and sent_at >= self._led_since:
            self.leadership.heard(sender, self._node.clock.monotonic(), sent_at)

    def hear_term(self, sender: int, term: int) -> None:
        """A member refused a heartbeat or a barrier with its term."""
        if sender in self._others and term > self.term and not self.stopped:
            self.engine.follow_nobody(term)
            self._notice_change()

    def confirms(self, term: int) -> bool:
        """Whether this replica's term is `term`: its part of a barrier round."""
        return not self.stopped and self.term == term

    def lead_when_durable(self, lsn: int) -> None:
        """It was born by that record, with every member's vote; see Engine.lead_first_term."""
        self._candidacy.is_to_lead = True
        self._node.when_durable(lsn, self._lead_first_term)

    def _lead_first_term(self) -> None:
        if self.stopped:
            return
        self._candidacy.lead_first_term(self.born.first_term)
        if not self.engine.is_leader:
            self._index_requests.fail_all(NotLeader(self.leader))  # what waited for it to lead
        self._notice_change()
        self._node.mark(self)

    def peer_connected(self, peer: int) -> None:
        if self.leadership is not None and peer in self.leadership.followers:
            self._replication.reconnected(peer)
        elif self._first_patience() == 0.0:
            now = self._node.clock.monotonic()
            self._election.start(now, patience=0.0)  # what was asked before anybody was there went nowhere
            self._node.call_at(now, lambda: self.tick(self._node.clock.monotonic()))
        self._node.mark(self)

    def peer_disconnected(self, peer: int, *, closed_by_peer: bool) -> None:
        self._replication.disconnected(peer)
        if peer == self.leader:
            self._index_requests.fail_all(NotLeader(None))
            if closed_by_peer and not self.stopped:
                self.engine.follow_nobody(self.term)
                self._notice_change()
                now = self._node.clock.monotonic()
                self._election.lost_leader(now)
                self._node.call_at(self._election.due_at, lambda: self.tick(self._node.clock.monotonic()))

    def loop_was_late(self, now: float) -> None:
        """The node's loop stalled: messages may lie unread, so no silence is held against anyone yet."""
        self._election.postpone(now)
        if self.leadership is not None:
            self.leadership.grace(now)

    def tick(self, now: float) -> None:
        """What time asks for; called every heartbeat and when an election is due."""
        if self.stopped:
            return
        for waits in self._waits:
            if waits:
                waits.expire(now)
        if self.leadership is not None:
            if self.leadership.heard_quorum(now, self._node.timing.timeout_max):
                self._replication.tick()
                return
            logger.warning("group %d: no majority answers; stepping down from term %d", self.id, self.term)
            self.engine.follow_nobody(self.term)
            self._notice_change()
        elif now >= self._election.due_at:
            self._candidacy.ask_for_support(now)
            self._notice_change()

    def turn(self) -> None:
        """Everything there is to do now: propose, replicate, commit, apply, snapshot.

        A defect in it ends this replica; the node's other groups go on.
        """
        if self.stopped:
            return
        try:
            self._turn()
        except Exception as error:
            logger.exception("group %d failed", self.id)
            self.stop(f"a defect in this replica, please report it: {error!r}")

    def _turn(self) -> None:
        self.machine.turn()
        if self.leadership is not None:
            if self.engine.commit(self.leadership.committed_index(self.journal.durable_index)):
                self._replication.commit_rose()
                if 0 < self._told_at_once <= self.commit_index:
                    self._told_at_once = 0
                    self._replication.tell_commit_to_all()
                    self._node.flush()
            self._replication.send()
            self._advance_handover()
        self._apply()
        self._replication.step()

    def catch_up(self) -> None:
        """Applies now, in one go, whatever is known to be committed: for a start, before anyone reads."""
        while not self.stopped and self.engine.commit_index > self.engine.applied_index:
            self._apply()

    def want_snapshot(self) -> None:
        """The WAL asks for one: this group's entries keep its oldest segment alive."""
        self._replication.want_snapshot()

    def own_snapshot(self) -> SnapshotInfo | None:
        """The latest of this group's own state. Raises SnapshotDamaged, OSError."""
        return self._replication.own_snapshot()

    def replace_snapshot(self) -> None:
        """The latest one cannot be read: it is taken anew."""
        self._replication.replace_snapshot()

    def keep_entries_after(self, index: int | None) -> None:
        """See Replication."""
        self._replication.keep_entries_after(index)

    def synced(self, durable_lsn: int) -> None:
        """The WAL is durable up to there."""
        self.journal.synced(durable_lsn)
        self._node.mark(self)

    def installed(self, index: int) -> None:
        """The state machine now stands at a snapshot: entries up to `index` were never applied here."""
        self._applied_waits.reached(index)
        self._node.mark(self)

    def stop(self, why: str) -> None:
        """Ends the replica for good; everyone who waits is told."""
        if self.stopped:
            return
        self.stopped = why
        self.machine.close()  # first: what the answers below set off must read nothing any more
        self._replication.close()
        self._proposals.fail_all(StoppedMidway(why))
        self._applied_waits.fail_all(Stopped(why))
        self._node.barriers.drop(self.id, Stopped(why))
        self._index_requests.fail_all(Stopped(why))
        self._handover.end(Stopped(why))
        self.leadership = None
        self._set_machine_leads(False)
        self.engine.close()

    # ---- roles ---------------------------------------------------------------------------------------

    def _hear_leader(self, sender: int, term: int) -> None:
        self.engine.hear_leader(sender, term)
        self._election.heard_leader(self._node.clock.monotonic())

    def _notice_change(self) -> None:
        """Draws the consequences when the engine's role, term or leader is not what it was."""
        engine = self.engine
        if self.leadership is not None and not (engine.is_leader and engine.term == self.leadership.term):
            self._stop_leading()
        if engine.is_leader and self.leadership is None:
            self._start_leading()
        if engine.leader != self._seen_leader:
            self._seen_leader = engine.leader
            self._contact.forget()
            if engine.leader is not None:
                self.leader_changes += 1
                if engine.leader != self._node.me:
                    self._handover.end(engine.leader)
                    # Who was asked leads no more and may never answer (paused, cut off).
                    self._index_requests.fail_all(NotLeader(engine.leader))

    def _start_leading(self) -> None:
        now = self._node.clock.monotonic()
        self._led_since = now
        self.leadership = Leadership(self.term, self._others, self.engine.noop_index, now)
        logger.info("group %d: leading in term %d from index %d", self.id, self.term, self.engine.noop_index)
        self._index_requests.fail_asked(NotLeader(None))
        self._node.mark(self)

    def _stop_leading(self) -> None:
        self.leadership = None
        self._told_at_once = 0
        self._replication.stopped_leading()
        if self._machine_leads:
            self._node.on_leadership(False)
        self._machine_leads = False
        self.machine.role_changed(False)  # also when it never began: what was queued for it must end
        self._election.start(self._node.clock.monotonic())
        self._proposals.fail_all(LeadershipLost("the leadership ended while the entry was under way"))
        self._node.barriers.drop(self.id, NotLeader(self.leader))
        self._index_requests.fail_all(NotLeader(self.leader))

    def _set_machine_leads(self, leads: bool) -> None:
        if leads != self._machine_leads:
            self._machine_leads = leads
            self.machine.role_changed(leads)
            self._node.on_leadership(leads)

    # ---- replication ---------------------------------------------------------------------------------

    def _take_append(self, sender: int, term: int, append: Append) -> None:
        if append.entries and not self._node.entries_fit(sum(len(e[1]) + 64 for e in append.entries)):
            self._hear_leader(sender, term)
            return  # no answer: the leader tries again, slowly; what is left of the disk is for votes
        reply = self.engine.take_append(sender, term, append)
        self._election.heard_leader(self._node.clock.monotonic())
        if isinstance(reply, Broken):
            self.stop(reply.why)
            return
        self._send(sender, reply, self.journal.appended_lsn if reply.matched else 0)

    def _take_append_reply(self, sender: int, reply: AppendReply) -> None:
        if self.leadership is None:
            return
        self.leadership.heard(sender, self._node.clock.monotonic())
        follower = self.leadership.followers[sender]
        if follower.has_lost(reply):
            self._send(sender, MatchNotice(follower.match))
        follower.replied(reply)

    def _take_match_notice(self, index: int) -> None:
        """What was confirmed is to be there; a log that ends before has lost what was synced."""
        last = self.journal.last_index
        if last < index:
            self.stop(
                f"its disk has lost what was synced: it has confirmed entries up to {index}, and its log ends"
                f" at {last}. Restore the disk, or run `holdfast node reset` and let the node join again: the"
                " other replicas have the entries"
            )

    def _apply(self) -> None:
        """Applies committed entries, a bounded piece a turn."""
        engine, machine = self.engine, self.machine
        entries = engine.unapplied(APPLY_BYTES_A_TURN, APPLY_ENTRIES_A_TURN)
        for command, index, term in entries:
            proposal = self._proposals.take(index, term)
            result: object = None
            if command[:1] == REGULAR:
                try:
                    result = machine.apply(index, term, command[1:], proposal.context if proposal else None)
                except Exception as error:
                    logger.exception("group %d: entry %d cannot be applied", self.id, index)
                    # First: what the answer sets off must not read a state with half an entry in it.
                    self.stop(f"entry {index} of term {term} cannot be applied: {error}")
                    if proposal is not None:
                        answer(proposal.done, StoppedMidway("the replica stopped at this entry"))
                    return
            engine.applied(index)
            if proposal is not None:
                answer(proposal.done, Applied(index, term, result))
            if self.stopped:
                return
        if entries:
            self._replication.applied(sum(len(entry[0]) for entry in entries))
            self._applied_waits.reached(engine.applied_index)
            if engine.commit_index > engine.applied_index:
                self._node.mark(self)
        if (
            self.leadership is not None
            and not self._machine_leads
            and engine.applied_index >= engine.noop_index
        ):
            self._begin_serving()

    def _begin_serving(self) -> None:
        self._set_machine_leads(True)
        for waiting in self._index_requests.release():
            self.barrier(waiting.deadline, waiting.done)
        self._node.mark(self)

    def _advance_handover(self) -> None:
        """Once the target has everything it is asked to stand."""
        handover = self._handover
        if not handover.under_way or handover.asked or self.leadership is None:
            return
        if self.leadership.followers[handover.target].match == self.journal.last_index:
            handover.asked = self._send(handover.target, TimeoutNow())

    # ---- barriers: Leadership of readindex.BarrierRounds ---------------------------------------------

    def barrier_point(self) -> tuple[int, int] | RaftError:
        if self.stopped:
            return Stopped(self.stopped)
        if self.leadership is None or not self._machine_leads:
            return NotLeader(self.leader)
        return self.term, self.commit_index

    def others(self) -> tuple[int, ...]:
        return self._others

    def confirmed(self, sent_at: float) -> None:
        """A barrier round that this node sent at `sent_at` was confirmed by a majority."""
        if self.leadership is not None:
            self.leadership.round_confirmed(sent_at)

    def _take_index_request(self, sender: int, asked: IndexRequest) -> None:
        def reply(point: int | RaftError) -> None:
            ok = not isinstance(point, RaftError)
            if ok:
                self._replication.tell_commit(sender)
            self._send(sender, IndexReply(asked.request, ok, 0 if isinstance(point, RaftError) else point))

        if self.engine.is_leader:
            self.barrier(self._node.clock.monotonic() + self._node.timing.timeout_max, reply)
        else:
            reply(NotLeader(None))

    def _take_index_reply(self, reply: IndexReply) -> None:
        self._index_requests.answered(reply.request, reply.index if reply.ok else NotLeader(self.leader))

    # ---- small things --------------------------------------------------------------------------------

    def _send(self, peer: int, body: GroupMessage, lsn: int = 0) -> bool:
        return self._node.send(peer, self.id, self.term, body, lsn, bulk=False)

    def __repr__(self) -> str:
        return f"<Group {self.id} {self.engine.role.value} term {self.term} applied {self.applied_index}>"
