"""Sends a unary call on to the node that can answer it, once.

A forwarded call carries `holdfast-forwarded: 1` and is never forwarded again, so two nodes with stale
ideas of each other cannot play ball with it. A write without a session is never repeated: after the
first node that may have taken it, the answer is its answer or *unknown* (protocols.md 1). Only a definite
NOT_LEADER that names the leader is followed, and only once.

Channels are kept per address and closed with the node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from holdfast.errors import HoldfastError, Reason

from holdfast_node.limits import MESSAGE_BYTES_MAX
from holdfast_node.rpc import status

FORWARDED_KEY = "holdfast-forwarded"
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def was_forwarded(metadata: Any) -> bool:
    """Whether another node sent this call on."""
    return any(key == FORWARDED_KEY for key, _ in metadata or ())


class Forwarder:
    """Channels to the other nodes and the one act they are for."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def call(
        self,
        address: str,
        method: str,
        request: Any,
        parse: Callable[[bytes], Any],
        *,
        timeout_s: float,
        is_write: bool,
    ) -> Any:
        """The other node's answer. Raises HoldfastError."""
        try:
            return await self._once(address, method, request, parse, timeout_s, is_write)
        except HoldfastError as problem:
            if problem.reason is not Reason.NOT_LEADER or problem.leader in {"", address}:
                raise
            hint = problem.leader
        return await self._once(hint, method, request, parse, timeout_s, is_write)

    async def _once(
        self,
        address: str,
        method: str,
        request: Any,
        parse: Callable[[bytes], Any],
        timeout_s: float,
        is_write: bool,
    ) -> Any:
        call = self._channel(address).unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=parse
        )
        try:
            return await call(request, timeout=timeout_s, metadata=((FORWARDED_KEY, "1"),))
        except grpc.aio.AioRpcError as failure:
            raise status.from_peer(failure, is_write=is_write) from None

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return channel

    async def close(self) -> None:
        """Closes all channels."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close(None)
