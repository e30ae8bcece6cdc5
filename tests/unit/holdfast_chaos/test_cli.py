"""`python -m holdfast_chaos check`: the verdict as text, JSON and exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from holdfast_chaos.cli import root
from holdfast_chaos.record import Record
from holdfast_chaos.record_file import RecordFile

from tests.unit.holdfast_chaos.records import Script

DEMANDS = {"settings": {"demands": {"operations_min": 1}}}


def saved(folder: Path, record: Record) -> Path:
    path = folder / "record.jsonl"
    with RecordFile(path, record.header) as file:
        for event in record.events:
            file.append(event)
    return path


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(root, ["check", *map(str, arguments)])


def good() -> Script:
    return Script().put("a", at=(0, 1), revision=1).get("a", at=(2, 3), revision=1)


def bad() -> Script:
    return good().put("b", at=(4, 5), revision=2).get("a", at=(6, 7), revision=1)


def test_a_valid_record(tmp_path):
    """Exit status 0, and what was looked at."""
    told = run(saved(tmp_path, good().record(**DEMANDS)))

    assert told.exit_code == 0
    assert "register on 3 nodes, no faults, seed 1: VALID" in told.output
    assert "replay: again" in told.output


def test_an_invalid_record(tmp_path):
    """Exit status 1, and the operations that show it."""
    told = run(saved(tmp_path, bad().record(**DEMANDS)))

    assert told.exit_code == 1
    assert "INVALID" in told.output
    assert "linearizable: k: no order of these" in told.output
    assert "get k LINEARIZABLE -> ok a @1" in told.output


def test_json_is_for_programs(tmp_path):
    """One document: header, verdict, checkers with their evidence."""
    told = run(saved(tmp_path, bad().record(**DEMANDS)), "-o", "json")
    document = json.loads(told.stdout)

    assert told.exit_code == 1
    assert document["verdict"] == "invalid"
    assert document["header"]["workload"] == "register"
    assert {c["checker"]: c["verdict"] for c in document["checkers"]}["linearizability"] == "invalid"


def test_unknown_and_void_are_no_pass(tmp_path):
    """Exit status 3 for a budget that ran out, and for a run in which too little happened."""
    path = saved(tmp_path, good().record(**DEMANDS))
    (tmp_path / "void").mkdir()

    assert run(path, "--steps", 1).exit_code == 3
    assert run(saved(tmp_path / "void", good().record())).exit_code == 3


@pytest.mark.parametrize("text", ["", "no record\n", '{"record":1}\n'])
def test_what_is_no_record_is_a_usage_error(tmp_path, text):
    """Exit status 2, naming the line."""
    path = tmp_path / "file"
    path.write_text(text)
    told = run(path)

    assert told.exit_code == 2
    assert "line 1" in told.output


def test_events_that_do_not_fit_together_are_named(tmp_path):
    """Exit status 2: a reply to nothing."""
    path = saved(tmp_path, good().record(**DEMANDS))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]))

    told = run(path)
    assert told.exit_code == 2
    assert "line 2: process 1 has nothing in flight" in told.output


def test_a_torn_record_is_judged_and_said(tmp_path):
    """What a killed recorder leaves is judged; stderr tells that a line was dropped."""
    path = saved(tmp_path, good().record(**DEMANDS))
    path.write_text(path.read_text()[:-5])
    told = run(path)

    assert told.exit_code == 0
    assert "broke off" in told.stderr


def test_no_file_and_bytes_that_are_no_text(tmp_path):
    """Exit status 2 for both."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")

    assert run(tmp_path / "nothing").exit_code == 2
    assert run(tmp_path / "bytes").exit_code == 2


def test_it_runs_as_a_module():
    """`python -m holdfast_chaos --help`."""
    told = subprocess.run(
        [sys.executable, "-m", "holdfast_chaos", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "check" in told.stdout
