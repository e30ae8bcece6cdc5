"""One direction of a connection through a gate: pieces of bytes that wait for their time on a wire.

Invariants: they keep their order; the end of a connection is the last piece; what waits is bounded, since
more than that stops reading from the sender.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Final

from holdfast_chaos.cluster.wires import Wire

HELD_BYTES_MAX: Final = 4 << 20


class Lane:
    """See the module docstring.

    Attributes:
        source, target: of the bytes, once they are connected.
        is_deaf: it takes everything and delivers nothing.
    """

    def __init__(self, wire: Wire, chance: random.Random) -> None:
        self._wire = wire
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.is_deaf = False
        wire.waiting.add(self.move)

    def push(self, data: bytes) -> None:
        """Takes what the sender said; nothing: its end."""
        if self.is_deaf:
            return
        wire = self._wire
        if not self._pieces and wire.is_plain and self.target is not None and data:
            if not self.target.is_closing():
                wire.passed += len(data)
                self.target.write(data)
            return
        if wire.is_cut:
            wire.held += len(data)
        due = self._loop.time() + wire.late_s(len(data), self._chance)
        last = self._pieces[-1][0] if self._pieces else 0.0
        self._pieces.append((max(due, last), data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > HELD_BYTES_MAX and self.source is not None and not self._is_paused:
            self._is_paused = True
            self.source.pause_reading()
        self.move()

    def move(self) -> None:
        """Lets go what is due."""
        if self.target is None or self._wire.is_cut:
            return
        if self.target.is_closing():  # it hung up; who owns the lane will hear of it
            self._pieces.clear()
            self._waiting_bytes = 0
            self.is_deaf = True
            return
        now = self._loop.time()
        while self._pieces:
            due, data = self._pieces[0]
            if due > now and not self._wire.is_plain:
                if self._timer is None:
                    self._timer = self._loop.call_at(due, self._due)
                return
            self._pieces.popleft()
            if not data:
                self.is_deaf = True
                self.target.close()
                return
            self._waiting_bytes -= len(data)
            self._wire.passed += len(data)
            self.target.write(data)
        if self._is_paused and self.source is not None and not self.source.is_closing():
            self._is_paused = False
            self.source.resume_reading()

    def _due(self) -> None:
        self._timer = None
        self.move()

    def close(self) -> None:
        """What still waits is dropped."""
        self._wire.waiting.discard(self.move)
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()

    def __repr__(self) -> str:
        return f"<Lane over {self._wire}, {self._waiting_bytes} bytes wait>"
