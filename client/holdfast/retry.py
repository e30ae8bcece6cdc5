"""What to do about a failed attempt: the same again, elsewhere, with a newer map, or give up.

Invariant: a write whose outcome is unknown is only ever repeated as the same (session, sequence), so
trying again is always safe; whether the caller is told *refused* or *unknown* is kept by the session, not
here (refused only if every attempt was).

Pure: time and chance come in as arguments. `RetryBudget` bounds what an overloaded cluster is asked
again; following a leader hint or a newer map entry costs no budget, because it repairs the cause, nor does
the pause of a merge, which is nobody's load.
Source: design protocols, section 1; contract, "No quorum".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from holdfast.errors import Reason
from holdfast.types import Outcome

BACKOFF_MS_MIN: Final = 10.0
BACKOFF_MS_MAX: Final = 100.0  # well below an election, so that the new leader is found soon after it
YOUNG_WAIT_MS: Final = 20.0  # a group that was just born has its leader within tens of ms
FREE_REDIRECTS: Final = 3  # hints followed at once; two nodes naming each other must not spin
# An election passes within this; a quorum that is really gone is reported after it.
NO_QUORUM_PATIENCE_MS: Final = 2000.0
DISK_FULL_PATIENCE_MS: Final = 1000.0  # a full leader hands over first
NAMESPACE_PATIENCE_ATTEMPTS: Final = 2  # the map may be older than the namespace


class Failure(NamedTuple):
    """A failed attempt.

    Attributes:
        reason: as the node said; STOPPED also stands for a connection that broke.
        outcome: of this attempt.
        retry_after_ms: BUSY: the node's wish; 0 = none.
        hinted: NOT_LEADER named a leader that is worth asking; WRONG_SHARD: a later group is known now.
        is_write: whether an effect is possible at all.
        untried: a replica has not been asked yet.
        redirects: hints followed in a row, this one included.
        young: the group that serves the key was learned of a moment ago: some of its replicas may not be
            ready, and who leads is known to none or some.
        merging: BUSY because the shard is about to be merged: a pause, not an overload.
        behind: CROSS_SHARD or WRONG_SHARD from a node that knows an earlier group than is known here.
    """

    reason: Reason
    outcome: Outcome | None
    retry_after_ms: int = 0
    hinted: bool = False
    is_write: bool = False
    untried: bool = False
    redirects: int = 0
    young: bool = False
    merging: bool = False
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """The same node, after a while."""

    after_ms: float


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another node, or the one a hint named."""

    after_ms: float


@dataclass(frozen=True, slots=True)
class RefreshMap:
    """Ask for the shard map first."""

    after_ms: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the caller."""


Decision = Again | Elsewhere | RefreshMap | GiveUp

_FINAL = frozenset(
    {
        Reason.INVALID,
        Reason.CONDITION_FAILED,
        Reason.TOO_LATE,
        Reason.SEQUENCE_REUSED,
        Reason.PREVIOUS_NOT_KEPT,
        Reason.OUT_OF_SPACE,
        Reason.CROSS_SHARD,
        Reason.BAD_TOKEN,
        Reason.WRONG_TYPE,
        Reason.TOO_MANY_KEYS,
        Reason.COMPACTED,
    }
)


class RetryBudget:
    """How many retries an overloaded cluster may be asked for: a share of what succeeds."""

    __slots__ = ("_capacity", "_left", "_per_success")

    def __init__(self, capacity: float = 1000.0, per_success: float = 0.2) -> None:
        self._capacity = capacity
        self._left = capacity
        self._per_success = per_success

    def succeeded(self, operations: int) -> None:
        """Earns budget."""
        self._left = min(self._capacity, self._left + operations * self._per_success)

    def spend(self) -> bool:
        """Takes one retry; False: none is left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def __repr__(self) -> str:
        return f"<RetryBudget {self._left:.0f} of {self._capacity:.0f}>"


def backoff_ms(attempt: int, jitter: float) -> float:
    """Doubles with each attempt (1, 2, ...); jitter in [0, 1) spreads it over its upper half."""
    full = min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2.0 ** min(attempt - 1, 10))
    return full * (0.5 + 0.5 * jitter)


def decide(
    failure: Failure,
    *,
    attempt: int,
    elapsed_ms: float,
    remaining_ms: float,
    jitter: float,
    budget: RetryBudget,
) -> Decision:
    """Judges one failed attempt.

    Args:
        failure: what happened.
        attempt: how many attempts have failed, this one included.
        elapsed_ms: since the caller asked.
        remaining_ms: until the caller's deadline.
        jitter: a random number in [0, 1).
        budget: is spent when the node is only asked to bear the same load again.
    """
    decision = _by_reason(failure, attempt, elapsed_ms, jitter, budget)
    if not isinstance(decision, GiveUp) and decision.after_ms >= remaining_ms:
        return GiveUp()
    return decision


def _by_reason(  # noqa: C901, PLR0912 - one case a reason
    failure: Failure, attempt: int, elapsed_ms: float, jitter: float, budget: RetryBudget
) -> Decision:
    wait = backoff_ms(attempt, jitter)
    if failure.young:
        wait = min(wait, YOUNG_WAIT_MS * (0.5 + 0.5 * jitter))
    onward = 0.0 if failure.young and failure.untried else wait
    redirect = 0.0 if failure.redirects <= FREE_REDIRECTS else wait
    decision: Decision = GiveUp()
    match failure.reason:
        case Reason.CROSS_SHARD if failure.behind:  # by the map of before; it will learn of the later one
            decision = Elsewhere(wait)
        case reason if reason in _FINAL:
            pass
        case Reason.WRONG_SHARD:  # each hint names a later group, so following them ends
            decision = Elsewhere(0.0) if failure.hinted else RefreshMap(onward)
        case Reason.NOT_LEADER:
            decision = Elsewhere(redirect if failure.hinted else onward)
        case Reason.STOPPED:
            decision = Elsewhere(0.0 if attempt <= FREE_REDIRECTS else wait)
        case Reason.LAGGING:  # with every replica asked, what is missing may just take a moment
            decision = Elsewhere(0.0 if failure.untried else wait)
        case Reason.LEADERSHIP_LOST | Reason.DEADLINE:
            decision = Elsewhere(wait)
        case Reason.UNKNOWN_NAMESPACE if attempt <= NAMESPACE_PATIENCE_ATTEMPTS:
            decision = RefreshMap(wait)
        case Reason.NO_QUORUM if _may_go_on(failure, elapsed_ms, NO_QUORUM_PATIENCE_MS):
            decision = Elsewhere(wait)
        case Reason.DISK_FULL if _may_go_on(failure, elapsed_ms, DISK_FULL_PATIENCE_MS):
            decision = Elsewhere(wait)
        case Reason.BUSY if failure.merging:
            decision = Again(failure.retry_after_ms * (1 + 0.5 * jitter) or wait)
        case Reason.BUSY if budget.spend():
            decision = Again(max(wait, failure.retry_after_ms * (1 + 0.5 * jitter)))
        # A defect repeats; only an unknown outcome is worth finding out.
        case Reason.INTERNAL if _unknown_write(failure) and budget.spend():
            decision = Again(wait)
    return decision


def _may_go_on(failure: Failure, elapsed_ms: float, patience_ms: float) -> bool:
    return elapsed_ms < patience_ms or _unknown_write(failure)


def _unknown_write(failure: Failure) -> bool:
    return failure.is_write and failure.outcome is Outcome.UNKNOWN
