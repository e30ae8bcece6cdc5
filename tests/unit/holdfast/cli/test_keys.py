"""holdfast.cli.keys: one call each, data on stdout, the rest on stderr, exit codes by outcome."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.types import Outcome

from tests.unit.holdfast.cli.console import Console


@pytest.fixture
def console():
    return Console()


def test_get_prints_the_value_and_nothing_else_on_stdout(console):
    """A value can be piped on: who answered and how fresh goes to stderr."""
    console.run("put", "k", "80")

    result = console.run("get", "k")

    assert result.stdout == "80\n"
    assert "LINEARIZABLE from node 1" in result.stderr
    assert result.exit_code == 0


def test_get_as_json_has_the_promised_fields(console):
    """`get -o json` gives key value revision ttl_ms level served_by applied_index age_ms."""
    console.run("put", "k", "80", "--ttl", "1m")

    assert console.json("get", "k") == {
        "key": "k",
        "value": "80",
        "revision": 1,
        "ttl_ms": 60_000,
        "level": "LINEARIZABLE",
        "served_by": 1,
        "applied_index": 1,
        "age_ms": 0,
    }


def test_an_absent_key_is_exit_code_1(console):
    """A script can tell an absent key from an empty value."""
    result = console.run("get", "nothing")

    assert (result.stdout, result.exit_code) == ("", 1)
    assert console.json("get", "nothing")["value"] is None


def test_bytes_that_are_no_text_survive(console):
    """base64:... stands for bytes, given and shown; JSON says key_b64 and value_b64."""
    console.run("put", "base64:/w==", "--file", "-", given=b"\xfe\xff")

    found = console.json("get", "base64:/w==")

    assert (found["key_b64"], found["value_b64"]) == ("/w==", "/v8=")
    assert console.run("scan").stdout == "base64:/w==\tbase64:/v8=\n"


def test_a_refused_condition_is_exit_code_3(console):
    """Refused means no effect: exit code 3, and the message says so."""
    console.run("put", "k", "1")

    result = console.run("put", "k", "2", "--if-absent")

    assert result.exit_code == 3
    assert "nothing happened" in result.stderr
    assert console.run("get", "k").stdout == "1\n"


def test_an_unknown_outcome_is_exit_code_4(console):
    """Unknown means it may have happened: exit code 4, and the message says so."""
    console.fake.fail_next("put", Outcome.UNKNOWN, happened=True)

    result = console.run("put", "k", "1")

    assert result.exit_code == 4
    assert "may have happened" in result.stderr


def test_put_prints_the_revision_and_the_previous_value_when_asked(console):
    """--previous gives the value before, or says that there was none."""
    console.run("put", "k", "1")

    assert console.json("put", "k", "2", "--previous") == {"key": "k", "revision": 2, "previous": "1"}
    assert "previous: none" in console.run("put", "other", "2", "--previous").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("put", "k"),
        ("put", "k", "v", "--file", "-"),
        ("put", "k", "v", "--if-absent", "--if-present"),
        ("put", "k", "v", "--ttl", "soon"),
        ("get", "k", "--level", "bounded"),
        ("get", "k", "--level", "any", "--bound", "1s"),
        ("get", "k", "--or-linearizable"),
        ("get", "base64:!"),
        ("del",),
        ("del", "k", "--prefix", "k"),
        ("del", "--prefix", "k", "--previous"),
        ("scan", "p", "--start", "q"),
        ("get",),
    ],
)
def test_a_contradiction_is_exit_code_2_and_asks_nobody(console, arguments):
    """Wrong usage never reaches the cluster."""
    assert console.run(*arguments, given="").exit_code == 2
    assert console.asked == []


def test_del_deletes_one_key_or_a_range(console):
    """del KEY, del --prefix, and how many were deleted."""
    for key in ("a/1", "a/2", "b"):
        console.run("put", key, "x")

    assert console.run("del", "b").stdout == "deleted 1\n"
    assert console.json("del", "--prefix", "a/") == {"deleted": 2}
    assert console.json("scan", "--count") == {"count": 0}


def test_cas_writes_only_on_the_revision_named(console):
    """cas KEY REVISION VALUE: 0 creates, another revision is refused."""
    assert console.run("cas", "k", "0", "alice").exit_code == 0
    assert console.run("cas", "k", "0", "bob").exit_code == 3
    assert console.run("get", "k").stdout == "alice\n"


def test_incr_prints_the_sum(console):
    """incr adds, also a negative number, within its bounds."""
    assert console.run("incr", "n", "5").stdout == "5\n"
    assert console.run("incr", "--min", "0", "--", "n", "-5").stdout == "0\n"
    assert console.run("incr", "--min", "0", "--", "n", "-1").exit_code == 3


def test_touch_gives_a_new_lifetime(console):
    """touch --ttl lets a key expire later; an absent key is exit code 1."""
    console.run("put", "k", "v")

    assert console.run("touch", "k", "--ttl", "2h").exit_code == 0
    assert console.json("get", "k")["ttl_ms"] == 7_200_000
    assert console.run("touch", "nothing").exit_code == 1


def test_scan_goes_over_pages_up_to_its_limit(console):
    """scan prints keys in order over any number of pages, and stops at --limit."""
    rows = "".join(f'{{"key":"k{i:04d}","value":"{i}"}}\n' for i in range(1500))
    console.run("load", "-", given=rows)

    assert console.run("scan", "--count").stdout == "1500\n"
    assert console.run("scan", "--limit", "1200", "--keys-only").stdout.split() == [
        f"k{i:04d}" for i in range(1200)
    ]
    assert console.run("scan", "k0007", "-o", "json").stdout.count('"value": "7"') == 1


def test_a_session_file_carries_what_was_seen(console, tmp_path):
    """--session writes the token after a command and hands it to the next, which reads at SESSION."""
    file = str(tmp_path / "session")
    console.run("put", "k", "1", "--session", file)

    found = console.json("get", "k", "--session", file)

    assert found["level"] == "SESSION"
    assert console.asked[0]["session"] is None
    assert console.asked[1]["session"] == (tmp_path / "session").read_bytes()


def test_a_broken_session_file_is_told(console, tmp_path):
    """A file that holds no token is refused, not ignored."""
    (tmp_path / "session").write_bytes(b"no token")

    result = console.run("get", "k", "--session", str(tmp_path / "session"))

    assert (result.exit_code, "BAD_TOKEN" in result.stderr) == (3, True)


def test_a_busy_cluster_says_when_to_come_back(console):
    """The hint of an error reaches the person."""
    console.fake.fail_next("get", Reason.BUSY)

    assert console.run("get", "k").exit_code == 3


def test_endpoints_may_stand_before_or_after_the_verb(console, monkeypatch):
    """--endpoints on the verb wins over the root, which wins over the environment."""
    monkeypatch.setenv("HOLDFAST_ENDPOINTS", "e:1")
    console.run("get", "k")
    console.run("--endpoints", "r:1", "get", "k", "--endpoints", "v:1")

    assert [asked["endpoints"] for asked in console.asked] == ["e:1", "v:1"]
