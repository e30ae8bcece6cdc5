"""Commands to a node, over the very socket that the harness uses."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from holdfast_chaos.cluster.control import NoControlError, command
from holdfast_chaos.node.control import Control, serve
from holdfast_chaos.node.faulty_disk import FaultyDisk, Point, SkewedTime
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk
from holdfast_raft.file_disk import FileDisk

NAMES = itertools.count(os.getpid() * 100)  # the socket's name; no port is opened


class Node:
    """What a node process would have."""

    def __init__(self, disk: FaultyDisk) -> None:
        self.disk = disk
        self.clock = SkewedTime()
        self.ends = 0
        self.port = next(NAMES)
        self.stop = serve(self.port, Control(disk, self.clock, self._end))

    def _end(self) -> None:
        self.ends += 1

    def tell(self, do: str, **facts: Any) -> dict[str, Any]:
        return asyncio.run(command(self.port, do, **facts))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(FaultyDisk(FileDisk(tmp_path)))
    yield made
    made.stop()


def test_orders_reach_the_disk(node: Node) -> None:
    """Each command is one order."""
    node.tell("slow", seconds=0.1)
    node.tell("error", operation="sync", errno=5)
    node.tell("full", **{"is": True})
    node.tell("point", at="before sync wal", stall_s=2)

    orders = node.disk.orders
    assert (orders.slow_s, orders.errors, orders.is_full) == (0.1, {"sync": 5}, True)
    assert (orders.point, orders.stall_s) == (Point("before", "sync", "wal"), 2.0)


def test_healed_takes_back_all_orders_and_keeps_the_figures(node: Node) -> None:
    """The disk is good, the clock right; what was obeyed is still told."""
    node.tell("full", **{"is": True})
    node.disk.orders.struck["full"] += 3
    node.tell("clock", jump_ms=5000)

    node.tell("healed")

    assert not node.disk.orders.is_full
    assert node.tell("facts") == {"struck": {"full": 3}, "clock_offset_ms": 0.0}


def test_the_clock_is_set(node: Node) -> None:
    """By a jump or a drift; told without either it is right again."""
    assert node.tell("clock", jump_ms=5000)["clock_offset_ms"] == pytest.approx(5000, abs=50)
    assert node.tell("clock")["clock_offset_ms"] == 0.0


@pytest.mark.parametrize(
    "facts", [{"do": "sing"}, {"do": "slow"}, {"do": "point", "at": "sync"}, {"do": "lie"}]
)
def test_what_is_no_command_is_refused(node: Node, facts: dict[str, Any]) -> None:
    """With the reason, and the node goes on listening."""
    with pytest.raises(NoControlError):
        node.tell(**facts)
    assert node.tell("facts")["struck"] == {}


def test_nobody_there_is_said(node: Node) -> None:
    """A node that does not take commands is no silent success."""
    with pytest.raises(NoControlError):
        asyncio.run(command(next(NAMES), "facts"))


def test_the_power_fails(tmp_path: Path) -> None:
    """What was not synced is gone before the process is."""
    disk = UnsyncedDisk(tmp_path)
    disk.make_dir("wal")
    node = Node(FaultyDisk(disk))
    file = node.disk.create("wal/a", 4)
    node.disk.sync_dir("wal")
    file.write_at(0, [b"gone"])
    node.tell("power_off")
    node.stop()

    assert node.ends == 1
    assert disk.off
    assert UnsyncedDisk(tmp_path).open("wal/a").read_at(0, 4) in (b"", bytes(4))


def test_a_disk_that_lies_keeps_nothing(tmp_path: Path) -> None:
    """For judges to be judged: a sync says yes, and the power takes it all the same."""
    disk = UnsyncedDisk(tmp_path)
    disk.make_dir("wal")
    node = Node(FaultyDisk(disk))
    file = node.disk.create("wal/a", 4)
    node.disk.sync_dir("wal")
    node.tell("lie")
    node.stop()
    file.write_at(0, [b"gone"])
    file.sync()

    assert UnsyncedDisk(tmp_path).open("wal/a").read_at(0, 4) in (b"", bytes(4))
