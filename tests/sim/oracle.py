"""What must hold, whatever happens: judged from outside while a schedule runs.

What is known of each group is its GroupBook's (book.py). The Oracle looks at the replicas after every
event and at every answer.

The first violation is kept and raised by `look`, which the world calls after each event: raised where it
is found it would pass through the product's own error handling.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast_node.cache.op import Op
from holdfast_node.cache.results import OpResult
from holdfast_raft.snapshots import FOLDER as SNAPSHOTS
from holdfast_raft.snapshots import SnapshotDamaged

from tests.sim import violation as rule
from tests.sim.book import GroupBook, Name
from tests.sim.violation import CallerFails, Violation

if TYPE_CHECKING:
    from holdfast_raft.driver import Driver
    from holdfast_raft.group import Group
    from holdfast_raft.sim import SimDisk

    from tests.sim.cluster import SimNode
    from tests.sim.shards import ShardCluster

AGES_EVERY = 8
"""Events of a node between two looks at the ages it claims."""


# Read where the engine keeps them, after every event: its properties took a fifth of a schedule's time.
_STATE, _TERM = "_SyncObj__raftState", "_SyncObj__raftCurrentTerm"
_COMMIT, _APPLIED = "_SyncObj__raftCommitIndex", "_SyncObj__raftLastApplied"
LEADING = 2


class _View:
    """What was last seen of one replica."""

    __slots__ = ("applied", "book", "commit", "core", "group", "led")

    def __init__(self, group: Group, book: GroupBook) -> None:
        self.group = group
        self.book = book
        self.core = group.engine._core.__dict__
        self.commit = self.applied = 0
        self.led = -1  # the last term seen leading


_Watched = tuple[object, list[_View]]
"""A node's process, and its replicas."""


class Listener(logging.Handler):
    """Hears what the product logs with an exception: what it caught there must be a fault's, not a defect."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, OSError | CallerFails | SnapshotDamaged):
            told = "".join(traceback.format_exception(error, limit=-3))
            self._oracle.fail(Violation(rule.SWALLOWED, f"{record.getMessage()}: {told}"))


class Oracle:
    """Looks at every replica after every event."""

    def __init__(self, cluster: ShardCluster) -> None:
        self._cluster = cluster
        self.books = {group: GroupBook(group) for group in cluster.groups}
        self.found: Violation | None = None
        self.disk_faulty: set[int] = set()
        """Nodes whose disk was made to fail: these may die of it."""
        self.ages = 0
        self.leader_changes = 0
        self._watched: dict[int, _Watched] = {}
        self._events = 0

    def fail(self, problem: Violation) -> None:
        """Keeps the first violation for `look` to raise."""
        if self.found is None:
            self.found = problem

    def look(self, owner: int) -> None:
        """After an event of node `owner`; 0: of the world."""
        if self.found is not None:
            raise self.found
        if not owner:
            return
        node = self._cluster.nodes[owner]
        if node.driver is None:
            if node.died is not None and owner not in self.disk_faulty:
                raise Violation(rule.REPLICA_STOPPED, f"node {owner} died: {node.died!r}")
            return
        self._events += 1
        watched = self._watched.get(owner)
        if watched is None or watched[0] is not node.driver:
            watched = self._watch(owner, node.driver)
            if len(watched[1]) == len(node.machines):
                self._watched[owner] = watched  # else it is starting: more will come
        for view in watched[1]:
            core = view.core
            if core[_COMMIT] != view.commit or core[_APPLIED] != view.applied:
                self._moved(owner, view)
            if core[_STATE] == LEADING and core[_TERM] != view.led:
                self._new_leader(owner, view)
            if view.group.stopped:
                why = f"node {owner} group {view.group.id}: {view.group.stopped}"
                raise Violation(rule.REPLICA_STOPPED, why)
        if self._events % AGES_EVERY == 0:
            for view in watched[1]:
                self._check_age(owner, view.group, view.book)

    def _watch(self, owner: int, driver: Driver) -> _Watched:
        """What is to be looked at of a node's process."""
        return driver, [self._view(owner, group) for group in driver.groups.values()]

    def _view(self, owner: int, group: Group) -> _View:
        self._cluster.promises.note_birth(owner, group.born)
        return _View(group, self.books[group.id])

    def _moved(self, node: int, view: _View) -> None:
        engine, journal, book = view.group.engine, view.group.journal, view.book
        commit, applied = engine.commit_index, engine.applied_index
        where = f"node {node} group {view.group.id}"
        if commit < view.commit or applied < view.applied:
            went = f"from {view.commit, view.applied} to {commit, applied}"
            raise Violation(rule.COMMIT_ORDER, f"{where}: (commit, applied) went {went}")
        if not applied <= commit <= journal.last_index:
            raise Violation(
                rule.COMMIT_ORDER,
                f"{where}: applied {applied}, committed {commit}, the log ends at {journal.last_index}",
            )
        view.commit, view.applied = commit, applied
        if view.group.leadership is not None:
            self._check_match(where, view.group)
        if applied > book.applied_max:
            book.applied_max = applied
            book.applied_max_term = journal.term_at(applied) or 0

    def _check_match(self, where: str, group: Group) -> None:
        """What the leader counts on its followers, as far as they are in its term."""
        assert group.leadership is not None
        for peer, progress in group.leadership.followers.items():
            driver = self._cluster.nodes[peer].driver
            follower = driver.groups.get(group.id) if driver is not None else None
            if follower is None or follower.engine.term != group.engine.term:
                continue
            there, here = follower.journal.term_at(progress.match), group.journal.term_at(progress.match)
            if there != here and here is not None and follower.journal.base_index < progress.match:
                raise Violation(
                    rule.TRUE_MATCH,
                    f"{where} counts {progress.match} of term {here} on node {peer},"
                    f" whose log ends at {follower.journal.last_index}",
                )

    def _new_leader(self, node: int, view: _View) -> None:
        group, book = view.group, view.book
        term, journal = group.engine.term, group.journal
        view.led = term
        self.leader_changes += 1
        if self._cluster.say is not None:
            self._cluster.say(f"{node} LEADS group {group.id} in term {term}")
        known = book.leaders.setdefault(term, node)
        if known != node:
            raise Violation(rule.ONE_LEADER, f"nodes {known} and {node}, group {group.id}, term {term}")
        promises, members = self._cluster.promises, self._cluster.groups[group.id]
        voters = {node} | {voter for voter in members if promises.voted(group.id, term, voter) == node}
        if len(voters) * 2 <= len(members):
            why = f"node {node} leads group {group.id} in term {term} by the votes of {sorted(voters)}"
            raise Violation(rule.ELECTED, why)
        if term < book.applied_max_term:
            return  # it was elected before, and hears of it late; it can commit nothing
        index = book.applied_max
        if journal.base_index < index and journal.term_at(index) != book.applied_max_term:
            raise Violation(
                rule.LEADER_COMPLETE,
                f"node {node} leads group {group.id} in term {term} without"
                f" index {index} of term {book.applied_max_term}, which was applied",
            )

    def _check_age(self, node: int, group: Group, book: GroupBook) -> None:
        """A state said to be so old holds what was acknowledged before."""
        if self._cluster.world.is_paused(node):
            return
        age_ms = group.staleness_ms()
        if age_ms is None:
            return
        self.ages += 1
        least = book.acknowledged_before(self._cluster.world.now - age_ms / 1000)
        if group.applied_index < least:
            raise Violation(
                rule.BOUNDED,
                f"node {node} group {group.id} says {age_ms} ms, has {group.applied_index}, lacks {least}",
            )

    # ---- what clients are told -----------------------------------------------------------------------

    def acknowledged(self, group: int, index: int) -> None:
        """A write is acknowledged that was applied at `index` or before."""
        book = self.books[group]
        book.acknowledged(index, self._cluster.world.now)
        agreed = book.agreed.get(index)
        if agreed is not None:
            self._check_durable(group, index, *agreed)

    def _check_durable(self, group: int, index: int, term: int, entry: bytes) -> None:
        """Counted in the bytes of the disks, not in what the WALs say of themselves."""
        holders = [
            node.number
            for node in self._cluster.nodes.values()
            if _holds(node, self._cluster.wiped, group, index, term, entry)
        ]
        if len(holders) * 2 <= len(self._cluster.groups[group]):
            self.fail(
                Violation(
                    rule.DURABLE, f"group {group}: index {index} is acknowledged, on disk only of {holders}"
                )
            )

    def check_linearizable(self, where: str, group: int, least: int, index: int) -> None:
        """A linearizable read served from `index`; at its start `least` was applied somewhere."""
        if index < least:
            self.fail(Violation(rule.LINEARIZABLE, f"{where}: read at {index}, {least} was applied before"))

    def check_session(self, where: str, needed: int, index: int) -> None:
        if index < needed:
            self.fail(Violation(rule.SESSION, f"{where}: read at {index}, the session has seen {needed}"))

    def check_bounded(self, where: str, group: int, bound_ms: int, index: int) -> None:
        least = self.books[group].acknowledged_before(self._cluster.world.now - bound_ms / 1000)
        if index < least:
            self.fail(
                Violation(
                    rule.BOUNDED, f"{where}: read at {index}, {least} was acknowledged {bound_ms} ms before"
                )
            )

    def check_read(self, where: str, group: int, op: Op, result: OpResult, index: int) -> None:
        try:
            self.books[group].check_read(where, op, result, index)
        except Violation as problem:
            self.fail(problem)

    def check_result(self, where: str, group: int, name: Name, result: OpResult) -> None:
        try:
            self.books[group].check_result(where, name, result)
        except Violation as problem:
            self.fail(problem)

    def check_unary(self, where: str, group: int, data: bytes, result: OpResult) -> None:
        executed = self.books[group].unary.get(data)
        if executed != result:
            self.fail(Violation(rule.ANSWERS, f"{where}: answered {result}, the log says {executed}"))

    def refused(self, group: int, name: Name, data: bytes = b"") -> None:
        """A client concludes that its operation never took effect, and never will. data: of a unary call."""
        book = self.books[group]
        book.refused.add(name)
        if name in book.executed or data in book.unary:
            self.fail(
                Violation(
                    rule.EXACTLY_ONCE, f"group {group}: {name[1]} executed, its client is told it did not"
                )
            )


def _holds(
    node: SimNode, wiped: Mapping[int, SimDisk], group: int, index: int, term: int, entry: bytes
) -> bool:
    """Whether a disk keeps the entry through a loss of power, in a log that holds it."""
    if node.driver is not None and group in node.driver.groups:
        journal = node.driver.groups[group].journal
        if journal.term_at(index) != term:
            return journal.base_index >= index
        if index <= journal.base_index:
            return True
    # A disk that was lost since counts: what its node had confirmed was true.
    disk = wiped.get(node.number, node.disk)
    if disk.durable_contains("wal/", entry):
        return True
    names = disk.durable_names(f"{SNAPSHOTS}/{group}/")
    return any(int(name.split("/")[-1].split("-")[0]) >= index for name in names if name.endswith(".snap"))
