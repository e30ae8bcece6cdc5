"""What is read of others' pages, and what is written for people."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from tests.bench import charts, evidence, exposition, svg
from tests.bench.machine import first_version
from tests.bench.redis_side import rates
from tests.bench.result import RowResult, measure

FACTS = {
    "commit": "abc",
    "versions": {"python": "3.11", "grpcio": "1", "etcd": "3.4.23", "redis": ""},
    "machine": {"cores": 2, "processor": "x & y", "filesystem": "ext4", "kernel": "6", "load_before": 0.1},
    "how": {"rounds": 3, "seconds": 4.0, "warmup": 1.0, "generators": 1, "load_after": 2.0},
}
LATENCY = {"Holdfast": {"p50": 1.0, "p99": 4.0, "max": 9.0}, "etcd": {"p50": 9.0, "p99": 30.0, "max": 50.0}}


def results() -> list[RowResult]:
    return [
        RowResult(
            "put-256",
            [
                measure("put-256", "rate", "operations/s", [60.0, 70.0], [10.0, 10.0], "etcd"),
                measure("put-256", "p99 against its p50", "ms", [4.0], [9.0], "etcd"),
            ],
            latency=LATENCY,
            cpu={"leader": 12.0},
        ),
        RowResult("idle-64", [measure("idle-64", "CPU of a node", "% of a core", [2.0])]),
        RowResult("lget-256", [], skipped="etcd is not installed"),
        RowResult("lget-1", [measure("lget-1", "p50", "ms", [2.0])], skipped="etcd is not installed"),
    ]


def test_metrics_are_read_by_name_and_labels():
    """As far as the benches need the format."""
    page = '# HELP x y\nx{shard="2"} 3.0\nx{shard="3"} 4.0\ny_total 1e3\n'

    assert exposition.parsed(page) == {"x": {'shard="2"': 3.0, 'shard="3"': 4.0}, "y_total": {"": 1000.0}}
    assert exposition.total(exposition.parsed(page), "x") == 7.0
    assert exposition.total({}, "x") == 0.0


def test_the_table_of_redis_benchmark_is_read():
    """Warnings may stand before it."""
    table = 'WARNING: CONFIG\n"test","rps","avg_latency_ms"\n"SET","102000.50","1.2"\n"GET","78000","1.1"\n'

    assert rates(table) == {"SET": 102000.5, "GET": 78000.0}


def test_versions_are_found_in_what_programs_say():
    """Each has its own words around them."""
    assert first_version("etcd Version: 3.4.23\nGit SHA: x") == "3.4.23"
    assert first_version("go version go1.19.8 linux/amd64") == "1.19.8"
    assert first_version("") == ""


def test_the_evidence_is_three_files_that_say_the_same(tmp_path):
    """JSON for programs, a page and a picture for people; a row without its peer is told as not shown."""
    evidence.written(FACTS, results(), tmp_path)
    document = json.loads((tmp_path / "bench.json").read_text())
    page = (tmp_path / "bench.md").read_text()
    picture = (tmp_path / "bench.svg").read_text()

    assert [row["row"] for row in document["rows"]] == ["put-256", "idle-64", "lget-256", "lget-1"]
    assert "| put-256 | rate | 65 (60..70) operations/s | etcd: 10 | 6.5 (6..7) | >= 6x | met |" in page
    assert "**NOT SHOWN: etcd is not installed**" in page
    assert "| lget-1 | p50 | 2 ms |  |  | <= 1.2x | **not shown** |" in page
    ET.fromstring(picture)
    assert "put-256: rate" in picture
    assert "2 of 3 % of a core" in picture


def test_bars_show_how_many_times_better_we_are():
    """Right is better: rates ours / theirs, latencies theirs / ours, bounds of our own bound / ours."""
    bars = {bar.label: bar for bar in charts.ratio_bars(results())}

    assert {label: (bar.ratio, bar.target) for label, bar in bars.items()} == {
        "put-256: rate": (6.5, 6),
        "put-256: p99 to its p50": (9 / 4, 1),
        "idle-64: CPU": (3 / 2, 1),
    }
    assert bars["put-256: rate"][2:4] == (6.0, 7.0)


def test_a_place_outside_the_axis_is_at_its_end():
    """A bar never leaves the picture."""
    assert svg.log_place(1000.0, 0.1, 10.0, 50, 100) == 150
    assert svg.log_place(1.0, 0.1, 10.0, 50, 100) == 100


def test_amounts_are_short():
    """As they stand at an axis."""
    assert [svg.amount(f) for f in (16, 1_000, 2_000_000, 0.5)] == ["16", "1k", "2M", "0.5"]
