"""How Holdfast behaves as one thing grows: `python -m tests.bench.scale`, or `make bench-scale`.

    python -m tests.bench.scale --curves shards,callers      some curves; all without it
    python -m tests.bench.scale --points 1,64 --curves shards    some points
    python -m tests.bench.scale --out docs/evidence/scale    where record.jsonl and a plot per curve go

Points are appended to OUT/record.jsonl as they are done; what this commit has there is not measured again,
so a run that was ended goes on (--again measures anew). Clusters are started as by `make bench`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import churn_curve, load_curves, machine, overload_curve, scale_record, standing_curves, svg
from tests.bench.bench import Bench, exit_on_sigterm
from tests.bench.driving import ROOT
from tests.bench.load_curves import Points
from tests.bench.scale_record import Record


class Plot(NamedTuple):
    """One picture of a curve: a figure's name by how it is shown."""

    title: str
    unit: str
    names: Mapping[str, str]


class Curve(NamedTuple):
    """What grows, through which points, and what is drawn of it."""

    across: str
    points: tuple[float, ...]
    run: Callable[[Bench, Sequence[float]], Points]
    plots: tuple[Plot, ...]
    grows: bool = False
    """One cluster for all points: they are measured in one go."""


RATES = Plot("Rate", "operations/s", {"puts": "put_rate", "linearizable gets": "get_rate"})
LATENCIES = Plot(
    "Latency", "ms",
    {"put p50": "put_p50_ms", "put p99": "put_p99_ms", "get p50": "get_p50_ms", "get p99": "get_p99_ms"},
)  # fmt: skip

CURVES: dict[str, Curve] = {
    "shards": Curve(
        "shards", (1, 2, 4, 8, 16, 32, 64), load_curves.shards, (RATES, LATENCIES)
    ),
    "keys": Curve(
        "keys in one shard",
        (1_000, 10_000, 100_000, 1_000_000, 2_000_000),
        load_curves.keys,
        (RATES, LATENCIES, Plot("Memory of the largest replica", "MB", {"RSS": "rss_mb"})),
        grows=True,
    ),
    "values": Curve(
        "bytes of a value",
        (16, 256, 4_096, 65_536, 262_144),
        load_curves.values,
        (RATES, LATENCIES, Plot("Bandwidth", "MB/s", {"puts": "put_mb_s", "gets": "get_mb_s"})),
    ),
    "callers": Curve(
        "concurrent callers",
        (1, 4, 16, 64, 256, 1_000, 2_500, 5_000),
        load_curves.callers,
        (RATES, LATENCIES),
    ),
    "watchers": Curve(
        "watchers of one node",
        (1, 10, 100, 1_000, 5_000, 20_000),
        standing_curves.watchers,
        (
            Plot(
                "Delivery, from a put's call to the watcher", "ms",
                {
                    "own key p50": "own_delivery_p50_ms", "own key p99": "own_delivery_p99_ms",
                    "key of all p50": "all_delivery_p50_ms", "key of all p99": "all_delivery_p99_ms",
                },
            ),
            Plot(
                "While 64 callers put as fast as they can", "a second",
                {"puts": "flood_put_rate", "events delivered": "flood_events_a_second"},
            ),
            Plot("Memory of a watcher on its node", "bytes", {"own key": "own_bytes_a_watcher"}),
        ),
    ),
    "connections": Curve(
        "idle connections to one node",
        (1, 100, 1_000, 2_500, 5_000, 10_000),
        standing_curves.connections,
        (
            Plot("Gets of 64 callers beside them", "ms", {"p50": "get_p50_ms", "p99": "get_p99_ms"}),
            Plot("Memory of the node", "MB", {"RSS": "rss_mb"}),
            Plot("CPU of the node while idle", "% of a core", {"CPU": "idle_cpu_percent"}),
        ),
    ),
    "hot": Curve(
        "% of reads that go to one key",
        (1, 10, 25, 50),
        load_curves.hot,
        (Plot("Latency", "ms", {"p50": "mixed_p50_ms", "p99": "mixed_p99_ms"}),),
    ),
    "overload": Curve(
        "times the peak asked for",
        (1, 2, 3),
        overload_curve.overload,
        (
            Plot("Goodput", "operations/s", {"asked for": "asked_rate", "answered well": "goodput"}),
            Plot("How soon a refusal comes", "ms", {"p50": "refused_p50_ms", "p99": "refused_p99_ms"}),
            Plot("Others, p90", "ms", {"before": "probe_before_ms", "during": "probe_during_ms"}),
        ),
    ),
    "churn": Curve(
        "minutes of churn",
        (1, 2, 3, 5, 8, 12, 16, 20, 25, 30),
        churn_curve.churned,
        (Plot("Memory of the largest replica", "MB", {"RSS": "rss_mb"}),),
        grows=True,
    ),
}  # fmt: skip

PLOT_WIDTH, PLOT_HEIGHT, STEP = 560, 220, 320


def drawn(name: str, curve: Curve, record: Record) -> str:
    """The curve's picture."""
    body: list[str] = []
    points = record.points(name)
    shown = 0
    for plot in curve.plots:
        series = scale_record.series(points, plot.names)
        if not series:
            continue
        figures = [figure for line in series.values() for _, figure in line]
        xs = [x for line in series.values() for x, _ in line]
        across = svg.Axis(curve.across, min(xs), max([*xs, min(xs) * 2]))
        up = svg.Axis(plot.unit, min(figures) / 1.5, max(figures) * 1.5)
        place = (90, 50 + STEP * shown, PLOT_WIDTH, PLOT_HEIGHT)
        body += svg.lines(series, across, up, place, plot.title)
        shown += 1
    return svg.document(900, 40 + STEP * max(1, shown), body, f"Scale: {name}")


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--curves", default="", help=f"comma-separated, of: {', '.join(CURVES)}")
    parser.add_argument("--points", default="", help="only these points of them")
    parser.add_argument("--seconds", type=float, default=Bench.seconds)
    parser.add_argument("--warmup", type=float, default=Bench.warmup)
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="measure what is in the record, too")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "scale")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache")
    options = parser.parse_args(arguments)
    unknown = {name for name in options.curves.split(",") if name} - set(CURVES)
    if unknown:
        parser.error(f"no such curve: {', '.join(sorted(unknown))}; there are {', '.join(CURVES)}")
    return options


def together(curve: Curve, points: Sequence[float]) -> list[list[float]]:
    """Points one by one; all at once where they grow one cluster."""
    return [list(points)] if curve.grows and points else [[point] for point in points]


def measure(
    options: argparse.Namespace, bench: Bench, record: Record, name: str, points: Sequence[float]
) -> None:
    """Measures points of a curve; each is in the record as soon as it is known."""
    began = time.monotonic()
    for x, figures in CURVES[name].run(bench, points):
        facts = {"machine": machine.machine(options.folder), "versions": machine.versions()}
        record.add(name, x, figures, {**facts, "seconds": options.seconds})
        shown = ", ".join(f"{key} {svg.amount(round(value, 2))}" for key, value in figures.items())
        print(f"{svg.amount(x)}: {shown} ({time.monotonic() - began:.0f} s)", flush=True)


def main() -> None:
    options = options_of(sys.argv[1:])
    exit_on_sigterm()
    options.folder.mkdir(parents=True, exist_ok=True)
    record = Record(options.out / "record.jsonl", machine.commit())
    place = Path(tempfile.mkdtemp(prefix="scale-", dir=options.folder))
    bench = Bench(
        place, seconds=options.seconds, warmup=options.warmup, generators=options.generators
    )  # fmt: skip
    only = {float(point) for point in options.points.split(",") if point}
    try:
        for name in [name for name in options.curves.split(",") if name] or CURVES:
            curve = CURVES[name]
            wanted = [point for point in curve.points if not only or point in only]
            left = wanted if options.again else record.left(name, wanted)
            print(f"--- {name}: {curve.across} {', '.join(svg.amount(x) for x in left) or '(all done)'}")
            for points in together(curve, left):
                try:
                    measure(options, bench, record, name, points)
                except Exception:  # noqa: BLE001 - whatever it was: the other points are worth having
                    traceback.print_exc()
                    print(f"FAILED: {name} {', '.join(map(svg.amount, points))}", flush=True)
            (options.out / f"{name}.svg").write_text(drawn(name, curve, record))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
