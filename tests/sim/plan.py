"""What a schedule will do: its profile, its faults and when they come; made from a seed, or cut down.

A plan says everything: the same plan gives the same run. Faults are independent of each other and of the
clients, so that a shrinker may leave any of them out.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from holdfast_node.cache.policy import Policy
from holdfast_raft.replication import LogLimits
from holdfast_raft.wal import WalOptions


class Act(NamedTuple):
    """One fault.

    Attributes:
        at, lasts: seconds after the start, and until it is healed.
        kind: a name in faults.FAULTS.
        target: a node; 0: whoever leads the first group then.
        how: what the fault makes of it; see there.
    """

    at: float
    lasts: float
    kind: str
    target: int
    how: int


class Workload(NamedTuple):
    """What clients do.

    Attributes:
        clients: how many.
        reads: share of reads.
        levels: weights of linearizable, session, bounded, any.
        ttls: share of puts with a TTL.
        think_seconds: mean pause between two acts of a client.
        patience_seconds: choices of how long a write may take in all.
        attempt_seconds: how long a client waits for one answer.
        again: share of frames that come once more, later, perhaps to another node.
        read_backs: share of acknowledged writes whose key is read at once, linearizably, at some node.
    """

    clients: int = 3
    reads: float = 0.4
    levels: tuple[int, int, int, int] = (4, 3, 2, 1)
    ttls: float = 0.15
    think_seconds: float = 0.08
    patience_seconds: tuple[float, ...] = (0.8, 2.0)
    attempt_seconds: float = 0.3
    again: float = 0.08
    read_backs: float = 0.1


class Profile(NamedTuple):
    """A kind of trouble.

    Attributes:
        faults: kinds with weights.
        acts: how many faults.
        seconds: how long they come.
        coalesce, split: see SimNetwork.
        groups: how many groups a node has, one of these.
        policy: of the shards' caches.
        log_limits, wal: small, so that snapshots, installs and new segments come often.
        reshapes: kinds of reshapes.ACTS with weights; none: the map stays as it is.
        reshape_acts: how many of these.
        placement_moves: kinds of reshapes.ACTS with weights, of which every second seed has some more.
    """

    faults: dict[str, int]
    workload: Workload = Workload()
    acts: tuple[int, int] = (5, 9)
    seconds: float = 1.5
    coalesce: float = 0.2
    split: float = 0.1
    groups: tuple[int, ...] = (1, 2)
    policy: Policy = Policy()
    log_limits: LogLimits = LogLimits()
    wal: WalOptions = WalOptions(segment_bytes=32 << 10, segments_max=4)
    reshapes: dict[str, int] = {}  # noqa: RUF012 - nobody changes it
    reshape_acts: tuple[int, int] = (6, 10)
    placement_moves: dict[str, int] = {}  # noqa: RUF012 - nobody changes it


OFTEN = LogLimits(snapshot_after_bytes=700, trailing_bytes=0)
CRASHES = {
    "kill": 4, "power": 4, "kill-all": 1, "power-all": 2, "crash-loop": 1, "crash-point": 5,
    "crash-client": 1,
}  # fmt: skip
NETWORK = {"cut": 3, "isolate": 3, "stall": 4, "reset": 3, "slow-link": 2}

PROFILES = {
    "crashes": Profile({**CRASHES, "slow-disk": 2, "reset": 1}),
    "network": Profile({**NETWORK, "pause": 3, "transfer": 2, "power": 1, "slow-disk": 1}, seconds=1.8),
    "disk": Profile(
        {"eio": 3, "full": 3, "slow-disk": 4, "power": 3, "crash-point": 6, "isolate": 1, "snapshot": 2,
         "kill": 1},
        log_limits=LogLimits(snapshot_after_bytes=6000, trailing_bytes=1000),
        wal=WalOptions(segment_bytes=24 << 10, segments_max=2),
    ),
    "snapshots": Profile(
        {
            "snapshot": 4, "isolate": 4, "cut": 2, "power": 2, "kill": 2, "crash-point": 9, "transfer": 2,
            "slow-disk": 3, "slow-link": 2, "pause": 1, "reset": 3,
        },
        Workload(think_seconds=0.06, reads=0.3),
        log_limits=OFTEN,
        wal=WalOptions(segment_bytes=24 << 10, segments_max=2),
    ),
    "reads": Profile(
        {"isolate": 4, "stall": 4, "pause": 4, "transfer": 4, "slow-link": 3, "cut": 2, "kill": 1, "power": 1,
         "slow-disk": 1},
        Workload(reads=0.65, levels=(6, 2, 3, 1), think_seconds=0.05, read_backs=0.6),
    ),
    "cache": Profile(
        {
            "kill": 3, "power": 2, "transfer": 3, "clock": 5, "poison": 3, "callback": 4, "pause": 2,
            "isolate": 3, "reset": 2, "snapshot": 2, "crash-client": 1, "policy": 2,
        },
        Workload(
            reads=0.3, ttls=0.35, attempt_seconds=0.08, patience_seconds=(0.25, 0.6, 2.0)
        ),
        policy=Policy(budget_bytes=900),
        log_limits=LogLimits(snapshot_after_bytes=5000, trailing_bytes=0),
    ),
    "elections": Profile(
        {
            "transfer": 3, "ping-pong": 6, "kill": 3, "power": 3, "isolate": 4, "slow-link": 4,
            "slow-disk": 4, "stall": 3, "pause": 2, "crash-point": 2,
        },
        Workload(reads=0.25),
        acts=(8, 13),
        seconds=1.8,
    ),
    "wipe": Profile({"wipe": 4, "power": 3, "kill": 2, "isolate": 2, "pause": 1, "transfer": 1}),
}  # fmt: skip
PROFILES["mixed"] = Profile(
    {kind: 1 for profile in PROFILES.values() for kind in profile.faults},
    Workload(reads=0.45, ttls=0.25, patience_seconds=(0.4, 2.0)),
    acts=(6, 11),
    seconds=1.8,
    groups=(2, 3),
    policy=Policy(budget_bytes=1500),
    log_limits=OFTEN,
    wal=WalOptions(segment_bytes=24 << 10, segments_max=3),
)

SPREAD = tuple(PROFILES)
"""What the seeds of a campaign that names no profile choose from."""
PROFILES["reshape"] = Profile(
    {
        **CRASHES, **NETWORK, "pause": 3, "slow-disk": 3, "eio": 1, "full": 1, "transfer": 4, "snapshot": 3,
    },
    Workload(think_seconds=0.06, ttls=0.2, patience_seconds=(0.8, 2.0, 4.0)),
    acts=(5, 9),
    seconds=3.2,
    groups=(1, 2, 2),
    log_limits=LogLimits(snapshot_after_bytes=4000, trailing_bytes=1000),
    wal=WalOptions(segment_bytes=48 << 10, segments_max=3),
    reshapes={
        "split": 4, "merge": 4, "move": 5, "move-two": 1, "cancel": 4, "at-phase": 7, "old-word": 2,
        "late-copy": 2,
    },
    reshape_acts=(8, 12),
    placement_moves={"move-placement": 3, "cancel-placement": 1},
)  # fmt: skip

# How the schedules of a campaign that names none are spread.
REPLICAS = (3, 3, 5, 3, 1, 3, 5, 3)


NEEDS_PEERS = frozenset(NETWORK) | {"transfer", "ping-pong", "wipe", "clock"}
SURE = frozenset(("power", "cut", "isolate", "stall", "slow-disk", "slow-link"))
"""Faults that fire whatever state the cluster is in: three of them make a schedule count."""


class Plan(NamedTuple):
    """See the module docstring. `clients` and `seconds` are the profile's unless a shrinker lowered them.

    groups: how many a node has. pieces: how entries travel, see schedule.PIECES.
    """

    seed: int
    profile: str
    replicas: int
    acts: tuple[Act, ...]
    clients: int
    seconds: float
    groups: int
    pieces: int


def make_plan(seed: int, profile: str | None = None, replicas: int | None = None) -> Plan:
    """The plan of a seed. Without a profile or number of replicas the seed chooses."""
    replicas = replicas or REPLICAS[seed // (len(SPREAD) if profile is None else 1) % len(REPLICAS)]
    profile = profile or SPREAD[seed % len(SPREAD)]
    what = PROFILES[profile]
    rng = random.Random(f"{seed}/plan/{profile}/{replicas}")
    kinds = {kind: w for kind, w in what.faults.items() if replicas > 1 or kind not in NEEDS_PEERS}
    sure = {kind: weight for kind, weight in kinds.items() if kind in SURE} or kinds

    def act(kinds: dict[str, int]) -> Act:
        return Act(
            at=round(rng.uniform(0.15, what.seconds), 4),
            lasts=round(rng.choice((0.02, 0.1, 0.3, 0.5, 0.8)) * rng.uniform(0.5, 1.3), 4),
            kind=rng.choices(list(kinds), list(kinds.values()))[0],
            target=rng.choice((0, rng.randint(1, replicas), rng.randint(1, replicas))),
            how=rng.getrandbits(30),
        )

    acts = [act(sure) for _ in range(3)] + [act(kinds) for _ in range(rng.randint(*what.acts) - 3)]
    if what.reshapes:
        acts += [act(what.reshapes) for _ in range(rng.randint(*what.reshape_acts))]
    if what.placement_moves and seed % 2:
        acts += [act(what.placement_moves) for _ in range(rng.randint(1, 4))]
    shape = random.Random(f"{seed}/shape")
    groups, pieces = shape.choice(what.groups), shape.randrange(3)
    return Plan(
        seed, profile, replicas, tuple(sorted(acts)), what.workload.clients, what.seconds, groups, pieces
    )


def as_words(plan: Plan) -> str:
    """What of a plan a shrinker may change, on one line."""
    acts = ";".join(f"{a.at},{a.lasts},{a.kind},{a.target},{a.how}" for a in plan.acts)
    return f"{plan.clients} {plan.seconds} {acts}"


def from_words(plan: Plan, words: str) -> Plan:
    """The plan that `as_words` wrote down. Raises ValueError."""
    clients, seconds, acts = words.split(" ")
    read = []
    for act in acts.split(";") if acts else []:
        at, lasts, kind, target, how = act.split(",")
        read.append(Act(float(at), float(lasts), kind, int(target), int(how)))
    return plan._replace(clients=int(clients), seconds=float(seconds), acts=tuple(read))
