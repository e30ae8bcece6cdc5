"""What the C library keeps of memory that was freed, given back to the system now and then.

glibc keeps what lies between blocks in use: after a log had grown to its snapshot and gone, 130 to 170 MB of
a node with a million keys were free and still resident. Blocks that give themselves back (a lower
M_MMAP_THRESHOLD) cost a fifth of all puts (docs/evidence/speed-log.md); looking for them takes some 10 ms of
another thread. Other C libraries have no such call, and keep what they keep.
"""

from __future__ import annotations

import asyncio
import ctypes

TRIM_EVERY_S = 30.0


async def give_back() -> None:
    """Never ends by itself, where there is such a call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(TRIM_EVERY_S)
        await asyncio.to_thread(trim, 0)
