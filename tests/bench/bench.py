"""What every row is given: the options, a place on the disk, and both sides, one at a time.

Invariant: one side runs at a time, the other is stopped, not idle; what a side left on the disk is gone
and synced before the next one starts, so that nobody's deletions meet somebody else's fsync.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench import etcd_side, holdfast_side, redis_side
from tests.bench.etcd_side import Etcd
from tests.bench.holdfast_side import Holdfast
from tests.bench.quiet import wait
from tests.bench.redis_side import Redis

A = TypeVar("A")
B = TypeVar("B")
SETTLE_S = 1.0


@dataclass(frozen=True)  # no slots: the command line reads the defaults off the class
class Bench:
    """See the module docstring.

    Attributes:
        scale: what a big row's keys and times are multiplied by; below 1 it shows nothing, it only works.
    """

    folder: Path
    rounds: int = 3
    seconds: float = 4.0
    warmup: float = 1.5
    generators: int = 1
    mixed_rate: float = 36_000
    mixed_seconds: float = 60.0
    scale: float = 1.0

    def say(self, text: str) -> None:
        print(f"    {text}", flush=True)

    @contextmanager
    def _home(self) -> Iterator[Path]:
        home = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)
            os.sync()
            wait(SETTLE_S)

    @contextmanager
    def ours(
        self, *, splits: tuple[str, ...] = (), budget_bytes: int = 0, module: str = "holdfast_node"
    ) -> Iterator[Holdfast]:
        with (
            self._home() as home,
            holdfast_side.running(
                home, self.generators, splits=splits, budget_bytes=budget_bytes, module=module
            ) as side,
        ):
            yield side

    @contextmanager
    def etcd(self) -> Iterator[Etcd]:
        with self._home() as home, etcd_side.running(home) as side:
            yield side

    @contextmanager
    def redis(self) -> Iterator[Redis]:
        with self._home() as home, redis_side.running(home) as side:
            yield side

    def in_turn(self, ours: Callable[[Holdfast], A], theirs: Callable[[Etcd], B]) -> tuple[list[A], list[B]]:
        """Rounds A B A B: each on a fresh cluster of its own."""
        mine: list[A] = []
        others: list[B] = []
        for _ in range(self.rounds):
            with self.ours() as side:
                mine.append(ours(side))
            with self.etcd() as etcd:
                others.append(theirs(etcd))
        return mine, others


def exit_on_sigterm() -> None:
    """An exit unwinds: nodes and peers are stopped on the way."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
