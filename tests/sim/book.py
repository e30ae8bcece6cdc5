"""What is known of one group, over all its replicas and all their lives.

Every entry that was ever in a log, what was applied where, and what an obvious model of the cache
(tests/property/cache_model.py) makes of it; and what clients may so be told.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from holdfast_node.cache import commands
from holdfast_node.cache.op import GET, Op
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.state import State

from tests.property.cache_model import Model, bare, decode
from tests.sim import violation as rule
from tests.sim.violation import Violation

Name = tuple[bytes, int]
"""(session, sequence) of an operation."""

Version = tuple[int, bytes | None, int]
"""(revision, value, deadline) of a key; (0, None, 0): it is not there."""

WALL_MS = 1_790_000_000_000
"""What a right wall clock shows at the world's zero."""
TTL_SLACK_MS = 15
"""Stamps are whole ms, and the group's clock may run 1 % fast."""
DIGEST_EVERY = 16
"""Entries between two digests of a replica's state."""


ABSENT: Version = (0, None, 0)


class GroupBook:
    """See the module docstring."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.entries: dict[tuple[int, int], tuple[int, bytes]] = {}  # (index, term) -> (term before, entry)
        self._appended_at: dict[tuple[int, int], float] = {}  # when it was first in any log
        self.agreed: dict[int, tuple[int, bytes]] = {}  # index -> (term, entry) as first applied
        self.leaders: dict[int, int] = {}  # term -> node
        self.applied_max = 0
        self.applied_max_term = 0
        self.model = Model(Policy())
        self.model_index = 0
        self._prints: dict[int, tuple[int, ...]] = {}
        self._results: dict[int, list[list[OpResult]]] = {}
        self._digests: dict[int, str] = {}
        self._versions: dict[bytes, tuple[list[int], list[Version]]] = {}
        self._stamps: tuple[list[int], list[int]] = ([], [])  # indexes, stamps
        self.executed: dict[Name, OpResult] = {}
        self.unary: dict[bytes, OpResult] = {}
        self.refused: set[Name] = set()
        self._ttl_since: dict[bytes, tuple[float, int, float]] = {}  # key -> (seconds, ms, ms)
        self._acked_at: list[float] = []
        self._acked_index: list[int] = []  # the highest up to then
        self.expired = self.evicted = 0

    # ---- logs ----------------------------------------------------------------------------------------

    def appended(self, index: int, term: int, term_before: int, entry: bytes, node: int, now: float) -> None:
        """A log holds the entry at (index, term) behind one of `term_before`."""
        known = self.entries.setdefault((index, term), (term_before, entry))
        self._appended_at.setdefault((index, term), now)
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
            self._first(where, index, term, data, results, now)
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
        for key in sorted({*self.model.keys, *(item.key for item in state.scan(limit=10**6).items)}):
            held, expected = state.get(key), self.model.keys.get(key)
            if held == (expected and (expected.value, expected.revision, expected.deadline)):
                continue
            raise Violation(rule.SAME_STATE, f"{where}: {key!r} is {held}, the model has {expected}")

    def _first(
        self, where: str, index: int, term: int, data: bytes, results: Sequence[list[OpResult]], now: float
    ) -> None:
        """Nobody had applied this entry: what it does is worked out once more."""
        model = self.model
        seen = len(model.events)
        opened = commands.decode_entry(data)
        # Before the model judges: a repeat that executes again is named for what it is.
        new: list[Op] = []
        for run, answers in zip(opened.runs, results, strict=False):
            new += self._execute(where, run, answers)
        self._results[index] = model.apply(data)
        self.model_index = index
        self._stamps[0].append(index)
        self._stamps[1].append(model.stamp)
        self._prints[index] = self._model_print()
        held = model.keys
        for kind, key, *_ in model.events[seen:]:
            indexes, versions = self._versions.setdefault(key, ([], []))
            indexes.append(index)
            now_held = held.get(key)
            versions.append((now_held.revision, now_held.value, now_held.deadline) if now_held else ABSENT)
            if kind == "EXPIRED":
                self.expired += 1
                self._check_expiry(where, key, now)
            elif kind == "EVICTED":
                self.evicted += 1
        started = self._appended_at[index, term]
        for op in new:
            # A group's clock that lags behind may step forward later, where the contract counts by it.
            lag_ms = max(0.0, WALL_MS + started * 1000 - model.stamp)
            self._ttl_since[op.key] = (started, op.ttl_ms, lag_ms)

    def _model_print(self) -> tuple[int, ...]:
        """What `_print` says of a state, as the model has it."""
        model = self.model
        deadline = min((h.deadline for h in model.keys.values() if h.deadline), default=0)
        return (model.revision, model.stamp, len(model.keys), model.bytes(), deadline)

    def _execute(self, where: str, run: commands.Run, answers: list[OpResult]) -> Iterator[Op]:
        """Notes what takes effect; yields those that begin a time to live."""
        for operation, answer in zip(run.operations, answers, strict=True):
            if answer.error:
                continue
            op = decode(operation)
            assert op is not None, f"{where}: what is no operation has taken effect"
            if not run.session:
                if operation in self.unary or (b"", op.sequence) in self.refused:
                    why = "executes, its client was told it did not, or twice"
                    raise Violation(rule.EXACTLY_ONCE, f"{where}: {op} has no session and {why}")
                self.unary[operation] = answer
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
                    yield op

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

    def value_at(self, key: bytes, index: int) -> tuple[int, bytes | None, int]:
        """(revision, value, ms left to live) of a key once everything up to `index` is applied."""
        indexes, versions = self._versions.get(key, ([], []))
        count = bisect_right(indexes, index)
        revision, value, deadline = versions[count - 1] if count else ABSENT
        stamped = bisect_right(self._stamps[0], index)
        left = max(deadline - self._stamps[1][stamped - 1], 1) if deadline else 0
        return revision, value, left

    def check_read(self, where: str, op: Op, result: OpResult, index: int) -> None:
        """The result of a Get or Scan of the state at `index`."""
        if op.kind == GET:
            got: object = (result.revision, result.value, result.ttl_ms)
            expected: object = self.value_at(op.key, index)
        else:
            assert op.range is not None
            items = result.page.items if result.page is not None else ()
            got = [(item.key, (item.revision, item.value, item.ttl_ms)) for item in items]
            keys = sorted(key for key in self._versions if key in op.range)
            found = [(key, self.value_at(key, index)) for key in keys]
            expected = [(key, version) for key, version in found if version[1] is not None]
        if result.error or got != expected:
            why = f"read at index {index} as {got} {result.message}, the log says {expected}"
            raise Violation(rule.ANSWERS, f"{where}: {op.key!r} {why}")

    def check_result(self, where: str, name: Name, result: OpResult) -> None:
        """A client is told this about its operation."""
        if result.error:
            return
        executed = self.executed.get(name)
        if executed is None or executed != result:
            raise Violation(rule.ANSWERS, f"{where}: {name[1]} answered {result}, the log says {executed}")


def _print(state: State) -> tuple[int, ...]:
    return (state.revision, state.stamp_ms, state.key_count, state.byte_count, state.next_deadline() or 0)


def _bare(results: Sequence[Sequence[OpResult]]) -> list[list[OpResult]]:
    return [[bare(result) for result in run] for run in results]
