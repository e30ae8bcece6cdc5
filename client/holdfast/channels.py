"""gRPC channels, one for each address, and the calls the SDK makes on them, all in bytes.

Invariant: a channel is made at most once for an address and closed with the session. The only SDK file
that configures gRPC. Messages go in and out as bytes: `wire.py` reads and writes them.

A node's server must allow pings this frequent (`grpc.http2.min_recv_ping_interval_without_data_ms`).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import grpc
from grpc import aio

from holdfast import wire
from holdfast.shardmap import ShardMap

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024  # a frame of 4 MiB and a full page of answers, with room

OPTIONS: Final = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The session has its own pauses between attempts; gRPC's default of 1 s would outlast an election.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # in fact the time a connection attempt may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Two clients of one process do not share a connection's window.
    ("grpc.use_local_subchannel_pool", 1),
)

EOF: Final[Any] = aio.EOF  # type: ignore[attr-defined]  # missing in grpc-stubs


class BytesStream(Protocol):
    """A call of grpc.aio whose messages are bytes."""

    async def read(self) -> Any:
        """The next message, or EOF. Raises AioRpcError."""

    async def write(self, data: bytes) -> None:
        """Sends; waits while the peer's window is full. Raises AioRpcError."""

    async def done_writing(self) -> None:
        """Half-closes."""

    def cancel(self) -> bool:
        """Ends the call; reads and writes under way raise CancelledError."""


class Channels:
    """All channels of one session."""

    def __init__(self) -> None:
        # Any: the stubs of grpc.aio insist on serializers, without which bytes go through untouched.
        self._channels: dict[str, Any] = {}

    def _channel(self, address: str) -> Any:
        channel = self._channels.get(address)
        if channel is None:
            channel = aio.insecure_channel(address, options=OPTIONS)
            self._channels[address] = channel
        return channel

    def open_stream(self, address: str) -> BytesStream:
        """Cache.Stream of the node at `address`; connects in the background."""
        call: BytesStream = self._channel(address).stream_stream(wire.STREAM)()
        return call

    def open_watch(self, address: str) -> BytesStream:
        """Watch.Watch of the node at `address`."""
        call: BytesStream = self._channel(address).stream_stream(wire.WATCH)()
        return call

    async def get_map(self, address: str, timeout_s: float) -> tuple[str, ShardMap]:
        """Cluster id and shard map as the node knows them. Raises grpc.aio.AioRpcError."""
        call = self._channel(address).unary_unary(wire.GET_MAP)
        return wire.get_map_response(await call(wire.get_map_request(), timeout=timeout_s))

    def addresses(self) -> set[str]:
        """To whom there is a channel."""
        return set(self._channels)

    async def drop(self, address: str) -> None:
        """Closes the channel to an address; calls on it are cancelled. A later call makes a new one."""
        channel = self._channels.pop(address, None)
        if channel is not None:
            await channel.close()

    async def close(self) -> None:
        """Closes all channels; calls on them are cancelled."""
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels))

    def __repr__(self) -> str:
        return f"<Channels {sorted(self._channels)}>"


def describe(exc: BaseException) -> str:
    """A transport failure in a few words."""
    if isinstance(exc, grpc.RpcError) and isinstance(exc, aio.AioRpcError):
        return f"{exc.code().name}: {exc.details()}"
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
