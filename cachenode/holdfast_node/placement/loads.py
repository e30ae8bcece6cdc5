"""What nodes report of themselves and their shards, as the planner wants it. Soft: never replicated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Key = bytes


class NodeLoad(NamedTuple):
    """A node, by its last report.

    Attributes:
        heard_ms_ago: age of that report.
        down_ms: how long it has been silent for longer than a heartbeat may take; 0: it is up; None: not
            known, as the placement leader has not listened for a whole timeout yet.
        busy_percent: of its loop.
        bytes: in its replicas.
    """

    heard_ms_ago: int = 0
    down_ms: int | None = 0
    busy_percent: int = 0
    bytes: int = 0
    disk_full: bool = False

    @property
    def is_up(self) -> bool:
        return self.down_ms == 0


class ShardLoad(NamedTuple):
    """A shard, by its leader's last report.

    Attributes:
        leader: node id; 0: not known.
        bytes: counted as len(key) + len(value) + 64, on each of its replicas.
        middle, middle_by_load: places that part it into halves of about the same bytes and load, aligned to
            units; b'': there is none.
        hot_key: one key takes so much of the load that no cut halves it; as clients know it.
        has_quorum: its leader is confirmed by a majority.
    """

    leader: int = 0
    keys: int = 0
    bytes: int = 0
    ops_per_s: int = 0
    middle: Key = b""
    middle_by_load: Key = b""
    hot_key: Key | None = None
    has_quorum: bool = True


class Loads(NamedTuple):
    """All that was reported: of nodes by id, of shards by group."""

    nodes: Mapping[int, NodeLoad] = {}
    shards: Mapping[int, ShardLoad] = {}

    def node(self, node: int) -> NodeLoad:
        """A node's; of one that never reported nothing is known."""
        return self.nodes.get(node, _SILENT)


_SILENT = NodeLoad(down_ms=None)
