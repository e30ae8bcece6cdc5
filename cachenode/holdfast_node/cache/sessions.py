"""Exactly once: which writes of a session took effect, and what they answered.

A write is named (session, sequence) for ever. A repeat finds its record and is answered from it; a
different operation under a used name is SEQUENCE_REUSED. Refused writes leave no record: they may be
tried again.

Invariants: a record stays until the stamp has passed its not_after or the client's mark has passed its
sequence, and after either the sequence can never execute again: TOO_LATE, or below the mark. A session's
mark stays until the stamp has passed every not_after it ever sent. The table is bounded by bytes; when it
is full, writes with a session are refused BUSY.
Not here: unary calls, which have no session and are never repeated.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from holdfast.errors import Reason

from holdfast_node.cache.bucket import HANDED, OWN
from holdfast_node.cache.op import PUT, Op
from holdfast_node.cache.results import OpResult, done
from holdfast_node.limits import (
    REPEAT_RECORD_BYTES,
    REPEAT_SESSION_BYTES,
    REPEAT_SESSION_VALUE_BYTES_MAX,
    REPEAT_TABLE_BYTES_MAX,
    REPEAT_VALUE_BYTES_MAX,
)

_PLAIN = done(0)[2:]


# A write that took effect: (check, not_after, revision, outcome); outcome None: its revision and nothing
# more. A plain tuple: the garbage collector stops tracking those without an outcome.
Applied = tuple[int, int, int, OpResult | None]


def value_bytes(result: OpResult | None) -> int:
    """Bytes of the values that a result holds."""
    if result is None:
        return 0
    held = 0 if result.value is None else len(result.value)
    if result.txn is not None:
        held += sum(value_bytes(step) for step in result.txn.results)
    return held


def not_kept(revision: int) -> OpResult:
    """What a repeat is told when the values it wants are gone."""
    return OpResult(
        int(Reason.PREVIOUS_NOT_KEPT),
        revision,
        message="the write took effect once; the values it answered are no longer kept",
    )


class Session:
    """One session's records and mark."""

    __slots__ = ("applied", "mark", "session_id", "shared", "until", "values")

    def __init__(self, session_id: bytes) -> None:
        self.session_id = session_id
        # sequence -> Applied, in the order of application
        self.applied: dict[int, Applied] = {}
        # Sequences below it are refused.
        self.mark = 0
        # The latest not_after seen.
        self.until = 0
        # Bytes of values kept in `applied`.
        self.values = 0
        # OWN, or somebody else reads `applied` (bucket.py): copy before the next change.
        self.shared = OWN

    def handed(self) -> Session:
        """The same for another state, by reference: whichever changes first copies."""
        other = Session(self.session_id)
        other.applied, other.mark, other.until, other.values = (
            self.applied,
            self.mark,
            self.until,
            self.values,
        )
        self.shared = other.shared = HANDED
        return other

    def later(self, shift_ms: int) -> Session:
        """The same for another state, every not_after so much later."""
        other = self.handed()
        if shift_ms:
            other.until += shift_ms
            other.applied = {
                sequence: (check, not_after + shift_ms, revision, outcome)
                for sequence, (check, not_after, revision, outcome) in self.applied.items()
            }
            other.shared = OWN
        return other

    def join(self, other: Session) -> None:
        """Takes in the same session's records of another source, operation by operation.

        Both have an operation when both were cut from one shard; a number used twice goes by the operation
        whose not_after is later, as the other one's may pass first.
        """
        mark = self.mark = max(self.mark, other.mark)
        self.until = max(self.until, other.until)
        both = dict(self.applied)
        for sequence, applied in other.applied.items():
            known = both.get(sequence)
            if known is None or applied[1] > known[1]:
                both[sequence] = applied
        # Oldest first, as records are dropped from the front once their not_after has passed.
        order = sorted(both.items(), key=lambda item: (item[1][1], item[0]))
        self.applied = {sequence: applied for sequence, applied in order if sequence >= mark}
        self.values = sum(value_bytes(applied[3]) for applied in self.applied.values())
        self.shared = OWN

    def own(self) -> dict[int, Applied]:
        """Its records, to be changed."""
        if self.shared:
            self.applied = self.applied.copy()
            self.shared = OWN
        return self.applied

    def answer(self, op: Op, stamp_ms: int) -> OpResult | None:
        """The answer to an operation that was seen before; None: it is new."""
        if op.sequence < self.mark:
            return OpResult(
                int(Reason.SEQUENCE_REUSED),
                message=f"sequence {op.sequence} is below {self.mark}, the session's own mark",
                field="sequence",
            )
        known = self.applied.get(op.sequence)
        if known is None or known[1] < stamp_ms:
            return None
        check, _, revision, outcome = known
        if check != op.check:
            return OpResult(
                int(Reason.SEQUENCE_REUSED),
                message=f"sequence {op.sequence} named another operation before",
                field="sequence",
            )
        return done(revision) if outcome is None else outcome


class Sessions:
    """The repeat table of a shard."""

    __slots__ = ("_wakes", "byte_count", "record_count", "table")

    def __init__(self) -> None:
        self.table: dict[bytes, Session] = {}
        self.byte_count = 0
        self.record_count = 0
        # (when to look, session): never later than the session's `until`. A hint about order only: when a
        # session goes depends on `until` alone.
        self._wakes: list[tuple[int, bytes]] = []

    def shed(self, count: int) -> int:
        """Lets go of about so many repeats, of a table that nobody uses any more; how many were not there."""
        while self.table and count > 0:
            count -= len(self.table.popitem()[1].applied) + 1
        return count

    def __repr__(self) -> str:
        return f"<Sessions sessions={len(self.table)} records={self.record_count} bytes={self.byte_count}>"

    def is_full(self) -> bool:
        """Whether new records must wait."""
        return self.byte_count >= REPEAT_TABLE_BYTES_MAX

    def open(self, session_id: bytes, answered_below: int, until: int, stamp_ms: int) -> Session:
        """The session of a run: raises its mark, drops what is answered or late.

        until: the latest not_after of the run's operations.
        """
        session = self.table.get(session_id)
        if session is None:
            session = self.table[session_id] = Session(session_id)
            self.byte_count += REPEAT_SESSION_BYTES
            session.until = max(until, stamp_ms)
            heapq.heappush(self._wakes, (session.until, session_id))
        elif until > session.until:
            session.until = until
        if answered_below > session.mark:
            self._drop_below(session, answered_below)
        self._drop_late(session, stamp_ms)
        return session

    def record(self, session: Session, op: Op, result: OpResult) -> None:
        """Notes a write that took effect."""
        kept: OpResult | None = None
        if (op.kind != PUT or result.value is not None) and result[2:] != _PLAIN:
            held = value_bytes(result)
            if held > REPEAT_VALUE_BYTES_MAX or session.values + held > REPEAT_SESSION_VALUE_BYTES_MAX:
                kept = not_kept(result.revision)
            else:
                # Where to go on is a hint that snapshots leave out, so no replica may answer it again.
                kept = result._replace(next=b"") if result.next else result
                session.values += held
                self.byte_count += held
        applied = session.applied if not session.shared else session.own()
        sequence = op.sequence
        if sequence in applied:  # what it named before is past its not_after
            self._drop(session, (sequence,))
        applied[sequence] = (op.check, op.not_after, result.revision, kept)
        self.byte_count += REPEAT_RECORD_BYTES
        self.record_count += 1

    def forget_late(self, stamp_ms: int) -> None:
        """Drops sessions whose every not_after the stamp has passed."""
        wakes = self._wakes
        while wakes and wakes[0][0] < stamp_ms:
            _, session_id = heapq.heappop(wakes)
            session = self.table[session_id]
            if session.until >= stamp_ms:
                heapq.heappush(wakes, (session.until, session_id))
                continue
            del self.table[session_id]
            self.record_count -= len(session.applied)
            self.byte_count -= (
                REPEAT_SESSION_BYTES + session.values + len(session.applied) * REPEAT_RECORD_BYTES
            )

    def handed(self) -> Sessions:
        """The table for another state, by reference. Costs the number of sessions."""
        other = Sessions()
        other.table = {name: session.handed() for name, session in self.table.items()}
        other.byte_count, other.record_count = self.byte_count, self.record_count
        other._wakes = self._wakes.copy()
        return other

    @staticmethod
    def joined(parts: Sequence[tuple[Sessions, int]]) -> Sessions:
        """The tables of several sources as one, each one's times so much later (ms).

        It may pass its bound by that; then new writes with a session wait, as ever.
        """
        whole = Sessions()
        for part, shift_ms in parts:
            for name, session in part.table.items():
                moved = session.later(shift_ms)
                held = whole.table.setdefault(name, moved)
                if held is not moved:
                    held.join(moved)
        for session in whole.table.values():
            whole.record_count += len(session.applied)
            whole.byte_count += REPEAT_SESSION_BYTES + session.values
            whole._wakes.append((session.until, session.session_id))
        whole.byte_count += whole.record_count * REPEAT_RECORD_BYTES
        heapq.heapify(whole._wakes)
        return whole

    def restore(self, session_id: bytes, mark: int, until: int) -> Session:
        """The session of a restore, made at its first part. Raises ValueError when the parts differ."""
        session = self.table.get(session_id)
        if session is None:
            session = self.open(session_id, 0, until, 0)
            session.mark = mark
        elif (session.mark, session.until) != (mark, until):
            raise ValueError("parts of a session differ")
        return session

    def restore_record(self, session: Session, sequence: int, applied: Applied) -> None:
        """Adds a record of a restore. Raises ValueError when it is there."""
        if sequence in session.applied:
            raise ValueError("a sequence stands twice in a session")
        session.applied[sequence] = applied
        held = value_bytes(applied[3])
        session.values += held
        self.byte_count += held + REPEAT_RECORD_BYTES
        self.record_count += 1

    def _drop(self, session: Session, sequences: Sequence[int]) -> None:
        """Drops records that are there. In one go: every write is dropped once."""
        if not sequences:
            return
        pop = session.own().pop
        held = 0
        for sequence in sequences:
            outcome = pop(sequence)[3]
            if outcome is not None:
                held += value_bytes(outcome)
        session.values -= held
        self.byte_count -= held + len(sequences) * REPEAT_RECORD_BYTES
        self.record_count -= len(sequences)

    def _drop_below(self, session: Session, mark: int) -> None:
        applied = session.applied
        if mark - session.mark <= len(applied):
            gone = [sequence for sequence in range(session.mark, mark) if sequence in applied]
        else:
            gone = [sequence for sequence in applied if sequence < mark]
        self._drop(session, gone)
        session.mark = mark

    def _drop_late(self, session: Session, stamp_ms: int) -> None:
        """Drops the oldest records while their not_after has passed."""
        gone = []
        for sequence, applied in session.applied.items():
            if applied[1] >= stamp_ms:
                break
            gone.append(sequence)
        self._drop(session, gone)
