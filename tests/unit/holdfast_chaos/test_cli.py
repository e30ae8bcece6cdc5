"""`python -m holdfast_chaos check`: the verdict as text, JSON and exit status."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from holdfast_chaos.cli import command_of, nemeses_named, root
from holdfast_chaos.record import Record
from holdfast_chaos.record_file import RecordFile
from holdfast_chaos.runner import Wish

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


def test_list_names_what_can_be_run():
    """Workloads with their judges, nemeses with what they do, scenarios with their parts."""
    told = CliRunner().invoke(root, ["list"])

    assert told.exit_code == 0
    for name in ("register", "kill-leader", "quick"):
        assert f"\n  {name} " in told.output


def test_a_nemesis_that_does_not_exist_is_a_wrong_use(tmp_path):
    """Before anything is started."""
    told = CliRunner().invoke(root, ["run", "--nemesis", "kill-leder", "--out", str(tmp_path / "run")])

    assert told.exit_code == 2
    assert "no nemesis 'kill-leder'" in told.output
    assert not (tmp_path / "run").exists()


def test_freezing_does_not_go_with_damage(tmp_path):
    """What is gone from a disk was there when it was promised; `all` leaves freezing out."""
    words = ["run", "--nemesis", "freeze,wiped-disk,kill-one", "--out", str(tmp_path / "run")]
    told = CliRunner().invoke(root, words)

    assert told.exit_code == 2
    assert "does not go with what takes it from them: wiped-disk" in told.output
    assert "freeze" not in nemeses_named("all", 5)


def test_a_folder_that_is_there_is_not_written_into(tmp_path):
    """It may hold another run's record."""
    told = CliRunner().invoke(root, ["run", "--out", str(tmp_path)])

    assert told.exit_code == 2
    assert f"{tmp_path} is there already" in told.output


def test_a_drain_without_a_node_to_spare_is_a_wrong_use(tmp_path):
    """Nobody could take what the node holds; `all` leaves it out there."""
    told = CliRunner().invoke(root, ["run", "--nemesis", "drain", "--out", str(tmp_path / "run")])

    assert told.exit_code == 2
    assert "--nodes 4 or more" in told.output
    assert "drain" not in nemeses_named("all", 3)
    assert "drain" in nemeses_named("all", 5)
    assert not (tmp_path / "run").exists()


def test_a_command_runs_the_same_again():
    """What is printed as the replay is understood, and means the same run."""
    wish = Wish(
        "bank", ("kill-leader", "delay"), 5, 40.0, 300.0, 50.0, 9, 4, 7, 2.5, 2, 1.5, ("-m", "a", "b"), 900.0
    )
    words = shlex.split(command_of(wish))
    assert words[:4] == ["python", "-m", "holdfast_chaos", "run"]
    context = root.commands["run"].make_context("run", words[4:])  # type: ignore[attr-defined]

    given = {name: context.params[name] for name in ("workload", "nodes", "seconds", "rate", "rate_min")}
    assert given == {name: getattr(wish, name) for name in given}
    assert context.params["nemesis"] == "kill-leader,delay"
    assert context.params["program"] == "a b"
    assert (context.params["seed"], context.params["interval"], context.params["side_by_side"]) == (7, 2.5, 2)


def test_a_record_can_be_drawn_again(tmp_path):
    """The page lies beside the record unless another place is named."""
    path = saved(tmp_path, bad().record(**DEMANDS))
    told = CliRunner().invoke(root, ["report", str(path)])

    assert told.exit_code == 0
    assert told.output.startswith("invalid: ")
    assert "<!doctype html>" in (tmp_path / "report.html").read_text()


def test_nodes_that_do_not_start_are_told_of_in_their_own_words(tmp_path):
    """No run, no verdict, no traceback; exit status 3, as for all that says nothing."""
    told = CliRunner().invoke(
        root, ["run", "--nemesis", "kill-one", "--program", "no_such_module", "--out", str(tmp_path / "new")]
    )

    assert told.exit_code == 3
    assert "ended with status 1" in told.output
    assert "No module named no_such_module" in told.output
