"""How much of what the stream alone could carry is left: our gets and puts against an echo.

The echo's frames are as those of our run before it: as many bytes each way, as many operations in each, as
many under way. Its rate counts those operations.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from tests.bench.bench import Bench
from tests.bench.driving import Generator, Run, drive
from tests.bench.load import Load
from tests.bench.rate_rows import MANY, PAIRINGS, latencies, said
from tests.bench.result import RowResult, cpu_medians, measure
from tests.bench.spread import shown

ROW = "echo-floor"


class Shape(NamedTuple):
    """A frame on the average."""

    operations: float
    out_bytes: int
    in_bytes: int

    @property
    def under_way(self) -> int:
        """As many as MANY callers fill."""
        return max(1, math.ceil(MANY / self.operations))


def shape_of(run: Run) -> Shape:
    """The frames a run of ours sent and received."""
    totals = {
        name: sum(said["frames"][name] for said in run.said)
        for name in ("frames_out", "bytes_out", "bytes_in")
    }
    sent = totals["frames_out"]
    return Shape(run.operations / sent, totals["bytes_out"] // sent, totals["bytes_in"] // sent)


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """A running echo server: its port and pid."""
    server = Generator([sys.executable, "-m", "tests.bench.echo", "serve"], os.environ)
    try:
        yield server.expect("serving")["port"], server.pid
    finally:
        server.close()


def echo(bench: Bench, shape: Shape) -> Run:
    """The echo at that shape; its operations are counted in whole frames."""
    with serving() as (port, pid):
        load = Load(
            "echo",
            f"127.0.0.1:{port}",
            callers=shape.under_way,
            seconds=bench.seconds,
            warmup=bench.warmup,
            batch=max(1, round(shape.operations)),
            frame_out_bytes=max(4, shape.out_bytes),
            frame_in_bytes=shape.in_bytes,
        )
        start = [sys.executable, "-m", "tests.bench.echo"]
        return drive(
            lambda _, samples: [*start, replace(load, samples=samples).text()], 1, {"echo server": pid}
        )


def floor(bench: Bench) -> RowResult:
    """The row."""
    mine: dict[str, list[Run]] = {"gets": [], "puts": []}
    echoes: dict[str, list[Run]] = {"gets": [], "puts": []}
    shapes: dict[str, Shape] = {}
    for _ in range(bench.rounds):
        with bench.ours() as side:
            for name, row in (("gets", "lget-256"), ("puts", "put-256")):
                mine[name].append(said(bench, name, side.run(PAIRINGS[row].load(bench))))
        for name, runs in mine.items():
            shapes[name] = shape_of(runs[-1])
            echoes[name].append(said(bench, f"echo of {name}' frames", echo(bench, shapes[name])))
    measures = [
        measure(
            ROW,
            f"{name} against the echo",
            "operations/s",
            [run.rate for run in mine[name]],
            [run.rate for run in echoes[name]],
            "echo",
        )
        for name in mine
    ]
    return RowResult(
        ROW,
        measures,
        cpu={
            f"{name}: {process}": us
            for name, runs in {**mine, **{f"echo of {n}": r for n, r in echoes.items()}}.items()
            for process, us in cpu_medians([run.cpu_us for run in runs]).items()
        },
        latency=latencies({**mine, **{f"echo of {n}, a frame": r for n, r in echoes.items()}}),
        notes=[
            f"a frame of {name}: {shown(shape.operations)} operations, {shape.out_bytes} bytes out,"
            f" {shape.in_bytes} in, {shape.under_way} under way"
            for name, shape in shapes.items()
        ],
        details={"frames": {name: shape._asdict() for name, shape in shapes.items()}},
    )
