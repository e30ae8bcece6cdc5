"""Commands to a node that runs as `holdfast_chaos.node`; what they are stands in `node/control.py`."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

TIMEOUT_S = 3.0


class NoControlError(Exception):
    """The node does not take commands, or does not understand this one."""


def name_of(port: int) -> str:
    """The abstract socket of the node that serves at a port."""
    return f"\0holdfast-chaos/{port}"


async def command(port: int, do: str, **facts: Any) -> dict[str, Any]:
    """Tells the node; its answer. Raises NoControlError."""
    try:
        line = await asyncio.to_thread(_asked, port, json.dumps({"do": do, **facts}).encode() + b"\n")
    except OSError as problem:
        raise NoControlError(f"{do}: {problem!r}") from None
    if not line:
        raise NoControlError(f"{do}: it ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise NoControlError(f"{do}: {answer['error']}")
    return answer


def _asked(port: int, line: bytes) -> bytes:
    """Blocks. Not the loop's own way: uvloop's knows no abstract sockets."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(TIMEOUT_S)
        caller.connect(name_of(port))
        caller.sendall(line)
        with caller.makefile("rb") as answer:
            return answer.readline()
