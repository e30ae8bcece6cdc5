"""Which fault when, for how long: the plan of a run's nemeses, made from its seed.

Faults of one name never overlap; with several names up to `side_by_side` go on at once, so that all
combinations come about. A plan begins with time for the workload to show that it works, and ends with a
quiet tail, so that healing can be seen and final reads made: both are without faults. Faults in which nobody
can answer are short: what they show is at their ends, and a run wants operations.

Who carries faults out, and on which node, is not known here.
Source: Jepsen's nemesis packages (interval, final heal); etcd's one failpoint with a second around it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """A fault as it can be planned: for shortest_s to longest_s. is_minority: a majority stays up."""

    name: str
    shortest_s: float
    longest_s: float
    is_minority: bool


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("kill-one", 0.5, 3, True),
        Kind("kill-leader", 0.5, 3, True),
        Kind("kill-isolated", 1, 4, True),
        Kind("kill-majority", 0.5, 1.5, False),
        Kind("kill-all", 0.2, 1, False),
        Kind("pause-leader", 0.1, 5, True),
        Kind("pause-follower", 0.1, 5, True),
        Kind("pause-all-but-one", 0.1, 3, False),
        Kind("crash-loop", 2, 6, True),
        Kind("isolate-leader", 1, 5, True),
        Kind("isolate-briefly", 2, 5, True),
        Kind("partition-halves", 1, 5, True),
        Kind("partition-ring", 1, 5, False),
        Kind("partition-bridge", 1, 5, False),
        Kind("partition-one-way", 1, 5, True),
        Kind("partition-flapping", 2, 6, False),
        Kind("partition-clients", 1, 5, False),
        Kind("late-orders", 1, 4, True),
        Kind("late-votes", 1, 4, False),
        Kind("delay", 1, 5, False),
        Kind("reset", 0.5, 3, False),
        Kind("half-open", 1, 5, True),
        Kind("slow-disk", 1, 5, True),
        Kind("slow-disks", 1, 4, False),
        Kind("fsync-error", 0.5, 3, True),
        Kind("disk-full", 1, 5, True),
        Kind("torn-tail", 0.5, 3, True),
        Kind("bit-flip-wal", 0.5, 3, True),
        Kind("bit-flip-snapshot", 0.5, 3, True),
        Kind("wiped-disk", 0.5, 3, True),
        Kind("power-loss", 0.5, 1.5, False),
        Kind("freeze", 1, 4, False),
        Kind("clock-jump", 1, 5, True),
        Kind("clock-drift", 2, 6, True),
        Kind("failpoint", 0.5, 3, True),
        Kind("compaction", 1, 4, False),
        Kind("transfer-leader", 1, 4, True),
        Kind("reshape", 1, 5, True),
        Kind("take-back", 1, 5, True),
        Kind("move-placement", 1, 5, True),
        Kind("kill-receiver", 1, 5, False),
        Kind("isolate-sender", 3, 6, False),
        Kind("drain", 2, 6, True),
        Kind("rolling-restart", 2, 6, True),
        Kind("client-crash", 0.1, 1, True),
    )
}


class Planned(NamedTuple):
    """One fault of a plan, in seconds from the run's beginning. seed: for what its carrier must choose."""

    name: str
    begin_s: float
    end_s: float
    seed: int


class Times(NamedTuple):
    """The times of a plan, in seconds.

    Attributes:
        length: of the run.
        interval: between the beginnings of two faults, on average.
        lead: without faults at the beginning.
        tail: without faults at the end.
    """

    length: float
    interval: float = 5.0
    lead: float = 2.0
    tail: float = 5.0


def plan(
    chance: random.Random, nemeses: Sequence[Kind], times: Times, *, side_by_side: int = 1
) -> tuple[Planned, ...]:
    """A plan, in order; each nemesis begins at least once when the time allows.

    Args:
        chance: seeded.
        nemeses: which faults; none: an empty plan.
        times: of the run.
        side_by_side: how many may go on at once.
    """
    last_s = times.length - times.tail
    found: list[Planned] = []
    busy: dict[str, float] = {}  # name -> until when
    turn: list[Kind] = []
    at = times.lead
    while nemeses:
        going_on = sorted(until for until in busy.values() if until > at)
        if len(going_on) >= side_by_side:
            at = going_on[-side_by_side]
        if not turn:
            turn = list(nemeses)
            chance.shuffle(turn)
        kind = turn.pop()
        begin = max(at, busy.get(kind.name, 0.0))
        length = chance.uniform(kind.shortest_s, kind.longest_s)
        if begin + kind.shortest_s > last_s:
            break
        end = min(begin + length, last_s)
        found.append(Planned(kind.name, round(begin, 3), round(end, 3), chance.getrandbits(32)))
        busy[kind.name] = end
        # Between half and one and a half intervals; the pause may be shorter than the fault.
        at = begin + times.interval * (0.5 + chance.random())
        if side_by_side == 1:
            at = max(at, end)
    return tuple(sorted(found, key=lambda fault: fault.begin_s))
