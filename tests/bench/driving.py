"""Starts generators, lets them begin together, and takes what they say and what CPU everyone used.

Generators of ours and peerload speak the same lines, so that both sides are driven and measured by the
same code: percentiles too are computed here, from both sides' raw samples.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench import percentiles
from tests.bench.load import Load, shares
from tests.bench.processes import CpuMeter

ROOT = Path(__file__).parents[2]
PATIENCE_S = 1800.0
"""A generator that says nothing for this long is ended: a bench that hangs measures nothing."""


class GeneratorFailedError(RuntimeError):
    """A generator ended without a result."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one measurement gave."""

    operations: int
    errors: int
    seconds: float
    samples: array[float]
    cpu_us: dict[str, float]
    said: list[dict[str, Any]]

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def points(self) -> dict[str, float]:
        return percentiles.summary_ms(self.samples)

    def ms(self, percent: float) -> float:
        return percentiles.at(self.samples, percent) * 1e3


class Generator:
    """One process that makes load."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**environment}
        )
        self._watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def expect(self, event: str) -> dict[str, Any]:
        """Its next line, which must be that event."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise GeneratorFailedError(f"it ended ({self.process.wait()}) before it said {event!r}")
        return parsed(line, event)

    def close(self) -> None:
        """Ends it, if it has not ended by itself."""
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate()


def parsed(line: str, event: str) -> dict[str, Any]:
    """A generator's line. Raises GeneratorFailedError when it is not that event."""
    try:
        said = json.loads(line)
    except ValueError:
        raise GeneratorFailedError(f"no JSON: {line!r}") from None
    if not isinstance(said, dict) or said.get("event") != event:
        raise GeneratorFailedError(f"{event!r} was to come, this came: {line!r}")
    return said


def joined(said: Sequence[Mapping[str, Any]], samples: array[float], cpu_seconds: Mapping[str, float]) -> Run:
    """One run of what several generators measured at the same time."""
    operations = sum(each["operations"] for each in said)
    return Run(
        operations,
        sum(each["errors"] for each in said),
        max(each["seconds"] for each in said),
        samples,
        {name: seconds * 1e6 / operations for name, seconds in cpu_seconds.items()} if operations else {},
        [dict(each) for each in said],
    )


def ours(load: Load, generators: int) -> list[Load]:
    """The load over that many generators."""
    made, first = [], load.first
    for number, callers in enumerate(shares(load.callers, generators)):
        made.append(
            replace(
                load,
                callers=callers,
                first=first,
                rate=load.rate / generators,
                seed=load.seed + number,
                fill=load.fill and number == 0,
            )
        )
        first += callers
    return made


def command(load: Load) -> list[str]:
    """How a generator of ours is started."""
    module = "gateway" if load.kind == "gateway" else "generator"
    return [sys.executable, "-m", f"tests.bench.{module}", load.text()]


@contextmanager
def warm(commands: Callable[[int, str], list[str]], count: int) -> Iterator[tuple[list[Generator], Path]]:
    """`count` generators that are warm and wait; commands(number, samples file) starts one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-samples-")))
        generators = []
        for number in range(count):
            generator = Generator(commands(number, str(folder / str(number))), os.environ)
            stack.callback(generator.close)
            generators.append(generator)
        for generator in generators:
            generator.expect("warm")
        yield generators, folder


def drive(
    commands: Callable[[int, str], list[str]],
    count: int,
    pids: Mapping[str, int],
    meanwhile: Callable[[], None] = lambda: None,
) -> Run:
    """One measurement. pids: whose CPU counts beside the generators'. meanwhile: what goes on during it."""
    with warm(commands, count) as (generators, folder):
        names = {f"generator {n + 1}" if count > 1 else "generator": g.pid for n, g in enumerate(generators)}
        meter = CpuMeter({**pids, **names})
        for generator in generators:
            generator.go()
        meanwhile()
        said = [generator.expect("measured") for generator in generators]
        used = meter.seconds()
        for generator in generators:
            generator.expect("written")
        samples = percentiles.read(path for path in folder.iterdir())
        return joined(said, samples, used)


def drive_ours(
    load: Load,
    generators: int,
    pids: Mapping[str, int],
    meanwhile: Callable[[], None] = lambda: None,
) -> Run:
    """One measurement by generators of ours."""
    loads = ours(load, generators)
    return drive(
        lambda number, samples: command(replace(loads[number], samples=samples)),
        generators,
        pids,
        meanwhile,
    )
