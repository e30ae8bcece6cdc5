"""`holdfast ...`, as an operator types it."""

from __future__ import annotations

import asyncio
import subprocess
import sys


async def cli(*words: str) -> tuple[int, bytes]:
    """Its exit status and what it printed; when it failed, what it said of that too.

    In a thread, by vfork: uvloop starts programs by fork, in which gRPC has handlers that may never return.
    """
    command = (sys.executable, "-m", "holdfast.cli", *words)
    ended = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True)
    return ended.returncode, ended.stdout if ended.returncode == 0 else ended.stdout + ended.stderr
