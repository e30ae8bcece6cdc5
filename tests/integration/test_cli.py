"""`holdfast` against a real cluster: what it prints and how it ends. `holdfast dev`: test_dev.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from holdfast_chaos.cluster.layout import free_ports

from tests.integration.command_line import Holdfast, end
from tests.integration.process_cluster import ProcessCluster, eventually, running

OK, ERROR, USAGE, REFUSED, UNKNOWN = range(5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("cli"), splits=("m",)) as found:
        yield found


@pytest.fixture
def holdfast(cluster: ProcessCluster) -> Holdfast:
    return Holdfast(cluster.endpoints)


def test_put_and_get(holdfast: Holdfast, cluster: ProcessCluster) -> None:
    """`put` on one node and `get` on another print the value on stdout and all the rest on stderr."""
    put = holdfast("put", "device/17/brightness", "80", "--endpoints", cluster.nodes[1].address)
    assert (put.status, put.out.split()[0]) == (OK, "revision")
    get = holdfast("get", "device/17/brightness", "--endpoints", cluster.nodes[3].address)
    assert (get.status, get.out) == (OK, "80\n")
    assert "LINEARIZABLE" in get.err


def test_get_as_json_has_the_shape_of_the_contract(holdfast: Holdfast) -> None:
    """`get -o json`: key value revision level served_by applied_index age_ms; key_b64 for what is no text."""
    put = holdfast.json("put", "shape", "v", "--ttl", "1h")
    found = holdfast.json("get", "shape")
    fields = {"key", "value", "revision", "ttl_ms", "level", "served_by", "applied_index", "age_ms"}
    assert set(found) == fields
    assert (found["key"], found["value"], found["revision"]) == ("shape", "v", put["revision"])
    assert found["level"] == "LINEARIZABLE"
    assert found["served_by"] in {1, 2, 3}
    assert 0 < found["ttl_ms"] <= 3_600_000
    holdfast.json("put", "base64:/w==", "base64:/v8=")
    raw = holdfast.json("get", "base64:/w==")
    assert (raw["key_b64"], raw["value_b64"]) == ("/w==", "/v8=")


def test_exit_codes(holdfast: Holdfast) -> None:
    """0 ok, 1 error (no such key), 2 usage, 3 refused; what is wrong stands on stderr, stdout stays empty."""
    missing = holdfast("get", "no/such/key")
    assert (missing.status, missing.out) == (ERROR, "")
    assert "no such key" in missing.err
    for arguments in (("get",), ("put", "k"), ("get", "k", "--level", "fresh"), ("nonsense",)):
        wrong = holdfast(*arguments)
        assert (wrong.status, wrong.out) == (USAGE, ""), arguments
    holdfast("put", "once", "1")
    refused = holdfast("put", "once", "2", "--if-absent")
    assert (refused.status, refused.out) == (REFUSED, "")
    assert "CONDITION_FAILED" in refused.err
    assert holdfast("get", "once").out == "1\n"
    nowhere = holdfast("get", "k", "-n", "nowhere")
    assert nowhere.status == REFUSED
    assert "nowhere" in nowhere.err
    long_key = holdfast("put", "k" * 1025, "v")
    assert long_key.status == REFUSED
    assert "1024" in long_key.err


def test_nobody_answers(holdfast: Holdfast) -> None:
    """Where no node listens the command ends as refused within its timeout and names the endpoint."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    done = holdfast("put", "k", "v", "--endpoints", address, "--timeout", "1s")
    assert (done.status, done.out) == (REFUSED, "")
    assert address in done.err


def test_cas_and_incr(holdfast: Holdfast) -> None:
    """`cas` writes at the revision it names only (exit 3 otherwise); `incr` prints the sum."""
    first = holdfast.json("cas", "c", "0", "one")
    assert holdfast("cas", "c", "0", "two").status == REFUSED
    assert holdfast.json("cas", "c", str(first["revision"]), "two")["revision"] > first["revision"]
    assert holdfast("incr", "n").out == "1\n"
    assert holdfast("incr", "n", "41").out == "42\n"
    assert holdfast.json("incr", "n", "1")["value"] == 43
    assert holdfast("incr", "n", "10", "--max", "50").status == REFUSED
    holdfast("put", "text", "no number")
    wrong = holdfast("incr", "text")
    assert (wrong.status, "WRONG_TYPE" in wrong.err) == (REFUSED, True)


def test_del_of_a_key_and_a_range(holdfast: Holdfast) -> None:
    """`del` says how many keys went: one, none, or those of a prefix."""
    for name in ("del/1", "del/2", "del/3"):
        holdfast("put", name, "x")
    assert holdfast.json("del", "del/1", "--previous")["previous"] == "x"
    assert holdfast.json("del", "del/1")["deleted"] == 0
    assert holdfast.json("del", "--prefix", "del/")["deleted"] == 2


def test_scan_prints_keys_in_order_over_all_shards(holdfast: Holdfast) -> None:
    """`scan` gives key TAB value in key order over shards, as JSON an object a line, or a count."""
    names = ["a/scan", "l/scan", "m/scan", "z/scan"]
    for name in reversed(names):
        holdfast("put", name, "v")
    rows = [line.split("\t") for line in holdfast("scan").out.splitlines()]
    assert [key for key, _ in rows if key.endswith("/scan")] == names
    text = [key for key, _ in rows if not key.startswith("base64:")]
    assert sorted(text) == text
    lines = holdfast("scan", "m/", "-o", "json").lines()
    assert [line["key"] for line in lines] == ["m/scan"]
    assert {"key", "value", "revision", "ttl_ms", "level", "served_by"} <= set(lines[0])
    assert holdfast("scan", "--start", "l/", "--end", "m/z", "--keys-only").out.splitlines() == names[1:3]
    assert holdfast("scan", "m/", "--count").out == "1\n"


def test_session_file_carries_what_was_seen(holdfast: Holdfast, tmp_path: Path) -> None:
    """With --session a later command reads at level SESSION what an earlier one wrote."""
    token = str(tmp_path / "token")
    for number in range(3):
        holdfast("put", "seen", str(number), "--session", token)
        found = holdfast.json("get", "seen", "--session", token)
        assert (found["value"], found["level"]) == (str(number), "SESSION")


def test_txn(holdfast: Holdfast) -> None:
    """`txn` does all or nothing; exit 1 when the compares do not hold, 3 for keys of two shards."""
    holdfast("put", "t/a", "1")
    swap = {
        "compares": [{"key": "t/b", "exists": False}],
        "then": [{"put": {"key": "t/b", "value": "new"}}, {"delete": {"key": "t/a"}}],
        "otherwise": [{"get": {"key": "t/b"}}],
    }
    assert holdfast("txn", "-", stdin=json.dumps(swap)).json()["succeeded"] is True
    again = holdfast("txn", "-", stdin=json.dumps(swap))
    assert again.status == ERROR
    assert again.json()["results"][0]["value"] == "new"
    apart = {"then": [{"put": {"key": "a", "value": "1"}}, {"put": {"key": "z", "value": "1"}}]}
    crossing = holdfast("txn", "-", stdin=json.dumps(apart))
    assert (crossing.status, "CROSS_SHARD" in crossing.err) == (REFUSED, True)
    typo = holdfast("txn", "-", stdin='{"thn": []}')
    assert (typo.status, "thn" in typo.err) == (USAGE, True)


def test_watch_prints_changes_and_resumes(holdfast: Holdfast, tmp_path: Path) -> None:
    """`watch --count N --resume FILE` prints N changes, and a later one goes on right behind them."""
    place = str(tmp_path / "point")
    arguments = ("watch", "w/", "-o", "json", "--resume", place)
    first = holdfast.begin(*arguments, "--count", "2")
    try:
        assert first.stderr is not None
        # The watch is set up in the background: write until it has seen two.
        written = 0

        def ended() -> bool:
            nonlocal written
            holdfast("put", "w/k", str(written))
            written += 1
            return first.poll() is not None

        eventually(ended, "the watch has printed two changes")
    finally:
        done = end(first)
    assert done.status == OK, done
    seen = [int(line["value"]) for line in done.lines()]
    assert seen == [seen[0], seen[0] + 1]
    assert set(done.lines()[0]) >= {"event", "key", "value", "revision"}
    later = holdfast(*arguments, "--count", "1") if written > seen[1] + 1 else None
    if later is None:
        holdfast("put", "w/k", str(written))
        later = holdfast(*arguments, "--count", "1")
    assert [int(line["value"]) for line in later.lines()] == [seen[1] + 1]


def test_watch_ends_cleanly_on_ctrl_c(holdfast: Holdfast) -> None:
    """Ctrl-C is how a watch ends: exit 0, and what it showed stays on stdout."""
    holdfast("put", "cc/k", "v")
    watching = holdfast.begin("watch", "cc/", "--snapshot")
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().split() == ["SNAPSHOT", watching_revision(holdfast), "cc/k", "v"]
    finally:
        done = end(watching)
    assert done.status == OK, done
    assert "Traceback" not in done.err


def watching_revision(holdfast: Holdfast) -> str:
    return str(holdfast.json("get", "cc/k")["revision"])


def test_load_tells_bad_lines_and_loads_the_rest(holdfast: Holdfast, tmp_path: Path) -> None:
    """`load` takes JSON Lines and CSV; a bad line is told by its number and does not stop the others."""
    sample = holdfast("sample-settings", "--devices", "20")
    rows = [json.loads(line) for line in sample.out.splitlines()]
    counts = holdfast.json("load", "-", stdin=sample.out)
    assert (counts["loaded"], counts["bad"], counts["refused"]) == (len(rows), 0, 0)
    assert holdfast("get", rows[0]["key"]).out == rows[0]["value"] + "\n"
    table = tmp_path / "settings.csv"
    table.write_text("key,value,ttl\ncsv/1,one,\ncsv/2,two,1h\ncsv/3,three,soon\n" + "k" * 1025 + ",x,\n")
    done = holdfast("load", str(table), "-o", "json")
    assert done.status == ERROR
    assert (done.json()["loaded"], done.json()["bad"]) == (2, 2)
    assert "4" in done.err
    assert "soon" in done.err
    assert holdfast("get", "csv/2").out == "two\n"


def test_cluster_shard_and_node_as_json(holdfast: Holdfast, cluster: ProcessCluster) -> None:
    """`node list` and `shard list` have the fields of the contract, and say what is really so."""
    nodes = holdfast.json("node", "list")
    assert all({"id", "address", "http", "zone", "state", "pid", "version"} <= set(node) for node in nodes)
    assert {node["id"]: node["pid"] for node in nodes} == {n: c.pid for n, c in cluster.nodes.items()}
    assert {node["state"] for node in nodes} == {"up"}
    shards = holdfast.json("shard", "list")
    fields = {"shard", "namespace", "start", "end", "epoch", "group", "leader", "replicas", "keys", "bytes"}
    assert all(fields <= set(shard) for shard in shards)
    assert [(shard["start"], shard["end"]) for shard in shards] == [("", "m"), ("m", "")]
    assert [shard["leader"] for shard in shards] == [cluster.leader(s["group"]).number for s in shards]
    whole = holdfast.json("cluster", "status")
    assert (len(whole["nodes"]), len(whole["shards"]), whole["cluster_id"]) == (3, 2, "test")
    assert holdfast.json("cluster", "health")["healthy"] is True
    assert {entry["replicas"] for entry in holdfast.json("cluster", "check")} == {"equal"}
    assert holdfast.json("shard", "locate", "zebra")["group"] == shards[1]["group"]
    for words in (("cluster", "status"), ("shard", "list"), ("node", "list")):
        assert holdfast(*words).status == OK


def test_shard_transfer_leader(holdfast: Holdfast, cluster: ProcessCluster) -> None:
    """`shard transfer-leader` ends when the other node leads, and writes go on."""
    group = 2
    target = cluster.leader(group).number % 3 + 1
    done = holdfast("shard", "transfer-leader", str(group), "--to", str(target), "-o", "json")
    assert (done.status, done.json()) == (OK, {"shard": group, "leader": target}), done
    assert cluster.leader(group).number == target
    assert holdfast("put", "after/transfer", "1").status == OK
