"""A seeded world for whole nodes in one process: time, network, disk, loop.

Everything a driver touches outside its own code is here, under one virtual clock and one random number
generator, so that the same seed gives the same run. Nodes run the real driver, groups and WAL.

Model (not modelled yet: bit rot, partial coalescing of frames, clocks that drift):
- Time moves only from event to event. A node may be paused: its events wait, as for SIGSTOP.
- A link is directed, each direction as slow as it is told to be. A message takes a random delay but never
  overtakes another of its lane; a cut link loses what is on its way and ends the connection at both ends,
  which may hear of it late, but always before the next connection.
- A disk keeps, for each file, what was written and what was synced; a crash of the machine drops the
  difference (a prefix of the last write may stay), a crash of the process only what it had in memory.
  It has so much space, and any call may be made to fail.
- A WAL or file job takes a random time, by thread; its `done` comes back as an event.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from holdfast_raft.messages import Addressed, Append, NodeMessage, SnapshotChunk
from holdfast_raft.transport import Receiver

Span = tuple[float, float]
"""Seconds: at least, at most."""
QUICK: Span = (0.0001, 0.002)


@dataclass(order=True)
class _Event:
    at: float
    order: int
    act: Callable[[], None] = field(compare=False)
    owner: int = field(compare=False)  # node whose loop runs it; 0: the world
    boot: int = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class World:
    """The clock, the event queue and what happens to nodes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self._events: list[_Event] = []
        self._order = itertools.count()
        self._boots: dict[int, int] = {}
        self._paused: dict[int, list[_Event]] = {}
        self.wall_offset_ms: dict[int, int] = {}

    def at(self, when: float, act: Callable[[], None], owner: int = 0) -> Callable[[], None]:
        """Schedules `act` on a node's loop; returns how to cancel it."""
        event = _Event(max(when, self.now), next(self._order), act, owner, self._boots.get(owner, 0))
        heapq.heappush(self._events, event)

        def cancel() -> None:
            event.cancelled = True

        return cancel

    def step(self) -> bool:
        """Runs the next event; False: there is none."""
        while self._events:
            event = heapq.heappop(self._events)
            if event.cancelled or event.boot != self._boots.get(event.owner, 0):
                continue
            self.now = max(self.now, event.at)
            if event.owner in self._paused:
                self._paused[event.owner].append(event)
                continue
            event.act()
            return True
        return False

    def run_for(self, seconds: float) -> None:
        """Runs all events of that much time."""
        end = self.now + seconds
        while self._events and self._events[0].at <= end:
            self.step()
        self.now = max(self.now, end)

    def run_until(self, reached: Callable[[], bool], within: float) -> bool:
        """Runs until `reached()`; False: the time passed first."""
        end = self.now + within
        while not reached():
            if not self._events or self._events[0].at > end:
                return False
            self.step()
        return True

    def boot(self, node: int) -> None:
        """The node's process starts: what an earlier one had scheduled never runs."""
        self._boots[node] = self._boots.get(node, 0) + 1
        self._paused.pop(node, None)

    def pause(self, node: int) -> None:
        """SIGSTOP."""
        self._paused.setdefault(node, [])

    def resume(self, node: int) -> None:
        """SIGCONT: what waited runs now, in order."""
        for event in self._paused.pop(node, []):
            if not event.cancelled:
                heapq.heappush(self._events, event)  # at its old time: before all that came later

    def is_paused(self, node: int) -> bool:
        return node in self._paused


class SimClock:
    """clock.Clock of one node."""

    def __init__(self, world: World, node: int) -> None:
        self._world = world
        self._node = node

    def monotonic(self) -> float:
        return self._world.now

    def wall_ms(self) -> int:
        return 1_790_000_000_000 + int(self._world.now * 1000) + self._world.wall_offset_ms.get(self._node, 0)


def usual_seconds() -> dict[str, Span]:
    """How long a job of each thread takes on a healthy disk."""
    return {"wal": QUICK, "files": QUICK}


class SimRunner:
    """driver.Runner of one node: its loop, and threads whose jobs take a random time.

    `seconds` says how long at least and at most, of the threads "wal" and "files"; it may change at any time.
    """

    def __init__(self, world: World, node: int, seconds: dict[str, Span] | None = None) -> None:
        self._world = world
        self._node = node
        self._seconds = seconds if seconds is not None else usual_seconds()
        self._free_at = {"wal": 0.0, "files": 0.0}

    def soon(self, act: Callable[[], None]) -> None:
        self._world.at(self._world.now + 0.00001, act, self._node)

    def later(self, delay: float, act: Callable[[], None]) -> Callable[[], None]:
        return self._world.at(self._world.now + delay, act, self._node)

    def on_wal_thread(self, job: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        self._run("wal", job, done)

    def on_file_thread(self, job: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        self._run("files", job, done)

    def _run(
        self, thread: str, job: Callable[[], object], done: Callable[[BaseException | None], None]
    ) -> None:
        """The job's effect comes at its end, as one event; then `done` on the loop."""
        start = max(self._world.now, self._free_at[thread])
        end = start + self._world.rng.uniform(*self._seconds[thread])
        self._free_at[thread] = end

        def run() -> None:
            error: BaseException | None = None
            try:
                job()
            except (OSError, ValueError, AssertionError) as raised:
                error = raised
            self.soon(lambda: done(error))

        self._world.at(end, run, self._node)


class SimNetwork:
    """All links between the nodes of a world."""

    def __init__(self, world: World, delay_seconds: Span = QUICK) -> None:
        self.world = world
        self.delay_seconds = delay_seconds
        self.link_seconds: dict[tuple[int, int], Span] = {}  # (source, target) -> its own delay
        self.notice_seconds: Span = (0.0, 0.0)  # after which an end hears that its connection is gone
        self.ends: dict[int, SimTransport] = {}
        self._cut: set[tuple[int, int]] = set()
        self._connected: dict[tuple[int, int], int] = {}  # ordered pair -> connection number
        self._numbers = itertools.count(1)
        self._last_arrival: dict[tuple[int, int, bool], float] = {}
        self._notices: dict[tuple[int, int], list[tuple[int, Callable[[], None]]]] = {}
        self.tamper: Callable[[int, int, NodeMessage], NodeMessage | None] | None = None
        self.observe: Callable[[int, int, NodeMessage], None] | None = None  # every message put on its way

    def pair(self, a: int, b: int) -> tuple[int, int]:
        return (a, b) if a < b else (b, a)

    def connection(self, a: int, b: int) -> int:
        """Number of the connection between two nodes; 0: none."""
        return self._connected.get(self.pair(a, b), 0)

    def join(self, end: SimTransport) -> None:
        """A node's process is up: it connects to whom it can reach."""
        self.ends[end.node] = end
        for other in list(self.ends):
            self._try_connect(end.node, other)

    def leave(self, node: int) -> None:
        """A node's process is gone: its peers see their connections closed."""
        self.ends.pop(node, None)
        for pair in [p for p in self._connected if node in p]:
            self._disconnect(pair, closed_by=node)

    def cut(self, a: int, b: int) -> None:
        """No message passes between a and b; the connection ends."""
        self._cut.add(self.pair(a, b))
        self._disconnect(self.pair(a, b), closed_by=None)

    def heal(self, a: int, b: int) -> None:
        self._cut.discard(self.pair(a, b))
        self._try_connect(a, b)

    def _try_connect(self, a: int, b: int) -> None:
        pair = self.pair(a, b)
        if a == b or a not in self.ends or b not in self.ends or pair in self._cut or pair in self._connected:
            return
        for me, notice in self._notices.pop(pair, []):
            self.world.at(self.world.now, notice, me)
        number = self._connected[pair] = next(self._numbers)
        for me, peer in ((a, b), (b, a)):
            self._tell(me, number, pair, lambda end, peer=peer: end.connected(peer))  # type: ignore[misc]

    def _disconnect(self, pair: tuple[int, int], closed_by: int | None) -> None:
        if self._connected.pop(pair, None) is None:
            return
        for me, peer in (pair, pair[::-1]):
            if me in self.ends:
                notice = self._notice(self.ends[me], peer, peer == closed_by)
                self._notices.setdefault(pair, []).append((me, notice))
                self.world.at(self.world.now + self.world.rng.uniform(*self.notice_seconds), notice, me)

    def _notice(self, end: SimTransport, peer: int, closed_by_peer: bool) -> Callable[[], None]:
        """Tells an end once that its connection is gone, unless its process is."""
        told = False

        def tell() -> None:
            nonlocal told
            if not told and self.ends.get(end.node) is end:
                told = True
                end.up.discard(peer)
                end.receiver.disconnected(peer, closed_by_peer)

        return tell

    def _tell(self, me: int, number: int, pair: tuple[int, int], act: Callable[[Receiver], None]) -> None:
        end = self.ends[me]

        def run() -> None:
            if self._connected.get(pair) == number:
                end.up.add(pair[0] if pair[1] == me else pair[1])
                act(end.receiver)

        self.world.at(self.world.now, run, me)

    def carry(self, source: int, target: int, message: NodeMessage, *, bulk: bool) -> None:
        """Puts a message on its way."""
        if self.observe is not None:
            self.observe(source, target, message)
        pair = self.pair(source, target)
        number = self._connected.get(pair, 0)
        if not number:
            return
        if self.tamper is not None:
            changed = self.tamper(source, target, message)
            if changed is None:
                return
            message = changed
        lane = (source, target, bulk)
        delay = self.world.rng.uniform(*self.link_seconds.get((source, target), self.delay_seconds))
        arrival = max(self.world.now + delay, self._last_arrival.get(lane, 0.0))
        self._last_arrival[lane] = arrival

        def arrive() -> None:
            end = self.ends.get(target)
            if end is not None and self._connected.get(pair) == number:
                end.receiver.received(source, message, 100)

        self.world.at(arrival, arrive, target)


class SimTransport:
    """transport.Transport of one node."""

    def __init__(self, network: SimNetwork, node: int) -> None:
        self.node = node
        self.receiver: Receiver
        self.up: set[int] = set()
        self._network = network
        self._queued: list[tuple[int, NodeMessage, bool]] = []
        self._queued_bytes: defaultdict[int, int] = defaultdict(int)  # peer -> on the bulk lane

    def attach(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def is_connected(self, peer: int) -> bool:
        return peer in self.up and self._network.connection(self.node, peer) != 0

    def send(self, peer: int, message: NodeMessage, *, bulk: bool = False) -> bool:
        if not self.is_connected(peer):
            return False
        self._queued.append((peer, message, bulk))
        if bulk:
            self._queued_bytes[peer] += _payload_bytes(message)
        return True

    def flush(self) -> None:
        queued, self._queued = self._queued, []
        self._queued_bytes.clear()
        for peer, message, bulk in queued:
            self._network.carry(self.node, peer, message, bulk=bulk)

    def queued_bytes(self, peer: int) -> int:
        return self._queued_bytes[peer]


def _payload_bytes(message: NodeMessage) -> int:
    match message:
        case Addressed(body=Append() as append):
            return sum(len(entry[1]) for entry in append.entries)
        case Addressed(body=SnapshotChunk() as chunk):
            return len(chunk.data)
    return 0


class _SimFile:
    """Contents as written and as synced; zeros up to `size` are not stored."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.written = bytearray()
        self.synced = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: bytes) -> None:
        _put(self.written, offset, data)
        self.unsynced.append((offset, data))
        self.size = max(self.size, len(self.written))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _put(self.synced, offset, data)
        self.unsynced.clear()

    def lose_power(self, rng: random.Random) -> None:
        """Back to what was synced; of the last write perhaps a prefix stays."""
        if self.unsynced and rng.random() < 0.5:
            offset, data = self.unsynced[-1]
            _put(self.synced, offset, data[: rng.randrange(len(data) + 1)])
        self.unsynced.clear()
        self.written = bytearray(self.synced)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class SimDisk:
    """disk.Disk in memory; `lose_power` keeps only what was synced."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files: dict[str, _SimFile] = {}  # as the process sees them
        self._durable: dict[str, _SimFile] = {}  # names that a sync_dir made durable
        self.fail: Callable[[str, str], None] | None = None  # (what, path): may raise OSError
        self.space = 1 << 40

    def used(self) -> int:
        return sum(file.size for file in self._files.values())

    def _take(self, more: int, path: str) -> None:
        if more > 0 and more > self.free_bytes():
            raise OSError(errno.ENOSPC, "No space left on device", path)

    def damage(self, suffix: str, offset: int) -> None:
        """Turns one bit of each file so named: bit rot."""
        for path, file in self._files.items():
            if path.endswith(suffix):
                file.written[offset] ^= 1

    def _check(self, what: str, path: str) -> None:
        if self.fail is not None:
            self.fail(what, path)

    def make_dir(self, path: str) -> None: ...

    def names(self, folder: str) -> list[str]:
        prefix = folder.rstrip("/") + "/" if folder not in ("", ".") else ""
        found = {name[len(prefix) :].split("/")[0] for name in self._files if name.startswith(prefix)}
        return sorted(found)

    def create(self, path: str, size: int) -> SimOpenFile:
        self._check("create", path)
        if path in self._files:
            raise FileExistsError(path)
        self._take(size, path)
        self._files[path] = _SimFile(size)
        return SimOpenFile(self, path, self._files[path])

    def open(self, path: str) -> SimOpenFile:
        self._check("open", path)
        if path not in self._files:
            raise FileNotFoundError(path)
        return SimOpenFile(self, path, self._files[path])

    def rename(self, old: str, new: str) -> None:
        self._check("rename", new)
        self._files[new] = self._files.pop(old)

    def unlink(self, path: str) -> None:
        self._check("unlink", path)
        if path not in self._files:
            raise FileNotFoundError(path)
        del self._files[path]

    def sync_dir(self, folder: str) -> None:
        self._check("sync_dir", folder)
        prefix = folder.rstrip("/") + "/" if folder not in ("", ".") else ""
        for name in [n for n in self._durable if n.startswith(prefix) and n not in self._files]:
            del self._durable[name]
        self._durable.update({n: f for n, f in self._files.items() if n.startswith(prefix)})

    def free_bytes(self) -> int:
        return self.space - self.used()

    def lose_power(self) -> None:
        """Only synced bytes of durably named files stay; of a file's last write perhaps a piece."""
        self._files = dict(self._durable)
        for file in self._files.values():
            file.lose_power(self._rng)


class SimOpenFile:
    """disk.File over a _SimFile."""

    def __init__(self, disk: SimDisk, path: str, file: _SimFile) -> None:
        self._disk = disk
        self._path = path
        self._file = file

    def write_at(self, offset: int, pieces: Sequence[bytes]) -> None:
        self._disk._check("write", self._path)
        data = b"".join(pieces)
        self._disk._take(offset + len(data) - self._file.size, self._path)
        self._file.write(offset, data)

    def read_at(self, offset: int, size: int) -> bytes:
        self._disk._check("read", self._path)
        end = min(offset + size, self._file.size)
        found = bytes(self._file.written[offset:end])
        return found + bytes(max(0, end - offset) - len(found))

    def size(self) -> int:
        return self._file.size

    def sync(self) -> None:
        self._disk._check("sync", self._path)
        self._file.sync()

    def close(self) -> None: ...
