"""Carries a command's calls to the cluster's placement service, and back what nodes said to them.

Any endpoint will do: to look, they are asked in turn until one answers; a change is sent to the first that
can be reached and not sent twice, for it may have happened. A node's own refusal (metadata
`holdfast-error-bin`) becomes a HoldfastError; one that names the leader is followed there.

Does not know what is asked: placement.py and its neighbours make the requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from holdfast import wire
from holdfast.cli.verbs import EXIT_REFUSED, EXIT_UNKNOWN, FailedError
from holdfast.errors import HoldfastError, Reason
from holdfast.types import Outcome
from holdfast.v1 import types_pb2
from holdfast.v1.placement_pb2_grpc import PlacementStub

# An endpoint that does not answer must not hold up the next for long.
ENDPOINT_TIMEOUT_S = 2.0
LEADER_HINTS_MAX = 4

# A node that refuses for one of these may be cut off or behind; another may answer.
_ASK_ANOTHER = {Reason.NOT_LEADER, Reason.NO_QUORUM, Reason.STOPPED, Reason.BUSY, Reason.LAGGING}
# The same question may be answered in a moment.
PASSING = _ASK_ANOTHER | {Reason.DEADLINE, Reason.LEADERSHIP_LOST}
# What a call without the node's own words can only mean when it did not happen.
_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
}  # fmt: skip


class VerbNotKnownError(FailedError):
    """The nodes asked are of a version that does not know the verb."""

    def __init__(self, name: str, addresses: list[str]) -> None:
        nodes = (
            f"the node at {addresses[0]}" if len(addresses) == 1 else f"the nodes at {', '.join(addresses)}"
        )
        super().__init__(
            f"{nodes} cannot {name}: the version there does not know it."
            " `holdfast node list` shows each node's version; upgrade the node, or name another: --endpoints"
        )


class Calls:
    """Connections to the endpoints. Use as an async context manager."""

    def __init__(self, endpoints: str, timeout_s: float) -> None:
        self._endpoints = [text.strip() for text in endpoints.split(",") if text.strip()]
        if not self._endpoints:
            raise FailedError("no endpoint given: --endpoints HOST:PORT[,...]")
        self.timeout_s = timeout_s
        self._channels: dict[str, grpc.aio.Channel] = {}

    def __repr__(self) -> str:
        return f"<Calls to {','.join(self._endpoints)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(channel.close(None) for channel in self._channels.values()))

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            options = [("grpc.enable_http_proxy", 0)]
            self._channels[address] = grpc.aio.insecure_channel(address, options=options)
        return self._channels[address]

    def stub(self, address: str) -> Any:
        """The service at one address."""
        return PlacementStub(self._channel(address))  # type: ignore[no-untyped-call,unused-ignore]

    async def look(self, method: str, request: Any) -> Any:
        """The answer of any node to a call that changes nothing. Raises HoldfastError, FailedError."""
        return await self._at_the_leader(lambda: self._ask_each(method, request))

    async def change(self, method: str, request: Any, timeout_s: float | None = None) -> Any:
        """The answer to a call that changes something, sent once; with `dry_run` set: as `look`.

        Raises HoldfastError; FailedError, its exit code telling whether it may have happened.
        """
        if getattr(request, "dry_run", False):
            return await self.look(method, request)
        allowed_s = self.timeout_s if timeout_s is None else timeout_s
        return await self._at_the_leader(lambda: self._send_once(method, request, allowed_s))

    async def _at_the_leader(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Follows a refusal that says who leads."""
        for _ in range(LEADER_HINTS_MAX):
            try:
                return await ask()
            except HoldfastError as refusal:
                led_elsewhere = refusal.reason is Reason.NOT_LEADER and refusal.leader
                if not led_elsewhere or refusal.outcome is not Outcome.REFUSED:
                    raise
                self._endpoints = [refusal.leader, *(a for a in self._endpoints if a != refusal.leader)]
        raise FailedError(f"the leader changed {LEADER_HINTS_MAX} times meanwhile; try again", EXIT_REFUSED)

    async def _ask_each(self, method: str, request: Any) -> Any:
        problems, old = [], []
        refused: HoldfastError | None = None
        for address in self._endpoints:
            try:
                call = getattr(self.stub(address), method)
                return await call(request, timeout=min(self.timeout_s, ENDPOINT_TIMEOUT_S))
            except grpc.aio.AioRpcError as failure:
                refusal = refusal_of(failure)
                if refusal is not None:
                    if refusal.leader or refusal.reason not in _ASK_ANOTHER:
                        raise refusal from None
                    refused = refusal
                elif failure.code() is grpc.StatusCode.UNIMPLEMENTED:
                    old.append(address)
                else:
                    problems.append(f"{address}: {failure.details() or failure.code().name}")
        raise _given_up(method, refused, old, problems)

    async def _send_once(self, method: str, request: Any, timeout_s: float) -> Any:
        problems, old = [], []
        for address in self._endpoints:
            if not await self._is_reached(address):
                problems.append(f"{address}: cannot be reached")
                continue
            try:
                return await getattr(self.stub(address), method)(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise _judged(address, failure) from None
                old.append(address)
        raise _given_up(method, None, old, problems)

    async def _is_reached(self, address: str) -> bool:
        """Whether a connection stands; the first failed attempt is answer enough."""
        channel = self._channel(address)
        try:
            async with asyncio.timeout(ENDPOINT_TIMEOUT_S):
                state = channel.get_state(try_to_connect=True)
                while state not in (
                    grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                ):  # fmt: skip
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        except TimeoutError:
            return False
        return state is grpc.ChannelConnectivity.READY


def _given_up(method: str, refused: HoldfastError | None, old: list[str], problems: list[str]) -> Exception:
    """No endpoint did it: the most telling reason."""
    if refused is not None:
        return refused
    if old:
        return VerbNotKnownError(method, old)
    return FailedError(
        "no endpoint answers: "
        + "; ".join(problems)
        + ". Is the cluster running? --endpoints HOST:PORT[,...]"
        " names nodes to ask"
    )


def _judged(address: str, failure: grpc.aio.AioRpcError) -> Exception:
    """A failed change: refused by the node's own words, by its code, or nobody knows."""
    refusal = refusal_of(failure)
    if refusal is not None:
        return refusal
    told = f"{address}: {failure.details() or failure.code().name}"
    if failure.code() in _REFUSALS:
        return FailedError(f"{told}; nothing happened", EXIT_REFUSED)
    return FailedError(
        f"{told}; it may have happened: look (`holdfast op list`, `holdfast node list`) before you repeat it",
        EXIT_UNKNOWN,
    )


def refusal_of(failure: grpc.aio.AioRpcError) -> HoldfastError | None:
    """The typed error a node sent along; None: the failure is the transport's own."""
    metadata: Any = failure.trailing_metadata() or ()
    for key, value in metadata:
        if key == wire.ERROR_METADATA and isinstance(value, bytes):
            return wire.failure(types_pb2.Error.FromString(value))
    return None
