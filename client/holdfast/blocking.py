"""The client for programs without an event loop: the same methods, each returning when it is done.

    with holdfast.connect_blocking("127.0.0.1:7400") as client:
        client.put("greeting", "hello")

Invariant: all work happens on one loop in one background thread; any number of threads may call. A
Ctrl-C while waiting cancels the operation, whose outcome is then unknown to the caller.

No logic of its own: every method runs the one of `client.Client` with the same name and arguments.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from holdfast import forks
from holdfast.client import Client
from holdfast.connecting import connect
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.types import Event, Level, Mark, WatchPoint
from holdfast.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """An event loop in a background thread."""

    def __init__(self) -> None:
        self.birth = forks.Birth()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="holdfast", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine there and waits for it."""
        if self.birth.is_inherited:  # neither loop nor thread is here
            work.close()
            self.birth.check()
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the client is closed, or was called from its own loop")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ends the loop and its thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


def _blocking(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingClient, P], T]:
    @wraps(method)
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.run(method(self._client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[Client, P], AsyncIterator[T]],
) -> Callable[Concatenate[BlockingClient, P], Iterator[T]]:
    @wraps(method)
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        async def start() -> AsyncIterator[T]:
            return method(self._client, *args, **kwargs)

        async def following(items: AsyncIterator[T]) -> tuple[T] | None:
            async for item in items:
                return (item,)
            return None

        items = self._thread.run(start())
        while (found := self._thread.run(following(items))) is not None:
            yield found[0]

    return call


def _opening(
    method: Callable[Concatenate[Client, P], Watch],
) -> Callable[Concatenate[BlockingClient, P], BlockingWatch]:
    @wraps(method)
    def call(self: BlockingClient, /, *args: P.args, **kwargs: P.kwargs) -> BlockingWatch:
        async def start() -> Watch:
            return method(self._client, *args, **kwargs)

        return BlockingWatch(self._thread, self._thread.run(start()))

    return call


class BlockingWatch:
    """A watch as an ordinary iterator; close it, or use it with `with`."""

    def __init__(self, thread: LoopThread, watch: Watch) -> None:
        self._thread = thread
        self._watch = watch

    @property
    def points(self) -> tuple[WatchPoint, ...]:
        """Where to resume: everything iterated over so far has been seen."""
        return self._watch.points

    def next(self, timeout_s: float | None = None) -> Event | Mark | None:
        """The next event or mark; None: the watch is closed.

        Raises:
            TimeoutError: there was none within timeout_s; the watch goes on.
        """

        async def following() -> Event | Mark | None:
            async with asyncio.timeout(timeout_s):
                async for item in self._watch:
                    return item
            return None

        return self._thread.run(following())

    def __iter__(self) -> Iterator[Event | Mark]:
        while (item := self.next()) is not None:
            yield item

    def close(self) -> None:
        """Ends the watch."""
        if not self._thread.birth.is_inherited:
            self._thread.run(self._watch.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BlockingClient:
    """`Client` without await. Make one with `connect_blocking`."""

    def __init__(self, thread: LoopThread, client: Client) -> None:
        self._thread = thread
        self._client = client

    get = _blocking(Client.get)
    put = _blocking(Client.put)
    get_many = _blocking(Client.get_many)
    put_many = _blocking(Client.put_many)
    delete = _blocking(Client.delete)
    compare_and_set = _blocking(Client.compare_and_set)
    increment = _blocking(Client.increment)
    touch = _blocking(Client.touch)
    txn = _blocking(Client.txn)
    scan_page = _blocking(Client.scan_page)
    delete_range = _blocking(Client.delete_range)
    scan = _iterating(Client.scan)
    watch = _opening(Client.watch)

    @property
    def namespace(self) -> str:
        """Of all operations of this client."""
        return self._client.namespace

    @property
    def token(self) -> bytes:
        """See `Client.token`."""

        async def read() -> bytes:
            return self._client.token

        return self._thread.run(read())

    def merge_token(self, token: bytes) -> None:
        """See `Client.merge_token`."""

        async def merge() -> None:
            self._client.merge_token(token)

        self._thread.run(merge())

    def run(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Runs `work(client)` on the client's loop: for many operations at once."""
        return self._thread.run(work(self._client))

    def close(self) -> None:
        """Ends the session and the background thread. May be called twice."""
        if self._thread.birth.is_inherited:
            return
        try:
            self._thread.run(self._client.aclose())
        except RuntimeError:
            return
        self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<BlockingClient {self._client!r}>"


def connect_blocking(
    endpoints: str | Iterable[str] = "127.0.0.1:7400",
    *,
    namespace: str = DEFAULT_NAMESPACE,
    level: Level = Level.LINEARIZABLE,
    timeout_s: float = 5.0,
    session: bytes | None = None,
    name: str = "",
) -> BlockingClient:
    """`holdfast.connect` for programs without an event loop; same arguments and errors."""
    thread = LoopThread()

    async def make() -> Client:
        return await connect(
            endpoints, namespace=namespace, level=level, timeout_s=timeout_s, session=session, name=name
        )

    try:
        return BlockingClient(thread, thread.run(make()))
    except BaseException:
        thread.stop()
        raise
