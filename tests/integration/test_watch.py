"""Watches over real nodes: every change once and in order, whatever happens to the nodes that serve them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import holdfast
import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.types import Event, EventKind, Mark, MarkKind
from holdfast.watch import Watch

from tests.integration.process_cluster import NodeProcess, ProcessCluster, running, with_client

KEYS = 5
# More than a shard keeps for watchers (limits.py, HISTORY_BYTES_DEFAULT = 32 MiB).
COMPACTING_PUTS, COMPACTING_VALUE = 90, b"v" * 500_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("watch")) as found:
        yield found


class Numbers:
    """Writes 0, 1, 2, ... one after the other over a few keys of a prefix."""

    def __init__(self, client: holdfast.Client, prefix: str) -> None:
        self.written = 0  # all below are acknowledged
        self.enough = False
        self._client = client
        self._prefix = prefix
        self._grew = asyncio.Condition()

    async def run(self, count: int) -> None:
        """Writes the next `count` numbers, fewer once there are enough."""
        for _ in range(count):
            if self.enough:
                return
            key = f"{self._prefix}{self.written % KEYS}"
            await self._client.put(key, str(self.written), timeout_s=60)
            self.written += 1
            async with self._grew:
                self._grew.notify_all()

    async def reach(self, count: int) -> None:
        """Waits until so many are acknowledged."""
        async with asyncio.timeout(60), self._grew:
            await self._grew.wait_for(lambda: self.written >= count)


async def started(watch: Watch, numbers: Numbers) -> int:
    """A watch without a point begins somewhere between now and its first event; the number of that one."""
    writing = asyncio.create_task(_until_seen(watch, numbers))
    async with asyncio.timeout(60):
        event = await anext(watch)
    assert isinstance(event, Event)
    await writing
    return int(event.value or b"-1")


async def _until_seen(watch: Watch, numbers: Numbers) -> None:
    while not watch.points:
        await numbers.run(1)


async def taken(watch: Watch, count: int) -> list[Event]:
    """The next events of a watch; marks are not expected."""
    found = []
    async with asyncio.timeout(60):
        while len(found) < count:
            event = await anext(watch)
            assert isinstance(event, Event), event
            found.append(event)
    return found


def are_the_numbers(events: list[Event], first: int) -> None:
    assert [int(event.value or b"-1") for event in events] == list(range(first, first + len(events)))
    assert all(event.kind is EventKind.PUT for event in events)
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions)), "revisions grow strictly"


async def lose(cluster: ProcessCluster, node: NodeProcess, numbers: Numbers) -> None:
    """kill -9 of a node while numbers are written; it comes back."""
    node.kill()
    await numbers.reach(numbers.written + 50)
    node.start()
    await asyncio.to_thread(cluster.wait_ready)


def test_a_watch_outlives_the_leader_and_the_node_that_serves_it(cluster: ProcessCluster) -> None:
    """A watch shows every change once and in order while the leader, and then the node that serves the
    watch, are killed under load.
    """

    async def act(client: holdfast.Client) -> None:
        numbers = Numbers(client, "n/")
        async with client.watch(prefix="n/") as watch:
            first = await started(watch, numbers)
            writing = asyncio.create_task(numbers.run(1_000_000))
            await numbers.reach(100)
            await lose(cluster, await asyncio.to_thread(cluster.leader), numbers)
            await lose(cluster, cluster.nodes[watch.parts[0].node], numbers)
            numbers.enough = True
            await writing
            are_the_numbers(await taken(watch, numbers.written - first - 1), first + 1)

    with_client(cluster, act)


def test_a_watch_resumes_from_its_point(cluster: ProcessCluster) -> None:
    """A watch opened at the points of an earlier one, by another client, goes on right behind the last
    event that one had handed out.
    """

    async def act(client: holdfast.Client) -> None:
        numbers = Numbers(client, "r/")
        async with client.watch(prefix="r/") as watch:
            first = await started(watch, numbers)
            await numbers.run(30)
            are_the_numbers(await taken(watch, 10), first + 1)
            points = watch.points
        await numbers.run(30)
        async with holdfast.connect(cluster.endpoints) as other, other.watch(prefix="r/", from_=points) as on:
            left = numbers.written - (first + 11)
            are_the_numbers(await taken(on, left), first + 11)

    with_client(cluster, act)


def test_causes_are_told_apart(cluster: ProcessCluster) -> None:
    """A watcher sees a put, a touch, a delete and an expiry as what they are, the previous value included."""

    async def act(client: holdfast.Client) -> None:
        async with client.watch(prefix="c/", or_snapshot=True, with_previous=True) as watch:
            marks = [await anext(watch), await anext(watch)]
            assert [mark.kind for mark in marks if isinstance(mark, Mark)] == [
                MarkKind.SNAPSHOT_BEGINS,
                MarkKind.CAUGHT_UP,
            ]
            await client.put("c/k", "1")
            await client.touch("c/k", ttl=60)
            await client.put("c/k", "2")
            await client.delete("c/k")
            await client.put("c/k", "3", ttl_ms=50)
            events = await taken(watch, 6)
        kinds = [event.kind for event in events]
        put, touched = EventKind.PUT, EventKind.TOUCHED
        assert kinds == [put, touched, put, EventKind.DELETED, put, EventKind.EXPIRED]
        assert [event.previous for event in events] == [None, b"1", b"1", b"2", None, b"3"]

    with_client(cluster, act)


def test_a_point_that_is_no_longer_kept(tmp_path: Path) -> None:
    """A watch from a compacted point is told so; with or_snapshot the keys as they stand come first,
    between marks, and then every later change.
    """
    with running(tmp_path) as cluster:

        async def act(client: holdfast.Client) -> None:
            numbers = Numbers(client, "p/")
            async with client.watch(prefix="p/") as watch:
                await started(watch, numbers)
                points = watch.points
            for number in range(COMPACTING_PUTS):
                await client.put(f"big/{number % 3}", COMPACTING_VALUE)
            await numbers.run(KEYS)
            async with client.watch(prefix="p/", from_=points) as watch:
                with pytest.raises(HoldfastError) as refusal:
                    await taken(watch, 1)
                assert refusal.value.reason is Reason.COMPACTED
                assert refusal.value.oldest_revision > points[0].revision
            async with client.watch(prefix="p/", from_=points, or_snapshot=True) as watch:
                await snapshot_then_tail(watch, numbers)

        with_client(cluster, act)


async def snapshot_then_tail(watch: Watch, numbers: Numbers) -> None:
    items = []
    async with asyncio.timeout(60):
        while True:
            item = await anext(watch)
            items.append(item)
            if isinstance(item, Mark) and item.kind is MarkKind.CAUGHT_UP:
                break
    begins = items[0]
    assert isinstance(begins, Mark)
    assert begins.kind is MarkKind.SNAPSHOT_BEGINS
    snapshot = [item for item in items if isinstance(item, Event)]
    assert {event.kind for event in snapshot} == {EventKind.SNAPSHOT}
    held = {event.key.decode(): int(event.value or b"-1") for event in snapshot}
    last = numbers.written
    assert held == {f"p/{n % KEYS}": n for n in range(last - KEYS, last)}
    await numbers.run(20)
    are_the_numbers(await taken(watch, 20), last)
