"""What must hold, whatever happens: judged from outside while a schedule runs.

A GroupBook knows one group over all its replicas and all their lives: every entry that was ever in a log,
what was applied where, and what an obvious model of the cache (tests/property/cache_model.py) makes of
it. The Oracle looks at the replicas after every event and at every answer.

The first violation is kept and raised by `look`, which the world calls after each event: raised where it
is found it would pass through the product's own error handling.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast_node.cache import commands
from holdfast_node.cache.op import GET, Op
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.state import State

from tests.property.cache_model import Model, bare, decode
from tests.sim import violation as rule
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from holdfast_raft.group import Group

    from tests.sim.cluster import Cluster, SimNode

Name = tuple[bytes, int]
"""(session, sequence) of an operation."""

DIGEST_EVERY = 16
"""Entries between two digests of a replica's state."""
AGES_EVERY = 8
"""Events of a node between two looks at the ages it claims."""
WALL_MS = 1_790_000_000_000
"""What a right wall clock shows at the world's zero."""
TTL_SLACK_MS = 15
"""Stamps are whole ms, and the group's clock may run 1 % fast."""


class GroupBook:
    """See the module docstring."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.entries: dict[tuple[int, int], tuple[int, bytes]] = {}  # (index, term) -> (term before, entry)
        self.agreed: dict[int, tuple[int, bytes]] = {}  # index -> (term, entry) as first applied
        self.leaders: dict[int, int] = {}  # term -> node
        self.applied_max = 0
        self.applied_max_term = 0
        self.model = Model(Policy())
        self.model_index = 0
        self._prints: dict[int, tuple[int, ...]] = {}
        self._results: dict[int, list[list[OpResult]]] = {}
        self._digests: dict[int, str] = {}
        self._versions: dict[bytes, tuple[list[int], list[tuple[int, bytes | None]]]] = {}
        self.executed: dict[Name, OpResult] = {}
        self._unary: set[bytes] = set()
        self.refused: set[Name] = set()
        self.invoked: dict[Name, float] = {}
        self._ttl_since: dict[bytes, tuple[float, int, float]] = {}  # key -> (seconds, ms, ms)
        self._acked_at: list[float] = []
        self._acked_index: list[int] = []  # the highest up to then
        self.expired = self.evicted = 0

    # ---- logs ----------------------------------------------------------------------------------------

    def appended(self, index: int, term: int, term_before: int, entry: bytes, node: int) -> None:
        """A log holds the entry at (index, term) behind one of `term_before`."""
        known = self.entries.setdefault((index, term), (term_before, entry))
        if known[0] != term_before or known[1] != entry:
            raise Violation(
                rule.LOG_MATCHING,
                f"node {node} holds another entry, or behind another, at index {index} of term {term}"
                f" in group {self.group}",
            )

    # ---- what is applied -----------------------------------------------------------------------------

    def applied(
        self, node: int, index: int, term: int, data: bytes, results: Sequence[list[OpResult]],
        state: State, now: float,
    ) -> None:  # fmt: skip
        """A replica applied an entry; `results` and `state` are what came of it."""
        where = f"node {node}, group {self.group}, index {index}"
        known = self.agreed.get(index)
        if known is None:
            if index <= self.model_index:
                raise Violation(rule.ONE_COMMAND, f"{where}: others applied no entry there")
            self.agreed[index] = (term, data)
            self._first(where, index, data, results, now)
        elif known != (term, data):
            raise Violation(rule.ONE_COMMAND, f"{where}: term {term}, others applied one of term {known[0]}")
        expected = self._results[index]
        if expected != results and _bare(expected) != _bare(results):
            raise Violation(rule.SAME_STATE, f"{where}: answered {results}, the model {expected}")
        if self._prints[index] != _print(state):
            raise Violation(
                rule.SAME_STATE,
                f"{where}: (revision, stamp, keys, bytes, deadline) {_print(state)},"
                f" the model has {self._prints[index]}",
            )
        if index % DIGEST_EVERY == 0:
            self.check_digest(where, index, state)

    def check_digest(self, where: str, index: int, state: State) -> None:
        digest = state.digest()
        if self._digests.setdefault(index, digest) != digest:
            raise Violation(rule.SAME_STATE, f"{where}: the digest is not the other replicas'")

    def check_contents(self, where: str, state: State) -> None:
        """The whole state against the model, where nothing was applied since."""
        held = {item.key: (item.value, item.revision) for item in state.scan(limit=10**6).items}
        expected = {key: (item.value, item.revision) for key, item in self.model.keys.items()}
        if held != expected:
            raise Violation(rule.SAME_STATE, f"{where}: the keys are not the model's")

    def _first(
        self, where: str, index: int, data: bytes, results: Sequence[list[OpResult]], now: float
    ) -> None:
        """Nobody had applied this entry: what it does is worked out once more."""
        model = self.model
        seen = len(model.events)
        opened = commands.decode_entry(data)
        # Before the model judges: a repeat that executes again is named for what it is.
        new: list[tuple[float, Op]] = []
        for run, answers in zip(opened.runs, results, strict=False):
            new += self._execute(where, run, answers)
        self._results[index] = model.apply(data)
        self.model_index = index
        held = model.keys
        deadline = min((h.deadline for h in held.values() if h.deadline), default=0)
        self._prints[index] = (model.revision, model.stamp, len(held), model.bytes(), deadline)
        for kind, key, *_ in model.events[seen:]:
            indexes, versions = self._versions.setdefault(key, ([], []))
            indexes.append(index)
            versions.append((held[key].revision, held[key].value) if key in held else (0, None))
            if kind == "EXPIRED":
                self.expired += 1
                self._check_expiry(where, key, now)
            elif kind == "EVICTED":
                self.evicted += 1
        for started, op in new:
            # A group's clock that lags behind may step forward later, where the contract counts by it.
            lag_ms = max(0.0, WALL_MS + started * 1000 - model.stamp)
            self._ttl_since[op.key] = (started, op.ttl_ms, lag_ms)

    def _execute(self, where: str, run: commands.Run, answers: list[OpResult]) -> Iterator[tuple[float, Op]]:
        """Notes what takes effect; yields those that begin a time to live, with when they were asked for."""
        for operation, answer in zip(run.operations, answers, strict=True):
            if answer.error:
                continue
            op = decode(operation)
            assert op is not None, f"{where}: what is no operation has taken effect"
            if not run.session:
                if operation in self._unary:
                    raise Violation(rule.EXACTLY_ONCE, f"{where}: {op} has no session and executes twice")
                self._unary.add(operation)
                continue
            name = (run.session, op.sequence)
            first = self.executed.get(name)
            if first is not None and first != answer:
                raise Violation(rule.EXACTLY_ONCE, f"{where}: {op} executed: {first}, and again: {answer}")
            if name in self.refused:
                raise Violation(rule.EXACTLY_ONCE, f"{where}: {op} executes, its client was told it did not")
            if first is None:
                self.executed[name] = answer
                if op.ttl_ms:
                    yield self.invoked[name], op

    def _check_expiry(self, where: str, key: bytes, now: float) -> None:
        since = self._ttl_since.get(key)
        if since is None:
            return
        started, ttl_ms, lag_ms = since
        lived_ms = (now - started) * 1000
        if lived_ms < ttl_ms * 0.99 - TTL_SLACK_MS - lag_ms:
            raise Violation(rule.TTL_EARLY, f"{where}: {key!r} of {ttl_ms} ms went after {lived_ms:.0f} ms")

    # ---- what is answered ----------------------------------------------------------------------------

    def acknowledged(self, index: int, now: float) -> None:
        """A client was told of a write at `index`, or of a read up to it that all later ones must see."""
        self._acked_at.append(now)
        self._acked_index.append(max(index, self._acked_index[-1] if self._acked_index else 0))

    def acknowledged_before(self, when: float) -> int:
        """The index that a state as old as that must have."""
        count = bisect_left(self._acked_at, when)
        return self._acked_index[count - 1] if count else 0

    def value_at(self, key: bytes, index: int) -> tuple[int, bytes | None]:
        """(revision, value) of a key once everything up to `index` is applied."""
        indexes, versions = self._versions.get(key, ([], []))
        count = bisect_right(indexes, index)
        return versions[count - 1] if count else (0, None)

    def check_read(self, where: str, op: Op, result: OpResult, index: int) -> None:
        """The result of a Get or Scan of the state at `index`."""
        if op.kind == GET:
            if (result.revision, result.value) != self.value_at(op.key, index):
                raise Violation(
                    rule.ANSWERS,
                    f"{where}: {op.key!r} read at index {index} as {result.revision} {result.value!r},"
                    f" the log says {self.value_at(op.key, index)}",
                )
            return
        assert op.range is not None
        assert result.page is not None
        got = {item.key: (item.revision, item.value) for item in result.page.items}
        expected = {key: self.value_at(key, index) for key in self._versions if key in op.range}
        expected = {key: version for key, version in expected.items() if version[1] is not None}
        if got != expected:
            raise Violation(rule.ANSWERS, f"{where}: a scan at index {index} is not what the log says")

    def check_result(self, where: str, name: Name, result: OpResult) -> None:
        """A client is told this about its operation."""
        if result.error:
            return
        executed = self.executed.get(name)
        if executed is None or executed != result:
            raise Violation(rule.ANSWERS, f"{where}: {name[1]} answered {result}, the log says {executed}")


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


class Oracle:
    """Looks at every replica after every event."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.books = {group: GroupBook(group) for group in cluster.groups}
        self.found: Violation | None = None
        self.disk_faulty: set[int] = set()
        """Nodes whose disk was made to fail: these may die of it."""
        self.ages = 0
        self.leader_changes = 0
        self._watched: dict[int, tuple[object, list[_View]]] = {}  # by node: its process, its replicas
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
            views = [_View(group, self.books[group.id]) for group in node.driver.groups.values()]
            watched = self._watched[owner] = (node.driver, views)
            if len(views) < len(node.machines):
                del self._watched[owner]  # it is starting: more will come
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
        for voter in group.engine._ballot._granted:
            if voter != node and self._cluster.promises.voted(group.id, term, voter) != node:
                raise Violation(
                    rule.ELECTED, f"node {node} leads in term {term}: node {voter} never gave it that vote"
                )
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
            node.number for node in self._cluster.nodes.values() if _holds(node, group, index, term, entry)
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

    def refused(self, group: int, name: Name) -> None:
        """A client concludes that its operation never took effect, and never will."""
        book = self.books[group]
        book.refused.add(name)
        if name in book.executed:
            self.fail(
                Violation(
                    rule.EXACTLY_ONCE, f"group {group}: {name[1]} executed, its client is told it did not"
                )
            )


def _holds(node: SimNode, group: int, index: int, term: int, entry: bytes) -> bool:
    """Whether a disk keeps the entry through a loss of power, in a log that holds it."""
    if node.driver is not None and group in node.driver.groups:
        journal = node.driver.groups[group].journal
        if journal.term_at(index) != term:
            return journal.base_index >= index
        if index <= journal.base_index:
            return True
    if node.disk.durable_contains("wal/", entry):
        return True
    return any(found >= index for found in node.durable_snapshots(group))


def _print(state: State) -> tuple[int, ...]:
    return (state.revision, state.stamp_ms, state.key_count, state.byte_count, state.next_deadline() or 0)


def _bare(results: Sequence[Sequence[OpResult]]) -> list[list[OpResult]]:
    return [[bare(result) for result in run] for run in results]
