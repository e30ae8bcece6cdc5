"""holdfast.cli.load: rows are written, failures told by line, the gravest decides the exit code."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.types import Outcome

from tests.unit.holdfast.cli.console import Console

ROWS = "".join(f'{{"key":"k{i}","value":"{i}"}}\n' for i in range(5))


def test_a_file_is_loaded_and_its_format_known_by_its_name(tmp_path):
    """Keys, values and lifetimes of a CSV file stand in the cluster afterwards."""
    console = Console()
    (tmp_path / "fleet.csv").write_text("key,value,ttl\na,1,60\nb,2,\n")

    result = console.run("load", str(tmp_path / "fleet.csv"))

    assert (result.exit_code, result.stdout) == (0, "")
    assert "loaded 2 keys" in result.stderr
    assert console.json("get", "a")["ttl_ms"] == 60_000


def test_a_bad_line_does_not_stop_the_others():
    """Exit code 1, the line is named, everything readable is loaded."""
    console = Console()

    result = console.run("load", "-", "-o", "json", given=ROWS + "nope\n" + ROWS)

    assert result.exit_code == 1
    assert "line 6: not JSON" in result.stderr
    assert '"loaded": 10' in result.stdout


def test_the_gravest_outcome_decides_the_exit_code():
    """Unknown before refused before unreadable."""
    console = Console()
    console.fake.fail_next("put", Reason.BUSY)
    refused = console.run("load", "-", given=ROWS + "nope\n")
    console.fake.fail_next("put", Reason.BUSY)
    console.fake.fail_next("put", Outcome.UNKNOWN)
    unknown = console.run("load", "-", given=ROWS)

    assert (refused.exit_code, unknown.exit_code) == (3, 4)
    assert "1 with unknown outcome" in unknown.stderr


def test_many_failures_are_counted_not_all_told():
    """A file of the wrong kind does not fill the terminal."""
    result = Console().run("load", "-", given="nope\n" * 1000)

    assert result.stderr.count("\n") < 30
    assert "1000 not readable" in result.stderr


def test_a_file_that_is_no_text_is_told(tmp_path):
    """Bytes that are no UTF-8 end the load with a sentence."""
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\n")

    result = Console().run("load", str(tmp_path / "x.jsonl"))

    assert (result.exit_code, "not UTF-8" in result.stderr) == (1, True)
