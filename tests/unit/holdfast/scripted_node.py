"""Peers for the SDK's tests: nodes that speak the real protocol on real loopback sockets.

They keep exactly-once tables and answer from the in-memory store, so a retry that runs twice is seen. What
a node does with an operation can be scripted; nothing of the SDK's own network side is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from grpc import (
    aio,
    method_handlers_generic_handler,
    stream_stream_rpc_method_handler,
    unary_unary_rpc_method_handler,
)
from holdfast.errors import Reason
from holdfast.fake_store import FakeStore
from holdfast.keys import KeyRange
from holdfast.shardmap import Shard
from holdfast.types import EventKind, Outcome
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import placement_pb2, types_pb2

CLUSTER = "scripted"
STAMP_MS = 1_800_000_000_000
WRITES = {"put", "delete", "compare_and_set", "increment", "touch", "txn"}

Script = Callable[[pb.Operation], "types_pb2.Error | str | None"]


def refusal(reason: Reason, outcome: Outcome = Outcome.REFUSED, **more: Any) -> types_pb2.Error:
    return types_pb2.Error(reason=int(reason), outcome=int(outcome), message="scripted", **more)


class Group:
    """What the replicas of one group share."""

    def __init__(self, number: int, start: bytes, end: bytes) -> None:
        self.number, self.start, self.end = number, start, end
        self.store = FakeStore()
        self.index = 0
        self.leader = 1
        self.done: dict[tuple[bytes, int], pb.Result] = {}
        self.applied = 0  # writes that took effect, repeats not counted
        self.stamp_ms = STAMP_MS + number
        # Reshapes (reshaped_cluster.py):
        self.nodes: tuple[int, ...] = ()  # who holds a replica, in the map's order; empty: everybody
        self.after: list[Group] = []  # it is sealed, these go on
        self.first = 0  # revision it began with
        self.merging = False  # it is sealed, and nothing is decided
        self.segments: dict[int, list[Any]] = {}  # group of before -> its events, which lead to ours
        self.ancestors: set[int] = set()  # groups of before whose revisions ours go on from

    def apply(self, session: bytes, operation: pb.Operation) -> pb.Result:
        name = (session, operation.sequence)
        is_write = operation.WhichOneof("kind") in WRITES
        if is_write and name in self.done:
            return self.done[name]
        if is_write and operation.not_after_ms < self.stamp_ms:
            return pb.Result(sequence=operation.sequence, error=refusal(Reason.TOO_LATE))
        result = self.store.apply(operation, self.stamp_ms)
        if is_write:
            self.index += 1
            self.applied += 1
            self.done[name] = result
        return result


class ScriptedNode:
    """One node. `script(operation)`: an Error to answer with, "silent", "lose" (do it, then cut the line)."""

    def __init__(self, cluster: ScriptedCluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.address = ""
        self.frames: list[pb.StreamRequest] = []
        self.hellos: list[bytes] = []
        self.watch_starts: list[pb.WatchStart] = []
        self.script: Script = lambda _: None
        self.window = 64
        self.answers_pings = True
        self.pings = 0
        self.is_mute = False  # it does not even answer pings
        self.maps_asked = 0
        self.stuck_snapshots = False  # a snapshot stops before its end
        self.held: asyncio.Event | None = None  # set: answers wait for it
        self.streams: list[asyncio.Queue[Any]] = []
        self.watchers: list[tuple[asyncio.Queue[Any], int, pb.WatchStart, Group]] = []
        self.groups: list[Group] | None = None  # what it routes by, when that is not the newest
        self._server: aio.Server | None = None
        self._news = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something that this node received makes `holds` true."""
        while not holds():
            self._news.clear()
            await self._news.wait()

    async def start(self) -> None:
        self._server = aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)])
        stream = stream_stream_rpc_method_handler(
            self._stream, pb.StreamRequest.FromString, pb.StreamResponse.SerializeToString
        )
        watch = stream_stream_rpc_method_handler(
            self._watch, pb.WatchRequest.FromString, pb.WatchResponse.SerializeToString
        )
        get_map = unary_unary_rpc_method_handler(
            self._get_map,
            placement_pb2.GetMapRequest.FromString,
            placement_pb2.GetMapResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (
                method_handlers_generic_handler("holdfast.v1.Cache", {"Stream": stream}),
                method_handlers_generic_handler("holdfast.v1.Watch", {"Watch": watch}),
                method_handlers_generic_handler("holdfast.v1.Placement", {"GetMap": get_map}),
            )
        )
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Dies: every connection breaks."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    @property
    def operations(self) -> list[pb.Operation]:
        """All operations received, in order."""
        return [operation for frame in self.frames for operation in frame.operations]

    # ---- the cache ----

    async def _stream(self, requests: AsyncIterator[pb.StreamRequest], _: Any) -> AsyncIterator[Any]:
        out: asyncio.Queue[Any] = asyncio.Queue()
        self.streams.append(out)
        reading = asyncio.ensure_future(self._read(requests, out))
        try:
            while (response := await out.get()) is not None:
                yield response
        finally:
            reading.cancel()
            self.streams.remove(out)

    async def _read(self, requests: AsyncIterator[pb.StreamRequest], out: asyncio.Queue[Any]) -> None:
        session = b""
        async for frame in requests:
            if frame.HasField("hello"):
                session = frame.hello.session
                self.hellos.append(session)
                self._news.set()
                out.put_nowait(pb.StreamResponse(welcome=self._welcome()))
            if frame.ping:
                self.pings += 1
                self._news.set()
                if not self.is_mute:
                    out.put_nowait(pb.StreamResponse(pong=True))
            if not frame.operations:
                continue
            self.frames.append(frame)
            self._news.set()
            if self.held is not None:
                await self.held.wait()
            if not self._answer(session, frame, out):
                out.put_nowait(None)
        out.put_nowait(None)

    def _welcome(self) -> pb.Welcome:
        stamps = [pb.GroupStamp(group=g.number, stamp_ms=g.stamp_ms) for g in self.cluster.groups]
        return pb.Welcome(
            cluster_id=CLUSTER,
            node=self.number,
            map=self.cluster.map_message(self.groups),
            stamps=stamps,
            frames_in_flight_max=self.window,
            answers_pings=self.answers_pings,
        )

    def _answer(self, session: bytes, frame: pb.StreamRequest, out: asyncio.Queue[Any]) -> bool:
        """False: the line is to be cut."""
        response, lose = pb.StreamResponse(), False
        for operation in frame.operations:
            group = self.cluster.group_of(operation, self.groups)
            said = self.script(operation) or self.cluster.misplaced(self, group, operation)
            if said == "silent":
                continue
            if isinstance(said, types_pb2.Error):
                response.answers.add(node=self.number).results.add(sequence=operation.sequence, error=said)
                continue
            answers = response.answers.add(node=self.number, leader=group.leader, stamp_ms=group.stamp_ms)
            if self._must_lead(operation) and group.leader != self.number:
                error = refusal(Reason.NOT_LEADER, leader=self.cluster.address(group.leader))
                answers.results.add(sequence=operation.sequence, error=error)
                answers.ClearField("stamp_ms")
                continue
            result = self.cluster.continued(group, operation, group.apply(session, operation))
            if said == "lose":
                lose = True
                continue
            start, end = self.cluster.span(group)
            answers.token.CopyFrom(
                types_pb2.TokenEntry(start=start, end=end, group=group.number, index=group.index)
            )
            answers.applied_index = group.index
            answers.level = _level(operation)
            answers.age_ms = 0
            answers.results.append(result)
        if response.answers:
            out.put_nowait(response)
        self.cluster.tell_watchers()
        return not lose

    def _must_lead(self, operation: pb.Operation) -> bool:
        return _level(operation) <= types_pb2.LEVEL_LINEARIZABLE

    def say_goodbye(self) -> None:
        for out in self.streams:
            out.put_nowait(pb.StreamResponse(goodbye=True))

    def cut(self) -> None:
        """Closes every stream from this side."""
        for out in self.streams:
            out.put_nowait(None)

    async def _get_map(self, _: Any, __: Any) -> placement_pb2.GetMapResponse:
        self.maps_asked += 1
        message = self.cluster.map_message(self.groups)
        return placement_pb2.GetMapResponse(cluster_id=CLUSTER, map=message)

    # ---- watches ----

    async def _watch(self, requests: AsyncIterator[pb.WatchRequest], _: Any) -> AsyncIterator[Any]:
        out: asyncio.Queue[Any] = asyncio.Queue()
        reading = asyncio.ensure_future(self._read_watch(requests, out))
        try:
            while (response := await out.get()) is not None:
                over = False
                while not out.empty() and not over:  # as a real node does: the client has said `packed`
                    following = out.get_nowait()
                    over = following is None
                    if not over:
                        response.also.append(following)
                yield response
                if over:
                    return
        finally:
            reading.cancel()
            self.watchers = [w for w in self.watchers if w[0] is not out]

    async def _read_watch(self, requests: AsyncIterator[pb.WatchRequest], out: asyncio.Queue[Any]) -> None:
        async for request in requests:
            if request.HasField("cancel"):
                self.watchers = [w for w in self.watchers if w[:2] != (out, request.watch)]
                self._news.set()
                continue
            self.watch_starts.append(request.start)
            self._start_watch(out, request.watch, request.start)
            self._news.set()

    def _start_watch(self, out: asyncio.Queue[Any], number: int, start: pb.WatchStart) -> None:
        group = self.cluster.group_at(start.range.start, self.groups)
        store, keys = group.store, KeyRange(start.range.start, start.range.end)
        point = getattr(start, "from") if start.HasField("from") else None
        response = pb.WatchResponse(watch=number, started=True)
        if (misplaced := self.cluster.misplaced_watch(self, group, start)) is not None:
            response.cancelled.CopyFrom(misplaced)
            out.put_nowait(response)
            return
        if point is not None and point.group in group.segments:
            out.put_nowait(self._segment(number, keys, group.segments[point.group], point))
            point = pb.WatchPoint(group=group.number, revision=group.first)
        elif point is not None and point.group not in {group.number, *group.ancestors}:
            response.cancelled.CopyFrom(refusal(Reason.COMPACTED))
            out.put_nowait(response)
            return
        compacted = self.cluster.compacted_below
        if point is not None and point.revision < compacted and not start.or_snapshot:
            response.cancelled.CopyFrom(refusal(Reason.COMPACTED, oldest_revision=compacted))
            out.put_nowait(response)
            return
        since = point.revision if point is not None and point.revision >= compacted else store.revision
        if start.or_snapshot and (point is None or point.revision < compacted):
            for key, record in sorted(store.keys.items()):
                if key in keys:
                    event = response.events.add(kind=pb.Event.KIND_SNAPSHOT, key=key)
                    event.value, event.revision = record.value, record.revision
            response.caught_up = True
        if self.stuck_snapshots:
            response.caught_up = False
            out.put_nowait(response)
            self.watchers.append((out, number, start, group))
            return
        response.point.group, response.point.revision = group.number, store.revision
        for event in store.events:
            if event.revision > since and event.key in keys:
                _add_event(response, event)
        out.put_nowait(response)
        self.watchers.append((out, number, start, group))

    def _segment(self, number: int, keys: KeyRange, events: list[Any], point: pb.WatchPoint) -> Any:
        """What is left of a group of before, whose events lead to those of the present one."""
        response = pb.WatchResponse(watch=number, started=True)
        for event in events:
            if event.revision > point.revision and event.key in keys:
                _add_event(response, event)
        response.point.group = point.group
        response.point.revision = max([point.revision, *(event.revision for event in events)])
        return response

    def tell(self, group: Group, events: list[Any]) -> None:
        for out, number, start, watched in self.watchers:
            if watched is not group:
                continue
            response = pb.WatchResponse(watch=number)
            for event in events:
                if event.key in KeyRange(start.range.start, start.range.end):
                    _add_event(response, event)
            response.point.group, response.point.revision = group.number, events[-1].revision
            out.put_nowait(response)

    def cut_watches(self) -> None:
        """Closes every watch stream from this side."""
        for out, *_ in self.watchers:
            out.put_nowait(None)


class ScriptedCluster:
    """Nodes that share their groups' state, as if replication were instant."""

    def __init__(self, nodes: int = 1, cuts: tuple[bytes, ...] = ()) -> None:
        edges = [b"", *cuts, b""]
        self.groups = [Group(2 + i, edges[i], edges[i + 1]) for i in range(len(cuts) + 1)]
        self.nodes = [ScriptedNode(self, i + 1) for i in range(nodes)]
        self.epoch = 1
        self.compacted_below = 0
        self._told = {group.number: 0 for group in self.groups}

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            await node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            await node.stop()

    @property
    def endpoints(self) -> list[str]:
        return [node.address for node in self.nodes]

    def address(self, number: int) -> str:
        return self.nodes[number - 1].address if number else ""

    def group_at(self, key: bytes, groups: list[Group] | None = None) -> Group:
        return next(g for g in reversed(groups or self.groups) if key >= g.start)

    def group_of(self, operation: pb.Operation, groups: list[Group] | None = None) -> Group:
        kind = operation.WhichOneof("kind")
        if kind == "scan":
            return self.group_at(operation.scan.range.start, groups)
        if kind == "txn":
            parts = (*operation.txn.compares, *operation.txn.then, *operation.txn.otherwise)
            return self.group_at(parts[0].key, groups)
        if kind == "delete" and operation.delete.HasField("range"):
            return self.group_at(operation.delete.range.start, groups)
        return self.group_at(operation.key, groups)

    def misplaced(self, node: ScriptedNode, group: Group, operation: pb.Operation) -> Any:
        """Why the node cannot serve the operation, as its shard is gone; see reshaped_cluster.py."""

    def misplaced_watch(self, node: ScriptedNode, group: Group, start: pb.WatchStart) -> Any:
        """The same of a watch."""

    def continued(self, group: Group, operation: pb.Operation, result: pb.Result) -> pb.Result:
        """The result, with where a scan goes on when its range does not end with the shard."""
        del group, operation
        return result

    def span(self, group: Group) -> tuple[bytes, bytes]:
        return Shard("default", KeyRange(group.start, group.end), group.number, 1, (), 0).span()

    def replicas(self, group: Group) -> list[ScriptedNode]:
        return [self.nodes[number - 1] for number in group.nodes] or self.nodes

    def shard_message(self, group: Group) -> types_pb2.Shard:
        return types_pb2.Shard(
            namespace="default",
            start=group.start,
            end=group.end,
            group=group.number,
            epoch=self.epoch,
            replicas=[types_pb2.Replica(node=n.number, address=n.address) for n in self.replicas(group)],
            leader=group.leader,
        )

    def map_message(self, groups: list[Group] | None = None) -> pb.ShardMap:
        return pb.ShardMap(epoch=self.epoch, shards=[self.shard_message(g) for g in groups or self.groups])

    def lead(self, number: int) -> None:
        """The node leads all groups from now on."""
        for group in self.groups:
            group.leader = number

    def tell_watchers(self) -> None:
        for group in self.groups:
            events = group.store.events[self._told.get(group.number, 0) :]
            self._told[group.number] = len(group.store.events)
            if events:
                for node in self.nodes:
                    node.tell(group, events)


def _level(operation: pb.Operation) -> int:
    """0: a write."""
    kind = operation.WhichOneof("kind")
    if kind == "get":
        return operation.get.level or types_pb2.LEVEL_LINEARIZABLE
    if kind == "scan":
        return operation.scan.level or types_pb2.LEVEL_LINEARIZABLE
    return 0


def _add_event(response: pb.WatchResponse, event: Any) -> None:
    message = response.events.add(kind=int(event.kind), key=event.key, revision=event.revision)
    message.deadline_ms = event.deadline_ms
    if event.kind is EventKind.PUT:
        message.value = event.value
