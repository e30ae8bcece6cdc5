"""Feeds the watches of a session: one Watch stream per node, a subscription for each part on it.

Invariant: a part is subscribed at most once at a time, always from its own point; whatever ends a
subscription but a lasting error starts the next one, rather at another replica. When its shard has been cut,
merged or moved meanwhile, it goes on at once with whoever serves its keys now, in pieces if need be.

What a caller sees of it is in `watch.py`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from holdfast import retry, wire
from holdfast.channels import EOF, BytesStream, describe
from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KeyRange
from holdfast.session import Session
from holdfast.types import WatchPoint
from holdfast.units import EVERYWHERE
from holdfast.watch import Watch, WatchPart

SILENCE_S: Final = 16.0  # three progress marks missed: the node is gone or hangs
UNKNOWN_NAMESPACE_ATTEMPTS: Final = 3
_RETRIED: Final = frozenset(
    {
        Reason.BUSY,
        Reason.LAGGING,
        Reason.NO_QUORUM,
        Reason.NOT_LEADER,
        Reason.WRONG_SHARD,
        Reason.CROSS_SHARD,
        Reason.STOPPED,
        Reason.DEADLINE,
        Reason.LEADERSHIP_LOST,
    }
)


class NodeWatches:
    """Feeds the watches of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, WatchStream] = {}
        self._watches: set[Watch] = set()

    def start(self, watch: Watch) -> None:
        """Opens a part for each shard of the range. Raises HoldfastError (refused) where there is no call."""
        self._session.check_serves()
        self._watches.add(watch)
        self._cover(watch, None, 0)

    def _cover(self, watch: Watch, whole: WatchPart | None, attempts: int) -> None:
        """Makes parts, at least one per shard: of `whole`, else of all, where the caller's points say."""
        if whole is None:
            watch.units = self._session.map.units_of(watch.namespace)
        keys = (watch.units.places_of(watch.keys) or EVERYWHERE) if whole is None else whole.keys
        shards = self._session.router.overlapping(watch.namespace, keys)
        if not shards:
            if attempts >= UNKNOWN_NAMESPACE_ATTEMPTS:
                message = f"the cluster has no namespace {watch.namespace!r}"
                watch.fail(error(Reason.UNKNOWN_NAMESPACE, message, field="namespace"))
                return
            self._session.refresh_map()
            after = retry.backoff_ms(attempts + 5, 1.0) / 1000
            self._loop.call_later(after, self._cover_later, watch, whole, attempts + 1)
            return
        if whole is not None:
            watch.parts.remove(whole)
        for shard in shards:
            piece = keys.intersect(shard.range)
            parts = self._given(watch, piece, shard.group) if whole is None else [whole.cut(piece)]
            watch.parts += parts
            for part in parts:
                self._place(part)

    def _cover_later(self, watch: Watch, whole: WatchPart | None, attempts: int) -> None:
        if not watch.over and (whole is None or whole in watch.parts):
            self._cover(watch, whole, attempts)

    def _given(self, watch: Watch, keys: KeyRange, group: int) -> list[WatchPart]:
        known = self._session.router.map
        parts = []
        for piece, point in watch.given(keys, group):
            # A later group's that the map has elsewhere is about other keys, and did not say so.
            stray = point is not None and point.group > group and known.group(point.group) is not None
            parts.append(WatchPart(watch, piece, None if stray else point))
        return parts

    def _place(self, part: WatchPart) -> None:
        """Subscribes the part at a replica of its shard, or cuts it when the shard was cut."""
        watch = part.watch
        if watch.over or part.paused or part not in watch.parts:
            return
        shard = self._session.router.at(watch.namespace, part.keys.start)
        if shard is not None and self._session.map.units_of(watch.namespace) != watch.units:
            message = f"namespace {watch.namespace!r} was dropped and made anew: begin a new watch"
            watch.fail(error(Reason.COMPACTED, message))
            return
        if shard is None or not shard.range.covers(part.keys):
            self._cover(watch, part, 0)
            return
        part.in_snapshot = False
        part.group = shard.group
        part.node = self._session.router.next_replica(shard, self._loop.time(), part.tried)
        stream = self._streams.get(part.node)
        if stream is None:
            address = shard.address_of(part.node) or shard.replicas[0].address
            stream = self._streams[part.node] = WatchStream(address, part.node, self._session, self)
            self._session.spawn(stream.run())
        stream.add(part)

    def take(self, stream: WatchStream, part: WatchPart, response: wire.WatchResponse) -> None:
        """A response for a part."""
        watch = part.watch
        point = None
        if response.HasField("point"):
            point = WatchPoint(response.point.group, response.point.revision)
        if response.events or point is not None or response.caught_up:
            part.attempts = part.tried = 0
            watch.feed(part, wire.watch_events(response), point, caught_up=response.caught_up)
        if response.HasField("cancelled"):
            stream.drop(part)
            self._cancelled(part, wire.failure(response.cancelled))
        elif watch.is_full(part):
            part.paused = True
            stream.cancel(part)

    def _cancelled(self, part: WatchPart, failure: HoldfastError) -> None:
        if failure.reason is Reason.COMPACTED and part.watch.or_snapshot:
            part.point = None
        elif failure.reason is Reason.UNKNOWN_NAMESPACE and part.attempts < UNKNOWN_NAMESPACE_ATTEMPTS:
            self._session.refresh_map()
        elif failure.reason not in _RETRIED:
            part.watch.fail(failure)
            return
        self._session.learn_shards(failure.shards)
        if failure.reason in {Reason.WRONG_SHARD, Reason.CROSS_SHARD} and not self._moved(part):
            self._session.refresh_map()
        self._again(part)

    def _moved(self, part: WatchPart) -> bool:
        """Whether another group serves its keys than the one that was asked, or more than one."""
        shard = self._session.router.at(part.watch.namespace, part.keys.start)
        return shard is not None and (shard.group != part.group or not shard.range.covers(part.keys))

    def _again(self, part: WatchPart) -> None:
        """Places the part anew: at once where its keys went, else after a pause, rather elsewhere."""
        if self._moved(part):
            part.attempts = part.tried = 0
            self._place(part)
            return
        part.attempts += 1
        part.tried |= 1 << part.node
        router, now = self._session.router, self._loop.time()
        shard = router.at(part.watch.namespace, part.keys.start)
        if shard is None or not router.untried(shard, now, part.tried):
            part.tried = 0
        wait = retry.backoff_ms(part.attempts, 0.5)
        if shard is not None and router.is_young(shard, now):
            wait = min(wait, retry.YOUNG_WAIT_MS)
        self._loop.call_later(wait / 1000, self._place, part)

    def lost(self, stream: WatchStream, parts: list[WatchPart]) -> None:
        """A node's stream ended: its parts go on elsewhere, from their points."""
        if self._streams.get(stream.node) is stream:
            del self._streams[stream.node]
        if self._session.closed or not parts:
            return
        self._session.refresh_map()  # the node may have left for good
        for part in parts:
            self._again(part)

    def resume(self, watch: Watch, part: WatchPart) -> None:
        """The caller has made room."""
        del watch
        self._place(part)

    def stop(self, watch: Watch) -> None:
        """Cancels the watch's parts; a stream without parts ends."""
        self._watches.discard(watch)
        for stream in list(self._streams.values()):
            for part in watch.parts:
                stream.cancel(part)

    def close(self) -> None:
        """Ends every watch: their callers get STOPPED. In a forked process they are all the parent's."""
        for watch in list(self._watches) if not self._session.birth.is_inherited else ():
            watch.fail(error(Reason.STOPPED, "the client was closed"))


class WatchStream:
    """One Watch stream to one node, shared by all parts that are served there."""

    def __init__(self, address: str, node: int, session: Session, owner: NodeWatches) -> None:
        self.node = node
        self._address = address
        self._session = session
        self._owner = owner
        self._parts: dict[int, WatchPart] = {}
        self._ids: dict[WatchPart, int] = {}
        self._last_id = 0
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._rpc: BytesStream | None = None

    def add(self, part: WatchPart) -> None:
        """Subscribes a part from its point."""
        self._last_id += 1
        self._parts[self._last_id] = part
        self._ids[part] = self._last_id
        watch = part.watch
        keys, places = (watch.keys, part.keys) if watch.units.hashed else (part.keys, None)
        self._requests.put_nowait(
            wire.watch_start(
                self._last_id,
                watch.namespace,
                keys,
                part.point,
                watch.or_snapshot,
                watch.with_previous,
                watch.keys_only,
                places,
            )
        )

    def cancel(self, part: WatchPart) -> None:
        """Unsubscribes a part, if it is served here."""
        number = self.drop(part)
        if number:
            self._requests.put_nowait(wire.watch_cancel(number))

    def drop(self, part: WatchPart) -> int:
        """Forgets a part; its number here, 0: it was not served here."""
        number = self._ids.pop(part, 0)
        self._parts.pop(number, None)
        return number

    async def run(self) -> None:
        """Serves until the stream breaks, falls silent or the session closes."""
        writer: asyncio.Task[None] | None = None
        try:
            rpc = self._rpc = self._session.channels.open_watch(self._address)
            writer = asyncio.get_running_loop().create_task(self._write(rpc))
            writer.add_done_callback(lambda _: rpc.cancel())
            await self._read(rpc)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception as exc:  # noqa: BLE001 - whatever broke it, the parts go elsewhere
            self._session.note_trouble(f"{self._address}: watch: {describe(exc)}")
        finally:
            await self._end(writer)

    async def _write(self, rpc: BytesStream) -> None:
        while True:
            await rpc.write(await self._requests.get())

    async def _read(self, rpc: BytesStream) -> None:
        while True:
            async with asyncio.timeout(SILENCE_S):
                data = await rpc.read()
            if data is EOF:
                return
            for response in wire.watch_responses(data):
                part = self._parts.get(response.watch)
                if part is not None:
                    self._owner.take(self, part, response)

    async def _end(self, writer: asyncio.Task[None] | None) -> None:
        if self._rpc is not None:
            self._rpc.cancel()
        if writer is not None:
            writer.cancel()
            await asyncio.wait([writer])
            if not writer.cancelled():
                writer.exception()  # the reader has seen the same failure
        parts = list(self._parts.values())
        self._parts.clear()
        self._ids.clear()
        self._owner.lost(self, parts)

    def __repr__(self) -> str:
        return f"<WatchStream {self._address} node {self.node}, {len(self._parts)} parts>"
