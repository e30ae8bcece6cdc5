"""The simulator's time: the event queue, what happens to processes, and a node's clock and threads.

Invariants:
- Time moves only from event to event; events run in the order of (time, order of scheduling).
- Each part draws from a generator of its own, made from the seed and the part's name: one draw more in
  one part does not shift the others. `World.rng` is for whoever writes the schedule.
- What a process had scheduled dies with it.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from heapq import heappop, heappush

from holdfast_raft.runner import Done, Job

Span = tuple[float, float]
"""Seconds: at least, at most."""
QUICK: Span = (0.0001, 0.002)
FOREVER = float("inf")


class MachineGone(BaseException):
    """The process that runs this event is no more. Not an Exception: no error handling may survive it."""


class _Event:
    """What runs at a time. act: None once it is cancelled."""

    __slots__ = ("act", "boot", "owner")

    def __init__(self, act: Callable[[], None], owner: int, boot: int) -> None:
        self.act: Callable[[], None] | None = act
        self.owner = owner  # node whose loop runs it; 0: the world
        self.boot = boot

    def cancel(self) -> None:
        self.act = None


class World:
    """The clock, the event queue and what happens to nodes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.steps = 0
        """Events executed."""
        self.after: Callable[[int], None] | None = None
        """Called after every event with its owner; what it raises ends the run."""
        self.wall_offset_ms: dict[int, int] = {}
        self.own_monotonics = False
        """Whether each process's monotonic clock began at a moment of its own, as on real machines."""
        self._events: list[tuple[float, int, _Event]] = []
        self._order = itertools.count()
        self._boots: defaultdict[int, int] = defaultdict(int)
        self._paused: dict[int, list[tuple[float, int, _Event]]] = {}
        self._resumed_at: defaultdict[int, float] = defaultdict(float)

    def rng_of(self, part: str) -> random.Random:
        """The generator of one part of this world."""
        return random.Random(f"{self.seed}/{part}")  # a str is seeded by its SHA-512, not by hash()

    def at(self, when: float, act: Callable[[], None], owner: int = 0) -> Callable[[], None]:
        """Schedules `act` on a node's loop; returns how to cancel it."""
        event = _Event(act, owner, self._boots[owner])
        now = self.now
        when = when if when > now else now  # noqa: FURB136 - max() takes three times as long
        heappush(self._events, (when, next(self._order), event))
        return event.cancel

    def step(self, until: float = FOREVER) -> bool:
        """Runs the next event up to that time; False: there is none."""
        events, boots, paused = self._events, self._boots, self._paused
        while events and events[0][0] <= until:
            item = heappop(events)
            at, _, event = item
            act, owner = event.act, event.owner
            if act is None or event.boot != boots[owner]:
                continue
            if at > self.now:  # noqa: PLR1730 - as in `at`
                self.now = at
            if owner in paused:
                paused[owner].append(item)
                continue
            self.steps += 1
            try:  # noqa: SIM105 - a context manager for each event is slow
                act()
            except MachineGone:
                pass  # in the middle of the event: what it had not done yet never happens
            if self.after is not None:
                self.after(owner)
            return True
        return False

    def run_for(self, seconds: float) -> None:
        """Runs all events of that much time."""
        end = self.now + seconds
        step = self.step
        while step(end):
            pass
        self.now = max(self.now, end)

    def run_until(self, reached: Callable[[], bool], within: float) -> bool:
        """Runs until `reached()`; False: the time passed first."""
        end = self.now + within
        while not reached():
            if not self.step(end):
                return False
        return True

    def boot(self, node: int) -> None:
        """The node's process starts: what an earlier one had scheduled never runs."""
        self._boots[node] += 1
        self._paused.pop(node, None)

    def boots(self, node: int) -> int:
        """How many processes the node has had."""
        return self._boots[node]

    def monotonic_offset(self, node: int) -> float:
        """What the clock of the node's present process is ahead of `now`."""
        return float((node * 7919 + self._boots[node] * 104729) % 10007) if self.own_monotonics else 0.0

    def pause(self, node: int) -> None:
        """SIGSTOP."""
        self._paused.setdefault(node, [])

    def resume(self, node: int) -> None:
        """SIGCONT: what waited runs now, in order."""
        if node in self._paused:
            self._resumed_at[node] = self.now
        for item in self._paused.pop(node, []):
            heappush(self._events, item)  # at its old time: before all that came later

    def is_paused(self, node: int) -> bool:
        return node in self._paused

    def resumed_at(self, node: int) -> float:
        """When it was last let go on; 0: never."""
        return self._resumed_at[node]


class SimClock:
    """clock.Clock of one node."""

    def __init__(self, world: World, node: int) -> None:
        self._world = world
        self._node = node
        self._offset = world.monotonic_offset(node)

    def monotonic(self) -> float:
        return self._world.now + self._offset

    def wall_ms(self) -> int:
        return 1_790_000_000_000 + int(self._world.now * 1000) + self._world.wall_offset_ms.get(self._node, 0)


def usual_seconds() -> dict[str, Span]:
    """How long a job of each thread takes on a healthy disk."""
    return {"wal": QUICK, "files": QUICK}


class SimRunner:
    """Runner of one node: its loop, and threads whose jobs take a random time.

    `seconds` says how long at least and at most, of the threads "wal" and "files"; it may change at any time.
    """

    def __init__(self, world: World, node: int, seconds: dict[str, Span] | None = None) -> None:
        self._world = world
        self._node = node
        self._rng = world.rng_of(f"runner {node}.{world.boots(node)}")
        self._seconds = seconds if seconds is not None else usual_seconds()
        self._free_at = {"wal": 0.0, "files": 0.0}

    def soon(self, act: Callable[[], None]) -> None:
        self._world.at(self._world.now + 0.00001, act, self._node)

    def later(self, delay: float, act: Callable[[], None]) -> Callable[[], None]:
        return self._world.at(self._world.now + delay, act, self._node)

    def on_wal_thread(self, job: Job, done: Done) -> None:
        self._run("wal", job, done)

    def on_file_thread(self, job: Job, done: Done) -> None:
        self._run("files", job, done)

    def _run(self, thread: str, job: Job, done: Done) -> None:
        """The job's effect comes at its end, as one event; then `done` on the loop.

        After MachineGone there is no loop to tell. An AssertionError ends the run: it is a proof, of the
        code's own or of one who watches, not a fault that the code should live with.
        """
        start = max(self._world.now, self._free_at[thread])
        end = start + self._rng.uniform(*self._seconds[thread])
        self._free_at[thread] = end

        def run() -> None:
            error: BaseException | None = None
            try:
                job()
            except (OSError, ValueError) as raised:
                error = raised
            self.soon(lambda: done(error))

        self._world.at(end, run, self._node)
