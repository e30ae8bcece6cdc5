"""Named runs: which workload meets which faults, one part after the other, each on a fresh cluster.

`all` has every nemesis in it; it is what `make chaos` runs. Parts differ in what nodes need: faults of disks
want nodes on a disk of ours, a loss of power one that forgets, and the rest run the node as users run it. A
part's share is of the time that is asked for; a short time leaves out what the plan has no room for, and says
so. Where no node is up for seconds, or nodes start again, faults come less often. What needs a node to spare
is left out where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from holdfast_chaos.nemesis.known import fitting
from holdfast_chaos.runner import Wish

PROCESSES: Final = (
    "kill-one",
    "kill-leader",
    "kill-majority",
    "kill-all",
    "pause-leader",
    "pause-follower",
    "pause-all-but-one",
    "crash-loop",
    "client-crash",
)
NETWORK: Final = (
    "isolate-leader",
    "isolate-briefly",
    "kill-isolated",
    "partition-halves",
    "partition-ring",
    "partition-bridge",
    "partition-one-way",
    "partition-flapping",
    "partition-clients",
    "late-votes",
    "delay",
    "reset",
    "half-open",
)
DISKS: Final = (
    "slow-disk",
    "slow-disks",
    "fsync-error",
    "disk-full",
    "failpoint",
    "clock-jump",
    "clock-drift",
)
POWER: Final = ("power-loss", "kill-all", "failpoint", "freeze")
PLACEMENT: Final = (
    "transfer-leader",
    "compaction",
    "reshape",
    "take-back",
    "late-orders",
    "move-placement",
    "kill-receiver",
    "isolate-sender",
    "drain",
    "rolling-restart",
)
DAMAGE: Final = ("torn-tail", "bit-flip-wal", "bit-flip-snapshot", "wiped-disk")


class Part(NamedTuple):
    """One run of a scenario.

    Attributes:
        share: of its time.
        interval: seconds between the beginnings of two faults, on average; less where time is short.
        interval_min: but not less than this: what takes long to heal.
        side_by_side: faults at once.
        hands: times so many operations in flight, where each takes longer or waits out whole outages.
        pace: times the rate that is asked for: what takes more work is not to fill the machine.
    """

    workload: str
    nemeses: tuple[str, ...]
    share: float
    interval: float = 6.0
    interval_min: float = 1.0
    side_by_side: int = 1
    hands: int = 1
    pace: float = 1.0


SCENARIOS: Final[Mapping[str, tuple[Part, ...]]] = {
    "all": (
        Part("register", PROCESSES, 0.2, 8.0),
        Part("append", NETWORK, 0.2),
        Part("device", DISKS, 0.15),
        Part("set", POWER, 0.1, 10.0, hands=2),
        Part("session", PLACEMENT, 0.1),
        Part("watch", ("kill-leader", "isolate-leader", "reset"), 0.1),
        Part("bank", DAMAGE, 0.15, 8.0, 5.0, hands=2, pace=0.6),
    ),
    "quick": (
        Part("register", ("kill-leader", "isolate-leader", "pause-leader"), 0.5),
        Part("append", ("power-loss",), 0.5),
    ),
    "mixed": (Part("register", (*PROCESSES, *NETWORK, *PLACEMENT), 1.0, side_by_side=2),),
}

PART_S_MIN: Final = 12.0
"""A shorter run has no time for a fault between its lead and its tail."""


def wishes(scenario: str, base: Wish) -> Iterator[tuple[str, Wish]]:
    """The runs of a scenario, each with the name of its folder. Raises KeyError for no scenario.

    base: what they have in common; `seconds` is of all together.
    """
    for number, part in enumerate(SCENARIOS[scenario], 1):
        seconds = round(max(PART_S_MIN, base.seconds * part.share), 1)
        nemeses = fitting(part.nemeses, base.nodes)
        wish = base._replace(
            workload=part.workload,
            nemeses=nemeses,
            seconds=seconds,
            side_by_side=part.side_by_side,
            hands=base.hands * part.hands,
            rate=base.rate * part.pace,
            # About as many faults as fit, so that each has its turn: two seconds is a fault's usual length.
            interval=min(part.interval, max(part.interval_min, (seconds - 7.0) / len(nemeses) - 2.0)),
            seed=base.seed + number,
        )
        yield f"{number}-{part.workload}", wish
