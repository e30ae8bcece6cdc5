"""From endpoints to a client: `holdfast.connect`.

Invariant: what was opened is closed when connecting fails or is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterable
from types import TracebackType

from holdfast.client import Client
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.node_watches import NodeWatches
from holdfast.operations import invalid
from holdfast.session import Session
from holdfast.types import Level


class Connecting:
    """What `connect` returns: await it for a client, or enter it with `async with`."""

    def __init__(self, make: Awaitable[Client]) -> None:
        self._make = make
        self._client: Client | None = None

    def __await__(self) -> Generator[object, None, Client]:
        return self._make.__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._make
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()


def connect(
    endpoints: str | Iterable[str] = "127.0.0.1:7400",
    *,
    namespace: str = DEFAULT_NAMESPACE,
    level: Level = Level.LINEARIZABLE,
    timeout_s: float = 5.0,
    session: bytes | None = None,
    name: str = "",
) -> Connecting:
    """Connects to a cluster: await it, or enter it with `async with`.

    Args:
        endpoints: HOST:PORT, several with commas or as a list; any node will do, the rest is learned.
        namespace: of all operations of this client.
        level: of reads that name none; not BOUNDED.
        timeout_s: of operations that name none, and of connecting; at most 600.
        session: the `token` of an earlier session, to see what it had seen.
        name: for people reading the servers' logs.

    Raises:
        HoldfastError: refused: no node answered in time (DEADLINE), a bad token, a bad argument.
    """
    return Connecting(_connect(endpoints, namespace, level, timeout_s, session, name))


async def _connect(
    endpoints: str | Iterable[str],
    namespace: str,
    level: Level,
    timeout_s: float,
    token: bytes | None,
    name: str,
) -> Client:
    addresses = parse_endpoints(endpoints)
    session = Session(name)
    try:
        client = Client(session, NodeWatches(session), namespace=namespace, level=level, timeout_s=timeout_s)
        if token is not None:
            client.merge_token(token)
        await session.connect(addresses, timeout_s)
    except BaseException:
        await session.close()
        raise
    return client


def parse_endpoints(endpoints: str | Iterable[str]) -> tuple[str, ...]:
    """HOST:PORT, one or several. Raises InvalidError."""
    parts = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
    addresses = tuple(part.strip() for part in parts if part.strip())
    for address in addresses:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise invalid("endpoints", f"{address!r} is not HOST:PORT")
    if not addresses:
        raise invalid("endpoints", "give at least one HOST:PORT")
    return addresses
