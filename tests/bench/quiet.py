"""Time in which nothing of ours goes on: a measurement lasts its time, and a machine comes to rest."""

from __future__ import annotations

import time


def wait(seconds: float) -> None:
    """Lets time pass."""
    time.sleep(seconds)
