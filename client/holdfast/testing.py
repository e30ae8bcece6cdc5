"""A client without a cluster, for the tests of programs that use holdfast.

    from holdfast.testing import FakeClient

    async def test_a_busy_cluster_is_reported():
        async with FakeClient() as client:
            client.fail_next("put", Reason.BUSY)
            ...

Invariant: it is the real `Client` (same methods, checks and results) over a dict. Time stands still until
`advance`. `fail_next` injects what a cluster rarely does: refusals, and writes whose outcome is unknown,
which may or may not have happened. A failure reaches the caller at once; the fake does not retry.

Does not imitate routing, replicas or lost connections; knows no policies of namespaces, so none is hashed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from holdfast import wire
from holdfast.client import Client
from holdfast.errors import HoldfastError, Reason, error
from holdfast.fake_store import FakeStore
from holdfast.keys import DEFAULT_NAMESPACE, KeyRange
from holdfast.operations import key_bytes
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.stream import Answer
from holdfast.token import Token, TokenEntry
from holdfast.types import Event, EventKind, Level, Outcome, Served, WatchPoint
from holdfast.watch import Watch, WatchPart

GROUP: Final = 2
NODE: Final = 1
METHODS: Final = (
    "get",
    "put",
    "delete",
    "delete_range",
    "compare_and_set",
    "increment",
    "touch",
    "scan",
    "txn",
)


class Injection(NamedTuple):
    """A failure to come. happened: the write takes effect all the same."""

    failure: HoldfastError
    happened: bool


class FakeBackend:
    """Carries operations out on a `FakeStore`."""

    def __init__(self, now_ms: int, namespace: str) -> None:
        self._namespace = namespace
        self.token = Token("fake")
        self.token_full = False
        self.store = FakeStore()
        self.now_ms = now_ms
        self.injections: dict[str, deque[Injection]] = {method: deque() for method in METHODS}
        self.watches = FakeWatches(self.store)
        self.closed = False

    def submit(
        self,
        namespace: str,
        where: bytes,
        key: bytes,
        kind: bytes,
        level: int,
        timeout_s: float,
        *,
        is_place: bool = False,
    ) -> asyncio.Future[Answer]:
        """As `Session.submit`."""
        del where, timeout_s, is_place
        operation = wire.OperationMessage.FromString(kind)
        operation.key = key
        return asyncio.ensure_future(self._carry_out(namespace, operation, level))

    async def _carry_out(self, namespace: str, operation: wire.OperationMessage, level: int) -> Answer:
        await asyncio.sleep(0)  # like the real one: what was asked together is concurrent
        if self.closed:
            raise error(Reason.STOPPED, "the client is closed")
        waiting = self.injections[_method(operation)]
        injected = waiting.popleft() if waiting else None
        if injected is not None and not injected.happened:
            raise injected.failure
        result = self.store.apply(operation, self.now_ms)
        self.watches.deliver()
        if injected is not None:
            raise injected.failure
        if result.HasField("error"):
            raise wire.failure(result.error, result.revision)
        index = self.store.revision
        start, end = self._shard(namespace).span()
        self.token.raise_to(TokenEntry(start, end, GROUP, index))
        return result, Served(Level(level or Level.LINEARIZABLE), NODE, index, 0)

    @property
    def map(self) -> ShardMap:
        """As `Session.map`: the client's namespace is one shard."""
        return ShardMap(1, [self._shard(self._namespace)])

    def _shard(self, namespace: str) -> Shard:
        return Shard(namespace, KeyRange(b"", b""), GROUP, 1, (Replica(NODE, "fake:0"),), NODE)

    async def close(self) -> None:
        """As `Session.close`."""
        self.closed = True

    def __repr__(self) -> str:
        return f"<FakeBackend, {len(self.store.keys)} keys at revision {self.store.revision}>"


class FakeWatches:
    """Feeds watches from the store's events."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._parts: list[WatchPart] = []
        self.compacted_below = 0

    def start(self, watch: Watch) -> None:
        """Begins at the caller's point, with a snapshot, or now."""
        point = watch.given_point(watch.keys, GROUP)
        part = WatchPart(watch, watch.keys, point)
        watch.parts.append(part)
        if point is None or point.revision < self.compacted_below:
            if point is not None and not watch.or_snapshot:
                watch.fail(
                    error(
                        Reason.COMPACTED,
                        f"history begins after revision {self.compacted_below}",
                        oldest_revision=self.compacted_below,
                    )
                )
                return
            self._begin(part)
        self._parts.append(part)
        self._deliver_to(part)

    def _begin(self, part: WatchPart) -> None:
        now = WatchPoint(GROUP, self._store.revision)
        snapshot = [
            Event(EventKind.SNAPSHOT, key, record.value, record.revision, None, record.deadline_ms)
            for key, record in sorted(self._store.keys.items())
            if key in part.keys
        ]
        if part.watch.or_snapshot:
            part.watch.feed(part, map(part.watch.shown, snapshot), now, caught_up=True)
        else:
            part.watch.feed(part, (), now)

    def deliver(self) -> None:
        """Hands new events to every watch."""
        for part in list(self._parts):
            self._deliver_to(part)

    def _deliver_to(self, part: WatchPart) -> None:
        at = part.point.revision if part.point else 0
        news = [e for e in self._store.events if e.revision > at and e.key in part.keys]
        part.watch.feed(part, map(part.watch.shown, news), WatchPoint(GROUP, self._store.revision))

    def resume(self, watch: Watch, part: WatchPart) -> None:
        """Fed parts never pause here."""

    def stop(self, watch: Watch) -> None:
        """Feeds it no more."""
        self._parts = [part for part in self._parts if part.watch is not watch]

    def close(self) -> None:
        """Ends every watch: their callers get STOPPED."""
        for part in list(self._parts):
            part.watch.fail(error(Reason.STOPPED, "the client was closed"))


class FakeClient(Client):
    """A `Client` over a dict in this process."""

    def __init__(
        self,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        level: Level = Level.LINEARIZABLE,
        timeout_s: float = 5.0,
        now_ms: int = 1_700_000_000_000,
    ) -> None:
        self.backend = FakeBackend(now_ms, namespace)
        super().__init__(
            self.backend, self.backend.watches, namespace=namespace, level=level, timeout_s=timeout_s
        )

    def fail_next(
        self,
        method: str,
        failure: HoldfastError | Reason | Outcome,
        *,
        happened: bool = False,
        times: int = 1,
    ) -> None:
        """Lets the next calls of a method fail.

        Args:
            method: the method's name ("put", ...); "scan" also stands for scan_page.
            failure: the error, or a reason (refused), or `Outcome.UNKNOWN`.
            happened: the write takes effect all the same; only for an unknown outcome.
            times: how many calls.
        """
        if method not in METHODS:
            raise ValueError(f"no method {method!r}: one of {', '.join(METHODS)}")
        if isinstance(failure, Outcome):
            reason = Reason.DEADLINE if failure is Outcome.UNKNOWN else Reason.BUSY
            failure = error(reason, "injected by fail_next", outcome=failure)
        elif isinstance(failure, Reason):
            failure = error(failure, "injected by fail_next")
        if happened and failure.outcome is Outcome.REFUSED:
            raise ValueError("a refused operation has no effect: happened goes with an unknown outcome")
        self.backend.injections[method].extend([Injection(failure, happened)] * times)

    def advance(self, ms: int) -> None:
        """Lets time pass: keys expire, watchers see it."""
        self.backend.now_ms += ms
        self.backend.store.expire(self.backend.now_ms)
        self.backend.watches.deliver()

    def evict(self, key: str | bytes) -> None:
        """Lets a key be evicted, as a full namespace would."""
        self.backend.store.remove([key_bytes(key)], EventKind.EVICTED)
        self.backend.watches.deliver()

    def compact(self) -> None:
        """Forgets the history: watches resume only from now."""
        self.backend.watches.compacted_below = self.backend.store.revision


def _method(operation: wire.OperationMessage) -> str:
    kind = operation.WhichOneof("kind") or "get"
    return "delete_range" if kind == "delete" and operation.delete.HasField("range") else kind
