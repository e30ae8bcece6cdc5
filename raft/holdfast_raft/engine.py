"""The consensus core: PySyncObj 0.3.17, under guard. The only file that knows PySyncObj.

Of PySyncObj serve: terms and votes, the follower's and the candidate's message handling, becoming
leader, and the state these live in. Everything that touches time, disk, network, snapshots, membership
or the application is ours: the core's own timers never fire, its transport is an adapter that turns its
answers into messages, its journal writes our WAL, and what would run its own way raises.

`_SyncObj__x` is how Python spells the core's private `__x`; a subclass that defines that name replaces
it. Because this reaches into private parts, the file is pinned by hash: any other syncobj.py is refused
at import, since every cure here was audited against exactly this text (docs/decisions/0002).

Closes, with guard.py: D1-D3, D5-D8, D12-D16, D20-D25, D30. Each has its test in
tests/unit/holdfast_raft/test_engine_deviations.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NoReturn, cast

import pysyncobj.syncobj as pysyncobj_module
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport as CoreTransport

from holdfast_raft.guard import Ballot, Broken, Extend, Mismatch, follower_commit, judge_append
from holdfast_raft.journal import Entry, Journal
from holdfast_raft.messages import Append, AppendReply, Vote
from holdfast_raft.status import Role

AUDITED_SHA256 = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"
REGULAR = b"\0"
"""First byte of a command that is ours (PySyncObj's command type REGULAR)."""

_ROLES = {0: Role.FOLLOWER, 1: Role.CANDIDATE, 2: Role.LEADER}


class UnauditedCoreError(ImportError):
    """The installed PySyncObj is not the one every cure was checked against."""


def check_core(source: Path) -> None:
    """Raises UnauditedCoreError unless `source` is the audited syncobj.py, byte for byte."""
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != AUDITED_SHA256:
        raise UnauditedCoreError(
            f"{source} has sha256 {found}; Holdfast was audited against pysyncobj 0.3.17 with"
            f" {AUDITED_SHA256}. Install exactly that: pip install pysyncobj==0.3.17"
        )


check_core(Path(pysyncobj_module.__file__))


class _NoPoller:
    """The core's poller would open an epoll descriptor for each group and poll it every tick."""

    def subscribe(self, *_: object) -> None: ...
    def unsubscribe(self, *_: object) -> None: ...
    def poll(self, *_: object) -> None: ...


# Module globals of PySyncObj, set once: it has no parameter for either.
pysyncobj_module.createPoller = lambda _: _NoPoller()
pysyncobj_module.createJournal = lambda journal: journal


class _Answers(CoreTransport):  # type: ignore[misc]  # PySyncObj is not typed
    """Stands where the core expects a transport: collects whom it granted its vote."""

    ready = True

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.granted_to: int | None = None

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        if message["type"] != "response_vote":
            raise AssertionError(f"the core sends {message['type']!r} by itself")
        self.granted_to = node.id
        return True

    def tryGetReady(self) -> None: ...  # noqa: N802 - PySyncObj's name
    def addNode(self, node: Node) -> None: ...  # noqa: N802
    def dropNode(self, node: Node) -> None: ...  # noqa: N802
    def destroy(self) -> None: ...


class _Core(SyncObj):  # type: ignore[misc]  # PySyncObj is not typed
    """SyncObj with the parts replaced that must not run its way."""

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        return float("inf")  # D17: election.py decides when to campaign

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        """Called on becoming leader; the group replicates in its own turn (D2, D23, D24)."""

    def _SyncObj__sendNextNodeIdx(self, *_: object, **__: object) -> None:  # noqa: N802
        """The engine answers appends itself, with the term and the durable position (D5, D11)."""

    def _SyncObj__parseChangeClusterRequest(self, _: bytes) -> None:  # noqa: N802
        """D9, D10, D20: membership is fixed, and no command is unpickled."""

    def _unused(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("this part of PySyncObj is not used")

    _onTick = _unused  # noqa: N815
    _applyCommand = _unused  # noqa: N815
    _checkCommandsToApply = _unused  # noqa: N815
    _SyncObj__applyLogEntries = _unused
    _SyncObj__doApplyCommand = _unused
    _SyncObj__loadDumpFile = _unused
    _SyncObj__tryLogCompaction = _unused
    _SyncObj__changeCluster = _unused
    _SyncObj__doChangeCluster = _unused


_CONF = {
    "autoTick": False,
    "appendEntriesUseBatch": True,  # else it opens a pipe for each group
    "commandsWaitLeader": False,
    "dynamicMembershipChange": False,
    "fullDumpFile": None,
    "useFork": False,
}


class Engine:
    """One replica's consensus state. Synchronous; takes messages and facts, changes journal and state.

    Invariants: applied_index <= commit_index <= journal.last_index; neither of the first two goes back;
    `verified_index` is how far this log was matched with the present leader's in the present term.
    """

    def __init__(
        self, me: int, members: tuple[int, ...], journal: Journal, stands_at: int | None = None
    ) -> None:
        """Starts as a follower of nobody. The state machine stands at the journal's base (D13), or, of a
        replica that was a copy until now, further on.
        """
        self._me = me
        self._members = frozenset(members)
        self.journal = journal
        self._nodes = {node: Node(node) for node in members}
        self._answers = _Answers()
        self._core = _Core(
            self._nodes[me],
            [node for member, node in self._nodes.items() if member != me],
            SyncObjConf(journalFile=journal, **_CONF),
            nodeClass=Node,
            transport=self._answers,
        )
        stands_at = journal.base_index if stands_at is None else stands_at
        assert journal.base_index <= stands_at <= journal.last_index, "the machine stands within the log"
        self._set("raftLastApplied", stands_at)
        self._set("raftCommitIndex", stands_at)
        self._ballot = Ballot(0, self._members)
        self.verified_index = 0

    def _get(self, name: str) -> Any:
        return self._core.__dict__["_SyncObj__" + name]

    def _set(self, name: str, value: object) -> None:
        self._core.__dict__["_SyncObj__" + name] = value

    # ---- facts -----------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        value: int = self._core.__dict__["_SyncObj__raftCurrentTerm"]
        return value

    @property
    def role(self) -> Role:
        return _ROLES[self._core.__dict__["_SyncObj__raftState"]]

    @property
    def is_leader(self) -> bool:
        leads: bool = self._core.__dict__["_SyncObj__raftState"] == 2
        return leads

    @property
    def leader(self) -> int | None:
        node = self._core.__dict__["_SyncObj__raftLeader"]
        return None if node is None else cast("int", node.id)

    def follows(self, leader: int, term: int) -> bool:
        """Whether this replica follows that leader in that term already."""
        core = self._core.__dict__
        return (
            core["_SyncObj__raftCurrentTerm"] == term
            and core["_SyncObj__raftState"] == 0
            and core["_SyncObj__raftLeader"] is self._nodes[leader]
        )

    @property
    def commit_index(self) -> int:
        value: int = self._core.__dict__["_SyncObj__raftCommitIndex"]
        return value

    @property
    def applied_index(self) -> int:
        value: int = self._core.__dict__["_SyncObj__raftLastApplied"]
        return value

    @property
    def noop_index(self) -> int:
        """Index of the entry with which this leadership began; meaningful while leading."""
        return cast("int", self._get("noopIDx"))

    # ---- elections -------------------------------------------------------------------------------

    def campaign(self) -> None:
        """Stands for election in the next term. The caller sends the votes, after the WAL's sync."""
        next_term = self.term + 1
        self._set("raftLeader", None)
        self._core._SyncObj__setState(1)
        self._core._SyncObj__setCurrentTerm(next_term, self._me)
        self._set("votesCount", 1)
        self._ballot = Ballot(next_term, self._members)
        self._ballot.grant(next_term, self._me)
        if self._ballot.has_majority():
            self._core._SyncObj__onBecomeLeader()

    def lead_first_term(self) -> None:
        """Leads the term that this replica was born in: each member's Born record is a vote for it.

        Once, by the process that was born, when the record is durable: had it said anything in this term
        before, and forgotten, there would be two logs of one term.
        """
        born_in = self.term
        assert self.journal.getVotedForNodeId() == self._me, "it voted for itself"
        self._ballot = Ballot(born_in, self._members)
        self._core._SyncObj__onBecomeLeader()

    def take_vote_request(self, candidate: int, term: int, vote: Vote) -> bool:
        """Judges a vote request of term >= the present one; whether the vote is granted.

        A grant may leave only once the journal's hard state is durable.
        """
        if term == self.term and self.journal.getVotedForNodeId() == candidate and not self.is_leader:
            return True  # D17: asked again after a lost answer
        self._answers.granted_to = None
        self._deliver(
            candidate,
            {
                "type": "request_vote",
                "term": term,
                "last_log_index": vote.last_index,
                "last_log_term": vote.last_term,
            },
        )
        return self._answers.granted_to == candidate

    def take_vote(self, voter: int, term: int) -> None:
        """Counts a granted vote once for each voter of this term (D8)."""
        if self.role is Role.CANDIDATE and term == self.term and self._ballot.grant(term, voter):
            self._deliver(voter, {"type": "response_vote", "term": term})

    def follow_nobody(self, term: int) -> None:
        """Steps down, into `term` if that is higher."""
        if term > self.term:
            self._core._SyncObj__setCurrentTerm(term, None)
        self._set("raftLeader", None)
        self._core._SyncObj__setState(0)

    def hear_leader(self, leader: int, term: int) -> None:
        """The leader of `term` (>= the present one) spoke: follow it."""
        if term == self.term and self.leader == leader and not self.is_leader:
            return
        self.verified_index = 0
        # Neither entries nor prevLogIdx nor a commit index above ours: term and leader only (D3).
        self._deliver(
            leader,
            {"type": "append_entries", "term": term, "commit_index": self.commit_index, "serialized": None},
        )

    # ---- the log ---------------------------------------------------------------------------------

    def take_append(self, leader: int, term: int, append: Append) -> AppendReply | Broken:
        """Takes a leader's entries (term >= the present one); the answer to send.

        A positive answer may leave only once `journal.appended_lsn` is durable (D11).
        """
        self.hear_leader(leader, term)
        verdict = judge_append(self.journal, self.commit_index, term, append)
        if isinstance(verdict, Broken):
            return verdict
        if isinstance(verdict, Mismatch):
            return AppendReply(matched=False, index=verdict.resume_after)
        if isinstance(verdict, Extend):
            self._extend(leader, term, append.commit_index, verdict)
            matched = verdict.prev_index + len(verdict.entries)
        else:
            matched = verdict.index
        self.verified_index = max(self.verified_index, matched)
        self.hear_commit(append.commit_index)
        return AppendReply(matched=True, index=matched)

    def _extend(self, leader: int, term: int, leader_commit: int, verdict: Extend) -> None:
        entries: list[Entry] = [
            (data, verdict.prev_index + 1 + position, entry_term)
            for position, (entry_term, data) in enumerate(verdict.entries)
        ]
        self._deliver(
            leader,
            {
                "type": "append_entries",
                "term": term,
                "commit_index": leader_commit,
                "entries": entries,
                "prevLogIdx": verdict.prev_index,
                "prevLogTerm": verdict.prev_term,
            },
        )

    def hear_commit(self, leader_commit: int) -> None:
        """As a follower: the present leader's commit index."""
        self._set("raftCommitIndex", follower_commit(self.commit_index, leader_commit, self.verified_index))

    def know_committed(self, index: int) -> None:
        """This log is committed up to `index`, as far as it goes: known from elsewhere, without a leader."""
        self._set("raftCommitIndex", max(self.commit_index, min(index, self.journal.last_index)))

    def append(self, data: bytes) -> int:
        """As the leader: adds an entry; its index."""
        index = self.journal.last_index + 1
        self.journal.add(REGULAR + data, index, self.term)
        return index

    def commit(self, index: int) -> bool:
        """As the leader: a majority holds `index` durably; whether the commit index rose.

        Only an entry of the present term commits by counting (Raft 5.4.2).
        """
        if index <= self.commit_index or self.journal.term_at(index) != self.term:
            return False
        self._set("raftCommitIndex", index)
        return True

    def unapplied(self, bytes_max: int, count_max: int) -> list[Entry]:
        """The next committed entries to apply, in order, within the bounds."""
        missing = self.commit_index - self.applied_index
        if missing <= 0:
            return []
        return self.journal.from_index(self.applied_index + 1, bytes_max, min(count_max, missing))

    def applied(self, index: int) -> None:
        """The state machine has applied the entry at `index` (D16: said before anyone is told)."""
        assert index == self.applied_index + 1, "entries are applied one by one, in order"
        self._set("raftLastApplied", index)

    def install(self, index: int, term: int) -> int:
        """The state machine now stands at a durable snapshot of (index, term); LSN of the Base record."""
        assert index > self.commit_index, "an obsolete snapshot never reaches this (D6)"
        lsn = self.journal.snapshot_stands(index, term)
        self._set("raftLastApplied", index)
        self._set("raftCommitIndex", index)
        self.journal.forget_below(index)
        return lsn

    def _deliver(self, sender: int, message: dict[str, Any]) -> None:
        self._core._SyncObj__onMessageReceived(self._nodes[sender], message)

    def close(self) -> None:
        """Lets go of the core."""
        self._core.destroy()
