"""CPU of other processes, as the kernel writes it."""

from __future__ import annotations

import os

from tests.bench import processes


def stat(name: str, user: int, system: int) -> str:
    return f"42 ({name}) S 1 42 42 0 -1 4194560 10 0 0 0 {user} {system} 900 900 20 0 5 0 100 0 0\n"


def test_cpu_is_user_and_system_of_the_process_itself():
    """Not of the children it has reaped."""
    assert processes.cpu_of_stat(stat("python", 150, 50)) == 200 / processes.TICKS


def test_a_name_may_hold_spaces_and_parentheses():
    """Fields count from the last parenthesis."""
    assert processes.cpu_of_stat(stat("a (b) c", 1, 2)) == 3 / processes.TICKS


def test_this_process_can_be_read():
    """The real files have the form that is expected."""
    meter = processes.CpuMeter({"me": os.getpid()})

    assert meter.seconds()["me"] >= 0
    assert processes.peak_rss_bytes(os.getpid()) >= processes.rss_bytes(os.getpid()) // 2 > 0
