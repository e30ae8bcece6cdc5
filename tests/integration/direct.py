"""One node spoken to through the generated stubs alone: what a program without the SDK sees.

`ask_here` forbids the node to send a call on, so that the answer is that node's own.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import cache_pb2_grpc, placement_pb2_grpc, types_pb2

# A node that receives it answers by itself (rpc/forward.py).
ASK_HERE = (("holdfast-forwarded", "1"),)
TIMEOUT_S = 10.0
SESSION_ID_BYTES = 16


class Node:
    """Stubs of one node; use it in a `with`."""

    def __init__(self, address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 64 << 20)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.cache = cache_pb2_grpc.CacheStub(self.channel)
        self.watch = cache_pb2_grpc.WatchStub(self.channel)
        self.placement = placement_pb2_grpc.PlacementStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def put(self, key: str, value: str, **fields: Any) -> pb.PutResponse:
        request = pb.PutRequest(key=text_key(key), put=pb.Put(value=value.encode(), **fields))
        return self.cache.Put(request, timeout=TIMEOUT_S)

    def get(self, key: str, *, ask_here: bool = False, token: Any = None, **fields: Any) -> pb.GetResponse:
        request = pb.GetRequest(key=text_key(key), get=pb.Get(**fields), token=token)
        return self.cache.Get(request, timeout=TIMEOUT_S, metadata=ASK_HERE if ask_here else ())

    def stream(self, *, greets: bool = True) -> RawStream:
        """A stream of a new session. greets: it says hello and waits for the welcome."""
        return RawStream(self.channel, os.urandom(SESSION_ID_BYTES) if greets else None)


def text_key(key: str, namespace: str = "") -> pb.Key:
    return pb.Key(namespace=namespace, key_text=key)


def error_of(failure: grpc.RpcError) -> types_pb2.Error:
    """The typed error in a failed unary call's trailing metadata."""
    for name, value in failure.trailing_metadata() or ():
        if name == "holdfast-error-bin":
            return types_pb2.Error.FromString(value)
    raise AssertionError(f"no typed error in {failure!r}")


class RawStream:
    """Cache.Stream on bytes, so that also what is no frame can be sent."""

    def __init__(self, channel: grpc.Channel, hello: bytes | None) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        open_stream = channel.stream_stream("/holdfast.v1.Cache/Stream")
        self._answers: Any = open_stream(self._requests(), timeout=60)
        self._waiting: list[tuple[pb.Answers, pb.Result]] = []
        self.sequence = 0
        self.welcome: pb.Welcome | None = None
        if hello is not None:
            self.send(pb.StreamRequest(hello=pb.Hello(session=hello)).SerializeToString())
            self.welcome = pb.StreamResponse.FromString(next(self._answers)).welcome

    def _requests(self) -> Iterator[bytes]:
        while (data := self._outgoing.get()) is not None:
            yield data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outgoing.put(None)
        self._answers.cancel()

    def send(self, data: bytes) -> None:
        self._outgoing.put(data)

    def stamp_of(self, group: int) -> int:
        assert self.welcome is not None
        return next(entry.stamp_ms for entry in self.welcome.stamps if entry.group == group)

    def receive(self) -> tuple[pb.Answers, pb.Result]:
        """The next result, with the group of answers it came in."""
        while not self._waiting:
            response = pb.StreamResponse.FromString(next(self._answers))
            self._waiting += [(answers, result) for answers in response.answers for result in answers.results]
        return self._waiting.pop(0)

    def operation(self, key: bytes = b"", not_after_ms: int = 0, **kind: Any) -> pb.Operation:
        self.sequence += 1
        return pb.Operation(sequence=self.sequence, key=key, not_after_ms=not_after_ms, **kind)

    def ask(
        self, operations: Sequence[pb.Operation], **frame: Any
    ) -> dict[int, tuple[pb.Answers, pb.Result]]:
        """Sends one frame; the answers by sequence."""
        self.send(pb.StreamRequest(operations=operations, **frame).SerializeToString())
        found = [self.receive() for _ in operations]
        return {result.sequence: (answers, result) for answers, result in found}
