"""A whole cluster in one process under virtual time: real drivers, groups, WALs; seeded everything else."""

from __future__ import annotations

import random

from holdfast_node.shard import Shard
from holdfast_raft.driver import Driver
from holdfast_raft.election import Timing
from holdfast_raft.group import Group
from holdfast_raft.machine import StateMachine
from holdfast_raft.replication import LogLimits
from holdfast_raft.sim import SimClock, SimDisk, SimNetwork, SimRunner, SimTransport, World, usual_seconds
from holdfast_raft.snapshots import SnapshotStore
from holdfast_raft.wal import Wal, WalOptions

from tests.sim.promises import Promises
from tests.sim.tape import Tape

SNAPSHOT_SYNC_BYTES = 2000
"""So that a small snapshot, too, is synced in the middle."""


class SimNode:
    """One node: its disk outlives its processes."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.disk = SimDisk(cluster.world.rng_of(f"disk {number}"))
        self.seconds = usual_seconds()
        """How long a job of its "wal" and "files" threads takes."""
        self.driver: Driver | None = None
        self.machines: dict[int, StateMachine] = {}
        self.died: BaseException | None = None
        self.creates = True
        """Whether a start makes the replicas that the WAL does not know: only a node's very first one."""

    def start(self) -> None:
        """The process starts: what its disk knows is opened, or made on a very first start."""
        driver = self._boot()
        known = driver.known_groups()
        self.machines = {}
        for group, members in self.cluster.groups.items():
            if group not in known and not self.creates:
                continue
            machine = self.machines[group] = self.cluster.make_machine(self, group)
            if group in known:
                opened = driver.open_group(group, machine)
            else:
                opened = driver.create_group(group, members, machine)
            self.cluster.opened(self, opened)
        if self.creates:
            self._make_durable()
            self.creates = False
        self.cluster.network.join(self.transport)
        driver.wake_soon()

    def _boot(self) -> Driver:
        """A new process on the present disk, up to its driver."""
        world = self.cluster.world
        world.boot(self.number)
        self.disk.power_on()
        self.died = None
        self.wal = self.cluster.open_wal(self)
        self.cluster.promises.check_restart(self.number, self.wal.recovered)
        self.transport = SimTransport(self.cluster.network, self.number)
        self.driver = driver = Driver(
            self.number,
            clock=SimClock(world, self.number),
            wal=self.wal,
            store=SnapshotStore(self.disk, sync_every_bytes=SNAPSHOT_SYNC_BYTES),
            transport=self.transport,
            runner=SimRunner(world, self.number, self.seconds),
            rng=random.Random(world.rng.getrandbits(64)),
            fatal=self._fatal,
            timing=Timing(),
            log_limits=self.cluster.log_limits,
        )
        return driver

    def _make_durable(self) -> None:
        """As server.py does at a node's first start: its replicas are born before it says a word."""
        job = self.wal.begin_sync()
        if job is not None:
            job.run()
            self.wal.end_sync(job)

    def _fatal(self, error: BaseException) -> None:
        self.died = error
        self.kill()

    def kill(self) -> None:
        """kill -9: what was written stays in the page cache."""
        self.driver = None
        self.disk.powered = False  # a dead process makes no calls
        self.cluster.world.boot(self.number)
        self.cluster.network.leave(self.number)

    def lose_power(self) -> None:
        """The machine goes: what was not synced is gone."""
        self.kill()
        self.disk.lose_power()

    def group(self, group: int = 2) -> Group:
        assert self.driver is not None
        return self.driver.groups[group]

    def monotonic(self) -> float:
        """The clock of its process, which deadlines go by."""
        assert self.driver is not None
        return self.driver.clock.monotonic()

    def shard(self, group: int) -> Shard:
        machine = self.machines[group]
        assert isinstance(machine, Shard)
        return machine

    def tape(self, group: int = 2) -> list[bytes]:
        machine = self.machines[group]
        assert isinstance(machine, Tape)
        return machine.items


class Cluster:
    """`nodes` nodes, each with a replica of every group."""

    def __init__(
        self,
        seed: int = 1,
        nodes: int = 3,
        groups: tuple[int, ...] = (2,),
        log_limits: LogLimits | None = None,
        wal_options: WalOptions | None = None,
        own_monotonics: bool = False,
    ) -> None:
        """own_monotonics: see World; deadlines must then go by `SimNode.monotonic`."""
        self.world = World(seed)
        self.world.own_monotonics = own_monotonics
        self.network = SimNetwork(self.world)
        self.promises = Promises()
        self.network.observe = self.promises.observe
        self.log_limits = log_limits or LogLimits()
        self.wal_options = wal_options or WalOptions()
        members = tuple(range(1, nodes + 1))
        self.groups = dict.fromkeys(groups, members)
        self.agreed: dict[int, dict[int, bytes]] = {group: {} for group in groups}
        self.nodes = {number: self.make_node(number) for number in members}
        for node in self.nodes.values():
            node.start()

    def make_node(self, number: int) -> SimNode:
        """A node that has not started."""
        return SimNode(self, number)

    def make_machine(self, node: SimNode, group: int) -> StateMachine:
        """A new state machine for a replica; here a tape."""
        return Tape(self.agreed[group])

    def open_wal(self, node: SimNode) -> Wal:
        """A node's WAL at its start."""
        return Wal.open(node.disk, self.wal_options)

    def opened(self, node: SimNode, group: Group) -> None:
        """A replica was made or opened, in the same call."""

    def leader(self, group: int = 2) -> SimNode | None:
        """The serving leader of the highest term."""
        leading = [
            n
            for n in self.nodes.values()
            if n.driver is not None and group in n.driver.groups and n.group(group).is_leader
        ]
        return max(leading, key=lambda n: n.group(group).term, default=None)

    def elect(self, group: int = 2, within: float = 5.0) -> SimNode:
        assert self.world.run_until(lambda: self.leader(group) is not None, within), "no leader came"
        leader = self.leader(group)
        assert leader is not None
        return leader

    def others(self, *nodes: SimNode) -> list[SimNode]:
        return [node for node in self.nodes.values() if node not in nodes]

    def isolate(self, node: SimNode) -> None:
        """Cuts all links of a node."""
        for other in self.others(node):
            self.network.cut(node.number, other.number)

    def rejoin(self, node: SimNode) -> None:
        for other in self.others(node):
            self.network.heal(node.number, other.number)

    def propose(self, node: SimNode, data: bytes, group: int = 2, timeout: float = 5.0) -> list[object]:
        """Proposes; the outcome appears in the returned list."""
        outcome: list[object] = []
        node.group(group).propose(data, None, node.monotonic() + timeout, outcome.append)
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
