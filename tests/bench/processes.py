"""CPU time and memory of other processes, from /proc.

A rate changes with what else the machine does; CPU time an operation much less, so it stands beside each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_of_stat(text: str) -> float:
    """Seconds of CPU (user + system, all threads, children it has reaped left out) in a /proc/PID/stat.

    The name in parentheses may hold spaces and parentheses: fields count from the last one.
    """
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_seconds(pid: int) -> float:
    """What the process has used so far."""
    return cpu_of_stat(Path(f"/proc/{pid}/stat").read_text())


def rss_bytes(pid: int) -> int:
    """Its resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def peak_rss_bytes(pid: int) -> int:
    """The most that was resident at a time."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return rss_bytes(pid)


class CpuMeter:
    """CPU of named processes between two moments."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """From here on."""
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def seconds(self) -> dict[str, float]:
        """Since `start`, by name."""
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
