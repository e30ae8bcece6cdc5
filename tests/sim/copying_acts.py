"""What tests of copies do to a simulated cluster, and what they count."""

from __future__ import annotations

from collections.abc import Callable

from holdfast_raft.messages import Addressed, CopyPull, NodeMessage
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.sim import MachineGone

from tests.sim.cluster import SimNode
from tests.sim.moves import SOURCE, Moves

OFTEN = LogLimits(snapshot_after_bytes=300, trailing_bytes=0)


def items(count: int, first: int = 0) -> list[bytes]:
    return [b"value%03d" % n for n in range(first, first + count)]


def write(cluster: Moves, count: int, first: int = 0, group: int = SOURCE) -> None:
    for item in items(count, first):
        assert isinstance(cluster.write(item, group), Applied)


def power_fails_at(node: SimNode, call: int, calls: frozenset[str]) -> list[int]:
    """Power goes right after the call of that number which changes the disk; the list counts them."""
    counted = [0]

    def after(what: str, path: str) -> None:
        if what in calls:
            counted[0] += 1
            if counted[0] == call:
                node.disk.after = None
                node.lose_power()
                raise MachineGone(what, path)

    node.disk.after = after
    return counted


def fails_at_first(call: str, prefix: str, times: int = 1) -> Callable[[str, str], None]:
    """Lets the first calls on such a file fail."""
    left = [times]

    def fail(what: str, path: str) -> None:
        if what == call and path.startswith(prefix) and left[0]:
            left[0] -= 1
            raise OSError(28, "planted", path)

    return fail


def pulls(cluster: Moves) -> list[tuple[int, int, CopyPull]]:
    """Questions put on their way from now on: (copying node, node asked, question)."""
    seen: list[tuple[int, int, CopyPull]] = []
    promises = cluster.promises.observe

    def observe(source: int, target: int, message: NodeMessage) -> None:
        promises(source, target, message)
        if isinstance(message, Addressed) and isinstance(message.body, CopyPull):
            seen.append((source, target, message.body))

    cluster.network.observe = observe
    return seen
