"""What the state machine answers: one small tuple an operation.

Invariant: a result says nothing about time or place (no index, no node, no sequence); those are the
shard's to add. Results are immutable and shared: the repeat table keeps the very tuple it answered.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.types import Item


class Page(NamedTuple):
    """A page of a scan. next: where to go on, empty: the range is done. keys_only items have value b''."""

    items: tuple[Item, ...]
    next: bytes


class TxnOutcome(NamedTuple):
    """Whether the compares held, and one result for each step of the list that was done."""

    succeeded: bool
    results: tuple[OpResult, ...]


class OpResult(NamedTuple):
    """The outcome of one operation.

    Attributes:
        error: 0, or the holdfast.errors.Reason. Every error is a refusal, save PREVIOUS_NOT_KEPT, which
            says that the write did take effect once.
        revision: as holdfast.v1.Result.revision; with CONDITION_FAILED the key's present revision.
        value: Get: the value. With return_previous: the value before. None: there is none.
        number: Increment: the sum.
        ttl_ms: Get: remaining time to live, 0 = does not expire.
        deleted: Delete: keys deleted.
        more: paged delete: keys may be left.
        page: Scan.
        txn: Txn.
        message: for a person, with `error`.
        field: INVALID and failed steps: the field at fault, dotted.
        retry_after_ms: BUSY: wait this long.
        next: with `more`, where known: what comes before this place is done.
    """

    error: int = 0
    revision: int = 0
    value: bytes | None = None
    number: int = 0
    ttl_ms: int = 0
    deleted: int = 0
    more: bool = False
    page: Page | None = None
    txn: TxnOutcome | None = None
    message: str = ""
    field: str = ""
    retry_after_ms: int = 0
    next: bytes = b""


_new = tuple.__new__
_REST = tuple(OpResult())[2:]
_AFTER_TTL = tuple(OpResult())[5:]


def done(revision: int) -> OpResult:
    """A success with a revision and nothing more: what most writes answer.

    The named tuple's own constructor fills thirteen fields by default values, at twice the cost.
    """
    return _new(OpResult, (0, revision, *_REST))


def got(revision: int, value: bytes, ttl_ms: int) -> OpResult:
    """The answer of a Get that found its key; built as `done`, for the same reason."""
    return _new(OpResult, (0, revision, value, 0, ttl_ms, *_AFTER_TTL))
