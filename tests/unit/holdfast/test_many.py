"""Many operations at once: their room, their deadline, and what is told of each."""

import asyncio

import pytest
from holdfast import Outcome, PutResult, Reason, Served, SomeFailedError, many, wire
from holdfast.errors import error
from holdfast.testing import FakeClient
from holdfast.types import Level

from tests import counted_time

SERVED = Served(Level.LINEARIZABLE, 1, 1, None)


class Slow:
    """A backend that answers when told."""

    def __init__(self):
        self.calls: list[asyncio.Future] = []
        self.given_s: list[float] = []
        self.closed = False

    def submit(self, *asked):
        if self.closed:
            raise error(Reason.STOPPED, "the client is closed")
        self.given_s.append(asked[-1])
        self.calls.append(asyncio.get_running_loop().create_future())
        return self.calls[-1]

    def answer(self, call):
        call.set_result((wire.Result(revision=1 + self.calls.index(call)), SERVED))


def asked(count):
    return [(b"k%d" % n, b"") for n in range(count)]


def put_result(answer):
    return PutResult(answer[0].revision)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def test_only_so_many_are_under_way():
    """A call is made when there is room for it; the first that ends makes room."""

    async def run():
        backend = Slow()
        task = asyncio.create_task(many.ask(backend, "default", asked(3 * many.AT_ONCE), 0, 5.0, put_result))
        await turns()
        before = len(backend.calls)
        backend.answer(backend.calls[0])
        await turns()
        after = len(backend.calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return before, after

    assert asyncio.run(run()) == (many.AT_ONCE, many.AT_ONCE + 1)


def test_a_cancelled_caller_leaves_nothing_under_way():
    """Whoever gives up on many gives up on each of them."""

    async def run():
        backend = Slow()
        task = asyncio.create_task(many.ask(backend, "default", asked(10), 0, 5.0, put_result))
        await turns()
        backend.answer(backend.calls[0])
        await turns()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled(), [call.cancelled() for call in backend.calls]

    assert asyncio.run(run()) == (True, [False] + [True] * 9)


def test_all_have_one_deadline():
    """A call that had to wait for room is given what is left of the time; when none is, it is not asked."""

    async def run():
        backend = Slow()
        count = 2 * many.AT_ONCE + 1
        task = asyncio.create_task(many.ask(backend, "default", asked(count), 0, 5.0, put_result))
        for pause in (2.0, 4.0):
            await asyncio.sleep(pause)
            for call in [call for call in backend.calls if not call.done()]:
                backend.answer(call)
        with pytest.raises(SomeFailedError) as caught:
            await task
        return backend.given_s, caught.value

    given_s, failure = counted_time.run(run())
    assert (given_s[0], given_s[many.AT_ONCE]) == pytest.approx((5.0, 3.0))
    assert len(given_s) < 2 * many.AT_ONCE + 1
    assert (failure.reason, failure.outcomes[-1].outcome) == (Reason.DEADLINE, Outcome.REFUSED)
    assert len(failure.outcomes) == 2 * many.AT_ONCE + 1


def test_a_client_that_is_closed_meanwhile_hides_nothing_that_was_done():
    """What had succeeded stands among the outcomes; the rest is refused or unknown, each for itself."""

    async def run():
        backend = Slow()
        task = asyncio.create_task(many.ask(backend, "default", asked(many.AT_ONCE + 2), 0, 5.0, put_result))
        await turns()
        backend.closed = True
        for call in list(backend.calls):
            backend.answer(call)
        with pytest.raises(SomeFailedError) as caught:
            await task
        return caught.value

    failure = asyncio.run(run())
    good = [each for each in failure.outcomes if isinstance(each, PutResult)]
    assert len(good) == many.AT_ONCE
    assert [each.reason for each in failure.outcomes[many.AT_ONCE :]] == [Reason.STOPPED] * 2
    assert failure.outcome is Outcome.UNKNOWN


def test_each_failure_is_told_at_its_place():
    """Results and failures stand in the order asked; what was done is not hidden by what was not."""

    async def run():
        async with FakeClient() as client:
            client.fail_next("put", Reason.BUSY)
            with pytest.raises(SomeFailedError) as caught:
                await client.put_many([("a", "1"), ("b", "2"), ("c", "3")])
            return caught.value, (await client.get("a")).found, (await client.get("c")).found

    failure, first, last = asyncio.run(run())
    assert [type(each).__name__ for each in failure.outcomes] == ["BusyError", "PutResult", "PutResult"]
    assert (failure.reason, failure.outcome) == (Reason.BUSY, Outcome.UNKNOWN)
    assert str(failure).startswith("BUSY: 1 of 3 failed, the first with: ")
    assert (first, last) == (False, True)


@pytest.mark.parametrize(
    ("outcomes", "outcome"),
    [
        ((Outcome.REFUSED, Outcome.REFUSED), Outcome.REFUSED),
        ((Outcome.REFUSED, Outcome.UNKNOWN), Outcome.UNKNOWN),
        ((Outcome.REFUSED, None), Outcome.UNKNOWN),
    ],
)
def test_all_of_them_are_refused_only_if_each_was(outcomes, outcome):
    """None: it was done. One that was done or may have been keeps the whole from being called refused."""

    async def run():
        backend = Slow()
        task = asyncio.create_task(many.ask(backend, "default", asked(len(outcomes)), 0, 5.0, put_result))
        await turns()
        for call, each in zip(backend.calls, outcomes, strict=True):
            if each is None:
                backend.answer(call)
            else:
                call.set_exception(error(Reason.DEADLINE, "scripted", outcome=each))
        await task

    with pytest.raises(SomeFailedError) as caught:
        asyncio.run(run())
    assert caught.value.outcome is outcome
