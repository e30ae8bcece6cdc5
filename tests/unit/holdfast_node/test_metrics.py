"""Metrics: what is counted is exposed under the names listed, with bounded labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import Reason
from holdfast_node.metrics import METRICS, Histogram, Metrics, Traffic
from prometheus_client.parser import text_string_to_metric_families

SHARD = {d.name.removeprefix("holdfast_shard_"): 1.0 for d in METRICS if d.name.startswith("holdfast_shard_")}


class Facts:
    def shard_figures(self) -> Iterable[tuple[int, Mapping[str, float | None]]]:
        return [(2, SHARD), (3, {"keys": 7, "staleness_seconds": None})]

    def node_figures(self) -> Mapping[str, float]:
        return {"wal_disk_full": 0, "clock_offset_seconds": -0.25}

    def peers(self) -> Mapping[int, bool]:
        return {1: True, 3: False}


def samples(traffic: Traffic) -> dict[tuple[str, tuple[str, ...]], float]:
    page = Metrics(traffic, Facts()).exposition().decode()
    return {
        (s.name, tuple(s.labels.values())): s.value
        for family in text_string_to_metric_families(page)
        for s in family.samples
    }


def test_every_listed_metric_is_exposed_and_no_other() -> None:
    """The list is the whole truth: names on the page and names in METRICS are the same."""
    traffic = Traffic()
    traffic.failed(Reason.BUSY)
    traffic.called("Get", 0.001)

    exposed = {
        f.name for f in text_string_to_metric_families(Metrics(traffic, Facts()).exposition().decode())
    }

    assert exposed == {d.name for d in METRICS}


def test_counts_are_what_was_counted() -> None:
    """Plain integers come out as counters with their labels."""
    traffic = Traffic()
    traffic.reads, traffic.writes, traffic.forwarded = 5, 3, 4
    traffic.failed(Reason.NOT_LEADER, 2)
    traffic.failed(Reason.NOT_LEADER)

    found = samples(traffic)

    assert found["holdfast_operations_total", ("read",)] == 5
    assert found["holdfast_operations_total", ("write",)] == 3
    assert found["holdfast_forwarded_total", ()] == 4
    assert found["holdfast_operation_errors_total", ("NOT_LEADER",)] == 3


def test_an_unknown_figure_is_left_out() -> None:
    """None means not known, which is not zero."""
    found = samples(Traffic())

    assert ("holdfast_shard_staleness_seconds", ("3",)) not in found
    assert found["holdfast_shard_keys", ("3",)] == 7
    assert found["holdfast_clock_offset_seconds", ()] == -0.25
    assert found["holdfast_peer_connected", ("3",)] == 0


def test_a_histogram_counts_each_duration_once() -> None:
    """Buckets are cumulative, a bound belongs to its own bucket, and the sum is the sum."""
    histogram = Histogram()
    for seconds in (0.0001, 0.0002, 3.0, 99.0):
        histogram.add(seconds)

    rows, total = histogram.buckets()

    assert rows[0] == ("0.0001", 1.0)
    assert rows[1] == ("0.00025", 2.0)
    assert rows[-1] == ("+Inf", 4.0)
    assert abs(total - 102.0003) < 1e-9
    assert histogram.total == 4
