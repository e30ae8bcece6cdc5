"""The service holdfast.v1.Cache: the stream (cache_stream.py) and its unary twins.

A unary call is answered by any node: here when this replica may (writes: it leads; reads: any level its
reads serve), else by the node that can, once (forward.py). The stream is registered with neither request
nor response type, so that its frames arrive as bytes and are opened by us: a frame that cannot be read
is then an error on a living stream instead of a broken call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from holdfast.errors import HoldfastError, Reason, error
from holdfast.shardmap import Shard as MapEntry
from holdfast.token import Token
from holdfast.types import Level, Outcome
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb

from holdfast_node import limits
from holdfast_node.cache.bounds import DecodeError
from holdfast_node.cache.decoding import decode_operation
from holdfast_node.cache.op import SCAN, Op
from holdfast_node.cache.results import OpResult
from holdfast_node.reads import ReadAnswer
from holdfast_node.rpc import convert
from holdfast_node.rpc.cache_stream import CacheStream
from holdfast_node.rpc.forward import Forwarder, was_forwarded
from holdfast_node.rpc.served import Served
from holdfast_node.shard import Shard
from holdfast_node.writes import Outcomes

SERVICE = "holdfast.v1.Cache"
# Reasons for which another replica may do better.
_ELSEWHERE = frozenset(
    {Reason.NOT_LEADER, Reason.LAGGING, Reason.NO_QUORUM, Reason.STOPPED, Reason.WRONG_SHARD}
)
# Any write must name a not_after; the stamp to count from is known once the shard is.
_PROVISIONAL_NOT_AFTER = 1
# A shard that is being split, merged or moved has nobody to serve it for some tens of ms.
RESHAPE_PATIENCE_S = 1.0
RESHAPE_LOOK_S = 0.01


class CacheService:
    """Handlers of Cache."""

    def __init__(self, served: Served, forwarder: Forwarder) -> None:
        self._served = served
        self._forwarder = forwarder
        self._streams: set[CacheStream] = set()

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What to register with the server."""
        rows: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
            "Get": (self.get, pb.GetRequest),
            "Put": (self.put, pb.PutRequest),
            "Delete": (self.delete, pb.DeleteRequest),
            "CompareAndSet": (self.compare_and_set, pb.CompareAndSetRequest),
            "Increment": (self.increment, pb.IncrementRequest),
            "Touch": (self.touch, pb.TouchRequest),
            "Scan": (self.scan, pb.ScanRequest),
            "Txn": (self.txn, pb.TxnRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                handle,
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (handle, request) in rows.items()
        }
        methods["Stream"] = grpc.stream_stream_rpc_method_handler(self.stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    # ---- the stream -----------------------------------------------------------------

    async def stream(self, _: Any, context: Any) -> None:
        """Serves one stream to its end."""
        stream = CacheStream(self._served, context)
        self._streams.add(stream)
        self._served.traffic.streams += 1
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)
            self._served.traffic.streams -= 1

    def say_goodbye(self) -> None:
        """Tells every stream that the node is about to shut down."""
        for stream in self._streams:
            stream.say_goodbye()

    # ---- unary twins ----------------------------------------------------------------

    async def get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        namespace, operation = convert.get_operation(request)
        done = await self._unary("Get", request, context, namespace, operation, pb.GetResponse)
        if isinstance(done, pb.GetResponse):
            return done
        header, result = done
        found = result.value is not None
        item = convert.key_value(operation.key, result) if found else None
        return pb.GetResponse(header=header, found=found, item=item)

    async def put(self, request: pb.PutRequest, context: Any) -> pb.PutResponse:
        namespace, operation = convert.put_operation(request)
        done = await self._unary("Put", request, context, namespace, operation, pb.PutResponse)
        if isinstance(done, pb.PutResponse):
            return done
        header, result = done
        return pb.PutResponse(header=header, revision=result.revision, previous=result.value)

    async def delete(self, request: pb.DeleteRequest, context: Any) -> pb.DeleteResponse:
        namespace, operation = convert.delete_operation(request)
        done = await self._unary("Delete", request, context, namespace, operation, pb.DeleteResponse)
        if isinstance(done, pb.DeleteResponse):
            return done
        header, result = done
        return pb.DeleteResponse(
            header=header,
            revision=result.revision,
            deleted=result.deleted,
            more=result.more,
            previous=result.value,
            next=result.next,
        )

    async def compare_and_set(
        self, request: pb.CompareAndSetRequest, context: Any
    ) -> pb.CompareAndSetResponse:
        namespace, operation = convert.compare_and_set_operation(request)
        kind = pb.CompareAndSetResponse
        done = await self._unary("CompareAndSet", request, context, namespace, operation, kind)
        if isinstance(done, pb.CompareAndSetResponse):
            return done
        header, result = done
        return pb.CompareAndSetResponse(header=header, revision=result.revision)

    async def increment(self, request: pb.IncrementRequest, context: Any) -> pb.IncrementResponse:
        namespace, operation = convert.increment_operation(request)
        done = await self._unary("Increment", request, context, namespace, operation, pb.IncrementResponse)
        if isinstance(done, pb.IncrementResponse):
            return done
        header, result = done
        return pb.IncrementResponse(header=header, revision=result.revision, number=result.number)

    async def touch(self, request: pb.TouchRequest, context: Any) -> pb.TouchResponse:
        namespace, operation = convert.touch_operation(request)
        done = await self._unary("Touch", request, context, namespace, operation, pb.TouchResponse)
        if isinstance(done, pb.TouchResponse):
            return done
        header, result = done
        return pb.TouchResponse(header=header, revision=result.revision)

    async def scan(self, request: pb.ScanRequest, context: Any) -> pb.ScanResponse:
        namespace, operation = convert.scan_operation(request)
        done = await self._unary("Scan", request, context, namespace, operation, pb.ScanResponse)
        if isinstance(done, pb.ScanResponse):
            return done
        header, result = done
        return pb.ScanResponse(header=header, page=result)

    async def txn(self, request: pb.TxnRequest, context: Any) -> pb.TxnResponse:
        namespace, operation = convert.txn_operation(request)
        done = await self._unary("Txn", request, context, namespace, operation, pb.TxnResponse)
        if isinstance(done, pb.TxnResponse):
            return done
        header, result = done
        return pb.TxnResponse(header=header, result=convert.txn_message(result))

    async def _unary(
        self, method: str, request: Any, context: Any, namespace: str, operation: pb.Operation, response: Any
    ) -> Any:
        """(Header, OpResult or page) of a call answered here, or the whole response of another node."""
        remaining = context.time_remaining()
        timeout_s = limits.TIMEOUT_MS_DEFAULT / 1000 if remaining is None else remaining
        timeout_s = min(timeout_s, limits.TIMEOUT_MS_MAX / 1000)
        deadline = self._served.now() + timeout_s
        is_write = operation.WhichOneof("kind") not in {"get", "scan"}
        if is_write:
            operation.not_after_ms = _PROVISIONAL_NOT_AFTER
        may_forward = not was_forwarded(context.invocation_metadata())
        patient_until = min(deadline, self._served.now() + RESHAPE_PATIENCE_S)
        while True:
            # Each time by the map of this turn, as it is routed by that.
            units = self._served.routing.hashed_by(namespace)
            convert.say_places(operation, units)
            op = _decoded(operation.SerializeToString(), units)
            shard = self._served.routing.locate_operation(namespace, op, whole=op.kind != SCAN)
            try:
                if isinstance(shard, HoldfastError):
                    raise shard
                if self._served.closing:
                    raise error(Reason.STOPPED, "the node is shutting down")
                if is_write:
                    return await self._write(shard, operation, deadline - self._served.now(), deadline)
                return await self._read(shard, op, request, deadline)
            except HoldfastError as problem:
                # A write that was refused here for want of leadership never reached the log.
                address = self._elsewhere(problem, shard, is_write) if may_forward else ""
                if not address and not (_passes(problem, shard) and self._served.now() < patient_until):
                    raise
            if address:
                return await self._sent_on(address, method, request, response, deadline, is_write)
            await asyncio.sleep(RESHAPE_LOOK_S)

    async def _sent_on(
        self, address: str, method: str, request: Any, response: Any, deadline: float, is_write: bool
    ) -> Any:
        self._served.traffic.forwarded += 1
        return await self._forwarder.call(
            address,
            f"/{SERVICE}/{method}",
            request,
            response.FromString,
            timeout_s=max(0.001, deadline - self._served.now()),
            is_write=is_write,
        )

    def _elsewhere(self, problem: HoldfastError, shard: Shard | HoldfastError, is_write: bool) -> str:
        """Address of the node that may do what was refused here; empty: none."""
        if problem.reason not in _ELSEWHERE or (is_write and problem.outcome is not Outcome.REFUSED):
            return ""
        if isinstance(shard, HoldfastError):
            return self._best_replica(problem.shards)
        if problem.reason is Reason.WRONG_SHARD:  # its targets may be here: routing knows them by now
            return ""
        leader = shard.leader
        if leader is None or leader == self._served.node:
            return ""
        return self._served.address_of(leader)

    def _best_replica(self, shards: tuple[MapEntry, ...]) -> str:
        if not shards:
            return ""
        entry = shards[0]
        nodes = [entry.leader, *(replica.node for replica in entry.replicas)]
        others = [node for node in nodes if node and node != self._served.node]
        # A map may name who led when it was made: a write sent to a node that is gone has no known outcome.
        others.sort(key=lambda node: not self._served.is_connected(node))
        return self._served.address_of(others[0]) if others else ""

    async def _write(
        self, shard: Shard, operation: pb.Operation, timeout_s: float, deadline: float
    ) -> tuple[pb.Header, OpResult]:
        operation.not_after_ms = self._served.stamp_ms(shard) + int(timeout_s * 1000)
        data = operation.SerializeToString()
        future: asyncio.Future[tuple[Outcomes | HoldfastError, int]]
        future = asyncio.get_running_loop().create_future()

        def done(outcome: Outcomes | HoldfastError, applied_index: int) -> None:
            if not future.done():
                future.set_result((outcome, applied_index))

        shard.write(b"", 0, [data], [_decoded(data, shard.entry.units)], deadline, done)
        outcome, applied_index = await future
        self._served.traffic.writes += 1
        if isinstance(outcome, HoldfastError):
            raise outcome
        return self._header(shard, 0, applied_index, None), _success(outcome[0])

    async def _read(
        self, shard: Shard, op: Op, request: Any, deadline: float
    ) -> tuple[pb.Header, OpResult | pb.ScanPage]:
        token: Token | None = None
        if op.level == Level.SESSION:
            token = convert.token_of(request.token, self._served.cluster_id)
        future: asyncio.Future[ReadAnswer | HoldfastError] = asyncio.get_running_loop().create_future()

        def done(answer: ReadAnswer | HoldfastError) -> None:
            if not future.done():
                future.set_result(answer)

        shard.read(Level(op.level), op.bound_ms, op.or_linearizable, [op], token, deadline, done)
        answer = await future
        self._served.traffic.reads += 1
        if isinstance(answer, HoldfastError):
            raise answer
        header = self._header(shard, answer.level, answer.applied_index, answer.age_ms)
        result = _success(answer.results[0])
        return header, result if op.kind != SCAN else convert.page_message(result, shard.entry.units)

    def _header(self, shard: Shard, level: int, applied_index: int, age_ms: int | None) -> pb.Header:
        served = self._served
        return pb.Header(
            node=served.node,
            level=level or None,  # type: ignore[arg-type]
            applied_index=applied_index,
            age_ms=age_ms,
            token=convert.token_message(served.cluster_id, shard.token_entry(applied_index)),
        )


def _passes(problem: HoldfastError, shard: Shard | HoldfastError) -> bool:
    """Whether it is what a reshape looks like for some tens of ms, from a replica here."""
    if isinstance(shard, HoldfastError) or problem.outcome is not Outcome.REFUSED:
        return False
    if problem.reason is Reason.NOT_LEADER:
        return not problem.leader
    return problem.reason is Reason.WRONG_SHARD or (problem.reason is Reason.BUSY and shard.moved is not None)


def _decoded(data: bytes, units: Units | None) -> Op:
    try:
        return decode_operation(data, units)
    except DecodeError as problem:
        raise convert.refusal_of(problem) from None


def _success(result: OpResult | HoldfastError) -> OpResult:
    if isinstance(result, HoldfastError):
        raise result
    if result.error:
        raise convert.error_of(result)
    return result
