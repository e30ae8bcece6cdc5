"""A frozen placement state on its way into a snapshot, and one being built from it.

Invariants: equal states give equal chunks; a builder that finishes holds exactly what was frozen, checked
by count and digest over all chunks; one that raises is thrown away.
Not here: files, transfer (holdfast_raft).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from google.protobuf.message import DecodeError as WireError

from holdfast_node.cache.commands import seal_message, seal_of
from holdfast_node.cache.image import CorruptImageError
from holdfast_node.cache.seal import Sealed
from holdfast_node.placement.content import Content
from holdfast_node.placement.stored import (
    namespace_message,
    node_message,
    plan_message,
    planning_message,
    read_namespace,
    read_node,
    read_plan,
    read_planning,
    read_shard,
    shard_message,
)
from holdfast_node.v1 import placement_pb2 as pb
from holdfast_node.v1 import snapshot_pb2

FORMAT = 2
ROWS_PER_CHUNK = 64
"""A plan of long keys takes some KiB: a chunk stays below 256 KiB."""
_SIZE = struct.Struct("<I")


class Image:
    """One moment of a state. holdfast_raft.machine.Image."""

    def __init__(self, content: Content) -> None:
        self._content: Content | None = Content()
        content.copy_into(self._content)

    def chunks(self) -> Iterator[bytes]:
        """The state in pieces."""
        assert self._content is not None, "the image was released"
        return chunks_of(self._content)

    def digest_steps(self) -> Iterator[str]:
        """Works out the digest of everything kept by pieces; the last item is it, those before are ''."""
        whole = hashlib.sha256()
        for chunk in self.chunks():
            whole.update(chunk)
            yield ""
        yield whole.hexdigest()

    def release(self) -> None:
        """Ends the freeze. Idempotent."""
        self._content = None


def chunks_of(content: Content) -> Iterator[bytes]:
    """The chunks that say what the state holds."""
    whole, rows = hashlib.sha256(), 0
    for chunk in _parts(content):
        data: bytes = chunk.SerializeToString()
        whole.update(_SIZE.pack(len(data)) + data)
        rows += _count(chunk.rows)
        yield data
    yield pb.PlacementChunk(tail=pb.PlacementTail(rows=rows, sha256=whole.digest())).SerializeToString()


def _count(rows: pb.PlacementRows) -> int:
    return len(rows.nodes) + len(rows.namespaces) + len(rows.shards) + len(rows.plans)


def _parts(content: Content) -> Iterator[pb.PlacementChunk]:
    yield pb.PlacementChunk(head=_head(content))
    yield from _chunked("nodes", (node_message(content.nodes[i]) for i in sorted(content.nodes)))
    namespaces = (namespace_message(content.namespaces[name]) for name in sorted(content.namespaces))
    yield from _chunked("namespaces", namespaces)
    yield from _chunked("shards", (shard_message(content.shards[g]) for g in sorted(content.shards)))
    plans = [*content.ended.values(), *(content.plans[i] for i in sorted(content.plans))]
    yield from _chunked("plans", (plan_message(p, by_hand=p.id in content.by_hand) for p in plans))


def _head(content: Content) -> pb.PlacementHead:
    head = pb.PlacementHead(
        format=FORMAT,
        epoch=content.epoch,
        next_node=content.next_node,
        next_group=content.next_group,
        next_plan=content.next_plan,
        planning=planning_message(content.planning),
        placement=shard_message(content.placement),
        floor=content.floor,
    )
    sealed = content.sealed
    if sealed is not None:
        seal = seal_message(sealed.seal())
        head.sealed.CopyFrom(snapshot_pb2.Sealed(seal=seal, index=sealed.index, term=sealed.term))
    return head


def _chunked(name: str, messages: Iterator[Any]) -> Iterator[pb.PlacementChunk]:
    """Made a chunk at a time: whoever takes them may look at other things in between."""
    while some := list(islice(messages, ROWS_PER_CHUNK)):
        rows: dict[str, Any] = {name: some}
        yield pb.PlacementChunk(rows=pb.PlacementRows(**rows))


class Builder:
    """A state being restored. After `finish`: `content` is it. holdfast_raft.machine.Builder."""

    def __init__(self) -> None:
        self.content = Content()
        self._whole = hashlib.sha256()
        self._rows = 0
        self._has_head = False
        self._is_done = False

    def feed(self, chunk: bytes) -> None:
        """Takes the next chunk. Raises CorruptImageError."""
        try:
            self._take(pb.PlacementChunk.FromString(chunk))
        except (WireError, ValueError) as problem:
            raise CorruptImageError(f"snapshot chunk refused: {problem}") from problem
        self._whole.update(_SIZE.pack(len(chunk)) + chunk)

    def finish(self) -> None:
        """Says that there are no more chunks. Raises CorruptImageError."""
        if not self._is_done:
            raise CorruptImageError("the snapshot ends before its tail")

    def _take(self, message: pb.PlacementChunk) -> None:
        part = message.WhichOneof("part")
        if self._is_done:
            raise ValueError("a chunk follows the tail")
        if self._has_head == (part == "head"):
            raise ValueError("the head is not the first chunk, or stands twice")
        if part == "head":
            self._take_head(message.head)
        elif part == "rows":
            self._take_rows(message.rows)
        elif part == "tail":
            self._take_tail(message.tail)
        else:
            raise ValueError("an unknown part: a newer program made it")

    def _take_head(self, head: pb.PlacementHead) -> None:
        if head.format != FORMAT:
            raise ValueError(f"format {head.format} is not known, this program reads {FORMAT}")
        content = self.content
        content.epoch = head.epoch
        content.next_node = head.next_node
        content.next_group = head.next_group
        content.next_plan = head.next_plan
        content.planning = read_planning(head.planning)
        content.placement = read_shard(head.placement)
        content.floor = head.floor
        if head.HasField("sealed"):
            plan, decides, targets, others = seal_of(head.sealed.seal)
            content.sealed = Sealed(plan, decides, head.sealed.index, head.sealed.term, targets, others)
        self._has_head = True

    def _take_rows(self, rows: pb.PlacementRows) -> None:
        content = self.content
        content.nodes.update((m.id, read_node(m)) for m in rows.nodes)
        content.namespaces.update((m.name, read_namespace(m)) for m in rows.namespaces)
        content.shards.update((m.group, read_shard(m)) for m in rows.shards)
        for m in rows.plans:
            plan = read_plan(m)
            (content.plans if plan.is_open else content.ended)[plan.id] = plan
            if m.by_hand:
                content.by_hand.add(plan.id)
        self._rows += _count(rows)

    def _take_tail(self, tail: pb.PlacementTail) -> None:
        if tail.rows != self._rows:
            raise ValueError(f"the chunks hold {self._rows} rows, the tail says {tail.rows}")
        if tail.sha256 != self._whole.digest():
            raise ValueError("the digest over the chunks differs")
        self._is_done = True
