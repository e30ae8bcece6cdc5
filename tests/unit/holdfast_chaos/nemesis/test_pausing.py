"""Processes that stand still."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from holdfast_chaos.cluster.node_process import NodeProcess
from holdfast_chaos.nemesis.pausing import still


class Node(NodeProcess):
    """A process that does nothing."""

    def __init__(self) -> None:
        self.number = 1
        self.is_paused = False
        self._process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

    def end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture
def node():
    running = Node()
    yield running
    running.end()


def paused(node: Node, meanwhile: Any) -> list[str]:
    """The proofs of a pause in which something happens."""
    proofs: list[str] = []

    async def over() -> None:
        meanwhile()

    stage: Any = SimpleNamespace(cluster=SimpleNamespace(nodes={1: node}), over=over, proof=proofs.append)
    asyncio.run(still(stage, [1]))
    return proofs


def test_a_node_stands_still_for_as_long_as_the_fault(node):
    """The kernel says so, and that it goes on afterwards."""
    seen: list[str] = []

    assert paused(node, lambda: seen.append(node.state())) == ["node 1 stands still"]
    assert seen == ["T"]
    assert node.state() != "T"


def test_a_node_that_another_fault_ends_had_stood_still(node):
    """Two may meet at one node; the proof is taken before."""
    assert paused(node, node.end) == ["node 1 stands still"]


def test_a_node_that_had_ended_before_is_no_proof(node):
    """There was nothing to stop."""
    os.kill(node.pid, signal.SIGKILL)
    os.waitid(os.P_PID, node.pid, os.WEXITED | os.WNOWAIT)

    assert paused(node, lambda: None) == []
