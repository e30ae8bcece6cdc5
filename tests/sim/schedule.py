"""One run of a plan: a cluster, its clients, its faults, and what came of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from holdfast_node import limits
from holdfast_raft.messages import NodeMessage
from holdfast_raft.sim import MachineGone, usual_seconds

from tests.sim import violation as rule
from tests.sim.clients import Client
from tests.sim.cluster import SimNode
from tests.sim.faults import FAULTS, ROOMY, Fault
from tests.sim.oracle import Listener
from tests.sim.plan import PROFILES, Act, Plan, Profile
from tests.sim.shards import ShardCluster
from tests.sim.violation import Violation

ACKNOWLEDGED_MIN = 50
STEPS_MIN = 500
FAULTS_MIN = 3
"""A schedule with less than these proves nothing and does not count."""
PATIENCE = 12.0
"""Seconds of healthy time within which writes go on and all replicas converge."""
EXPIRY_SECONDS = 0.2
"""By then an expire entry has done its work: contract.md promises 0.1 s while there is a leader."""
SLICE = 0.1
STEPS_A_SLICE = 4000
"""More events than any load here makes in that many seconds: a loop spins, or nodes talk to themselves."""


@dataclass
class Report:
    """What a schedule did."""

    steps: int = 0
    acknowledged: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    crash_points: set[tuple[str, str]] = field(default_factory=set)

    @property
    def counted(self) -> bool:
        """Whether enough happened for it to prove something."""
        return (
            self.steps >= STEPS_MIN
            and self.acknowledged >= ACKNOWLEDGED_MIN
            and sum(self.faults.values()) >= FAULTS_MIN
        )


PIECES: tuple[dict[str, int], ...] = ({}, {"append_entries": 1}, {"append_entries": 2, "bulk_bytes": 300})
"""How entries travel: together, one by one, or on both lanes."""
ENTRY_BYTES = 4000
"""As much smaller than a node's as the segments are, a quarter of which an entry must fit."""
PRODUCT = (logging.getLogger("holdfast_raft"), logging.getLogger("holdfast_node"))


class Schedule:
    """See the module docstring."""

    def __init__(self, plan: Plan, trace: Callable[[str], None] | None = None) -> None:
        """trace: told in words what happens; None: nobody listens."""
        self.plan = plan
        profile = PROFILES[plan.profile]
        self._trace = trace
        self.healthy = False
        """Whether all is healed, for good."""
        self.fired: Counter[str] = Counter()
        self.doomed: set[int] = set()
        """Nodes whose WAL has failed, whether or not they have heard of it yet."""
        self.crash_points: set[tuple[str, str]] = set()
        self.cluster = self._make_cluster(profile)
        world = self.cluster.world
        self._began = world.now
        network = self.cluster.network
        network.coalesce, network.split = profile.coalesce, profile.split
        self.clients = [self._make_client(number, profile) for number in range(plan.clients)]
        for act in plan.acts:
            self.later(act.at, lambda act=act: self._fire(act))  # type: ignore[misc]
        if trace is not None:
            self._listen()

    def _make_cluster(self, profile: Profile) -> ShardCluster:
        plan = self.plan
        return ShardCluster(
            plan.seed,
            policy=profile.policy,
            nodes=plan.replicas,
            groups=tuple(range(2, 2 + plan.groups)),
            log_limits=replace(profile.log_limits, **PIECES[plan.pieces]),
            wal_options=profile.wal,
        )

    def _make_client(self, number: int, profile: Profile) -> Client:
        return Client(self.cluster, number, f"{self.plan.seed}", profile.workload)

    def run(self) -> Report:
        """Raises Violation."""
        entry_bytes, limits.ENTRY_BYTES_MAX = limits.ENTRY_BYTES_MAX, ENTRY_BYTES
        listener = Listener(self.cluster.oracle)
        for logger in PRODUCT:
            logger.addHandler(listener)
            logger.propagate = False
            logger.setLevel(logging.ERROR)
        try:
            self._run()
        except Violation:
            raise
        except Exception as error:
            raise Violation(rule.REPLICA_STOPPED, f"an exception left the product: {error!r}") from error
        finally:
            limits.ENTRY_BYTES_MAX = entry_bytes
            for client in self.clients:
                self.say(f"client {client.number}: {client.outcomes} {client.read}")
            for logger in PRODUCT:
                logger.removeHandler(listener)
                logger.propagate = True
                logger.setLevel(logging.NOTSET)
        return self._report()

    def _run(self) -> None:
        end = max([self.plan.seconds, *(act.at + act.lasts for act in self.plan.acts)])
        self._run_for(end)
        self._heal()
        before = self._acknowledged()
        within = self.cluster.world.now + PATIENCE
        while self._acknowledged() < max(ACKNOWLEDGED_MIN, before + 5):
            if self.cluster.world.now > within:
                raise Violation(
                    rule.LIVENESS,
                    f"{self._acknowledged() - before} writes acknowledged in {PATIENCE} s of good health",
                )
            self._run_for(0.1)
        for client in self.clients:
            client.writing = False
        within = self.cluster.world.now + PATIENCE
        while not self._settled():
            if self.cluster.world.now > within:
                raise Violation(rule.CONVERGENCE, self._standing())
            self._run_for(0.05)
        self._compare()
        self._run_for(EXPIRY_SECONDS)
        self._check_expiry()

    def _run_for(self, seconds: float) -> None:
        world = self.cluster.world
        end = world.now + seconds
        while world.now < end:
            before = world.steps
            world.run_for(min(SLICE, end - world.now))
            self.cluster.oracle.look(0)
            if world.steps - before > STEPS_A_SLICE:
                raise Violation(rule.SPIN, f"{world.steps - before} events in {SLICE} s at {world.now}")

    def _acknowledged(self) -> int:
        return sum(client.acknowledged for client in self.clients)

    # ---- faults --------------------------------------------------------------------------------------

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Something the world does, unless all is healed by then."""
        world = self.cluster.world
        world.at(world.now + seconds, lambda: None if self.healthy else act())

    def target(self, act: Act) -> SimNode:
        """The node a fault is meant for."""
        if act.target == 0:
            leader = self.cluster.leader(min(self.cluster.groups))
            if leader is not None:
                return leader
        number = act.target or act.how % len(self.cluster.nodes) + 1
        return self.cluster.nodes[number]

    def pair(self, act: Act) -> tuple[int, int]:
        """A node and a peer of it; the same twice in a cluster of one."""
        node = self.target(act)
        others = [other.number for other in self.cluster.others(node)]
        return node.number, others[act.how % len(others)] if others else node.number

    def start(self, node: SimNode) -> None:
        """Starts a node that is down. On a disk that fails it may stay down; `_heal` comes back to it."""
        if node.driver is not None:
            return
        self.doomed.discard(node.number)
        try:
            node.start()
        except MachineGone:
            pass
        except OSError as error:
            node.kill()
            if node.disk.fail is None and node.disk.space == ROOMY:
                raise
            self.say(f"node {node.number} cannot start: {error}")

    def _fault(self, kind: str) -> Fault:
        return FAULTS[kind]

    def _fire(self, act: Act) -> None:
        heal = self._fault(act.kind)(self, act)
        self.say(f"FAULT {act.kind} {self._named(act)}" + ("" if heal else ": nothing to harm"))
        if heal is None:
            return
        self.fired[act.kind] += 1

        def end() -> None:
            heal()
            self.say(f"healed: {act.kind} {self._named(act)}")

        self.later(act.lasts, end)

    def _named(self, act: Act) -> str:
        return f"(act {self.plan.acts.index(act)}, target {act.target or 'leader'}, how {act.how})"

    def _heal(self) -> None:
        """Everything is well again, except for disks that are lost."""
        self.say("all is healed")
        self.healthy = True
        cluster = self.cluster
        network = cluster.network
        network.link_seconds.clear()
        network.notice_seconds = (0.0, 0.0)
        for node in cluster.nodes.values():
            node.seconds.update(usual_seconds())
            node.disk.fail = node.disk.after = None
            node.disk.space = ROOMY
            cluster.world.resume(node.number)
            if node.driver is not None and node.number in self.doomed:
                node.lose_power()  # its disk has failed, and in a moment it would hear of it
            self.start(node)
            for other in cluster.others(node):
                network.unstall(node.number, other.number)
                network.heal(node.number, other.number)

    # ---- the end -------------------------------------------------------------------------------------

    def _replicas(self) -> list[SimNode]:
        return [node for node in self.cluster.nodes.values() if node.driver is not None and node.machines]

    def _settled(self) -> bool:
        if not all(client.idle for client in self.clients):
            return False
        for number in self.cluster.groups:
            groups = [node.group(number) for node in self._replicas()]
            places = {(g.applied_index, g.commit_index, g.journal.last_index) for g in groups}
            if len(places) != 1 or len(set(places.pop())) != 1 or not any(g.is_leader for g in groups):
                return False
        return len(self._replicas()) == len(self.cluster.nodes) - len(self.cluster.wiped)

    def _standing(self) -> str:
        groups = {
            (node.number, number): repr(node.group(number))
            for node in self._replicas()
            for number in self.cluster.groups
        }
        idle = [client.idle for client in self.clients]
        return f"after {PATIENCE} s of good health: {groups}, clients idle {idle}"

    def _numbers(self) -> Iterable[int]:
        """The groups whose state is looked at in the end."""
        return self.cluster.groups

    def _compare(self) -> None:
        for number in self._numbers():
            book = self.cluster.oracle.books[number]
            for node in self._replicas():
                where = f"node {node.number}, group {number}, at the end"
                state = node.shard(number).state
                book.check_contents(where, state)
                book.check_digest(where, node.group(number).applied_index, state)

    def _check_expiry(self) -> None:
        """Nothing is overdue where a leader has had time."""
        for number in self._numbers():
            leader = self.cluster.leader(number)
            if leader is None:
                continue
            shard = leader.shard(number)
            due, stamp_ms = shard.state.next_deadline(), shard.stamp_ms()
            if due is not None and due + EXPIRY_SECONDS * 1000 < stamp_ms:
                raise Violation(rule.EXPIRED_LATE, f"group {number}: due at {due}, it is {stamp_ms}")

    def _report(self) -> Report:
        cluster, report = self.cluster, Report()
        oracle, network = cluster.oracle, cluster.network
        report.steps = cluster.world.steps
        report.acknowledged = self._acknowledged()
        report.crash_points = self.crash_points
        self.fired["callback"] = sum(client.failed_callbacks for client in self.clients)
        report.faults = +self.fired
        counts = report.counts
        counts["leader changes"] = oracle.leader_changes
        counts["snapshots taken"] = cluster.taken
        counts["snapshots installed"] = cluster.installed
        counts["ages checked"] = oracle.ages
        counts["messages delivered"] = network.delivered
        counts["messages lost"] = network.lost
        counts["messages coalesced"] = network.coalesced
        counts["messages split"] = network.splits
        counts["keys expired"] = sum(book.expired for book in oracle.books.values())
        counts["keys evicted"] = sum(book.evicted for book in oracle.books.values())
        for client in self.clients:
            counts.update({f"reads {level.lower()}": n for level, n in client.read.items()})
            counts.update({f"writes {outcome}": n for outcome, n in client.outcomes.items()})
        return report

    # ---- the trace -----------------------------------------------------------------------------------

    def say(self, what: str) -> None:
        """A line of the trace."""
        if self._trace is not None:
            self._trace(f"{self.cluster.world.now - self._began:9.5f}  {what}")

    def _listen(self) -> None:
        network, promises = self.cluster.network, self.cluster.promises

        def observe(source: int, target: int, message: NodeMessage) -> None:
            self.say(f"{source} -> {target}  {message}")
            promises.observe(source, target, message)

        network.observe = observe
        self.cluster.say = self.say
