"""Random faults against whole clusters: what was acknowledged stays, replicas agree, everything heals."""

from __future__ import annotations

import pytest
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.wal import WalOptions

from tests.sim.cluster import Cluster, SimNode


class Schedule:
    """One seed's faults and writes; see `run`."""

    def __init__(self, seed: int) -> None:
        self.cluster = Cluster(
            seed,
            nodes=5 if seed % 4 == 0 else 3,
            groups=(2, 3),
            log_limits=LogLimits(snapshot_after_bytes=400, trailing_bytes=seed % 3 * 100),
            wal_options=WalOptions(segment_bytes=16 << 10, segments_max=3),
        )
        self.rng = self.cluster.world.rng
        self.acknowledged: dict[int, list[bytes]] = {2: [], 3: []}
        self.at_index: dict[tuple[int, int], bytes] = {}
        self.count = 0

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
        if dice < 0.55:
            self.write(up)
        elif dice < 0.75:
            cluster.world.run_for(rng.choice([0.001, 0.01, 0.1, 0.5]))
        elif dice < 0.80:
            cluster.network.cut(*[n.number for n in rng.sample(nodes, 2)])
        elif dice < 0.88:
            cluster.network.heal(*[n.number for n in rng.sample(nodes, 2)])
        elif dice < 0.90 and up:
            node = rng.choice(up)
            node.lose_power() if rng.random() < 0.5 else node.kill()
        elif dice < 0.97:
            down = [n for n in nodes if n.driver is None]
            if down:
                rng.choice(down).start()
        elif dice < 0.98 and up:
            cluster.world.pause(rng.choice(up).number)
        else:
            for node in nodes:
                cluster.world.resume(node.number)

    def write(self, up: list[SimNode]) -> None:
        for node in up:
            for group in (2, 3):
                if node.group(group).is_leader:
                    for _ in range(self.rng.choice([1, 3])):
                        self.count += 1
                        value = b"w%05d" % self.count
                        node.group(group).propose(
                            value,
                            None,
                            self.cluster.world.now + 2,
                            lambda o, g=group, v=value: (
                                self.acknowledged[g].append(v)  # type: ignore[misc]
                                if isinstance(o, Applied)
                                else None
                            ),
                        )
        self.cluster.world.run_for(self.rng.choice([0.0, 0.002, 0.02]))

    def check(self) -> None:
        """One leader a term, one entry an index, applied <= commit."""
        for group in (2, 3):
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

    def heal(self) -> None:
        cluster = self.cluster
        for node in cluster.nodes.values():
            cluster.world.resume(node.number)
            if node.driver is None:
                node.start()
        for a in cluster.nodes:
            for b in cluster.nodes:
                if a < b:
                    cluster.network.heal(a, b)
        cluster.settle(within=60)
        for group in (2, 3):
            tapes = [node.tape(group) for node in cluster.nodes.values()]
            assert all(tape == tapes[0] for tape in tapes), "replicas differ"
            assert len(set(tapes[0])) == len(tapes[0]), "applied twice"
            missing = set(self.acknowledged[group]) - set(tapes[0])
            assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_faults_lose_nothing_and_heal(first: int) -> None:
    """Crashes, power losses, cuts and pauses at random: no acknowledged write is lost, all converge."""
    written = 0
    for seed in range(first, first + 10):
        schedule = Schedule(seed)
        try:
            schedule.run(steps=200)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        written += sum(map(len, schedule.acknowledged.values()))
    assert written > 500, "the schedules wrote next to nothing, so they prove nothing"
