"""Many operations at once: made as others end, so that a list of any length needs little room under way.

Invariant: all end by one deadline; whatever ends the waiting, nothing made here is left under way: a
caller's cancellation cancels what has not ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from holdfast.errors import HoldfastError, Reason, SomeFailedError, error
from holdfast.ranges import Backend
from holdfast.stream import WRITE, Answer
from holdfast.types import Outcome

T = TypeVar("T")

AT_ONCE: Final = 1024
"""Eight full frames; more would wait in the client only."""


async def ask(
    backend: Backend,
    namespace: str,
    asked: Sequence[tuple[bytes, bytes]],
    level: int,
    timeout_s: float,
    result_of: Callable[[Answer], T],
) -> list[T]:
    """The result of each pair of key and encoded kind, in order.

    Raises:
        SomeFailedError: not all of them have one.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    under_way: deque[asyncio.Future[Answer]] = deque()
    outcomes: list[T | HoldfastError] = []

    async def end_first() -> None:
        try:
            outcomes.append(result_of(await under_way[0]))
        except HoldfastError as failure:
            outcomes.append(failure)
        under_way.popleft()

    try:
        for key, kind in asked:
            under_way.append(_submitted(backend, namespace, key, kind, level, deadline))
            if len(under_way) == AT_ONCE:
                await end_first()
        while under_way:
            await end_first()
    finally:
        for call in under_way:
            if not call.cancel() and not call.cancelled():
                call.exception()  # nobody will ask for it any more
    return _all_good(outcomes, has_effect=level == WRITE)


def _submitted(
    backend: Backend, namespace: str, key: bytes, kind: bytes, level: int, deadline: float
) -> asyncio.Future[Answer]:
    """The call, or what has failed already: too late, or the client was closed meanwhile."""
    loop = asyncio.get_running_loop()
    left = deadline - loop.time()
    try:
        if left <= 0:
            raise error(Reason.DEADLINE, "not asked: the time for all of them had passed")
        return backend.submit(namespace, key, key, kind, level, left)
    except HoldfastError as failure:
        failed: asyncio.Future[Answer] = loop.create_future()
        failed.set_exception(failure)
        return failed


def _all_good(outcomes: Sequence[T | HoldfastError], *, has_effect: bool) -> list[T]:
    results = [outcome for outcome in outcomes if not isinstance(outcome, HoldfastError)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, HoldfastError)]
    if not failures:
        return results
    first = failures[0]
    refused = not results and all(failure.outcome is Outcome.REFUSED for failure in failures)
    raise SomeFailedError(
        first.reason,
        f"{len(failures)} of {len(outcomes)} failed, the first with: {first.message}",
        outcome=Outcome.REFUSED if refused or not has_effect else Outcome.UNKNOWN,
        outcomes=tuple(outcomes),
    )
