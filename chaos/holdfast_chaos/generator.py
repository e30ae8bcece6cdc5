"""What clients ask, workload by workload.

What is the same for all, and what makes a run one that can be made again: `asks.py`. The workloads and what
judges each: `judging.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from holdfast_chaos.asks import SEEN, Ask, Generator
from holdfast_chaos.keyspace import PARTS, named
from holdfast_chaos.rotation import Rotation

ACCOUNTS: Final = ("a", "b", "c", "d", "e")
BALANCE: Final = 100
UNIT_KEYS: Final = ("x", "y", "z")
TTLS_MS: Final = (50, 200, 500, 1000)
DEVICES: Final = 200
READERS: Final = 3
"""Every third client of registers only reads. Who writes waits for the leader of now and learns who it is;
who only reads may go on asking one that was cut off, and would see it serve what is old."""
SETTINGS: Final = ("interval", "brightness", "firmware", "zone")


class Register(Generator):
    """Registers: every write with every condition, reads of every level."""

    _ACTS: Final = (
        ("get", 45),
        ("put", 20),
        ("cas", 15),
        ("absent", 6),
        ("present", 3),
        ("delete", 5),
        ("swap", 4),
        ("remove", 2),
    )

    def next(self, client: int, part: int) -> Ask:
        key, act = self.keys.take(self.chance, part), self.pick(self._ACTS)
        if act == "get" or client % READERS == 0:
            return self.read("get", key)
        if act in ("delete", "remove"):
            return Ask("delete", key, expect=SEEN if act == "remove" else None)
        expect = {"cas": SEEN, "absent": "absent", "present": "present"}.get(act)
        swap = True if act == "swap" else None
        return Ask("put", key, self.value(client), expect=expect, want_previous=swap)


class Append(Generator):
    """Lists: append (by compare-and-set) and read."""

    final_f = "read"

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        self.keys = Rotation(2 * at_once, operations_max=120, open_max=120, prefix="list/")

    def next(self, client: int, part: int) -> Ask:
        key = self.keys.take(self.chance, part)
        return (
            Ask("append", key, self.value(client)) if self.chance.random() < 0.5 else self.read("read", key)
        )


class Counter(Generator):
    """Counters: add and read."""

    final_f = "read"

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        self.keys = Rotation(PARTS, operations_max=5000, open_max=200, prefix="counter/")

    def next(self, client: int, part: int) -> Ask:  # noqa: ARG002 - numbers are not told apart
        key = self.keys.take(self.chance, part)
        return (
            Ask("add", key, self.chance.randint(1, 5))
            if self.chance.random() < 0.6
            else self.read("read", key)
        )


class Set(Generator):
    """Sets: add an element, read all."""

    final_f = "read"

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        # With fewer, most additions would meet another one and be tried again.
        self.keys = Rotation(6 * at_once, operations_max=120, open_max=120, prefix="set/")

    def next(self, client: int, part: int) -> Ask:
        key = self.keys.take(self.chance, part)
        return Ask("add", key, self.value(client)) if self.chance.random() < 0.65 else self.read("read", key)


class Bank(Generator):
    """Accounts in one shard: transfer, read all."""

    final_f = "read"

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        # With fewer, most transfers would meet another one on their accounts and be tried again.
        self.keys = Rotation(3 * at_once, operations_max=1000, open_max=500, prefix="bank/")

    def next(self, client: int, part: int) -> Ask:  # noqa: ARG002 - transfers are not told apart
        key = self.keys.take(self.chance, part)
        if self.chance.random() < 0.4:
            return self.read("read", key)
        source, target = self.chance.sample(ACCOUNTS, 2)
        return Ask("transfer", key, {"from": source, "to": target, "amount": self.chance.randint(1, 20)})


class Session(Generator):
    """Sessions: own writes and reads at SESSION, with tokens handed from one to another."""

    def next(self, client: int, part: int) -> Ask:
        if self.clients > 1 and self.chance.random() < 0.02:
            return Ask("token", "", {"from": 1 + self.chance.randrange(self.clients), "to": client})
        key, at = self.keys.take(self.chance, part), self.chance.random()
        if at < 0.35:
            return Ask("put", key, self.value(client))
        if at < 0.4:
            return Ask("delete", key)
        return Ask("get", key, level="SESSION") if at < 0.85 else self.read("get", key)


class Watching(Generator):
    """Changes for watchers to see: puts, deletes, transactions that change several keys at once."""

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        self.keys = Rotation(4 * PARTS, prefix="w/")

    def next(self, client: int, part: int) -> Ask:
        key, at = self.keys.take(self.chance, part), self.chance.random()
        if at < 0.55:
            return Ask("put", key, self.value(client))
        if at < 0.7:
            return Ask("delete", key)
        if at < 0.85:
            keys = sorted(self.chance.sample(self.keys.in_use(part), 3))
            return Ask("txn", "w/", {"then": [["put", name, self.value(client)] for name in keys]})
        return self.read("get", key)


class Ttl(Generator):
    """Keys that are written once with a time to live, and then looked at until they are gone."""

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        self.keys = Rotation(4 * at_once, operations_max=25, prefix="ttl/")
        self._written: set[str] = set()

    def next(self, client: int, part: int) -> Ask:
        key = self.keys.take(self.chance, part)
        if key not in self._written:
            self._written.add(key)
            return Ask("put", key, self.value(client), ttl_ms=self.chance.choice(TTLS_MS))
        return Ask("get", key, level="LINEARIZABLE")


class Txn(Generator):
    """Units of three keys, changed together under compares, and scanned."""

    final_f = "scan"

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        self.keys = Rotation(at_once // 3, operations_max=200, open_max=6, prefix="u", suffix="/")

    def next(self, client: int, part: int) -> Ask:
        unit = self.keys.take(self.chance, part)
        if self.chance.random() < 0.3:
            return Ask("scan", unit, level="LINEARIZABLE")
        names = [unit + name for name in UNIT_KEYS]
        compares: list[list[Any]] = []
        if self.chance.random() < 0.6:
            compares = [[self.chance.choice(names), self.chance.choice(["exists", "absent", SEEN])]]
        return Ask(
            "txn",
            unit,
            {
                "compares": compares,
                "then": self._steps(names, client),
                "otherwise": self._steps(names, client),
            },
        )

    def _steps(self, names: Sequence[str], client: int) -> list[list[Any]]:
        """Each key at most once, so that a revision of a key is one value."""
        steps: list[list[Any]] = []
        for name in self.chance.sample(names, self.chance.randint(1, len(names))):
            f = self.pick((("put", 5), ("get", 3), ("delete", 1)))
            steps.append([f, name, self.value(client)] if f == "put" else [f, name])
        return steps


class Device(Generator):
    """The settings of a fleet: mostly reads, most of few devices, in bursts of one device's settings."""

    def __init__(self, chance: random.Random, clients: int, at_once: int) -> None:
        super().__init__(chance, clients, at_once)
        self._bursts: dict[tuple[int, int], list[Ask]] = {}
        self._used: dict[str, None] = {}

    def next(self, client: int, part: int) -> Ask:
        left = self._bursts.get((client, part))
        if left:
            return left.pop(0)
        # The n-th device is asked for about 1/n as often as the first.
        device = PARTS * int((DEVICES // PARTS) ** self.chance.random()) + part
        keys = [f"{named('device/', part, device)}/{setting}" for setting in SETTINGS]
        is_burst = self.chance.random() < 0.15
        if is_burst:
            asks = [self._one(client, key) for key in keys for _ in range(self.chance.randint(1, 3))]
            self._bursts[client, part] = [ask._replace(in_burst=True) for ask in asks[1:]]
            return asks[0]
        return self._one(client, self.chance.choice(keys))

    def _one(self, client: int, key: str) -> Ask:
        self._used[key] = None
        at = self.chance.random()
        if at < 0.8:
            return self.read("get", key)
        if at < 0.95:
            return Ask("put", key, self.value(client))
        return Ask("put", key, self.value(client), expect=SEEN)

    def ended_open(self, ask: Ask) -> None:
        """Keys stay: a fleet's devices do. Versions keep them judgeable."""

    def final(self) -> Sequence[Ask]:
        return [Ask("get", key, level="LINEARIZABLE") for key in self._used]


GENERATORS: Final[dict[str, Callable[[random.Random, int, int], Generator]]] = {
    "register": Register,
    "append": Append,
    "counter": Counter,
    "set": Set,
    "bank": Bank,
    "session": Session,
    "watch": Watching,
    "ttl": Ttl,
    "txn": Txn,
    "device": Device,
}


def generator(workload: str, chance: random.Random, clients: int, at_once: int) -> Generator:
    """What a run of this workload asks. Raises KeyError for a name that is no workload."""
    return GENERATORS[workload](chance, clients, at_once)
