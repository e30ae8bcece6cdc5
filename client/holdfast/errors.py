"""What can go wrong, by what the caller may do next.

    HoldfastError              .reason .outcome and the hints
    ├── RefusedError           no effect, now or later
    │   ├── InvalidError       a field is out of bounds; .field names it
    │   ├── ConditionFailedError  .revision is the key's present one
    │   ├── NoQuorumError      no majority answers
    │   ├── BusyError          .retry_after_ms
    │   ├── OutOfSpaceError    the namespace's budget is full and it never evicts
    │   └── (any other reason: RefusedError itself, see .reason)
    ├── UnknownOutcomeError    it may have happened
    ├── PreviousNotKeptError   it did happen, once; the previous value is no longer kept
    └── SomeFailedError        of many keys: .outcomes tells each one's

The SDK raises these; the server makes them and `rpc/convert.py` turns them into protobuf. `reason` is
the number in types.proto, so both sides speak the same words. Make one with `error(...)`, which picks
the class.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from holdfast.types import Outcome

if TYPE_CHECKING:
    from holdfast.shardmap import Shard


class Reason(IntEnum):
    """Why; numbers as in types.proto."""

    INVALID = 1
    NOT_LEADER = 2
    WRONG_SHARD = 3
    BUSY = 4
    LAGGING = 5
    NO_QUORUM = 6
    CONDITION_FAILED = 7
    UNKNOWN_NAMESPACE = 8
    TOO_LATE = 9
    SEQUENCE_REUSED = 10
    PREVIOUS_NOT_KEPT = 11
    OUT_OF_SPACE = 12
    DISK_FULL = 13
    DEADLINE = 14
    STOPPED = 15
    CROSS_SHARD = 16
    BAD_TOKEN = 17
    WRONG_TYPE = 18
    TOO_MANY_KEYS = 19
    COMPACTED = 20
    INTERNAL = 21
    LEADERSHIP_LOST = 22


class HoldfastError(Exception):
    """Any failure of an operation.

    Attributes:
        reason: why, to switch on.
        outcome: REFUSED or UNKNOWN; None only for PREVIOUS_NOT_KEPT (it did happen).
        message: for a person; not stable.
        field: INVALID: the field at fault, dotted from the request.
        retry_after_ms: BUSY: wait this long; 0 = no advice.
        leader: NOT_LEADER: gRPC address of the leader; empty = not known.
        shards: WRONG_SHARD, CROSS_SHARD: map entries that cover the key or range.
        applied_index: LAGGING: what the replica has applied.
        oldest_revision: COMPACTED: where a watch may still start.
        revision: CONDITION_FAILED: the key's present revision, 0 = it does not exist.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        outcome: Outcome | None = Outcome.REFUSED,
        field: str = "",
        retry_after_ms: int = 0,
        leader: str = "",
        shards: tuple[Shard, ...] = (),
        applied_index: int = 0,
        oldest_revision: int = 0,
        revision: int = 0,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.outcome = outcome
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms
        self.leader = leader
        self.shards = shards
        self.applied_index = applied_index
        self.oldest_revision = oldest_revision
        self.revision = revision

    def under(self, outcome: Outcome | None) -> HoldfastError:
        """The same failure under the operation's final outcome."""
        if self.outcome is outcome:
            return self
        return error(
            self.reason,
            self.message,
            outcome=outcome,
            field=self.field,
            retry_after_ms=self.retry_after_ms,
            leader=self.leader,
            shards=self.shards,
            applied_index=self.applied_index,
            oldest_revision=self.oldest_revision,
            revision=self.revision,
        )

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.message}"


class RefusedError(HoldfastError):
    """No effect, now or later."""


class InvalidError(RefusedError):
    """A field is outside its documented bounds."""


class ConditionFailedError(RefusedError):
    """A condition did not hold; `revision` is the key's present one."""


class NoQuorumError(RefusedError):
    """No majority answers."""


class BusyError(RefusedError):
    """A window is full; wait `retry_after_ms`."""


class OutOfSpaceError(RefusedError):
    """The namespace's budget is full and its policy forbids eviction."""


class UnknownOutcomeError(HoldfastError):
    """It may have happened."""


class PreviousNotKeptError(HoldfastError):
    """It did happen, exactly once; the value it replaced is no longer kept for this retry."""


class SomeFailedError(HoldfastError):
    """Some of many operations failed; reason and message are the first failure's.

    Attributes:
        outcomes: of every operation in the order asked: its result, or the HoldfastError it failed with.
        outcome: REFUSED when each of them was, and always of reads; else UNKNOWN: some did or may have
            happened.
    """

    def __init__(
        self, reason: Reason, message: str, *, outcome: Outcome, outcomes: tuple[object, ...]
    ) -> None:
        super().__init__(reason, message, outcome=outcome)
        self.outcomes = outcomes


_BY_REASON: dict[Reason, type[HoldfastError]] = {
    Reason.INVALID: InvalidError,
    Reason.CONDITION_FAILED: ConditionFailedError,
    Reason.NO_QUORUM: NoQuorumError,
    Reason.BUSY: BusyError,
    Reason.OUT_OF_SPACE: OutOfSpaceError,
    Reason.PREVIOUS_NOT_KEPT: PreviousNotKeptError,
}


def error(
    reason: Reason,
    message: str,
    *,
    outcome: Outcome | None = Outcome.REFUSED,
    field: str = "",
    retry_after_ms: int = 0,
    leader: str = "",
    shards: tuple[Shard, ...] = (),
    applied_index: int = 0,
    oldest_revision: int = 0,
    revision: int = 0,
) -> HoldfastError:
    """Makes the error of the class that fits reason and outcome."""
    kind: type[HoldfastError]
    kind = UnknownOutcomeError if outcome is Outcome.UNKNOWN else _BY_REASON.get(reason, RefusedError)
    return kind(
        reason,
        message,
        outcome=outcome,
        field=field,
        retry_after_ms=retry_after_ms,
        leader=leader,
        shards=shards,
        applied_index=applied_index,
        oldest_revision=oldest_revision,
        revision=revision,
    )
