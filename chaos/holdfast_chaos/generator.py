"""What clients ask, workload by workload: seeded, so that a run can be made again.

A generator is asked by a process for its next operation, and told of those that ended open. Given the same
seed and the same questions it gives the same answers, whatever PYTHONHASHSEED: chance comes as a generator
that is handed in, and nothing depends on the order of a set.

Every value is written once, so that a read says whose write it saw. `expect` may be SEEN: the revision that
the process last saw of the key, which only the process knows. Keys take turns (`rotation.py`).

The workloads and what judges each: `judging.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from holdfast_chaos.rotation import Rotation

SEEN: Final = "seen"
"""As a condition: the revision that the process last saw of the key; 0: that it was absent, or not seen."""

LEVELS: Final = (("LINEARIZABLE", 55), ("SESSION", 20), ("BOUNDED", 15), ("ANY", 10))
BOUNDS_MS: Final = (50, 200, 1000)
ACCOUNTS: Final = ("a", "b", "c", "d", "e")
BALANCE: Final = 100
UNIT_KEYS: Final = ("x", "y", "z")
TTLS_MS: Final = (50, 200, 500, 1000)
DEVICES: Final = 200
SETTINGS: Final = ("interval", "brightness", "firmware", "zone")


class Ask(NamedTuple):
    """One operation to be done; fields as in `record.Event`.

    Attributes:
        in_burst: without a pause after the one before.
        f: `token` is no operation: the session takes over the token of `value["from"]`.
    """

    f: str
    key: str
    value: Any = None
    level: str | None = None
    bound_ms: int | None = None
    expect: int | str | None = None
    ttl_ms: int | None = None
    want_previous: bool | None = None
    in_burst: bool = False


class Generator:
    """What one run asks. Make one with `generator`."""

    def __init__(self, chance: random.Random, processes: int) -> None:
        self.chance = chance
        self.processes = processes
        self._values = 0
        self.keys = Rotation(max(2, processes // 3))

    def next(self, process: int) -> Ask:
        """The next operation of a process, 1..processes or above (a retired one's successor)."""
        raise NotImplementedError

    def ended_open(self, ask: Ask) -> None:
        """The outcome of a write is not known."""
        self.keys.ended_open(ask.key)

    def final(self) -> Sequence[Ask]:
        """What to read once all is healed: every object, LINEARIZABLE."""
        return [Ask(self.final_f, key, level="LINEARIZABLE") for key in self.keys.made]

    final_f = "get"

    def value(self, process: int) -> str:
        """One that nobody else writes."""
        self._values += 1
        return f"{process}.{self._values}"

    def read(self, f: str, key: str) -> Ask:
        """A read at some level."""
        level = self.pick(LEVELS)
        bound = self.chance.choice(BOUNDS_MS) if level == "BOUNDED" else None
        return Ask(f, key, level=level, bound_ms=bound)

    def pick(self, weights: Sequence[tuple[str, int]]) -> str:
        """One of the words, by weight."""
        at = self.chance.randrange(sum(weight for _, weight in weights))
        for word, weight in weights:
            at -= weight
            if at < 0:
                return word
        raise AssertionError("weights are positive")


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

    def next(self, process: int) -> Ask:
        key, act = self.keys.take(self.chance), self.pick(self._ACTS)
        if act == "get":
            return self.read("get", key)
        if act in ("delete", "remove"):
            return Ask("delete", key, expect=SEEN if act == "remove" else None)
        expect = {"cas": SEEN, "absent": "absent", "present": "present"}.get(act)
        swap = True if act == "swap" else None
        return Ask("put", key, self.value(process), expect=expect, want_previous=swap)


class Append(Generator):
    """Lists: append (by compare-and-set) and read."""

    final_f = "read"

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(max(2, processes // 2), operations_max=400, open_max=400, name="list/{}".format)

    def next(self, process: int) -> Ask:
        key = self.keys.take(self.chance)
        return (
            Ask("append", key, self.value(process)) if self.chance.random() < 0.5 else self.read("read", key)
        )


class Counter(Generator):
    """Counters: add and read."""

    final_f = "read"

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(2, operations_max=5000, open_max=200, name="counter/{}".format)

    def next(self, process: int) -> Ask:  # noqa: ARG002 - numbers are not told apart
        key = self.keys.take(self.chance)
        return (
            Ask("add", key, self.chance.randint(1, 5))
            if self.chance.random() < 0.6
            else self.read("read", key)
        )


class Set(Generator):
    """Sets: add an element, read all."""

    final_f = "read"

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(max(2, processes // 2), operations_max=400, open_max=400, name="set/{}".format)

    def next(self, process: int) -> Ask:
        key = self.keys.take(self.chance)
        return Ask("add", key, self.value(process)) if self.chance.random() < 0.8 else self.read("read", key)


class Bank(Generator):
    """Accounts in one shard: transfer, read all."""

    final_f = "read"

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(max(2, processes // 3), operations_max=5000, open_max=500, name="bank/{}".format)

    def next(self, process: int) -> Ask:  # noqa: ARG002 - transfers are not told apart
        key = self.keys.take(self.chance)
        if self.chance.random() < 0.4:
            return self.read("read", key)
        source, target = self.chance.sample(ACCOUNTS, 2)
        return Ask("transfer", key, {"from": source, "to": target, "amount": self.chance.randint(1, 20)})


class Session(Generator):
    """Sessions: own writes and reads at SESSION, with tokens handed from one to another."""

    def next(self, process: int) -> Ask:
        if self.processes > 1 and self.chance.random() < 0.02:
            return Ask("token", "", {"from": 1 + self.chance.randrange(self.processes), "to": process})
        key, at = self.keys.take(self.chance), self.chance.random()
        if at < 0.35:
            return Ask("put", key, self.value(process))
        if at < 0.4:
            return Ask("delete", key)
        return Ask("get", key, level="SESSION") if at < 0.85 else self.read("get", key)


class Watching(Generator):
    """Changes for watchers to see: puts, deletes, transactions that change several keys at once."""

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(6, name="w/{}".format)

    def next(self, process: int) -> Ask:
        key, at = self.keys.take(self.chance), self.chance.random()
        if at < 0.55:
            return Ask("put", key, self.value(process))
        if at < 0.7:
            return Ask("delete", key)
        if at < 0.85:
            keys = sorted(self.chance.sample(self.keys.in_use, 3))
            return Ask("txn", "w/", {"then": [["put", name, self.value(process)] for name in keys]})
        return self.read("get", key)


class Ttl(Generator):
    """Keys that are written once with a time to live, and then looked at until they are gone."""

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(4 * processes, operations_max=25, name="ttl/{}".format)
        self._written: set[str] = set()

    def next(self, process: int) -> Ask:
        key = self.keys.take(self.chance)
        if key not in self._written:
            self._written.add(key)
            return Ask("put", key, self.value(process), ttl_ms=self.chance.choice(TTLS_MS))
        return Ask("get", key, level="LINEARIZABLE")


class Txn(Generator):
    """Units of three keys, changed together under compares, and scanned."""

    final_f = "scan"

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self.keys = Rotation(max(2, processes // 3), operations_max=200, open_max=6, name="u{}/".format)

    def next(self, process: int) -> Ask:
        unit = self.keys.take(self.chance)
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
                "then": self._steps(names, process),
                "otherwise": self._steps(names, process),
            },
        )

    def _steps(self, names: Sequence[str], process: int) -> list[list[Any]]:
        """Each key at most once, so that a revision of a key is one value."""
        steps: list[list[Any]] = []
        for name in self.chance.sample(names, self.chance.randint(1, len(names))):
            f = self.pick((("put", 5), ("get", 3), ("delete", 1)))
            steps.append([f, name, self.value(process)] if f == "put" else [f, name])
        return steps


class Device(Generator):
    """The settings of a fleet: mostly reads, most of few devices, in bursts of one device's settings."""

    def __init__(self, chance: random.Random, processes: int) -> None:
        super().__init__(chance, processes)
        self._bursts: dict[int, list[Ask]] = {}
        self._used: dict[str, None] = {}

    def next(self, process: int) -> Ask:
        left = self._bursts.get(process)
        if left:
            return left.pop(0)
        # The n-th device is asked for about 1/n as often as the first.
        device = int(DEVICES ** self.chance.random())
        keys = [f"device/{device}/{setting}" for setting in SETTINGS]
        is_burst = self.chance.random() < 0.15
        if is_burst:
            asks = [self._one(process, key) for key in keys for _ in range(self.chance.randint(1, 3))]
            self._bursts[process] = [ask._replace(in_burst=True) for ask in asks[1:]]
            return asks[0]
        return self._one(process, self.chance.choice(keys))

    def _one(self, process: int, key: str) -> Ask:
        self._used[key] = None
        at = self.chance.random()
        if at < 0.8:
            return self.read("get", key)
        if at < 0.95:
            return Ask("put", key, self.value(process))
        return Ask("put", key, self.value(process), expect=SEEN)

    def ended_open(self, ask: Ask) -> None:
        """Keys stay: a fleet's devices do. Versions keep them judgeable."""

    def final(self) -> Sequence[Ask]:
        return [Ask("get", key, level="LINEARIZABLE") for key in self._used]


GENERATORS: Final[dict[str, Callable[[random.Random, int], Generator]]] = {
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


def generator(workload: str, chance: random.Random, processes: int) -> Generator:
    """What a run of this workload asks. Raises KeyError for a name that is no workload."""
    return GENERATORS[workload](chance, processes)
