"""`holdfast bench` against a real cluster, by real processes: what it counts, leaves and never touches."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command_line import Done, Holdfast, end, end_by_force
from tests.integration.process_cluster import ProcessCluster, eventually, running

OK, ERROR, USAGE, REFUSED, UNKNOWN = range(5)
QUICK = ("--warmup", "0", "--keys", "200")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("bench"), splits=("m",)) as found:
        yield found


@pytest.fixture
def holdfast(cluster: ProcessCluster) -> Holdfast:
    return Holdfast(cluster.endpoints)


def keys(holdfast: Holdfast, prefix: str) -> int:
    return int(holdfast.json("scan", prefix, "--count")["count"])


def until(running: subprocess.Popen[str], text: str) -> None:
    """Reads what the command says until it says this."""
    assert running.stderr is not None
    while text not in (line := running.stderr.readline()):
        assert line, f"ended without saying {text!r}"


def children(pid: int) -> set[int]:
    """The processes that a process has started and that run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.add(int(stat.parent.name))
    return found


def works(pid: int) -> bool:
    """Whether the process still makes load."""
    try:
        return b"bench_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("pace", [(), ("--rate", "2000")], ids=["closed", "open"])
def test_it_counts_each_operation_once_and_leaves_nothing(holdfast: Holdfast, pace: tuple[str, ...]) -> None:
    """Two processes, two shards, every kind of operation; the keys of others are not touched."""
    holdfast("put", "bencher", "mine")
    prefixes = ("--key-prefix", "bench-", "--key-prefix", "n-bench-")
    mix = ("--put", "4", "--get", "4", "--delete", "1", "--increment", "1", "--level", "session")

    found = holdfast.json("bench", *QUICK, *prefixes, *mix, *pace, "--count", "2000", "--processes", "2")

    assert (found["operations"], found["errors"], found["not_begun"]) == (2000, 0, 0)
    kinds = {row["operation"]: row["operations"] for row in found["by_operation"]}
    assert set(kinds) == {"put", "get", "delete", "increment"}
    assert sum(kinds.values()) == sum(row["operations"] for row in found["by_second"]) == 2000
    assert sum(row["count"] for row in found["reads_by_node"]) == kinds["get"]
    assert {row["level"] for row in found["reads_by_node"]} == {"SESSION"}
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["settings"]["processes"] == 2
    assert not found["interrupted"]
    assert (keys(holdfast, "bench-"), keys(holdfast, "n-bench-")) == (0, 0)
    assert holdfast("get", "bencher").out == "mine\n"


def test_keys_may_stay_and_be_used_again(holdfast: Holdfast) -> None:
    """--keep leaves what was filled; a second bench refuses to begin on it, unless told to --reuse it."""
    mine = ("--key-prefix", "kept-", "--get", "1", "--count", "100")
    assert holdfast("bench", *QUICK, *mine, "--keep").status == OK
    assert keys(holdfast, "kept-") == 200

    refused = holdfast("bench", *QUICK, *mine)
    again = holdfast.json("bench", *QUICK, *mine, "--reuse")

    assert (refused.status, refused.out) == (REFUSED, "")
    assert "kept-000000000000" in refused.err
    assert (again["reads_found"], again["operations"]) == (100, 100)
    assert keys(holdfast, "kept-") == 200


def test_ctrl_c_ends_it_early_with_the_summary(holdfast: Holdfast) -> None:
    """Exit code 0, what was measured on stdout, the keys deleted."""
    begun = holdfast.begin("bench", *QUICK, "--seconds", "10m", "-o", "json")
    try:
        until(begun, "1 s: ")
        done = end(begun, signal.SIGINT)
    finally:
        end_by_force(begun)

    assert done.status == OK
    assert done.json()["interrupted"]
    assert done.json()["operations"] > 0
    assert keys(holdfast, "bench-") == 0


def test_no_process_outlives_it(holdfast: Holdfast) -> None:
    """Killed, it takes the processes that make its load along: they end with their stdin."""
    mine = ("--key-prefix", "killed-", "--processes", "2", "--seconds", "10m")
    begun = holdfast.begin("bench", *QUICK, *mine)
    try:
        until(begun, "1 s: ")
        workers = children(begun.pid)
        assert len(workers) == 2
        assert all(works(pid) for pid in workers)
    finally:
        end_by_force(begun)

    eventually(lambda: not any(works(pid) for pid in workers), "the end of the bench's processes")


def test_errors_are_counted_and_do_not_end_it(holdfast: Holdfast, cluster: ProcessCluster) -> None:
    """Without a majority reads of level any go on, puts fail by reason; exit code 1, or 0 if allowed."""
    mine = ("--key-prefix", "alone-", "--put", "1", "--get", "1", "--level", "any", "--timeout", "1s")
    kept = holdfast("bench", *QUICK, *mine, "--count", "50", "--keep")
    assert kept.status == OK, kept
    for number in (2, 3):
        cluster.nodes[number].kill()
    try:
        alone = Holdfast(cluster.nodes[1].address)

        def bench(*more: str) -> Done:
            return alone("bench", *QUICK, *mine, "--reuse", "--seconds", "2", "-o", "json", *more)

        strict, lenient = bench(), bench("--errors-max", "100")
    finally:
        cluster.start()

    assert (strict.status, lenient.status) == (ERROR, OK)
    found = strict.json()
    gets, puts = (next(r for r in found["by_operation"] if r["operation"] == kind) for kind in ("get", "put"))
    assert gets["operations"] > 0
    assert (puts["operations"], puts["errors"] > 0) == (0, True)
    assert {row["operation"] for row in found["errors_by_reason"]} >= {"put"}
    assert sum(row["count"] for row in found["errors_by_reason"]) == found["errors"]
    assert {row["node"] for row in found["reads_by_node"]} == {1}
