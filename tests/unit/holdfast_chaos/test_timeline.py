"""Throughput, latency, faults and leaders as numbers."""

from __future__ import annotations

from holdfast_chaos.timeline import BINS_MAX, quantile, timeline_of

from tests.unit.holdfast_chaos.records import Script


def test_operations_fall_into_the_time_in_which_they_ended():
    """With their rates and latencies; where nothing succeeded there is no latency."""
    script = Script().put("a", at=(0, 100), revision=1).put("b", at=(0, 150), revision=2)
    script.refused("put", "c", at=(300, 600))
    bins = timeline_of(script.operations, ()).bins

    assert (bins[0].ok, bins[0].p50, bins[0].p99) == (8.0, 150.0, 150.0)
    assert (bins[1].ok, bins[1].p50) == (0.0, None)
    assert bins[2].fail == 4.0


def test_a_long_run_has_as_many_bins_as_a_page_can_show():
    """Hours do not make a page of megabytes."""
    script = Script().put("a", at=(0, 3_600_000), revision=1)

    assert len(timeline_of(script.operations, ()).bins) <= BINS_MAX + 1


def test_leaders_follow_each_other():
    """A node leads until another one does; one of an earlier term that is seen late does not count."""
    script = Script()
    for at, node, term in ((100, 1, 1), (300, 2, 2), (350, 1, 1), (900, 3, 3)):
        script.note("leader", {"term": term}, at=at, node=node, group=2)
    reigns = timeline_of((), script.notes).reigns

    assert [(r.node, r.begin_s, r.end_s) for r in reigns] == [(1, 0.1, 0.3), (2, 0.3, 0.9), (3, 0.9, 0.9)]


def test_quantiles_are_values_that_were_there():
    """Of nothing there is none."""
    assert quantile([1, 2, 3, 4], 0.5) == 3
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([], 0.5) is None
