"""Processes that end, and who brings them back."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from holdfast_chaos.cluster.node_process import NodeEndedError
from holdfast_chaos.nemesis.killing import POINT_STRUCK, ready


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
