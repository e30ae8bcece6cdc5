"""A stream of Cache.Stream that is handed whole frames: what generators use that must cost little.

The SDK's words (wire.py) without its calls: no futures, no retries, no routing. Whoever hands over frames
looks after sequences and answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from grpc import aio
from holdfast import wire
from holdfast.channels import EOF, OPTIONS

Take = Callable[[Any, float], None]
"""Takes an Answers message and when it came (perf_counter)."""


class FrameStream:
    """One stream to one node. Run `write` and `read` as tasks once it has begun."""

    def __init__(self, address: str, take: Take) -> None:
        self._channel = aio.insecure_channel(address, options=OPTIONS)
        self._call: Any = self._channel.stream_stream(wire.STREAM)()
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._take = take

    async def begin(self, session: bytes, client: str) -> Any:
        """Says hello; returns the Welcome."""
        await self._call.write(wire.hello(session, client))
        return wire.StreamResponse.FromString(await self._call.read()).welcome

    @property
    def unsent_frames(self) -> int:
        """Those that HTTP/2 has not taken off our hands."""
        return self._frames.qsize()

    def send(self, frame: bytes) -> None:
        """To leave when HTTP/2 takes it."""
        self._frames.put_nowait(frame)

    async def write(self) -> None:
        """Never ends by itself."""
        while True:
            await self._call.write(await self._frames.get())

    async def read(self) -> None:
        """Ends with the stream."""
        clock, take = time.perf_counter, self._take
        while (data := await self._call.read()) is not EOF:
            now = clock()
            for answers in wire.StreamResponse.FromString(data).answers:
                take(answers, now)

    async def close(self) -> None:
        await self._channel.close()
