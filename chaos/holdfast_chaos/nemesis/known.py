"""Every nemesis by its name, and what it needs of the nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from holdfast_chaos.nemesis import (
    clients,
    compaction,
    connections,
    damage,
    disks,
    freezing,
    killing,
    late,
    moving,
    partitions,
    pausing,
    placing,
)
from holdfast_chaos.nemesis.stage import Nemesis

NEMESES: Final[Mapping[str, Nemesis]] = {
    "kill-one": killing.one,
    "kill-leader": killing.leader,
    "kill-isolated": killing.isolated_leader,
    "kill-majority": killing.majority,
    "kill-all": killing.everyone,
    "crash-loop": killing.crash_loop,
    "rolling-restart": killing.rolling_restart,
    "pause-leader": pausing.leader,
    "pause-follower": pausing.follower,
    "pause-all-but-one": pausing.all_but_one,
    "isolate-leader": partitions.isolate_leader,
    "isolate-briefly": partitions.until_another_leads,
    "partition-halves": partitions.in_halves,
    "partition-ring": partitions.in_a_ring,
    "partition-bridge": partitions.by_a_bridge,
    "partition-one-way": partitions.in_one_direction,
    "partition-flapping": partitions.flapping,
    "partition-clients": partitions.from_clients,
    "late-orders": late.orders,
    "late-votes": late.votes,
    "delay": connections.delay,
    "reset": connections.reset,
    "half-open": connections.half_open,
    "slow-disk": disks.slow,
    "slow-disks": disks.all_slow,
    "fsync-error": disks.fsync_error,
    "disk-full": disks.full,
    "power-loss": disks.power_loss,
    "freeze": freezing.freeze,
    "failpoint": disks.failpoint,
    "compaction": compaction.compaction,
    "clock-jump": disks.clock_jump,
    "clock-drift": disks.clock_drift,
    "torn-tail": damage.torn_tail,
    "bit-flip-wal": damage.flip_wal,
    "bit-flip-snapshot": damage.flip_snapshot,
    "wiped-disk": damage.wiped,
    "transfer-leader": placing.transfer_leader,
    "reshape": placing.reshape,
    "take-back": placing.take_back,
    "move-placement": placing.move_placement,
    "kill-receiver": moving.kill_receiver,
    "isolate-sender": moving.isolate_sender,
    "drain": placing.drain,
    "client-crash": clients.crash,
}
MOVES_SHARDS: Final = frozenset(
    {
        "reshape",
        "take-back",
        "late-orders",
        "kill-receiver",
        "isolate-sender",
        "drain",
        "wiped-disk",
        "torn-tail",
        "bit-flip-wal",
        "bit-flip-snapshot",
    }
)
"""After these a key's group may be another."""
REPLICAS: Final = 3
"""Of every shard."""
NEEDS_A_SPARE: Final = frozenset({"drain", "take-back", "move-placement", "kill-receiver", "isolate-sender"})
"""These want more nodes than a shard has replicas: a split is mostly done before it can be taken back."""
FILLS_HISTORY: Final = frozenset({"compaction", "disk-full", "failpoint", "bit-flip-snapshot"})
"""These write MiBs, so that a shard no longer has all that watches are judged by."""
FORGETS: Final = frozenset({"power-loss", "freeze"})
"""These want disks that keep nothing but what was synced."""
NEEDS_OUR_DISK: Final = FORGETS | frozenset(
    {
        "slow-disk",
        "slow-disks",
        "fsync-error",
        "disk-full",
        "clock-jump",
        "clock-drift",
        "failpoint",
    }
)
"""These command the node's disk or its wall clock, so nodes run as `holdfast_chaos.node`."""


def fitting(names: Iterable[str], nodes: int) -> tuple[str, ...]:
    """Those that a cluster of so many nodes has room for."""
    return tuple(name for name in names if nodes > REPLICAS or name not in NEEDS_A_SPARE)
