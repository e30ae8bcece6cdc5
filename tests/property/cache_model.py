"""The cache state machine once more, obvious instead of fast: what the real one is compared with.

One dict of keys; counts, deadlines, order and victims are worked out anew each time they are needed. It
shares with the real one the decoder, the result tuples and the limits, and nothing else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from holdfast.errors import Reason
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import Op
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.results import OpResult, TxnOutcome
from holdfast_node.cache.sessions import value_bytes


class Held(NamedTuple):
    value: bytes
    revision: int
    deadline: int
    recency: int


class Refused(Exception):
    def __init__(self, reason: Reason, revision: int = 0) -> None:
        self.result = OpResult(int(reason), revision)


def size(key: bytes, held: Held) -> int:
    return len(key) + len(held.value) + 64


def bare(result: OpResult) -> OpResult:
    """The result without what is said to people."""
    txn = result.txn
    if txn is not None:
        txn = TxnOutcome(txn.succeeded, tuple(bare(step) for step in txn.results))
    return result._replace(message="", field="", retry_after_ms=0, txn=txn)


@lru_cache(4096)
def decode(data: bytes) -> Op | None:
    """The operation; None: it is none."""
    try:
        return commands.decode_operation(data)
    except commands.DecodeError:
        return None


class Model:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.keys: dict[bytes, Held] = {}
        self.revision = self.stamp = 0
        self.hand = b""
        self.sessions: dict[bytes, dict[str, Any]] = {}
        self.events: list[tuple[Any, ...]] = []
        self.evicts_left = self.looks_left = 0
        self.fitted = False  # whether the present write evicted, and so made its revision

    def bytes(self) -> int:
        return sum(size(key, held) for key, held in self.keys.items())

    def event(self, kind: str, key: bytes) -> None:
        held = self.keys.get(key)
        self.events.append((kind, key, self.revision, held and held.value, held.deadline if held else 0))

    def drop(self, kind: str, keys: list[bytes]) -> None:
        if keys:
            self.revision += 1
        for key in keys:
            del self.keys[key]
            self.event(kind, key)

    def late(self, key: bytes) -> bool:
        return key in self.keys and 0 < self.keys[key].deadline <= self.stamp

    # ---- entries

    def apply(self, entry: bytes) -> list[list[OpResult]]:
        opened = commands.decode_entry(entry)
        self.stamp = max(self.stamp, opened.stamp_ms)
        self.evicts_left, self.looks_left = limits.EVICT_KEYS_MAX, limits.EVICT_LOOKS_MAX
        self.sessions = {name: s for name, s in self.sessions.items() if s["until"] >= self.stamp}
        if opened.kind == commands.BATCH:
            return [self.run(run) for run in opened.runs]
        if opened.kind == commands.EXPIRE:
            due = sorted((held.deadline, key) for key, held in self.keys.items() if self.late(key))
            self.drop("EXPIRED", [key for _, key in due[: opened.keys_max]])
        elif opened.kind == commands.TOUCH_SAMPLES:
            for key in opened.keys:
                if key in self.keys:
                    self.keys[key] = self.keys[key]._replace(recency=min(3, self.keys[key].recency + 1))
        elif opened.kind == commands.SET_POLICY:
            assert opened.policy
            self.policy = opened.policy
        elif self.policy.eviction is Eviction.CLOCK:
            self.evicts_left = min(self.evicts_left, opened.keys_max)
            self.evict(self.policy.budget_bytes, [])
        return []

    def evict(self, target: int, spared: list[bytes]) -> None:
        gone = []
        while self.bytes() > target and self.evicts_left and self.looks_left > 0:
            key = min((key for key in self.keys if key >= self.hand), default=None)
            if key is None:
                if not self.hand:
                    break
                self.looks_left, self.hand = self.looks_left - 1, b""
                continue
            self.looks_left, self.hand = self.looks_left - 1, key + b"\0"
            held = self.keys[key]
            if key not in spared:
                if held.recency:
                    self.keys[key] = held._replace(recency=held.recency - 1)
                else:
                    del self.keys[key]
                    gone.append(key)
                    self.evicts_left -= 1
        if gone:
            self.revision += 1
            for key in gone:
                self.event("EVICTED", key)

    # ---- operations

    def run(self, run: commands.Run) -> list[OpResult]:
        ops = [decode(data) for data in run.operations]
        session = None
        if run.session:
            latest = min(
                max((op.not_after for op in ops if op), default=0), self.stamp + limits.NOT_AFTER_AHEAD_MS_MAX
            )
            session = self.sessions.setdefault(run.session, {"mark": 0, "until": self.stamp, "done": {}})
            session["until"] = max(session["until"], latest)
            session["mark"] = max(session["mark"], run.answered_below)
        return [self.operation(op, data, session) for op, data in zip(ops, run.operations, strict=True)]

    def operation(self, op: Op | None, data: bytes, session: dict[str, Any] | None) -> OpResult:
        if op is None:
            return OpResult(int(Reason.INVALID))
        if op.not_after < self.stamp:
            return OpResult(int(Reason.TOO_LATE))
        if op.not_after > self.stamp + limits.NOT_AFTER_AHEAD_MS_MAX:
            return OpResult(int(Reason.INVALID))
        if session is not None:
            if op.sequence < session["mark"]:
                return OpResult(int(Reason.SEQUENCE_REUSED))
            if op.sequence in session["done"]:
                known, not_after, result = session["done"][op.sequence]
                if not_after >= self.stamp:
                    return result if known == data else OpResult(int(Reason.SEQUENCE_REUSED))
        named = op.keys()
        for_expiry = [key for key in named if self.late(key)]
        if op.range is not None:
            within = sorted(key for key in self.keys if key in op.range)
            if len(within) > limits.DELETE_KEYS_MAX and not op.paged:
                return OpResult(int(Reason.TOO_MANY_KEYS))
            for_expiry = [key for key in within[: limits.DELETE_KEYS_MAX] if self.late(key)]
        self.drop("EXPIRED", for_expiry)
        try:
            result = self.write(op)
        except Refused as refused:
            return refused.result
        if session is not None:
            kept = result
            if value_bytes(result) > limits.REPEAT_VALUE_BYTES_MAX:
                kept = OpResult(int(Reason.PREVIOUS_NOT_KEPT), result.revision)
            session["done"][op.sequence] = (data, op.not_after, kept)
        return result

    def write(self, op: Op) -> OpResult:
        if op.range is not None:
            gone = sorted(key for key in self.keys if key in op.range)
            self.drop("DELETED", gone)
            return OpResult(0, self.revision if gone else 0, deleted=len(gone))
        before, hand, names = dict(self.keys), self.hand, set(self.keys)
        steps, succeeded = (op,), True
        if op.txn is not None:
            succeeded = all(self.holds(compare) for compare in op.txn.compares)
            steps = op.txn.then if succeeded else op.txn.otherwise
        changed: dict[bytes, str] = {}
        try:
            results = tuple(self.step(step, changed) for step in steps)
            after, self.keys = self.keys, before
            self.fit(after, op, changed)
        except Refused:
            self.keys, self.hand = before, hand
            raise
        if changed:
            for key in changed:
                self.keys.pop(key, None)
                if key in after:
                    self.keys[key] = after[key]
            if not self.fitted:  # victims share the write's revision
                self.revision += 1
            for key in sorted(changed):
                if key in names or key in self.keys:
                    self.event(changed[key], key)
        if op.txn is not None:
            return OpResult(0, self.revision if changed else 0, txn=TxnOutcome(succeeded, results))
        return results[0]

    def fit(self, after: dict[bytes, Held], op: Op, changed: dict[bytes, str]) -> None:
        """Evicts for the difference, in the revision that the write is about to have."""
        self.fitted = False
        total = sum(size(key, held) for key, held in after.items())
        budget, present = self.policy.budget_bytes, self.bytes()
        if total <= present or total <= budget:
            return
        if self.policy.eviction is Eviction.NOEVICT:
            raise Refused(Reason.OUT_OF_SPACE)
        if sum(size(key, after[key]) for key in changed if key in after) > budget:
            raise Refused(Reason.OUT_OF_SPACE)
        if present > budget + budget // limits.BUDGET_OVERSHOOT:
            raise Refused(Reason.BUSY)
        revision = self.revision
        self.evict(budget - (total - present), list(op.keys()))
        self.fitted = self.revision > revision

    def holds(self, compare: commands.Compare) -> bool:
        held = self.keys.get(compare.key)
        if compare.revision >= 0:
            return compare.revision == (held.revision if held else 0)
        return compare.exists == (held is not None)

    def step(self, op: Op, changed: dict[bytes, str]) -> OpResult:
        """One step on self.keys, which the caller puts back if a later one is refused."""
        old, revision = self.keys.get(op.key), self.revision + 1
        present = old.revision if old else 0
        previous = old.value if old and op.return_previous else None
        recency = min(3, old.recency + 1) if old else 1
        deadline = self.stamp + op.ttl_ms if op.ttl_ms else 0
        if op.kind == commands.GET:
            if old is None:
                return OpResult()
            ttl = old.deadline - self.stamp if old.deadline else 0
            return OpResult(0, old.revision, old.value, ttl_ms=ttl)
        if (
            (op.presence == commands.ABSENT and old)
            or (op.presence == commands.PRESENT and not old)
            or op.if_revision not in (-1, present)
        ):
            raise Refused(Reason.CONDITION_FAILED, present)
        if op.kind in (commands.PUT, commands.COMPARE_AND_SET):
            self.keys[op.key] = Held(op.value, revision, deadline, recency)
            changed[op.key] = "PUT"
            return OpResult(0, revision, previous)
        if op.kind == commands.INCREMENT:
            assert op.sum
            if old and not re.fullmatch(rb"-?[0-9]{1,19}", old.value):
                raise Refused(Reason.WRONG_TYPE, present)
            total = (int(old.value) if old else op.sum.initial) + op.sum.by
            if old and not -(2**63) <= int(old.value) < 2**63:
                raise Refused(Reason.WRONG_TYPE, present)
            if not op.sum.minimum <= total <= op.sum.maximum:
                raise Refused(Reason.CONDITION_FAILED, present)
            deadline = old.deadline if old else deadline
            self.keys[op.key] = Held(str(total).encode(), revision, deadline, recency)
            changed[op.key] = "PUT"
            return OpResult(0, revision, number=total)
        if old is None:
            return OpResult()
        if op.kind == commands.DELETE:
            del self.keys[op.key]
            changed[op.key] = "DELETED"
            return OpResult(0, revision, previous, deleted=1)
        self.keys[op.key] = Held(old.value, old.revision, deadline, recency)
        changed[op.key] = "PUT" if changed.get(op.key) == "PUT" else "TOUCHED"
        return OpResult(0, revision)
