"""One run, from an empty folder to a verdict.

    cluster up -> clients ask, faults come and go, replicas are watched -> all is healed, a quiet tail
    -> final reads, digests, logs -> the cluster ends -> judged, reported

The folder of a run holds `record.jsonl`, `verdict.json`, `report.html` and what each node printed; the nodes'
data only when the verdict is not valid, since it is evidence then.

Invariant: whatever breaks, the processes end, and the record is judged as far as it goes.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import holdfast
from holdfast import WatchPoint

from holdfast_chaos import generator, keyspace, schedule
from holdfast_chaos.cluster.cluster import STOCK, Cluster
from holdfast_chaos.judging import Budget, judgements
from holdfast_chaos.nemesis.carrying import Carrier
from holdfast_chaos.nemesis.known import FORGETS, MOVES_SHARDS, NEEDS_OUR_DISK, NEMESES
from holdfast_chaos.record import Header, Record
from holdfast_chaos.record_file import RecordFile, load
from holdfast_chaos.verdict import Judgement, Verdict, as_json, overall
from holdfast_chaos.workloads.crowd import Crowd
from holdfast_chaos.workloads.labelling import Labeller
from holdfast_chaos.workloads.observing import Observer
from holdfast_chaos.workloads.recorder import Recorder
from holdfast_chaos.workloads.watchers import PREFIX, Watcher, note_changes

RECORD: Final = "record.jsonl"
VERDICT: Final = "verdict.json"
NODES: Final = "nodes"
OVER_S: Final = 90.0
"""How much longer than planned a run may take, at least, because healing does; else as long again, or ..."""
OVER_A_FAULT_S: Final = 25.0
"""... this for each fault: a node whose disk was damaged is given up, joins anew and is moved to."""
QUIET_S: Final = 3.0
"""Without faults at the end, at least."""
OURS: Final = ("-m", "holdfast_chaos.node")
WATCHERS: Final = 4
# Small, so that segments are left and snapshots written within a run.
_SETTINGS: Final = "[wal]\nsegment_bytes = 8388608\ntotal_bytes_max = 33554432\n"


class Wish(NamedTuple):
    """What is to be run.

    Attributes:
        seconds: of faults and load, with the lead and the tail.
        rate: operations a second, of all clients.
        hands: operations that each client may have in flight.
        rate_min: operations answered a second, while faults run and in all; below this it is void.
        interval: seconds between the beginnings of two faults, on average.
        side_by_side: faults at once.
        rest: seconds without a fault at least, after one that came alone.
        program: what of Python runs a node; empty: as the nemeses need.
        recovery_ms: after a fault is healed writes succeed within this.
        p99_ms: of operations in a fault of a minority, outside of elections.
        command: that replays it.
    """

    workload: str = "register"
    nemeses: tuple[str, ...] = ()
    nodes: int = 3
    seconds: float = 60.0
    rate: float = 600.0
    rate_min: float = 100.0
    clients: int = 12
    hands: int = 3
    seed: int = 1
    interval: float = 5.0
    side_by_side: int = 1
    rest: float = 2.5
    program: tuple[str, ...] = ()
    recovery_ms: float = 2000.0
    p99_ms: float = 500.0
    command: str = ""


class Outcome(NamedTuple):
    """What became of a run."""

    record: Record
    verdict: Verdict
    judgements: tuple[Judgement, ...]


def program_of(wish: Wish) -> tuple[str, ...]:
    """What runs a node."""
    if wish.program:
        return wish.program
    return OURS if NEEDS_OUR_DISK & set(wish.nemeses) else STOCK


def _environment(wish: Wish) -> dict[str, str]:
    """A disk that forgets is slower and keeps much in memory, so only who asks for one gets it."""
    if not FORGETS & set(wish.nemeses):
        return {}
    return {"HOLDFAST_CHAOS_DISK": "unsynced", "HOLDFAST_CHAOS_SEED": str(wish.seed)}


def header_of(wish: Wish, plan: Sequence[schedule.Planned]) -> Header:
    """The facts of a run, for whoever judges its record."""
    demands = {
        "operations_min": int(wish.rate_min * wish.seconds),
        "rate_min": wish.rate_min,
        "recovery_ms": wish.recovery_ms,
        "p99_ms": wish.p99_ms,
    }
    settings = {
        "clients": wish.clients,
        "hands": wish.hands,
        "rate": wish.rate,
        "seconds": wish.seconds,
        "program": " ".join(program_of(wish)),
        "demands": demands,
        "accounts": list(generator.ACCOUNTS),
        "balance": generator.BALANCE,
        "has_end": True,
    }
    begun = {fault.name for fault in plan}
    # One that the plan has no time for is not asked for; the caller is told.
    nemeses = tuple(name for name in wish.nemeses if name in begun)
    return Header(_version(), wish.seed, wish.workload, nemeses, wish.nodes, wish.command, settings=settings)


def _version() -> str:
    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "unknown"


def plan_of(wish: Wish) -> tuple[schedule.Planned, ...]:
    """Which fault when."""
    kinds = [schedule.KINDS[name] for name in wish.nemeses]
    # Of a short run a part, of a long one what is enough.
    lead, tail = min(2.0, wish.seconds / 8), min(5.0, wish.seconds / 4)
    times = schedule.Times(wish.seconds, wish.interval, lead, tail)
    return schedule.plan(random.Random(wish.seed), kinds, times, side_by_side=wish.side_by_side)


async def run(wish: Wish, folder: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """Makes the record of a run in a new folder. Raises FileExistsError; whatever else breaks is noted."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 - nothing else goes on yet
    plan = plan_of(wish)
    header = header_of(wish, plan)
    path = folder / RECORD
    cluster = Cluster(
        folder / NODES,
        nodes=wish.nodes,
        splits=keyspace.splits(wish.workload),
        program=program_of(wish),
        settings=_SETTINGS,
        environment=_environment(wish),
        seed=wish.seed,
    )
    async with cluster:
        await cluster.start(init=True)
        await cluster.admin.pause_planner()
        say(f"{wish.nodes} nodes are ready; {len(plan)} faults in {wish.seconds:g} s")
        with RecordFile(path, header) as file:
            recorder = Recorder(file)
            try:
                await _Run(wish, cluster, recorder, plan, say).whole()
            except Exception as problem:  # noqa: BLE001 - what is on record is judged all the same
                recorder.note("broken-off", {"text": f"{type(problem).__name__}: {problem}"})
                say(f"the run broke off: {problem!r}")
        for node in cluster.nodes.values():
            shutil.copyfile(node.place.log, folder / f"node-{node.number}.log")
    return path


class _Run:
    """A run over a cluster that stands."""

    def __init__(
        self,
        wish: Wish,
        cluster: Cluster,
        recorder: Recorder,
        plan: Sequence[schedule.Planned],
        say: Callable[[str], None],
    ) -> None:
        self._wish = wish
        self._cluster = cluster
        self._recorder = recorder
        self._plan = plan
        self._say = say
        chance = random.Random(f"{wish.seed} {wish.workload}")
        asks = generator.generator(wish.workload, chance, wish.clients, wish.clients * wish.hands)
        self._crowd = Crowd(
            cluster.endpoints,
            recorder,
            asks,
            clients=wish.clients,
            hands=wish.hands,
            rate=wish.rate,
            groups_stand=not MOVES_SHARDS & set(wish.nemeses),
            chance=random.Random(wish.seed),
        )
        self._carrier = Carrier(cluster, recorder, list(self._crowd.processes), NEMESES, wish.rest)
        self._observer = Observer(cluster, recorder)
        self._labeller = Labeller(
            cluster, recorder, cluster.nodes[1].id, random.Random(f"{wish.seed} labels")
        )
        self._end_s = wish.seconds
        self._is_over = False

    async def whole(self) -> None:
        """Everything between a cluster that stands and one that may end."""
        watchers: list[Watcher] = []
        client: holdfast.Client | None = None
        beginning: tuple[WatchPoint, ...] = ()
        await self._crowd.open()
        try:
            if self._wish.workload == "watch":
                client = await holdfast.connect(self._cluster.endpoints)
                beginning = await self._beginning()
                watchers = [
                    Watcher(f"watch-{n}", client, self._recorder, random.Random(f"{self._wish.seed} {n}"))
                    for n in range(WATCHERS)
                ]
            if not MOVES_SHARDS & set(self._wish.nemeses):
                await self._note_shards()
            await self._under_load(watchers)
            await self._healed()
            await self._crowd.read_finally()
            await self._labeller.read_finally()
            await self._observer.settle()
            await self._observer.note_health()
            await self._observer.note_logs()
            if client is not None:
                await self._note_changes(client, beginning)
            self._recorder.note("end")
        finally:
            await self._crowd.close()
            if client is not None:
                await client.aclose()

    async def _note_changes(self, client: holdfast.Client, beginning: Sequence[WatchPoint]) -> None:
        """What watches are judged by, where the shards' history still has it; a promise by itself."""
        try:
            count = await note_changes(client, beginning, lambda: self._mark(client), self._recorder)
        except holdfast.RefusedError as problem:
            if problem.reason is not holdfast.Reason.COMPACTED:
                raise
            self._recorder.note("changes-gone", {"text": str(problem)})
            self._say(f"watches cannot be judged: {problem}")
        except TimeoutError as problem:
            self._recorder.note("changes-stuck", {"text": str(problem)})
            self._say(str(problem))
        else:
            self._say(f"{count} changes in the shards' history")

    async def _note_shards(self) -> None:
        """Which group serves which keys, of a run in which that stands."""
        for shard in await self._cluster.admin.shards():
            ends = {"start": shard.start.decode(), "end": shard.end.decode()}
            self._recorder.note("shard", ends, group=shard.group)

    async def _beginning(self) -> tuple[WatchPoint, ...]:
        """The first point of every shard that is watched."""
        found = []
        last = (PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)).encode()
        for shard in await self._cluster.admin.shards():
            start, end = max(shard.start, PREFIX.encode()), min(shard.end or last, last)
            if start < end:
                found.append(WatchPoint(shard.group, 0, start, end))
        return tuple(found)

    async def _mark(self, client: holdfast.Client) -> dict[int, int]:
        """Writes a key into every shard that is watched; the revision it took, by group."""
        shards = await self._beginning()
        return {
            shard.group: (await client.put(shard.start + b"\0", "all has been shown")).revision
            for shard in shards
        }

    async def _under_load(self, watchers: Sequence[Watcher]) -> None:
        beside = [asyncio.ensure_future(work) for work in (self._observer.run(), self._labeller.run())]
        beside += [asyncio.ensure_future(watcher.run()) for watcher in watchers]
        beside.append(asyncio.ensure_future(self._tell()))
        try:
            async with (
                asyncio.timeout(self._wish.seconds + self._over_s()),
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._faults())
                group.create_task(self._crowd.run(lambda: self._is_over))
        except TimeoutError:
            self._recorder.note("broken-off", {"text": "the run took too long"})
            self._say("the run took too long and is ended")
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def _over_s(self) -> float:
        return max(OVER_S, self._wish.seconds, OVER_A_FAULT_S * len(self._plan))

    async def _faults(self) -> None:
        await self._carrier.carry_out(self._plan)
        for problem in self._carrier.problems:
            self._say(f"a fault broke: {problem}")
        await asyncio.sleep(max(QUIET_S, self._wish.seconds - self._recorder.now_s))
        self._is_over = True

    async def _healed(self) -> None:
        """Whatever a fault that broke has left behind."""
        self._cluster.wires.heal()
        for node in self._cluster.nodes.values():
            if node.is_paused:
                node.resume()
            if not node.is_running:
                node.start()
        with suppress(TimeoutError, Exception):
            await self._cluster.all_ready(30.0)

    async def _tell(self) -> None:
        """Now and then, how it goes."""
        while True:
            await asyncio.sleep(10.0)
            counts = ", ".join(f"{type_.value} {n}" for type_, n in sorted(self._recorder.counts.items()))
            self._say(f"{self._recorder.now_s:.0f} s: {counts}")


def judged(path: Path, seconds: float | None = None) -> Outcome:
    """Judges a run's record, and leaves the verdict beside it. seconds: for all searches."""
    until = None if seconds is None else time.monotonic() + seconds
    record = load(path)
    told = judgements(record, Budget(is_over=None if until is None else lambda: time.monotonic() > until))
    verdict = overall(told)
    (path.parent / VERDICT).write_text(json.dumps(as_json(told), indent=2, ensure_ascii=False) + "\n")
    if verdict is Verdict.VALID:
        shutil.rmtree(path.parent / NODES, ignore_errors=True)
    return Outcome(record, verdict, told)
