"""What is left to measure of a curve, what is drawn of it, and when an overload is over."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.bench import scale, scale_record
from tests.bench.cuts import cuts
from tests.bench.load import Load
from tests.bench.overload_curve import Probe, recovered_after
from tests.bench.scale_record import Record


def test_a_run_that_was_ended_goes_on_where_it_stood(tmp_path):
    """What this commit has in the file is done, whoever wrote it there."""
    Record(tmp_path / "record", "abc").add("shards", 1.0, {"put_rate": 5.0}, {})

    assert Record(tmp_path / "record", "abc").left("shards", (1, 2, 4)) == [2, 4]


def test_another_commit_or_curve_begins_anew(tmp_path):
    """A figure of one program says nothing about another."""
    Record(tmp_path / "record", "abc").add("shards", 1.0, {"put_rate": 5.0}, {})

    assert Record(tmp_path / "record", "def").left("shards", (1, 2)) == [1, 2]
    assert Record(tmp_path / "record", "abc").left("keys", (1, 2)) == [1, 2]


def test_a_point_measured_again_replaces_the_earlier_one(tmp_path):
    """Points come in ascending order, the latest of each."""
    record = Record(tmp_path / "record", "abc")
    for x, rate in ((4.0, 1.0), (1.0, 2.0), (4.0, 3.0)):
        record.add("shards", x, {"put_rate": rate}, {})

    assert record.points("shards") == [(1.0, {"put_rate": 2.0}), (4.0, {"put_rate": 3.0})]


def test_a_line_cut_short_is_measured_again():
    """A run that was killed may have been writing."""
    assert [line["x"] for line in scale_record.parsed('{"x": 1}\n{"x"')] == [1]


def test_a_figure_that_is_not_there_has_no_place_on_a_plot():
    """Nor has one of zero: axes are logarithmic."""
    points = [(1.0, {"a": 2.0}), (2.0, {"a": 0.0, "b": 1.0}), (3.0, {"a": 4.0})]

    assert scale_record.series(points, {"A": "a", "C": "c"}) == {"A": [(1.0, 2.0), (3.0, 4.0)]}


def test_every_curve_is_drawn_from_one_point_on(tmp_path):
    """A first point is a picture already, of every plot."""
    for name, curve in scale.CURVES.items():
        record = Record(tmp_path / name, "abc")
        record.add(name, 1.0, dict.fromkeys((n for p in curve.plots for n in p.names.values()), 3.0), {})
        picture = scale.drawn(name, curve, record)

        ET.fromstring(picture)
        assert all(plot.title in picture for plot in curve.plots)


def test_a_point_that_fails_costs_only_what_shares_its_cluster():
    """Points are measured one by one, but for the curve that grows one cluster."""
    assert scale.together(scale.CURVES["shards"], [1, 2]) == [[1], [2]]
    assert scale.together(scale.CURVES["keys"], [1, 2]) == [[1, 2]]
    assert scale.together(scale.CURVES["keys"], []) == []


def test_cuts_share_the_keys_of_a_load_evenly():
    """Four shards of ten thousand keys have 2500 each."""
    load = Load("put", "")

    assert cuts(1, load) == ()
    assert [cut.encode() for cut in cuts(4, load)] == [load.key(2500), load.key(5000), load.key(7500)]


def probes(*slow_until: tuple[float, float]) -> list[Probe]:
    """One each 50 ms for 4 s; slow where a span says."""
    times = [n * 0.05 for n in range(80)]
    return [Probe(t, 0.5 if any(a <= t < b for a, b in slow_until) else 0.001, good=True) for t in times]


def test_an_overload_is_over_when_no_later_window_is_slow():
    """Seconds from its end to the end of the last half second that was not as before."""
    assert recovered_after(probes((0.0, 1.0)), 1.0, normal_ms=10.0) == 0.0
    assert recovered_after(probes((0.0, 1.7)), 1.0, normal_ms=10.0) == 1.0
    assert recovered_after(probes((0.0, 1.2), (3.0, 3.2)), 1.0, normal_ms=10.0) == 2.5


def test_a_probe_that_failed_was_slow():
    """Quick refusals of somebody who asks little are no recovery."""
    refused = [Probe(1.1 + n / 100, 0.001, good=False) for n in range(10)]

    assert recovered_after(refused, 1.0, normal_ms=10.0) == 0.5
