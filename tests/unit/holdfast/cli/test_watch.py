"""holdfast.cli.watch: changes as lines, and going on where an earlier watch ended."""

from __future__ import annotations

import json

import pytest
from holdfast.cli.verbs import FailedError
from holdfast.cli.watch import read_points, write_points
from holdfast.types import WatchPoint

from tests.unit.holdfast.cli.console import Console


def from_the_start(tmp_path):
    write_points(tmp_path / "point", [WatchPoint(2, 0)])
    return str(tmp_path / "point")


def test_changes_are_printed_with_their_cause(tmp_path):
    """One line a change: cause, revision, key, value."""
    console = Console()
    console.run("put", "d/1", "on")
    console.run("del", "d/1")

    result = console.run("watch", "d/", "--resume", from_the_start(tmp_path), "--count", "2")

    assert result.stdout == "PUT     \t1\td/1\ton\nDELETED \t2\td/1\n"


def test_a_watch_goes_on_where_the_last_one_ended(tmp_path):
    """--resume keeps the point: no change twice, none missed."""
    console = Console()
    for value in ("1", "2", "3"):
        console.run("put", "k", value)
    file = from_the_start(tmp_path)
    first = console.run("watch", "--resume", file, "--count", "2", "-o", "json").stdout.splitlines()

    second = console.run("watch", "--resume", file, "--count", "1", "-o", "json").stdout.splitlines()

    assert [json.loads(line)["value"] for line in first + second] == ["1", "2", "3"]


def test_a_snapshot_comes_first_when_asked(tmp_path):
    """--snapshot prints what stands, between marks in JSON."""
    console = Console()
    console.run("put", "k", "1")

    lines = console.run("watch", "--snapshot", "--count", "1", "-o", "json").stdout.splitlines()

    assert [json.loads(line).get("event") or json.loads(line)["mark"] for line in lines] == [
        "SNAPSHOT_BEGINS",
        "SNAPSHOT",
    ]


def test_a_file_without_points_is_told(tmp_path):
    """A damaged file is refused with the way on."""
    (tmp_path / "point").write_text("{}")

    with pytest.raises(FailedError, match="remove it"):
        read_points(tmp_path / "point")


def test_points_survive_the_file(tmp_path):
    """What is written is read."""
    points = (WatchPoint(2, 7, b"a", b"\xff"),)
    write_points(tmp_path / "point", points)

    assert read_points(tmp_path / "point") == points
    assert read_points(tmp_path / "none") == ()
