"""What a node says of its own health, for probes, load balancers and people.

Two questions, kept apart. Alive: is this process worth keeping (no replica stopped by a defect)? Ready:
does it serve everything it hosts (each replica has a leader that a majority has confirmed)? A node
without a quorum is alive and not ready: restarting it would only make things worse.

The gRPC health service answers per shard, as "shard/<group>": SERVING only with a proven quorum. ''
(the node as a whole) is SERVING when it is ready.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from holdfast_node.http import Page

# Beyond this the stamps this node would give as a leader may need stepping (protocols.md 3).
CLOCK_OFFSET_MS_MAX = 500
INTERVAL_S = 0.5


class ReplicaFacts(NamedTuple):
    """One hosted replica, as its group says. stopped: why, empty while it runs."""

    group: int
    has_quorum: bool
    stopped: str


class NodeFacts(NamedTuple):
    """A node at one moment. clock_offset_ms: its wall clock against the median of all nodes."""

    replicas: tuple[ReplicaFacts, ...]
    clock_offset_ms: int
    disk_full: bool
    closing: bool


class Verdict(NamedTuple):
    """problems: what a person should know, in words; may be there although the node is ready."""

    alive: bool
    ready: bool
    problems: tuple[str, ...]


def judge(facts: NodeFacts) -> Verdict:
    """Alive, ready, and why not."""
    problems = []
    alive = True
    ready = not facts.closing
    if facts.closing:
        problems.append("the node is shutting down")
    for replica in facts.replicas:
        if replica.stopped:
            alive = ready = False
            problems.append(f"shard/{replica.group} has stopped: {replica.stopped}")
        elif not replica.has_quorum:
            ready = False
            problems.append(f"shard/{replica.group} has no leader confirmed by a majority")
    if facts.disk_full:
        ready = False
        problems.append("the data disk is full: writes are refused until space is freed")
    if abs(facts.clock_offset_ms) > CLOCK_OFFSET_MS_MAX:
        problems.append(f"the wall clock is {facts.clock_offset_ms} ms off the nodes' median")
    return Verdict(alive, ready, tuple(problems))


def serving(facts: NodeFacts) -> dict[str, bool]:
    """Which names of the gRPC health service are SERVING."""
    names = {"": judge(facts).ready}
    for replica in facts.replicas:
        names[f"shard/{replica.group}"] = replica.has_quorum and not replica.stopped and not facts.closing
    return names


def page(verdict: Verdict, ok: bool) -> Page:
    """The verdict as a JSON page: 200 or 503."""
    document = {"ok": ok, "alive": verdict.alive, "ready": verdict.ready, "problems": verdict.problems}
    return Page(200 if ok else 503, "application/json", json.dumps(document).encode() + b"\n")


class HealthServicer(Protocol):
    """The part of grpc_health's aio servicer that is used."""

    async def set(self, service: str, status: Any) -> None: ...


class HealthReporter:
    """Keeps the gRPC health service in step with the facts: looks every 200 ms, tells changes only."""

    def __init__(
        self,
        servicer: HealthServicer,
        facts: Callable[[], NodeFacts],
        statuses: Sequence[Any],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._servicer = servicer
        self._facts = facts
        self._not_serving, self._serving = statuses
        self._interval_s = interval_s
        self._told: dict[str, bool] = {}

    async def run(self) -> None:
        """Reports until cancelled."""
        while True:
            await self.report()
            await asyncio.sleep(self._interval_s)

    async def report(self) -> None:
        """Tells what has changed since the last report; a shard that has gone serves no more."""
        now = serving(self._facts())
        for name in [name for name in self._told if name not in now]:
            await self._servicer.set(name, self._not_serving)
            del self._told[name]
        for name, is_serving in now.items():
            if self._told.get(name) is not is_serving:
                await self._servicer.set(name, self._serving if is_serving else self._not_serving)
                self._told[name] = is_serving
