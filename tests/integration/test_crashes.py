"""Crashes: what was acknowledged survives the loss of the leader, of every process, and of power.

HOLDFAST_TEST_CRASHES=N repeats each N times; `failover.py` does the same and prints figures.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import holdfast
import pytest

from tests.integration.crash_runs import BEFORE, Run, end_all, kill_leader
from tests.integration.process_cluster import running, with_client

REPEATS = int(os.environ.get("HOLDFAST_TEST_CRASHES", "2"))
FORGETFUL = "tests.integration.forgetful_node"


def is_sound(run: Run) -> None:
    assert not run.problems, f"{len(run.problems)} broken promises: {run.problems[:5]}"
    assert run.acknowledged > BEFORE, f"nothing was at stake: {run}"


def test_killed_leader_takes_nothing_acknowledged_with_it(tmp_path: Path) -> None:
    """After kill -9 of the leader every acknowledged write is readable, only writes in flight at the kill
    may be unknown, writes succeed again, and the node rejoins with the same state as the others.
    """
    with running(tmp_path) as cluster:

        async def act(client: holdfast.Client) -> None:
            for repeat in range(REPEATS):
                is_sound(await kill_leader(cluster, client, f"{repeat}/"))

        with_client(cluster, act)


def test_killing_all_nodes_at_once_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After kill -9 of every node at one moment and a restart, every acknowledged write is readable."""
    with running(tmp_path) as cluster:

        async def act(client: holdfast.Client) -> None:
            for repeat in range(REPEATS):
                is_sound(await end_all(cluster, client, f"{repeat}/", signal.SIGKILL))

        with_client(cluster, act)


@pytest.mark.parametrize("torn", [False, True])
def test_power_loss_of_all_nodes_loses_nothing_acknowledged(tmp_path: Path, torn: bool) -> None:
    """What a node acknowledged was synced before: without the unsynced bytes, or with any sectors of them,
    every acknowledged write is readable after the restart.
    """
    environment = {"HOLDFAST_TEST_TORN": "7"} if torn else {}
    with running(tmp_path, module=FORGETFUL, environment=environment) as cluster:

        async def act(client: holdfast.Client) -> None:
            for repeat in range(REPEATS):
                is_sound(await end_all(cluster, client, f"{repeat}/", signal.SIGUSR1))

        with_client(cluster, act)


def test_a_disk_that_lies_about_syncs_is_noticed(tmp_path: Path) -> None:
    """The power-loss test can fail: with disks that say yes to a sync and keep nothing, it finds the loss."""
    with running(tmp_path, module=FORGETFUL) as cluster:

        async def act(client: holdfast.Client) -> None:
            for node in cluster.nodes.values():
                node.signal(signal.SIGUSR2)
            run = await end_all(cluster, client, "lost/", signal.SIGUSR1)
            assert any("is missing" in problem for problem in run.problems), run

        with_client(cluster, act)
