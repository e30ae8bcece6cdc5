"""Random faults against whole clusters: what was acknowledged stays, replicas agree, everything heals."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from holdfast_raft.errors import RaftError
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.sim import QUICK, usual_seconds
from holdfast_raft.wal import WalOptions

from tests.sim.cluster import Cluster, SimNode

GROUPS = (2, 3)


class Acknowledged:
    """One group's acknowledged writes, in the order of their acknowledgements."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self._times: list[float] = []
        self._indexes: list[int] = []  # the highest up to then

    def add(self, value: bytes, index: int, now: float) -> None:
        self.values.append(value)
        self._times.append(now)
        self._indexes.append(max(index, self.highest))

    @property
    def highest(self) -> int:
        return self._indexes[-1] if self._indexes else 0

    def highest_before(self, when: float) -> int:
        """What a state as old as that must have applied."""
        count = bisect_left(self._times, when)
        return self._indexes[count - 1] if count else 0


class Schedule:
    """One seed's faults, writes and reads; see `run`."""

    def __init__(self, seed: int) -> None:
        self.cluster = Cluster(
            seed,
            nodes=5 if seed % 4 == 0 else 3,
            groups=GROUPS,
            log_limits=LogLimits(snapshot_after_bytes=400, trailing_bytes=seed % 3 * 100),
            wal_options=WalOptions(segment_bytes=16 << 10, segments_max=3),
        )
        self.rng = self.cluster.world.rng
        self.acknowledged = {group: Acknowledged() for group in GROUPS}
        self.stale: list[str] = []
        self.count = self.reads = self.ages = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            self.check()
        self.heal()

    def step(self) -> None:
        cluster, rng = self.cluster, self.rng
        dice = rng.random()
        nodes = list(cluster.nodes.values())
        up = [n for n in nodes if n.driver is not None]
        if dice < 0.45:
            self.write(up)
        elif dice < 0.55:
            self.read(up)
        elif dice < 0.72:
            cluster.world.run_for(rng.choice([0.001, 0.01, 0.1, 0.5]))
        elif dice < 0.77:
            cluster.network.cut(*[n.number for n in rng.sample(nodes, 2)])
        elif dice < 0.85:
            cluster.network.heal(*[n.number for n in rng.sample(nodes, 2)])
        elif dice < 0.87 and up:
            node = rng.choice(up)
            node.lose_power() if rng.random() < 0.5 else node.kill()
        elif dice < 0.94:
            down = [n for n in nodes if n.driver is None]
            if down:
                rng.choice(down).start()
        elif dice < 0.98:
            self.slow_down(nodes, up)
        elif dice < 0.985 and up:
            cluster.world.pause(rng.choice(up).number)
        else:
            for node in nodes:
                cluster.world.resume(node.number)

    def slow_down(self, nodes: list[SimNode], up: list[SimNode]) -> None:
        """What is no fault: slow disks and links, late notices, a leader that hands over."""
        cluster, rng = self.cluster, self.rng
        what = rng.randrange(4)
        if what == 0:
            seconds = rng.choice([QUICK, QUICK, (0.05, 0.1), (0.2, 0.5)])
            rng.choice(nodes).seconds[rng.choice(["wal", "files"])] = seconds
        elif what == 1:
            source, target = rng.sample(nodes, 2)
            cluster.network.link_seconds[(source.number, target.number)] = rng.choice(
                [QUICK, (0.0001, 0.05), (0.03, 0.09)]
            )
        elif what == 2:
            cluster.network.notice_seconds = rng.choice([(0.0, 0.0), (0.0, 0.02), (0.0, 0.3)])
        else:
            for node in up:
                target_number = rng.choice([None, *cluster.nodes])
                node.group(rng.choice(GROUPS)).transfer(
                    target_number, cluster.world.now + 0.5, lambda _: None
                )

    def write(self, up: list[SimNode]) -> None:
        for node in up:
            for group in GROUPS:
                if node.group(group).is_leader:
                    for _ in range(self.rng.choice([1, 3])):
                        self.write_one(node, group)
        self.cluster.world.run_for(self.rng.choice([0.0, 0.002, 0.02]))

    def write_one(self, node: SimNode, group: int) -> None:
        self.count += 1
        value = b"w%05d" % self.count
        world = self.cluster.world

        def done(outcome: Applied | RaftError) -> None:
            if isinstance(outcome, Applied):
                self.acknowledged[group].add(value, outcome.index, world.now)

        node.group(group).propose(value, None, world.now + 2, done)

    def read(self, up: list[SimNode]) -> None:
        """Asks for linearizable read points: each lies at or behind what was acknowledged before."""
        for node in up:
            for group in GROUPS:
                if not self.cluster.world.is_paused(node.number):
                    self.read_one(node, group)

    def read_one(self, node: SimNode, group: int) -> None:
        least = self.acknowledged[group].highest

        def done(outcome: int | RaftError) -> None:
            if isinstance(outcome, int):
                self.reads += 1
                if outcome < least:
                    self.stale.append(f"node {node.number} group {group} read {outcome}, {least} was written")

        deadline = self.cluster.world.now + self.rng.choice([0.2, 1, 3])
        node.group(group).barrier(deadline, done)

    def check(self) -> None:
        """One leader a term, applied <= commit, no read point and no known age too young."""
        assert not self.stale, self.stale
        for group in GROUPS:
            leaders: dict[int, int] = {}
            for node in self.cluster.nodes.values():
                if node.driver is None:
                    continue
                replica = node.group(group)
                assert not replica.stopped, replica.stopped
                assert replica.applied_index <= replica.commit_index <= replica.journal.last_index
                if replica.engine.is_leader:
                    assert leaders.setdefault(replica.term, node.number) == node.number, (
                        "two leaders in a term"
                    )
                self.check_age(node, group)

    def check_age(self, node: SimNode, group: int) -> None:
        """A state said to be so old holds what was acknowledged before."""
        world, replica = self.cluster.world, node.group(group)
        if world.is_paused(node.number):
            return
        age_ms = replica.staleness_ms()
        if age_ms is not None:
            self.ages += 1
            least = self.acknowledged[group].highest_before(world.now - age_ms / 1000)
            assert replica.applied_index >= least, (
                f"node {node.number} says {age_ms} ms, lacks {least} of group {group}"
            )

    def heal(self) -> None:
        cluster = self.cluster
        cluster.network.link_seconds.clear()
        cluster.network.notice_seconds = (0.0, 0.0)
        for node in cluster.nodes.values():
            node.seconds.update(usual_seconds())
            cluster.world.resume(node.number)
            if node.driver is None:
                node.start()
            cluster.rejoin(node)
        cluster.settle(within=60)
        self.check()
        for group in GROUPS:
            tapes = [node.tape(group) for node in cluster.nodes.values()]
            assert all(tape == tapes[0] for tape in tapes), "replicas differ"
            assert len(set(tapes[0])) == len(tapes[0]), "applied twice"
            missing = set(self.acknowledged[group].values) - set(tapes[0])
            assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_faults_lose_nothing_and_heal(first: int) -> None:
    """Crashes, cuts, pauses and slowness at random: nothing acknowledged is lost or unread, all converge."""
    written = reads = ages = 0
    for seed in range(first, first + 10):
        schedule = Schedule(seed)
        try:
            schedule.run(steps=200)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        written += sum(len(acknowledged.values) for acknowledged in schedule.acknowledged.values())
        reads += schedule.reads
        ages += schedule.ages
    assert min(written, reads, ages) > 300, (
        f"{written} writes, {reads} reads and {ages} ages are next to nothing, so they prove nothing"
    )
