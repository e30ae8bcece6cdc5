"""Everything a node measures, as Prometheus metrics in a registry of its own.

Two kinds. What happens on the hot path is counted in plain integers of `Traffic`, once a frame, and read
when somebody asks for /metrics (a prometheus `inc` or `observe` costs about 2 us, a put's whole budget is
12). What a shard or the node stands at is read from its figures at that moment.

`METRICS` is the whole list of names; the reference page and the tests read it. Labels are bounded: shard
group, method, reason, never a key or a session. Nothing else imports prometheus_client.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from holdfast.errors import Reason
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Described(NamedTuple):
    """One metric: name, kind (counter, gauge, histogram), label names and what it says."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


METRICS: tuple[Described, ...] = (
    Described(
        "holdfast_operations",
        "counter",
        ("kind",),
        "Operations of frames and unary calls answered: read, write.",
    ),
    Described(
        "holdfast_operation_errors",
        "counter",
        ("reason",),
        "Operations answered with an error, by reason.",
    ),
    Described("holdfast_frames", "counter", (), "Frames received on streams."),
    Described("holdfast_frame_seconds", "histogram", (), "From the receipt of a frame to its last answer."),
    Described("holdfast_call_seconds", "histogram", ("method",), "Duration of unary calls."),
    Described("holdfast_streams", "gauge", (), "Open Cache.Stream calls."),
    Described("holdfast_watches", "gauge", (), "Open watches."),
    Described("holdfast_in_flight_bytes", "gauge", (), "Bytes of frames received and not yet answered."),
    Described(
        "holdfast_in_flight_operations", "gauge", (), "Operations taken in whose answers are not there yet."
    ),
    Described("holdfast_forwarded", "counter", (), "Unary calls sent on to another node."),
    Described("holdfast_shard_keys", "gauge", ("shard",), "Keys of the shard on this node."),
    Described(
        "holdfast_shard_bytes",
        "gauge",
        ("shard",),
        "Bytes of the shard, each key counted as key + value + 64.",
    ),
    Described("holdfast_shard_budget_bytes", "gauge", ("shard",), "Most bytes the shard may hold."),
    Described("holdfast_shard_revision", "gauge", ("shard",), "Mutations the shard has applied."),
    Described("holdfast_shard_hits", "counter", ("shard",), "Gets that found their key, since start."),
    Described("holdfast_shard_misses", "counter", ("shard",), "Gets that found no key, since start."),
    Described(
        "holdfast_shard_evictions",
        "counter",
        ("shard",),
        "Keys evicted to keep the budget, since start.",
    ),
    Described("holdfast_shard_expiries", "counter", ("shard",), "Keys that expired, since start."),
    Described("holdfast_shard_leading", "gauge", ("shard",), "1 where this node leads the shard."),
    Described(
        "holdfast_shard_quorum",
        "gauge",
        ("shard",),
        "1 where a majority confirms the shard's leader.",
    ),
    Described("holdfast_shard_term", "gauge", ("shard",), "Raft term of the shard's group."),
    Described("holdfast_shard_leader_changes", "counter", ("shard",), "Leaders seen since start."),
    Described("holdfast_shard_commit_index", "gauge", ("shard",), "Committed position of the group's log."),
    Described(
        "holdfast_shard_lag_entries",
        "gauge",
        ("shard",),
        "Entries known committed and not applied here.",
    ),
    Described(
        "holdfast_shard_staleness_seconds",
        "gauge",
        ("shard",),
        "Most the replica's state may be old; absent: not known.",
    ),
    Described("holdfast_shard_log_bytes", "gauge", ("shard",), "Bytes of the group's log held in memory."),
    Described("holdfast_wal_sync_seconds", "histogram", (), "Duration of WAL syncs."),
    Described(
        "holdfast_wal_disk_full",
        "gauge",
        (),
        "1 while writes are refused because the data disk is full.",
    ),
    Described("holdfast_peer_connected", "gauge", ("node",), "1 while the connection to the node stands."),
    Described(
        "holdfast_clock_offset_seconds",
        "gauge",
        (),
        "This node's wall clock against the nodes' median.",
    ),
    Described(
        "holdfast_loop_stall_seconds",
        "histogram",
        (),
        "How late the node's loop came to its heartbeats, if above 10 ms: stalls, less up to one interval.",
    ),
)

_BY_NAME = {described.name: described for described in METRICS}


class Histogram:
    """Counts of durations by bucket; an `add` is one bisect and two additions."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Counts one duration."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self._counts)

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts with their upper bounds as Prometheus wants them, and the sum."""
        rows: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self._counts, strict=True):
            so_far += count
            rows.append((bound, float(so_far)))
        return rows, self._sum


class Traffic:
    """What the services count, in plain integers; the node's one object of the kind."""

    __slots__ = (
        "calls",
        "errors",
        "forwarded",
        "frame_seconds",
        "frames",
        "in_flight_bytes",
        "in_flight_operations",
        "loop_stall_seconds",
        "reads",
        "streams",
        "wal_sync_seconds",
        "watches",
        "writes",
    )

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0
        self.frames = 0
        self.streams = 0
        self.watches = 0
        self.forwarded = 0
        self.in_flight_bytes = 0
        self.in_flight_operations = 0
        self.errors: dict[int, int] = {}
        self.calls: dict[str, Histogram] = {}
        self.frame_seconds = Histogram()
        self.wal_sync_seconds = Histogram()
        self.loop_stall_seconds = Histogram()

    def failed(self, reason: int, count: int = 1) -> None:
        """Counts operations answered with an error."""
        self.errors[reason] = self.errors.get(reason, 0) + count

    def called(self, method: str, seconds: float) -> None:
        """Counts a unary call; methods are those of the services, so their number is bounded."""
        histogram = self.calls.get(method)
        if histogram is None:
            histogram = self.calls[method] = Histogram()
        histogram.add(seconds)


class Facts(Protocol):
    """What the node stands at, asked when the metrics are read. None leaves a sample out."""

    def shard_figures(self) -> Iterable[tuple[int, Mapping[str, float | None]]]:
        """(group, figures): names as in METRICS without "holdfast_shard_"."""
        ...

    def node_figures(self) -> Mapping[str, float]:
        """Names as in METRICS without "holdfast_"."""
        ...

    def peers(self) -> Mapping[int, bool]:
        """Other nodes and whether their connection stands."""
        ...


class Metrics(Collector):
    """The registry and what it collects."""

    def __init__(self, traffic: Traffic, facts: Facts) -> None:
        self._traffic = traffic
        self._facts = facts
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    @property
    def content_type(self) -> str:
        """Of the exposition."""
        return CONTENT_TYPE_LATEST

    def exposition(self) -> bytes:
        """The page /metrics."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        yield from self._histograms()
        yield from self._shards()
        for name, value in self._facts.node_figures().items():
            yield _single(f"holdfast_{name}", value)
        connected = _family("holdfast_peer_connected")
        for node, stands in self._facts.peers().items():
            connected.add_metric([str(node)], float(stands))
        yield connected

    def _counters(self) -> Iterator[Metric]:
        traffic = self._traffic
        operations = _family("holdfast_operations")
        operations.add_metric(["read"], traffic.reads)
        operations.add_metric(["write"], traffic.writes)
        yield operations
        errors = _family("holdfast_operation_errors")
        for reason, count in sorted(traffic.errors.items()):
            errors.add_metric([Reason(reason).name], count)
        yield errors
        for name in ("frames", "streams", "watches", "in_flight_bytes", "in_flight_operations", "forwarded"):
            yield _single(f"holdfast_{name}", getattr(traffic, name))

    def _histograms(self) -> Iterator[Metric]:
        traffic = self._traffic
        for name in ("frame_seconds", "wal_sync_seconds", "loop_stall_seconds"):
            yield _histogram(f"holdfast_{name}", {(): getattr(traffic, name)})
        yield _histogram("holdfast_call_seconds", {(m,): h for m, h in sorted(traffic.calls.items())})

    def _shards(self) -> Iterator[Metric]:
        prefix = "holdfast_shard_"
        families = {d.name: _family(d.name) for d in METRICS if d.name.startswith(prefix)}
        for group, figures in self._facts.shard_figures():
            for name, value in figures.items():
                if value is not None:
                    families[prefix + name].add_metric([str(group)], value)
        yield from families.values()


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    described = _BY_NAME[name]
    kind = CounterMetricFamily if described.kind == "counter" else GaugeMetricFamily
    return kind(name, described.text, labels=described.labels)


def _single(name: str, value: float) -> Metric:
    family = _family(name)
    family.add_metric([], value)
    return family


def _histogram(name: str, rows: Mapping[tuple[str, ...], Histogram]) -> Metric:
    described = _BY_NAME[name]
    family = HistogramMetricFamily(name, described.text, labels=described.labels)
    for labels, histogram in rows.items():
        buckets, total = histogram.buckets()
        family.add_metric(list(labels), buckets, total)
    return family
