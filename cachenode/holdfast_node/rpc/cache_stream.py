"""One client's Cache.Stream: frames in, answers out. The hot path of the product.

A frame's operations are decoded once and their bytes handed on unread; they are split by shard into one
write and one read a level, so that everything beyond decoding and encoding happens once a frame, not
once an operation (performance.md, technique 7). Answers of one loop turn leave as one response.

Invariants:
- Every operation of every frame is answered exactly once; a malformed one with an error, and the stream
  lives. An error whose frame cannot be read is a result with sequence 0.
- A read sees the writes on its key that precede it in its frame: it is asked once they are applied.
- At most FRAMES_IN_FLIGHT_MAX frames are unanswered; a client that sends more is not read from until one
  is (every operation ends by its deadline, so that wait ends). What all streams hold is bounded, in bytes
  and in operations; beyond it a frame is refused BUSY, unread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import grpc
from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import DEFAULT_NAMESPACE, KeyRange
from holdfast.types import Level
from holdfast.v1 import cache_pb2 as pb

from holdfast_node import limits
from holdfast_node.cache.bounds import DecodeError
from holdfast_node.cache.op import GET, PUT, SCAN, Op
from holdfast_node.reads import ReadAnswer
from holdfast_node.rpc import convert
from holdfast_node.rpc.served import Served
from holdfast_node.shard import Shard
from holdfast_node.v1 import frame_pb2 as private
from holdfast_node.writes import Outcomes, Write, WriteDone

# A response is closed once it holds this much: with the largest scan page on top it stays below the 4 MiB
# that gRPC clients take by default.
RESPONSE_BYTES = 1024 * 1024
BUSY_RETRY_MS = 50
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
_LEVELS = (None, *Level)
_PONG = pb.StreamResponse(pong=True).SerializeToString()

How = tuple[Any, ...]
"""Level, bound_ms, or_linearizable: a slice of an Op, as hot code takes it."""


class Frame:
    """A frame that is not fully answered. left: operations whose answers have not left; working: whose
    answers are not there yet.
    """

    __slots__ = ("began", "left", "size_bytes", "working")

    def __init__(self, size_bytes: int, operations: int, began: float) -> None:
        self.size_bytes = size_bytes
        self.left = operations
        self.working = 0
        self.began = began


class Reply:
    """Answers of one shard to a part of a frame, on their way out. `at`: how many have been encoded."""

    __slots__ = ("age_ms", "applied_index", "at", "frame", "level", "ops", "outcome", "shard")

    def __init__(
        self,
        frame: Frame,
        shard: Shard | None,
        ops: Sequence[Op],
        outcome: Outcomes | HoldfastError,
    ) -> None:
        self.frame = frame
        self.shard = shard
        self.ops = ops
        self.outcome = outcome
        self.level = 0
        self.applied_index = 0
        self.age_ms: int | None = None
        self.at = 0


class Part:
    """What a frame asks of one shard. after: reads of what the writes before them in the frame write."""

    __slots__ = ("_keys", "_seen", "_spans", "after", "ops", "reads", "shard", "writes")

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.writes: list[bytes] = []
        self.ops: list[Op] = []
        self.reads: dict[How, list[Op]] = {}
        self.after: dict[How, list[Op]] = {}
        self._seen = 0
        self._keys: set[bytes] = set()
        self._spans: list[KeyRange] = []

    def read(self, op: Op) -> None:
        """Takes a read."""
        reads = self.after if self.ops and self._follows(op) else self.reads
        how = op[10:13]
        if how in reads:
            reads[how].append(op)
        else:
            reads[how] = [op]

    def _follows(self, op: Op) -> bool:
        for write in self.ops[self._seen :]:
            if write.range is not None:
                self._spans.append(write.range)
            else:
                self._keys.update(write.keys())
        self._seen = len(self.ops)
        if op.kind == GET:
            return op.key in self._keys or any(op.key in span for span in self._spans)
        assert op.range is not None, "a scan has a range"
        span = op.range
        return any(key in span for key in self._keys) or any(
            not span.intersect(other).is_empty() for other in self._spans
        )


class CacheStream:
    """Serves one stream; `run` ends with it."""

    def __init__(self, served: Served, context: Any) -> None:
        self._served = served
        self._context = context
        self._session = b""
        self._open: set[Frame] = set()
        self._over = False
        self._replies: deque[Reply] = deque()
        self._opening: pb.StreamResponse | None = None
        self._goodbye = False
        self._pong = False
        self._wake = asyncio.Event()
        self._fewer = asyncio.Event()

    async def run(self) -> None:
        """Reads frames until the client has said all, then answers what is left."""
        writer = asyncio.create_task(self._write(), name="holdfast-stream-writer")
        writer.add_done_callback(lambda _: self._fewer.set())
        try:
            while True:
                data = await self._context.read()
                if data is _EOF:
                    break
                self.take(data)
                while len(self._open) >= limits.FRAMES_IN_FLIGHT_MAX:
                    await self._one_finished(writer)
            while self._open or self._opening is not None:
                await self._one_finished(writer)
        finally:
            self._abandon()  # first: the wait below may be cancelled too
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _one_finished(self, writer: asyncio.Task[None]) -> None:
        """Waits until a response has left; raises when none will, because the writer has failed."""
        self._fewer.clear()
        await self._fewer.wait()
        if writer.done():
            writer.result()

    def say_goodbye(self) -> None:
        """Tells the client that the node is about to shut down."""
        self._goodbye = True
        self._wake.set()

    # ---- frames in ------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Takes one frame: every operation of it will be answered."""
        served = self._served
        served.traffic.frames += 1
        try:
            raw = convert.frame_of(data)
        except HoldfastError as problem:
            self._refuse(self._opened(len(data), 1), (0,), problem)
            return
        if raw.ping and self._session:
            self._pong = True
            self._wake.set()
        refusal = convert.frame_problem(len(data), raw) or self._greet(raw) or self._no_room(len(data), raw)
        if refusal is not None:
            self._refuse_frame(len(data), raw.operations, refusal)
        elif raw.operations:
            # By the map of this turn, by which they are also routed: placed so they cannot reach a shard of
            # other units.
            units = served.routing.hashed_by(raw.namespace or DEFAULT_NAMESPACE)
            ops = convert.operations_of(data, raw, units)
            frame = self._opened(len(data), len(raw.operations))
            frame.working = len(raw.operations)
            served.traffic.in_flight_operations += frame.working
            self._dispatch(raw, ops, frame)

    def _greet(self, raw: private.RawStreamRequest) -> HoldfastError | None:
        if self._session and not raw.hello:
            return None
        try:
            session = convert.session_of(raw.hello)
        except HoldfastError as problem:
            return problem
        if self._session:
            same = session == self._session
            return None if same else convert.invalid("hello.session", "may not change within a stream")
        self._session = session
        self._opening = pb.StreamResponse(welcome=self._welcome())
        self._wake.set()
        return None

    def _welcome(self) -> pb.Welcome:
        served = self._served
        return pb.Welcome(
            cluster_id=served.cluster_id,
            node=served.node,
            map=convert.map_message(served.routing.live_map()),
            stamps=[
                pb.GroupStamp(group=shard.entry.group, stamp_ms=served.stamp_ms(shard))
                for shard in served.routing.hosted()
            ],
            frames_in_flight_max=limits.FRAMES_IN_FLIGHT_MAX,
            answers_pings=True,
        )

    def _no_room(self, size_bytes: int, raw: private.RawStreamRequest) -> HoldfastError | None:
        served, traffic = self._served, self._served.traffic
        if served.closing:
            return error(Reason.STOPPED, "the node is shutting down")
        if not raw.operations:
            return None
        if traffic.in_flight_bytes + size_bytes > limits.NODE_IN_FLIGHT_BYTES_MAX:
            held = f"{limits.NODE_IN_FLIGHT_BYTES_MAX} bytes"
        elif traffic.in_flight_operations + len(raw.operations) > _operations_max(raw.timeout_ms):
            held = f"{traffic.in_flight_operations} operations"
        else:
            return None
        message = f"the node holds {held} of unanswered frames"
        return error(Reason.BUSY, message, retry_after_ms=BUSY_RETRY_MS)

    def _opened(self, size_bytes: int, operations: int) -> Frame:
        frame = Frame(size_bytes, operations, self._served.now())
        self._open.add(frame)
        self._served.traffic.in_flight_bytes += size_bytes
        return frame

    def _refuse_frame(self, size_bytes: int, operations: Sequence[bytes], problem: HoldfastError) -> None:
        """Refuses a frame unread; the operations beyond the limit share one answer, with sequence 0."""
        sequences = list(convert.sequences_of(operations[: limits.FRAME_OPERATIONS_MAX]))
        if len(operations) != len(sequences) or not sequences:
            sequences.append(0)
        self._refuse(self._opened(size_bytes, len(sequences)), sequences, problem)

    def _refuse(self, frame: Frame, sequences: Sequence[int], problem: HoldfastError) -> None:
        self._queue(Reply(frame, None, [Op(sequence, 0, b"") for sequence in sequences], problem))

    def _dispatch(self, raw: private.RawStreamRequest, ops: Sequence[Op | DecodeError], frame: Frame) -> None:
        namespace = raw.namespace or DEFAULT_NAMESPACE
        sole = self._served.routing.sole(namespace)
        only = None if sole is None else Part(sole)
        parts: dict[int, Part] = {}
        for data, op in zip(raw.operations, ops, strict=True):
            if isinstance(op, DecodeError):
                self._refuse(frame, convert.sequences_of((data,)), convert.refusal_of(op))
                continue
            part = only or self._part(parts, namespace, op, frame)
            if part is None:
                continue
            if op[10]:  # a level: it reads
                part.read(op)
            else:
                part.writes.append(data)
                part.ops.append(op)
        timeout_ms = raw.timeout_ms or limits.TIMEOUT_MS_DEFAULT
        deadline = frame.began + timeout_ms / 1000
        for part in parts.values() if only is None else (only,):
            self._ask(part, raw, frame, deadline)

    def _part(self, parts: dict[int, Part], namespace: str, op: Op, frame: Frame) -> Part | None:
        """The part of the shard that serves the operation; None: it was refused."""
        routing = self._served.routing
        if op.key:
            shard = routing.locate(namespace, op.key)
        else:
            shard = routing.locate_operation(namespace, op, whole=op.kind != SCAN)
        if isinstance(shard, HoldfastError):
            self._refuse(frame, (op.sequence,), shard)
            return None
        group = shard.entry.group
        part = parts.get(group)
        if part is None:
            part = parts[group] = Part(shard)
        return part

    def _ask(self, part: Part, raw: private.RawStreamRequest, frame: Frame, deadline: float) -> None:
        shard = part.shard
        if part.ops:
            wrote = self._wrote(frame, shard, part.ops)
            writes = shard.write(self._session, raw.answered_below, part.writes, part.ops, deadline, wrote)
            for how, ops in part.after.items():
                self._read(shard, how, ops, raw, frame, deadline, writes)
        for how, ops in part.reads.items():
            self._read(shard, how, ops, raw, frame, deadline, None)

    def _wrote(self, frame: Frame, shard: Shard, ops: list[Op]) -> WriteDone:
        def done(outcome: Outcomes | HoldfastError, applied_index: int) -> None:
            reply = Reply(frame, shard, ops, outcome)
            if not isinstance(outcome, HoldfastError):
                reply.applied_index = applied_index
            self._queue(reply)

        return done

    def _read(
        self,
        shard: Shard,
        how: How,
        ops: list[Op],
        raw: private.RawStreamRequest,
        frame: Frame,
        deadline: float,
        after: Write | None,
    ) -> None:
        def done(answer: ReadAnswer | HoldfastError) -> None:
            if isinstance(answer, HoldfastError):
                self._queue(Reply(frame, shard, ops, answer))
                return
            reply = Reply(frame, shard, ops, answer.results)
            reply.level, reply.applied_index, reply.age_ms = answer[1:]
            self._queue(reply)

        level, bound_ms, or_linearizable = how
        token = None
        if level == Level.SESSION:
            try:
                token = convert.token_of(raw.token, self._served.cluster_id)
            except HoldfastError as problem:
                self._queue(Reply(frame, None, ops, problem))
                return
        shard.read(_LEVELS[level], bound_ms, or_linearizable, ops, token, deadline, done, after)

    # ---- answers out ----------------------------------------------------------------

    def _queue(self, reply: Reply) -> None:
        if not self._over:
            answered = min(len(reply.ops), reply.frame.working)  # 0: the frame was refused unread
            reply.frame.working -= answered
            self._served.traffic.in_flight_operations -= answered
            self._replies.append(reply)
            self._wake.set()

    async def _write(self) -> None:
        """Sends whatever is answered, as one response or as many as its size asks for."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while True:
                response, answered = self.next_response()
                if response is None:
                    break
                await self._context.write(response)
                for frame, count in answered:
                    frame.left -= count
                    if not frame.left:
                        self._finish(frame)
                self._fewer.set()

    def next_response(self) -> tuple[bytes | None, list[tuple[Frame, int]]]:
        """The next response, and how many operations of which frames it answers. None: nothing to say."""
        if self._pong and self._opening is None:
            self._pong = False
            return _PONG, []
        response = self._opening or pb.StreamResponse()
        if not self._replies and self._opening is None and not self._goodbye:
            return None, []
        self._opening = None
        response.goodbye = self._goodbye
        self._goodbye = False
        answered = []
        room = RESPONSE_BYTES
        while self._replies and room > 0:
            reply = self._replies[0]
            before = reply.at
            room -= self._encode(reply, response.answers.add(), room)
            answered.append((reply.frame, reply.at - before))
            if reply.at == len(reply.ops):
                self._replies.popleft()
        return response.SerializeToString(), answered

    def _encode(self, reply: Reply, answers: pb.Answers, room: int) -> int:
        """Encodes as much of the reply as there is room for, at least one result; returns its size."""
        served, shard, outcome = self._served, reply.shard, reply.outcome
        answers.node = served.node
        if shard is not None:
            answers.stamp_ms = shard.stamp_ms()
            answers.leader = shard.leader or 0
        if isinstance(outcome, HoldfastError):
            return self._encode_error(reply, answers, outcome)
        assert shard is not None, "a result has a shard"
        answers.applied_index = reply.applied_index
        if reply.level:
            answers.level = reply.level  # type: ignore[assignment]
        if reply.age_ms is not None:
            answers.age_ms = reply.age_ms
        token = answers.token
        token.start, token.end, token.group, token.index = shard.token_entry(reply.applied_index)
        return self._encode_results(reply, answers, outcome, room)

    def _encode_error(self, reply: Reply, answers: pb.Answers, problem: HoldfastError) -> int:
        message = convert.error_message(problem)
        add = answers.results.add
        for op in reply.ops:
            add(sequence=op.sequence, error=message)
        reply.at = len(reply.ops)
        self._served.traffic.failed(problem.reason, len(reply.ops))
        return len(reply.ops) * 16 + message.ByteSize() * len(reply.ops)

    def _encode_results(self, reply: Reply, answers: pb.Answers, outcome: Outcomes, room: int) -> int:
        results, add_result, traffic = answers.results, convert.add_result, self._served.traffic
        assert reply.shard is not None, "a result has a shard"
        units = reply.shard.entry.units
        size = 0
        begin = at = reply.at
        for at in range(begin, len(outcome)):
            op, result = reply.ops[at], outcome[at]
            if isinstance(result, HoldfastError):
                results.add(sequence=op.sequence, error=convert.error_message(result))
                traffic.failed(result.reason)
            elif op[1] <= PUT and not result[0]:
                # The hot path: a Get's or Put's success, written out.
                value = result[2]
                results.add(sequence=op[0], revision=result[1], value=value, ttl_ms=result[4])
                size += 24 if value is None else 24 + len(value)
            else:
                size += add_result(results, op[0], result, units)
                if result[0]:
                    traffic.failed(result[0])
            if size >= room:
                break
        reply.at = at + 1
        if reply.level:
            traffic.reads += at + 1 - begin
        else:
            traffic.writes += at + 1 - begin
        return size

    def _finish(self, frame: Frame) -> None:
        self._open.discard(frame)
        traffic = self._served.traffic
        traffic.in_flight_bytes -= frame.size_bytes
        traffic.frame_seconds.add(self._served.now() - frame.began)

    def _abandon(self) -> None:
        """The client is gone: what is still under way will be answered to nobody."""
        self._over = True
        self._replies.clear()
        traffic = self._served.traffic
        traffic.in_flight_bytes -= sum(frame.size_bytes for frame in self._open)
        traffic.in_flight_operations -= sum(frame.working for frame in self._open)
        self._open.clear()


def _operations_max(timeout_ms: int) -> int:
    """How many operations all streams may have under way when a frame with that timeout comes.

    A long timeout gives no more than the default: it may wait for long, not take the others' room.
    """
    milliseconds = max(1000, min(timeout_ms or limits.TIMEOUT_MS_DEFAULT, limits.TIMEOUT_MS_DEFAULT))
    return limits.NODE_IN_FLIGHT_OPERATIONS_A_SECOND * milliseconds // 1000
