"""The picture of a run: ratios against the peers, and latencies by percentile. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench import svg
from tests.bench.percentiles import percent_of
from tests.bench.result import Measure, RowResult
from tests.bench.spread import shown
from tests.bench.svg import Axis, Bar

WIDTH = 1000
LATENCY_ROWS = {
    "put-256": ("Holdfast", "etcd"),
    "lget-256": ("Holdfast", "etcd"),
    "mixed-36k": ("from when it was due",),
}
MIXED = "mixed, open loop"
NAMES = {
    ("put-256", "Holdfast"): "put, 256 callers",
    ("put-256", "etcd"): "etcd put",
    ("lget-256", "Holdfast"): "linearizable get, 256",
    ("lget-256", "etcd"): "etcd linearizable get",
    ("mixed-36k", "from when it was due"): MIXED,
}


def faster(measure: Measure) -> Bar | None:
    """How many times better we are: rates ours / theirs, times theirs / ours, so that right is better."""
    ratio = measure.ratio
    if ratio is None or min(ratio) <= 0:
        return None
    least, middle, greatest = ratio.least, ratio.median, ratio.greatest
    target = measure.target.bound if measure.target and measure.target.of_ratio else None
    if not measure.unit.endswith("/s"):  # a time or a cost: less is better
        least, middle, greatest = 1 / greatest, 1 / middle, 1 / least
        target = 1 / target if target else None
    peer = shown(measure.peer.median) if measure.peer else "?"
    note = f"{shown(measure.ours.median)} / {peer} {measure.unit}"
    return Bar(measure.what, middle, least, greatest, target, at_least=True, note=note)


def within(measure: Measure) -> Bar | None:
    """How many times a bound of our own holds what we take of it: right of 1x it is kept."""
    target, ours = measure.target, measure.ours
    if target is None or target.at_least or min(ours) <= 0 or target.bound <= 0:
        return None
    bound = target.bound
    note = f"{shown(ours.median)} of {bound:g} {target.unit}"
    return Bar(measure.what, bound / ours.median, bound / ours.greatest, bound / ours.least, 1.0, True, note)


def ratio_bars(results: Sequence[RowResult]) -> list[Bar]:
    """The judged ratios of all rows."""
    found = []
    for result in results:
        for each in result.measures:
            if each.target is None or each.what == "rate kept":
                continue
            bar = faster(each) if each.target.of_ratio else within(each)
            if bar is not None:
                found.append(bar._replace(label=f"{result.row}: {short(bar.label)}"))
    return found


def short(what: str) -> str:
    """A measure's words as they fit beside a bar."""
    return {
        "rate against our lget-256": "rate to lget",
        "leader's CPU against our lget-256": "leader's CPU",
        "gets against the echo": "gets",
        "puts against the echo": "puts",
        "p99 against its p50": "p99 to its p50",
        "bytes a key over key and value": "bytes over",
        "longest stall": "longest",
        "CPU of a node": "CPU",
    }.get(what, what)


def tail(percent: float) -> float:
    """Where a percentile stands on an HDR axis: 1 / the part that is slower."""
    return 1 / max(1e-4, 1 - percent / 100)


def curves(latency: Mapping[str, Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    return {
        name: [(tail(percent_of(p)), ms) for p, ms in points.items() if p != "max" and ms > 0]
        for name, points in latency.items()
        if points
    }


def drawn(results: Sequence[RowResult], told: str) -> str:
    """The whole picture as SVG."""
    found = ratio_bars(results)
    body, y = svg.bars(
        found,
        0,
        "Holdfast beside its peers: how many times better",
        "right of 1x: better than etcd (or the one named), within its bound; black: target; red: not met",
    )
    latency = {
        NAMES[result.row, side]: result.latency[side]
        for result in results
        for side in LATENCY_ROWS.get(result.row, ())
        if side in result.latency
    }
    series = curves(latency)
    if series:
        figures = [ms for points in series.values() for _, ms in points]
        across = Axis(
            "percentile",
            1,
            1000,
            {tail(p): f"{p:g} %" for p in (0, 50, 75, 90, 95, 99, 99.5, 99.9)},
        )
        mark = (5.0, "5 ms: mixed-36k's target at p99") if MIXED in series else None
        up = Axis("ms", min([*figures, 5]) / 1.3, max([*figures, 5]) * 1.3)
        body += svg.lines(series, across, up, (90, y + 40, 640, 300), "Latency", mark)
        y += 400
    body.append(svg.text(20, y + 16, told, size=11))
    return svg.document(WIDTH, int(y + 30), body, "Holdfast beside its peers")
