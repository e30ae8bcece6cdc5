"""What is known of groups that come from each other: the model of a cut and of a merge, and their books.

A target's book begins where its sources' books ended: with their model at the Seal, restricted to its range,
and with all that their clients were told. What an operation's name did is known once for a namespace, so that
nothing executes in two groups.
Source: protocols.md 7; docs/decisions/0006-reshape.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast_node.cache import commands
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult
from holdfast_node.cache.seal import Sealed, Target
from holdfast_node.cache.state import State

from tests.property.cache_model import Model
from tests.sim import violation as rule
from tests.sim.book import GroupBook, Version
from tests.sim.violation import Violation

VERDICTS = (commands.SEAL, commands.ABORT, commands.UNSEAL)
Contents = dict[bytes, Version]


def contents_of(state: State) -> Contents:
    """Every key of a state as it stands."""
    found = {}
    for item in state.scan(limit=10**6).items:
        record = state.get(item.key)
        assert record is not None, f"{item.key!r} is scanned and not there"
        found[item.key] = (record.revision, record.value, record.deadline_ms)
    return found


class LineageModel(Model):
    """The obvious cache once more, with what ends it and what begins from it."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.sealed: Sealed | None = None
        self.floor = 0
        self.place = (0, 0)
        """Of the entry that is applied next."""

    def apply(self, entry: bytes) -> list[list[OpResult]]:
        """Verdicts are answered nothing: who asked for them looks at the state."""
        kind = entry[0]
        if self.sealed is None:
            if kind not in VERDICTS:
                return super().apply(entry)
            opened = commands.decode_entry(entry)
            self.stamp = max(self.stamp, opened.stamp_ms)
            self.sessions = {name: s for name, s in self.sessions.items() if s["until"] >= self.stamp}
        if kind in VERDICTS:
            self._judge(commands.decode_entry(entry))
        elif kind == commands.BATCH:
            assert self.sealed is not None
            refusal = OpResult(int(Reason.WRONG_SHARD if self.sealed.decides else Reason.BUSY))
            return [[refusal] * len(run.operations) for run in commands.decode_entry(entry).runs]
        return []

    def _judge(self, entry: commands.Entry) -> None:
        """Spec: the first verdict of a plan that is applied holds."""
        if entry.kind == commands.SEAL:
            seal = entry.seal
            assert seal is not None
            if self.sealed is None and seal.plan > self.floor:
                self.sealed = Sealed(seal.plan, seal.decides, *self.place, seal.targets, seal.others)
            return
        mine = self.sealed is not None and self.sealed.plan == entry.plan
        if mine and (entry.kind == commands.ABORT or (self.sealed and self.sealed.decides)):
            return
        if mine:
            self.sealed = None
        self.floor = max(self.floor, entry.plan)

    # ---- hand-over -----------------------------------------------------------------------------------

    def cut(self, start: bytes, end: bytes) -> LineageModel:
        """What the target of [start, end) begins with."""
        span = KeyRange(start, end)
        part = LineageModel(self.policy)
        part.revision, part.stamp = self.revision, self.stamp
        part.keys = {key: held for key, held in self.keys.items() if key in span}
        part.hand = self.hand if self.hand in span else b""
        part.sessions = copy.deepcopy(self.sessions)
        return part

    @staticmethod
    def joined(models: Sequence[LineageModel]) -> LineageModel:
        """What the target of a merge begins with; models: in key order."""
        whole = LineageModel(models[0].policy)
        whole.revision = max(model.revision for model in models)
        whole.stamp = max(model.stamp for model in models)
        whole.hand = models[0].hand
        for model in models:
            shift = whole.stamp - model.stamp
            for key, held in model.keys.items():
                whole.keys[key] = held._replace(deadline=held.deadline and held.deadline + shift)
            for name, session in copy.deepcopy(model.sessions).items():
                whole._join(name, session, shift)
        return whole

    def _join(self, name: bytes, session: dict[str, object], shift: int) -> None:
        known = self.sessions.setdefault(name, {"mark": 0, "until": 0, "done": {}})
        known["mark"] = max(known["mark"], session["mark"])
        known["until"] = max(known["until"], session["until"] + shift)  # type: ignore[operator]
        for sequence, (data, not_after, result) in session["done"].items():  # type: ignore[attr-defined]
            held = known["done"].get(sequence)
            if held is None or not_after + shift > held[1]:
                known["done"][sequence] = (data, not_after + shift, result)


class LineageBook(GroupBook):
    """The book of a shard that may come from others and may end.

    Attributes:
        model: as in GroupBook.
        span: its keys.
        members: nodes.
        base: (index, term) at which it began.
        parents: the books it came from.
        born: contents of its first state; None: it began empty.
    """

    model: LineageModel

    def __init__(self, group: int, namespace: str, span: KeyRange, members: tuple[int, ...]) -> None:
        super().__init__(group)
        self.model = LineageModel(Policy())
        self.namespace = namespace
        self.span = span
        self.members = members
        self.base = (1, 0)
        self.parents: tuple[LineageBook, ...] = ()
        self.born: Contents | None = None
        self.print_at_birth: tuple[int, ...] = ()

    @property
    def sealed(self) -> Sealed | None:
        """The Seal that ended it, as far as anybody has applied it."""
        return self.model.sealed

    def share(self, other: LineageBook) -> None:
        """Both are of one namespace: what was executed and told is known to both."""
        self.executed, self.unary, self.refused = other.executed, other.unary, other.refused

    def begin(self, sources: Sequence[LineageBook], target: Target) -> None:
        """Begins where the sealed sources ended; they are in key order."""
        self.share(sources[0])
        self.parents = tuple(sources)
        seals = [source.sealed for source in sources]
        assert all(seals)
        self.base = (max(s.index for s in seals if s), max(s.term for s in seals if s))
        models = [source.model for source in sources]
        self.model = models[0].cut(target.start, target.end)
        if len(models) > 1:
            self.model = LineageModel.joined(models)
        index = self.base[0]
        self.model_index = self.applied_max = index
        self.applied_max_term = self.base[1]
        self._stamps = ([index], [self.model.stamp])
        self._prints[index] = self.print_at_birth = self._model_print()
        self.born = {}
        for key, held in self.model.keys.items():
            version = (held.revision, held.value, held.deadline)
            self._versions[key] = ([index], [version])
            self.born[key] = version
        for source in sources:
            for key, since in source._ttl_since.items():
                if key in self.span:
                    self._ttl_since[key] = since

    def check_birth(self, where: str, contents: Contents, figures: tuple[int, ...], digest: str) -> None:
        """A replica of it begins with this."""
        assert self.born is not None
        if contents != self.born or figures != self.print_at_birth:
            wrong = sorted(key for key in {*contents, *self.born} if contents.get(key) != self.born.get(key))
            told = {key: (contents.get(key), self.born.get(key)) for key in wrong}
            raise Violation(
                rule.HANDED_OVER,
                f"{where}: it begins with (revision, stamp, keys, bytes, deadline) {figures}, its sources"
                f" ended with {self.print_at_birth}; (here, there) differ in {told}",
            )
        if self._digests.setdefault(self.base[0], digest) != digest:
            raise Violation(rule.HANDED_OVER, f"{where}: the digest is not that of the other replicas' birth")

    def applied(  # type: ignore[override]
        self, node: int, index: int, term: int, data: bytes, results: Iterable[Sequence[object]],
        state: State, now: float,
    ) -> None:  # fmt: skip
        """As GroupBook.applied, of a shard that may be sealed."""
        bare = [[_as_result(result) for result in run] for run in results]
        if data[0] in VERDICTS:
            bare = []
        self.model.place = (index, term)
        super().applied(node, index, term, data, bare, state, now)
        if index < self.model_index:
            return
        ours, theirs = (self.model.sealed, self.model.floor), (state.sealed, state.floor)
        if ours != theirs:
            raise Violation(
                rule.SAME_STATE,
                f"node {node}, group {self.group}, index {index}: (sealed, floor) {theirs},"
                f" the model has {ours}",
            )

    def _model_print(self) -> tuple[int, ...]:
        figures = super()._model_print()
        return figures if self.model.sealed is None else (*figures[:-1], 0)


def _as_result(result: object) -> OpResult:
    return OpResult(int(result.reason)) if isinstance(result, HoldfastError) else result  # type: ignore[return-value]
