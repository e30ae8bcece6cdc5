"""The service holdfast.v1.Watch: many watches on one stream.

Each watch is a subscription at its shard's hub, which hands over slices of encoded events; here they get
their number and leave in order, those that wait together as one message when the client takes that. What has
not left counts against the watcher, so a slow client is told BUSY by the hub, with its resume point, and
nothing grows.

Invariant: whatever a client sends, the stream lives; a request that cannot be read is answered with a
cancelled watch 0. After the client has half-closed, its watches go on until the last is over (grpcurl
sends its requests and closes).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import grpc
from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.v1 import cache_pb2 as pb

from holdfast_node import limits
from holdfast_node.rpc import convert
from holdfast_node.rpc.served import Served
from holdfast_node.shard import Shard
from holdfast_node.watch_hub import Watcher, WatchSlice

SERVICE = "holdfast.v1.Watch"
# On one stream; the node's own bound is the hub's.
WATCHES_PER_STREAM_MAX = 10_000
# Errors in a row that were answered and not yet taken by the client: beyond it the client is not read.
ANSWERS_WAITING_MAX = 1000
# Of slices in one message; the last one may go beyond it.
MESSAGE_BYTES = 256 * limits.KIB
# What a slice counts for at least: the end of a watch has no events, and names who serves its keys now.
SLICE_BYTES_MIN = 1024
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


class WatchService:
    """Handlers of Watch."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What to register with the server."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Watch": grpc.stream_stream_rpc_method_handler(self.watch)}
        )

    async def watch(self, _: Any, context: Any) -> None:
        """Serves one stream to its end."""
        await WatchStream(self._served, context).run()


class _Watch:
    """One watch of a stream; `watcher` is None until the hub has taken it."""

    __slots__ = ("number", "shard", "watcher")

    def __init__(self, number: int, shard: Shard) -> None:
        self.number = number
        self.shard = shard
        self.watcher: Watcher | None = None


class WatchStream:
    """Serves one stream; `run` ends with it."""

    def __init__(self, served: Served, context: Any) -> None:
        self._served = served
        self._context = context
        self._watches: dict[int, _Watch] = {}
        # What is to leave, in order; a refusal has no watch.
        self._queue: deque[tuple[_Watch | None, int, WatchSlice]] = deque()
        self._packed = False
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()

    async def run(self) -> None:
        """Reads requests and sends slices until both are done."""
        writer = asyncio.create_task(self._write(), name="holdfast-watch-writer")
        writer.add_done_callback(lambda _: self._sent.set())
        try:
            while True:
                data = await self._context.read()
                if data is _EOF:
                    break
                self.take(data)
                while len(self._queue) > ANSWERS_WAITING_MAX:
                    await self._one_sent(writer)
            while self._watches or self._queue:
                await self._one_sent(writer)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            for watch in list(self._watches.values()):
                self._forget(watch)
            self._queue.clear()

    async def _one_sent(self, writer: asyncio.Task[None]) -> None:
        self._sent.clear()
        await self._sent.wait()
        if writer.done():
            writer.result()

    # ---- requests -------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Takes one request."""
        number = 0
        try:
            request = convert.watch_request_of(data)
            number = request.watch
            self._packed = self._packed or request.packed
            match request.WhichOneof("act"):
                case "start":
                    self._start(number, request.start)
                case "cancel":
                    watch = self._watches.get(number)
                    if watch is not None:
                        self._forget(watch)
                case _:
                    raise convert.invalid("act", "is required: start or cancel")
        except HoldfastError as problem:
            self._served.traffic.failed(problem.reason)
            self._queue.append((None, number, WatchSlice([], 0, None, cancelled=problem)))
            self._wake.set()

    def _start(self, number: int, start: pb.WatchStart) -> None:
        if not number:
            raise convert.invalid("watch", "is required, at least 1")
        if number in self._watches:
            raise convert.invalid("watch", f"{number} is in use on this stream")
        if len(self._watches) >= WATCHES_PER_STREAM_MAX:
            message = f"a stream carries at most {WATCHES_PER_STREAM_MAX} watches"
            raise error(Reason.BUSY, message)
        if self._served.closing:
            raise error(Reason.STOPPED, "the node is shutting down")
        routing, namespace = self._served.routing, start.namespace or DEFAULT_NAMESPACE
        places, among = convert.watch_range(start, routing.hashed_by(namespace))
        shard = routing.locate_range(namespace, places)
        if isinstance(shard, HoldfastError):
            raise shard
        watch = _Watch(number, shard)
        watch.watcher = shard.hub.subscribe(
            places,
            lambda part: self._deliver(watch, part),
            point=convert.watch_point(start),
            among=among,
            or_snapshot=start.or_snapshot,
            with_previous=start.with_previous,
            keys_only=start.keys_only,
            now=self._served.now(),
        )
        self._watches[number] = watch
        self._served.traffic.watches += 1

    def _forget(self, watch: _Watch) -> None:
        """Ends a watch of ours; slices of it that have not left do not leave."""
        if self._watches.get(watch.number) is not watch:
            return
        del self._watches[watch.number]
        self._served.traffic.watches -= 1
        if watch.watcher is not None:
            watch.shard.hub.cancel(watch.watcher)
        self._sent.set()

    # ---- slices ---------------------------------------------------------------------

    def _deliver(self, watch: _Watch, part: WatchSlice) -> None:
        self._queue.append((watch, watch.number, part))
        self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while leaving := self._leaving():
                slices = [
                    (number, watch.shard.entry.group if watch else 0, part) for watch, number, part in leaving
                ]
                await self._context.write(convert.watch_message(slices))
                for watch, _, part in leaving:
                    if watch is not None:
                        self._has_left(watch, part)
                self._sent.set()
            self._sent.set()

    def _leaving(self) -> list[tuple[_Watch | None, int, WatchSlice]]:
        """Takes what the next message holds from the queue; none: nothing is left."""
        leaving: list[tuple[_Watch | None, int, WatchSlice]] = []
        room = MESSAGE_BYTES
        while self._queue and room > 0 and (self._packed or not leaving):
            watch, number, part = self._queue.popleft()
            if watch is None or self._watches.get(number) is watch:
                leaving.append((watch, number, part))
                room -= max(part.size_bytes, SLICE_BYTES_MIN)
        return leaving

    def _has_left(self, watch: _Watch, part: WatchSlice) -> None:
        if part.cancelled is not None:
            self._served.traffic.failed(part.cancelled.reason)
            self._forget(watch)
        elif watch.watcher is not None:
            watch.watcher.taken(part.size_bytes)
