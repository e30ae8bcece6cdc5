"""The two clocks of a node, as an object that can be handed in.

Nothing below this asks the operating system for the time: the simulator hands in its own clock, and
a test can make a node's wall clock drift. Monotonic time drives timeouts; wall time is only ever
reported to peers and steers a group's stamp.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def monotonic(self) -> float:
        """Seconds; never goes back; not comparable between nodes."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as the operating system says; may jump."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
