"""Processes that end, and who brings them back."""

from __future__ import annotations

import asyncio
import random
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from holdfast_chaos.cluster.node_process import NodeEndedError
from holdfast_chaos.nemesis.killing import POINT_STRUCK, isolated_leader, ready


def waited(status: int | None) -> None:
    """Waits for a node that ends with a status before it is ready."""

    async def ended() -> None:
        raise NodeEndedError

    node: Any = SimpleNamespace(ready=ended, status=status, is_running=status is None)
    asyncio.run(ready(node))


@pytest.mark.parametrize("status", [-signal.SIGKILL, POINT_STRUCK, None])
def test_what_another_fault_ended_is_not_waited_for(status):
    """Two may meet at one node; None: that one has started it again already."""
    waited(status)


def test_a_node_that_ends_by_itself_is_stuck():
    """Nobody told it to."""
    with pytest.raises(NodeEndedError):
        waited(1)


def test_an_isolated_leader_ends_alone_and_starts_among_its_peers():
    """Cut off, then ended; mended before it starts again, so that it hears nothing of what was held."""
    happened: list[str] = []

    class Node:
        number, is_running, status = 2, True, None

        def kill(self) -> bool:
            happened.append("kill")
            self.is_running, self.status = False, -signal.SIGKILL
            return True

        def start(self) -> None:
            happened.append("start")

        async def ready(self) -> None:
            happened.append("ready")

    async def at_once(*_: Any) -> int:
        return 2

    wires = SimpleNamespace(
        cut=lambda pairs: happened.append(f"cut {sorted(pairs)}"), mend=lambda _: happened.append("mend")
    )
    stage: Any = SimpleNamespace(
        cluster=SimpleNamespace(nodes={2: Node()}, numbers=[1, 2, 3], wires=wires),
        leader=at_once,
        over=at_once,
        left_s=0.0,
        chance=random.Random(1),
        proof=happened.append,
    )
    asyncio.run(isolated_leader(stage))

    cut = "cut [(1, 2), (2, 1), (2, 3), (3, 2)]"
    assert happened == [cut, "kill", "node 2, cut off, ended by signal 9", "mend", "start", "ready"]
