"""A group, driver and clock that do what a test says, for the shard layer's unit tests.

No network and no disk stands behind them: what the test does not do does not happen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from holdfast.keys import KeyRange
from holdfast.shardmap import Replica
from holdfast.shardmap import Shard as MapEntry
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache.commands import decode_operation
from holdfast_node.cache.history import Event
from holdfast_node.cache.op import Op
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.state import State
from holdfast_node.shard import Shard
from holdfast_raft.errors import LeadershipLost, NotLeader, RaftError
from holdfast_raft.proposals import Applied
from holdfast_raft.status import GroupStatus, Role

WALL_MS = 1_700_000_000_000
ENTRY = MapEntry(
    "default",
    KeyRange(b"", b""),
    7,
    1,
    (Replica(1, "127.0.0.1:7400"), Replica(2, "127.0.0.1:7401"), Replica(3, "127.0.0.1:7402")),
    0,
)


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wall_offset_ms = 0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return WALL_MS + int((self.now - 100.0) * 1000) + self.wall_offset_ms


class Driver:
    """Runs timers and marked groups when the test takes a turn."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.marked = False
        self.offsets: dict[int, int] = {2: 0, 3: 0}
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def mark(self, group: Any) -> None:
        self.marked = True

    def call_at(self, when: float, act: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self.timers, (when, self._order, act))

    def call_later(self, delay: float, act: Callable[[], None]) -> None:
        self.call_at(self.clock.now + delay, act)

    def peer_walls_ms(self) -> dict[int, int]:
        right_ms = WALL_MS + int((self.clock.now - 100.0) * 1000)
        return {peer: right_ms + offset for peer, offset in self.offsets.items()}

    def run_timers(self) -> None:
        while self.timers and self.timers[0][0] <= self.clock.now:
            heapq.heappop(self.timers)[2]()


class Group:
    """One replica's group. `committed` applies what was proposed."""

    def __init__(self, machine: Any, clock: Clock, *, leading: bool = True) -> None:
        self.id = ENTRY.group
        self.members = (1, 2, 3)
        self.machine = machine
        self.clock = clock
        self.is_leader = leading
        self.leader: int | None = 1 if leading else 2
        self.term = 1
        self.applied_index = 0
        self.stopped = ""
        self.quorum = True
        self.age_ms: int | None = 5
        self.window = 1000
        self.refusing: RaftError | None = None
        self.proposed: list[tuple[bytes, Any, float, Callable[[Any], None]]] = []
        self.barriers: list[tuple[float, Callable[[Any], None]]] = []
        self.waits: list[tuple[int, float, Callable[[Any], None]]] = []
        self.told: list[tuple[int, bytes]] = []
        self.log: list[bytes] = []

    @property
    def commit_index(self) -> int:
        return self.applied_index

    def can_propose(self) -> bool:
        return self.is_leader and len(self.proposed) < self.window

    def propose(
        self,
        data: bytes,
        context: Any,
        deadline: float,
        done: Callable[[Any], None],
        *,
        at_once: bool = False,
    ) -> None:
        if self.refusing is not None:
            done(self.refusing)
        else:
            self.proposed.append((data, context, deadline, done))

    def committed(self, count: int | None = None) -> None:
        """The first `count` proposals are committed and applied."""
        for _ in range(len(self.proposed) if count is None else count):
            data, context, _, done = self.proposed.pop(0)
            result = self.follow(data, context)
            done(Applied(self.applied_index, self.term, result))

    def follow(self, data: bytes, context: Any = None) -> Any:
        """An entry is applied."""
        result = self.machine.apply(self.applied_index + 1, self.term, data, context)
        self.applied_index += 1
        self.log.append(data)
        for wait in [w for w in self.waits if w[0] <= self.applied_index]:
            self.waits.remove(wait)
            wait[2](None)
        return result

    def depose(self, leader: int | None = None) -> None:
        """Another term begins; what is under way may or may not survive."""
        self.is_leader = False
        self.leader = leader
        self.term += 1
        self.machine.role_changed(False)
        lost, self.proposed = self.proposed, []
        for _, _, _, done in lost:
            done(LeadershipLost("the leadership ended"))
        asked, self.barriers = self.barriers, []
        for _, done in asked:
            done(NotLeader(leader))

    def barrier(self, deadline: float, done: Callable[[Any], None]) -> None:
        self.barriers.append((deadline, done))

    def confirm(self, index: int | None = None) -> None:
        """All barrier rounds end well."""
        asked, self.barriers = self.barriers, []
        for _, done in asked:
            done(self.applied_index if index is None else index)

    def wait_applied(self, index: int, deadline: float, done: Callable[[Any], None]) -> None:
        self.waits.append((index, deadline, done))

    def tell(self, node: int, data: bytes) -> bool:
        self.told.append((node, data))
        return True

    def staleness_ms(self) -> int | None:
        return self.age_ms

    def has_quorum(self) -> bool:
        return self.quorum

    def status(self) -> GroupStatus:
        role = Role.LEADER if self.is_leader else Role.FOLLOWER
        i = self.applied_index
        return GroupStatus(
            self.id, role, self.term, self.leader, i, i, i, i, 0, self.quorum, 1, 0, self.stopped
        )


class Replica1:
    """A shard with its scripted surroundings."""

    def __init__(
        self,
        *,
        leading: bool = True,
        policy: Policy | None = None,
        strict_ttl: bool = False,
        entry: MapEntry = ENTRY,
        state: State | None = None,
    ) -> None:
        self.clock = Clock()
        self.driver = Driver(self.clock)
        self.shard = Shard(
            entry,
            node=1,
            policy=policy or Policy(),
            clock=self.clock,
            encode_event=encode,
            strict_ttl=strict_ttl,
            state=state,
        )
        self.group = Group(self.shard, self.clock, leading=leading)
        self.shard.bind(self.group, self.driver)
        if leading:
            self.shard.role_changed(True)

    def turn(self, seconds: float = 0.0) -> None:
        """Time passes; timers that are due and one turn run."""
        self.clock.now += seconds
        self.driver.run_timers()
        self.driver.marked = False
        self.shard.turn()

    def write(self, *operations: pb.Operation, session: bytes = b"", timeout: float = 5.0) -> list[Any]:
        """Asks for the writes of one frame; what `done` is told comes into the list."""
        told: list[Any] = []
        data = [operation.SerializeToString() for operation in operations]
        ops = [decode_operation(item) for item in data]
        self.shard.write(
            session, 0, data, ops, self.clock.now + timeout, lambda *outcome: told.append(outcome)
        )
        return told

    def put(self, key: bytes, value: bytes = b"v", **fields: Any) -> Any:
        """A put that is committed and applied at once; its result."""
        told = self.write(put(key, value, stamp_ms=self.stamp_ms(), **fields))
        self.turn()
        self.group.committed()
        return told[0][0][0]

    def stamp_ms(self) -> int:
        return self.shard.stamp_ms()


def put(
    key: bytes, value: bytes = b"v", *, sequence: int = 1, stamp_ms: int = WALL_MS, **fields: Any
) -> pb.Operation:
    """A put that may take effect for ten seconds."""
    return pb.Operation(
        sequence=sequence, key=key, not_after_ms=stamp_ms + 10_000, put=pb.Put(value=value, **fields)
    )


def delete_range(prefix: bytes, *, sequence: int = 1, stamp_ms: int = WALL_MS) -> pb.Operation:
    return pb.Operation(
        sequence=sequence, not_after_ms=stamp_ms + 10_000, delete=pb.Delete(range=pb.KeyRange(prefix=prefix))
    )


def get(key: bytes) -> Op:
    return decode_operation(pb.Operation(sequence=1, key=key, get=pb.Get()).SerializeToString())


def scan(**fields: Any) -> Op:
    return decode_operation(pb.Operation(sequence=1, scan=pb.Scan(**fields)).SerializeToString())


def encode(event: Event, with_previous: bool, keys_only: bool) -> bytes:
    """Events as tests read them: kind, key, revision, value, previous."""
    value = b"" if keys_only or event.value is None else event.value
    previous = event.previous_value if with_previous else None
    return b"|".join((b"%d" % event.kind, event.key, b"%d" % event.revision, value, previous or b""))
