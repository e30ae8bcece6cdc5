"""A small HTTP/1.1 server for what operators and probes fetch: /metrics, /healthz, /readyz.

Answers GET and HEAD of fixed paths from the node's own loop, so a hung loop fails its probe. Everything
is bounded: request head, connections, time to send a request. Not a web server: no bodies, no
pipelined bodies, no TLS, loopback only (config.py). Written on asyncio streams because three fixed
paths do not carry the weight of a web framework on the node's import and attack surface.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 8 * 1024
CONNECTIONS_MAX = 64
REQUEST_SECONDS_MAX = 10.0
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Page(NamedTuple):
    """What a path answers."""

    status: int
    content_type: str
    body: bytes


class PortInUseError(OSError):
    """The address is taken; the message names it."""


def text(status: int, body: str) -> Page:
    """A plain text page."""
    return Page(status, "text/plain; charset=utf-8", body.encode() + b"\n")


class HttpServer:
    """Serves pages; each is made anew for every request, synchronously."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = dict(pages)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises PortInUseError."""
        try:
            self._server = await asyncio.start_server(self._connected, host, port, limit=HEAD_BYTES_MAX)
        except OSError as problem:
            raise PortInUseError(f"cannot listen on {host}:{port} for HTTP: {problem.strerror}") from None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Stops listening and ends what is open. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > CONNECTIONS_MAX:
                writer.write(_response(text(503, "too many connections"), alive=False, head=False))
            else:
                while await self._answer(reader, writer):
                    pass
        except (OSError, asyncio.CancelledError, TimeoutError):
            # The peer is gone, slow, or the server is closing: nobody is left to tell.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Takes one request; returns whether the connection lives on."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            page = text(431, f"a request head is at most {HEAD_BYTES_MAX} bytes")
            writer.write(_response(page, alive=False, head=False))
            return False
        method, path, alive = _parse(head)
        page = self._page(method, path)
        alive = alive and page.status not in {400, 405}
        writer.write(_response(page, alive=alive, head=method == "HEAD"))
        await writer.drain()
        return alive

    def _page(self, method: str, path: str) -> Page:
        if not method:
            return text(400, "not an HTTP request")
        if method not in {"GET", "HEAD"}:
            return text(405, "only GET and HEAD")
        make = self._pages.get(path)
        if make is None:
            return text(404, "no such page; there are: " + " ".join(sorted(self._pages)))
        try:
            return make()
        except Exception:
            log.exception("http.page_failed path=%s", path)
            return text(500, "the page failed; the node's log says why")


def _parse(head: bytes) -> tuple[str, str, bool]:
    """Method, path without query and whether to keep the connection; method empty: not HTTP/1."""
    first, *fields = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return "", "", False
    alive = parts[2] != "HTTP/1.0"
    for field in fields:
        name, _, value = field.partition(":")
        match name.strip().lower():
            case "connection":
                alive = value.strip().lower() != "close"
            case "content-length" | "transfer-encoding":
                # A body would be read as the next request.
                alive = False
    return parts[0], parts[1].partition("?")[0], alive


def _response(page: Page, *, alive: bool, head: bool) -> bytes:
    lines = (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        f"Connection: {'keep-alive' if alive else 'close'}\r\n\r\n"
    )
    return lines.encode("latin-1") + (b"" if head else page.body)
