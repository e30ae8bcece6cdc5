"""A whole cluster in one process under virtual time: real drivers, groups, WALs; seeded everything else."""

from __future__ import annotations

import random
from collections.abc import Iterator

from holdfast_raft.driver import Driver
from holdfast_raft.election import Timing
from holdfast_raft.group import Group
from holdfast_raft.machine import CorruptImage
from holdfast_raft.replication import LogLimits
from holdfast_raft.sim import SimClock, SimDisk, SimNetwork, SimRunner, SimTransport, World
from holdfast_raft.snapshots import SnapshotStore
from holdfast_raft.wal import Wal, WalOptions


class TapeImage:
    """A frozen tape, a few items a chunk."""

    def __init__(self, items: list[bytes]) -> None:
        self._items = list(items)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, max(1, len(self._items)), 4):
            yield b"".join(len(item).to_bytes(4, "big") + item for item in self._items[start : start + 4])
        yield b"end%d" % len(self._items)

    def release(self) -> None: ...


class TapeBuilder:
    """Restores a tape."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self._total: int | None = None

    def feed(self, chunk: bytes) -> None:
        if chunk[:3] == b"end":
            self._total = int(chunk[3:])
            return
        while chunk:
            size = int.from_bytes(chunk[:4], "big")
            self.items.append(chunk[4 : 4 + size])
            chunk = chunk[4 + size :]

    def finish(self) -> None:
        if self._total != len(self.items):
            raise CorruptImage(f"{len(self.items)} items, {self._total} expected")


class Tape:
    """The simplest state machine: remembers every entry, in order."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.leading = False
        self.payloads: list[tuple[int, bytes]] = []
        self.poison: bytes | None = None

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        if data == self.poison:
            raise ValueError("poison")
        self.items.append(data)
        return len(self.items)

    def freeze(self) -> TapeImage:
        return TapeImage(self.items)

    def builder(self) -> TapeBuilder:
        return TapeBuilder()

    def install(self, builder: TapeBuilder) -> None:
        self.items = builder.items

    def role_changed(self, leading: bool) -> None:
        self.leading = leading

    def received(self, sender: int, data: bytes) -> None:
        self.payloads.append((sender, data))

    def turn(self) -> None: ...
    def close(self) -> None: ...


class SimNode:
    """One node: its disk outlives its processes."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.disk = SimDisk(cluster.world.rng)
        self.driver: Driver | None = None
        self.tapes: dict[int, Tape] = {}
        self.died: BaseException | None = None

    def start(self) -> None:
        world = self.cluster.world
        world.boot(self.number)
        self.died = None
        self.wal = Wal.open(self.disk, self.cluster.wal_options)
        self.transport = SimTransport(self.cluster.network, self.number)
        self.driver = Driver(
            self.number,
            clock=SimClock(world, self.number),
            wal=self.wal,
            store=SnapshotStore(self.disk),
            transport=self.transport,
            runner=SimRunner(world, self.number),
            rng=random.Random(world.rng.getrandbits(64)),
            fatal=self._fatal,
            timing=Timing(),
            log_limits=self.cluster.log_limits,
        )
        known = self.driver.known_groups()
        self.tapes = {}
        for group, members in self.cluster.groups.items():
            if self.number not in members:
                continue
            tape = self.tapes[group] = Tape()
            if group in known:
                self.driver.open_group(group, tape)
            else:
                self.driver.create_group(group, members, tape)
        self.cluster.network.join(self.transport)
        self.driver.wake_soon()

    def _fatal(self, error: BaseException) -> None:
        self.died = error
        self.kill()

    def kill(self) -> None:
        """kill -9: what was written stays in the page cache."""
        self.driver = None
        self.cluster.world.boot(self.number)
        self.cluster.network.leave(self.number)

    def lose_power(self) -> None:
        """The machine goes: what was not synced is gone."""
        self.kill()
        self.disk.lose_power()

    def group(self, group: int = 2) -> Group:
        assert self.driver is not None
        return self.driver.groups[group]

    def tape(self, group: int = 2) -> list[bytes]:
        return self.tapes[group].items


class Cluster:
    """`nodes` nodes, each with a replica of every group."""

    def __init__(
        self,
        seed: int = 1,
        nodes: int = 3,
        groups: tuple[int, ...] = (2,),
        log_limits: LogLimits | None = None,
        wal_options: WalOptions | None = None,
    ) -> None:
        self.world = World(seed)
        self.network = SimNetwork(self.world)
        self.log_limits = log_limits or LogLimits()
        self.wal_options = wal_options or WalOptions()
        members = tuple(range(1, nodes + 1))
        self.groups = dict.fromkeys(groups, members)
        self.nodes = {number: SimNode(self, number) for number in members}
        for node in self.nodes.values():
            node.start()

    def leader(self, group: int = 2) -> SimNode | None:
        """The serving leader of the highest term."""
        leading = [n for n in self.nodes.values() if n.driver is not None and n.group(group).is_leader]
        return max(leading, key=lambda n: n.group(group).term, default=None)

    def elect(self, group: int = 2, within: float = 5.0) -> SimNode:
        assert self.world.run_until(lambda: self.leader(group) is not None, within), "no leader came"
        leader = self.leader(group)
        assert leader is not None
        return leader

    def propose(self, node: SimNode, data: bytes, group: int = 2, timeout: float = 5.0) -> list[object]:
        """Proposes; the outcome appears in the returned list."""
        outcome: list[object] = []
        node.group(group).propose(data, None, self.world.now + timeout, outcome.append)
        return outcome

    def write(self, data: bytes, group: int = 2, within: float = 5.0) -> object:
        """Proposes at the leader and waits for the outcome."""
        outcome = self.propose(self.elect(group), data, group)
        assert self.world.run_until(lambda: bool(outcome), within), "no outcome came"
        return outcome[0]

    def settle(self, within: float = 20.0) -> None:
        """Runs until every running replica has applied the same."""

        def settled() -> bool:
            running = [n for n in self.nodes.values() if n.driver is not None]
            for group in self.groups:
                states = {(n.group(group).applied_index, n.group(group).commit_index) for n in running}
                if len(states) != 1 or self.leader(group) is None:
                    return False
                if any(n.group(group).journal.last_index != n.group(group).applied_index for n in running):
                    return False
            return True

        assert self.world.run_until(settled, within), "the replicas did not converge"
