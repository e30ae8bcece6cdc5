"""`holdfast dev` with real processes: starts, survives kills, stops cleanly and keeps its state."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLI = [sys.executable, "-m", "holdfast.cli"]
START_WITHIN_S = 60
STOP_WITHIN_S = 30


def free_base_port() -> int:
    """A base port whose gRPC, HTTP and peer ports are free now; different for test processes side by side."""
    for base in range(10_000 + os.getpid() % 100 * 50, 22_000, 200):
        ports = [base + offset + i for offset in (0, 100, 10_000) for i in range(3)]
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


class Dev:
    """A running `holdfast dev`."""

    def __init__(self, process: subprocess.Popen[str], facts: dict, endpoints: str) -> None:
        self.process = process
        self.facts = facts
        self.endpoints = endpoints

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command against the cluster."""
        return subprocess.run(
            [*CLI, *arguments],
            env={**os.environ, "HOLDFAST_ENDPOINTS": self.endpoints},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def json(self, *arguments: str):
        """What the command prints with -o json."""
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def said(self, words: str) -> str:
        """The next line on stderr that holds the words."""
        for line in self.process.stderr:
            if words in line:
                return line
        raise AssertionError(f"it ended without saying {words!r}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Ctrl-C; what it said at the end."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=STOP_WITHIN_S)
        assert self.process.returncode == 0, said
        return said


@contextmanager
def dev(data: Path, base: int, *options: str) -> Iterator[Dev]:
    """Starts `holdfast dev -o json`; ready when it prints its facts."""
    process = subprocess.Popen(
        [*CLI, "dev", "--data", str(data), "--base-port", str(base), "-o", "json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield Dev(process, json.loads(line), f"127.0.0.1:{base}")
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=STOP_WITHIN_S)


def test_a_cluster_starts_serves_stops_and_keeps_its_state(tmp_path):
    """What was put on one node is read on another, and again after Ctrl-C and a second start."""
    base = free_base_port()
    with dev(tmp_path, base, "--shards", "3") as cluster:
        assert len(cluster.facts["nodes"]) == 3
        assert cluster.run("put", "zone/1", "on").returncode == 0
        third = cluster.facts["nodes"][2]["address"]
        assert cluster.json("get", "zone/1", "--endpoints", third)["value"] == "on"
        pids = [row["pid"] for row in cluster.json("node", "list")]
        assert "stopped" in cluster.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with dev(tmp_path, base) as cluster:
        found = cluster.json("get", "zone/1")
        assert (found["value"], cluster.facts["shards"]) == ("on", 3)


def test_a_killed_node_is_reported_started_again_and_agrees(tmp_path):
    """kill -9 of a shard's leader: said on stderr, restarted, and all replicas hold the same state."""
    with dev(tmp_path, free_base_port()) as cluster:
        cluster.run("put", "k", "1")
        leader = cluster.json("shard", "list")[0]["leader"]
        pid = next(row["pid"] for row in cluster.json("node", "list") if row["id"] == leader)

        os.kill(pid, signal.SIGKILL)

        assert "was killed by SIGKILL" in cluster.said(f"node {leader} (pid {pid})")
        assert cluster.json("put", "k", "2")["revision"] == 2
        assert "pid" in cluster.said(f"node {leader} runs again")
        assert cluster.run("cluster", "check", "--wait", "30s").returncode == 0
        assert cluster.json("get", "k")["value"] == "2"


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path):
    """The message names port and purpose; exit code 1."""
    base = free_base_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 101))
        taken.listen(1)

        done = subprocess.run(
            [*CLI, "dev", "--data", str(tmp_path), "--base-port", str(base)],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_WITHIN_S,
        )

    assert done.returncode == 1
    assert f"127.0.0.1:{base + 101} (HTTP of node 2)" in done.stderr
    assert not (tmp_path / "node-1").exists()


def test_a_node_that_cannot_start_ends_the_start_with_what_it_said(tmp_path):
    """A damaged identity: `dev` stops everything and shows the node's last lines."""
    base = free_base_port()
    with dev(tmp_path, base) as cluster:
        cluster.stop(signal.SIGTERM)
    (tmp_path / "node-2" / "data" / "node.json").write_text("{")

    done = subprocess.run(
        [*CLI, "dev", "--data", str(tmp_path), "--base-port", str(base)],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_WITHIN_S,
    )

    assert done.returncode == 1
    assert "node 2 ended with status 1 before the cluster served" in done.stderr
    assert "node.json is damaged" in done.stderr


def test_a_lost_data_directory_is_not_made_anew(tmp_path):
    """A node whose disk is missing does not come back empty under its old name."""
    base = free_base_port()
    with dev(tmp_path, base) as cluster:
        cluster.stop()
    (tmp_path / "node-3" / "data").rename(tmp_path / "lost")

    done = subprocess.run(
        [*CLI, "dev", "--data", str(tmp_path), "--base-port", str(base)],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_WITHIN_S,
    )

    assert done.returncode == 1
    assert "node 3" in done.stderr
    assert not (tmp_path / "node-3" / "data" / "node.json").exists()
