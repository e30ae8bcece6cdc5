"""A whole cluster in one process under virtual time: real drivers, groups, WALs; seeded everything else."""

from __future__ import annotations

import random
from collections.abc import Iterator

from holdfast_raft.driver import Driver
from holdfast_raft.election import Timing
from holdfast_raft.group import Group
from holdfast_raft.machine import CorruptImage
from holdfast_raft.messages import Addressed, NodeMessage, Vote, VoteReply
from holdfast_raft.replication import LogLimits
from holdfast_raft.sim import SimClock, SimDisk, SimNetwork, SimRunner, SimTransport, World, usual_seconds
from holdfast_raft.snapshots import SnapshotStore
from holdfast_raft.wal import Wal, WalOptions


class TapeImage:
    """A frozen tape, a few items a chunk."""

    def __init__(self, items: list[bytes]) -> None:
        self._items = list(items)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self._items), 4):
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
    """The simplest state machine: remembers every entry, in order.

    `agreed` is one for all replicas of a group: what the first of them applied at an index.
    """

    def __init__(self, agreed: dict[int, bytes]) -> None:
        self._agreed = agreed
        self.items: list[bytes] = []
        self.leading = False
        self.payloads: list[tuple[int, bytes]] = []
        self.poison: bytes | None = None

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        if data == self.poison:
            raise ValueError("poison")
        assert self._agreed.setdefault(index, data) == data, f"two entries at index {index}"
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


class VoteBook:
    """Watches all messages: a node votes for one candidate a term, over all its lives."""

    def __init__(self) -> None:
        self._votes: dict[tuple[int, int, int], int] = {}  # (group, term, voter) -> candidate

    def observe(self, source: int, target: int, message: NodeMessage) -> None:
        match message:
            case Addressed(body=VoteReply(granted=True)):
                self._note(message, source, target)
            case Addressed(body=Vote()):
                self._note(message, source, source)

    def _note(self, message: Addressed, voter: int, candidate: int) -> None:
        first = self._votes.setdefault((message.group, message.term, voter), candidate)
        assert first == candidate, f"node {voter} voted for {first} and {candidate} in term {message.term}"


class SimNode:
    """One node: its disk outlives its processes."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.disk = SimDisk(cluster.world.rng)
        self.seconds = usual_seconds()
        """How long a job of its "wal" and "files" threads takes."""
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
            runner=SimRunner(world, self.number, self.seconds),
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
            tape = self.tapes[group] = Tape(self.cluster.agreed[group])
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
        self.network.observe = VoteBook().observe
        self.log_limits = log_limits or LogLimits()
        self.wal_options = wal_options or WalOptions()
        members = tuple(range(1, nodes + 1))
        self.groups = dict.fromkeys(groups, members)
        self.agreed: dict[int, dict[int, bytes]] = {group: {} for group in groups}
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
