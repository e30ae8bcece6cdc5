"""Did it happen? The type of the event that closes an operation, from how its call ended.

Rules: a read has no effect, so one that fails is `fail`, whatever the reason. A write is `fail` only on
proof that it has no effect, now or later (RefusedError); everything else, also what is raised by mistake or
by cancelling, leaves it unknown. PREVIOUS_NOT_KEPT says that it did happen, once.

Source: Jepsen's tutorial, chapter 6; contract, "An error says refused or unknown".
"""

from __future__ import annotations

from holdfast.errors import HoldfastError, Reason, RefusedError
from holdfast.types import Outcome

from holdfast_chaos.record import Type


def closing_type(failure: BaseException, *, is_write: bool) -> Type:
    """The type of the reply to an operation whose call raised this."""
    if not is_write:
        return Type.FAIL
    if isinstance(failure, HoldfastError):
        if failure.reason is Reason.PREVIOUS_NOT_KEPT and failure.outcome is None:
            return Type.OK
        if isinstance(failure, RefusedError) and failure.outcome is Outcome.REFUSED:
            return Type.FAIL
    return Type.INFO


def reason_text(failure: BaseException) -> str:
    """What the reply's `error` says: the reason's name, or the class of what is not ours."""
    return failure.reason.name if isinstance(failure, HoldfastError) else type(failure).__name__


def present_revision(failure: BaseException) -> int | None:
    """What a condition that did not hold has seen: the key's revision. None: it has seen nothing."""
    if isinstance(failure, HoldfastError) and failure.reason is Reason.CONDITION_FAILED:
        return failure.revision
    return None
