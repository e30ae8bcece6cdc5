"""The small HTTP server, spoken to over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from holdfast_node.http import HEAD_BYTES_MAX, HttpServer, Page, PortInUseError, text


def failing() -> Page:
    raise RuntimeError("on purpose")


PAGES: dict[str, Callable[[], Page]] = {"/a": lambda: text(200, "hello"), "/fails": failing}


def serve(scenario: Callable[[int], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        server = HttpServer(PAGES)
        port = await server.start("127.0.0.1", 0)
        try:
            return await scenario(port)
        finally:
            await server.close()

    return asyncio.run(main())


def exchange(request: bytes) -> bytes:
    """Sends a request and returns all that comes until the server closes."""

    async def scenario(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    return serve(scenario)


def test_a_page_is_served_with_its_length() -> None:
    """GET of a known path gives 200, the length and the body; a query does not change the path."""
    answer = exchange(b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello\n")


def test_head_gives_no_body() -> None:
    """HEAD answers the same head without the body."""
    answer = exchange(b"HEAD /a HTTP/1.1\r\n\r\n")

    assert b"Content-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_connection_serves_many_requests_until_asked_to_close() -> None:
    """HTTP/1.1 keeps the connection; Connection: close and HTTP/1.0 end it."""
    answer = exchange(b"GET /a HTTP/1.1\r\n\r\n" * 2 + b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n" * 2)

    assert answer.count(b"200 OK") == 3
    assert exchange(b"GET /a HTTP/1.0\r\n\r\n" * 2).count(b"200 OK") == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /b HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"\x00\xff\r\n\r\n", b"400"),
        (b"GET /a SPDY/3\r\n\r\n", b"400"),
        (b"GET /fails HTTP/1.1\r\n\r\n", b"500"),
        (b"GET /a HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_not_a_page_is_told_so(request_bytes: bytes, status: bytes) -> None:
    """Unknown paths, other methods, garbage, a failing page and a huge head each get their status."""
    assert exchange(request_bytes).startswith(b"HTTP/1.1 " + status)


def test_a_broken_request_does_not_stop_the_server() -> None:
    """After garbage on one connection the next one is served."""

    async def scenario(port: int) -> bytes:
        answers = b""
        for request in (b"\xff\r\n\r\n", b"half", b"GET /a HTTP/1.0\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            writer.write_eof()
            answers = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answers

    assert b"200 OK" in serve(scenario)


def test_close_ends_idle_connections() -> None:
    """Closing the server ends a connection that waits for its next request."""

    async def scenario() -> bytes:
        server = HttpServer(PAGES)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /a HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"hello\n")
        await server.close()
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        return rest

    assert asyncio.run(scenario()) == b""


def test_a_port_in_use_is_named() -> None:
    """Listening on a taken port raises with the address in the message."""

    async def scenario(port: int) -> str:
        with pytest.raises(PortInUseError) as caught:
            await HttpServer(PAGES).start("127.0.0.1", port)
        return f"{port}" if str(port) in str(caught.value) else ""

    assert serve(scenario)
