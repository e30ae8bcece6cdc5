"""A cluster made of nothing but placement state: wishes come true at once, loads are made up."""

from __future__ import annotations

from holdfast_node.cache.seal import Seal
from holdfast_node.placement import commands as c
from holdfast_node.placement.answer import Answer
from holdfast_node.placement.cluster import PLACEMENT_NAMESPACE, Namespace, Node, Refusal, ShardRow
from holdfast_node.placement.loads import Loads, NodeLoad, ShardLoad
from holdfast_node.placement.plan import Kind, Phase, Plan
from holdfast_node.placement.planner import Proposals, Wish, propose
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.state import PlacementState

HOUR_MS = 3_600_000


class World:
    """A state with the loads that its leaders would report."""

    def __init__(self, nodes: list[Node], namespaces: list[Namespace], shards: list[ShardRow]) -> None:
        self.state = PlacementState()
        self.now_ms = HOUR_MS
        placement = tuple(node.id for node in nodes[:3])
        done = self.state.apply(c.Bootstrap(tuple(nodes), tuple(namespaces), tuple(shards), placement))
        assert isinstance(done, Answer), done
        self.nodes = {node.id: NodeLoad() for node in nodes}
        self.shards = {row.group: ShardLoad(leader=row.replicas[0]) for row in shards}

    @property
    def loads(self) -> Loads:
        row = self.state.placement
        leader = next((node for node in row.replicas if self.nodes.get(node, NodeLoad()).is_up), 0)
        return Loads(self.nodes, {row.group: ShardLoad(leader=leader)} | self.shards)

    def propose(self) -> Proposals:
        return propose(self.state, self.loads, self.now_ms)

    def carry_out(self, wish: Wish) -> Plan | None:
        """A wish begins; what it made, if a plan."""
        if wish.shape is None:
            row = self.state.shards[wish.transfer_group]
            assert wish.transfer_to in row.replicas, "only a replica can lead"
            self.shards[row.group] = self.shards[row.group]._replace(leader=wish.transfer_to)
            return None
        done = self.state.apply(c.StartPlan(wish.shape, wish.why, self.now_ms))
        assert isinstance(done, Answer), (wish, done)
        return done.plan

    def finish(self, plan: Plan) -> None:
        """A plan goes through its phases; its targets hold what its sources held."""
        if plan.namespace == PLACEMENT_NAMESPACE:
            self.finish_placement(plan)
            return
        for before, after in ((1, 2), (2, 3), (3, 4)):
            done = self.state.apply(c.Advance(plan.id, Phase(before), Phase(after), self.now_ms))
            assert isinstance(done, Answer), done
            assert done.changed
        loads = [self.shards.pop(source.group) for source in plan.sources]
        whole = sum(load.bytes for load in loads)
        ops = sum(load.ops_per_s for load in loads)
        parts = len(plan.targets)
        for target in plan.targets:
            before = loads[0].leader
            leader = before if before in target.replicas and plan.kind is Kind.MOVE else target.replicas[0]
            self.shards[target.group] = ShardLoad(leader, 1, whole // parts, ops // parts)

    def finish_placement(self, plan: Plan) -> None:
        """The placement group is sealed, and the group that goes on finds its plan to be done."""
        self.state.apply(c.Advance(plan.id, Phase.PREPARE, Phase.SEAL, self.now_ms))
        sealed = self.state.apply(Seal(plan.id, True, plan.targets), (9, 1))
        assert isinstance(sealed, Answer), sealed
        self.state = self.state.cut(b"", b"", plan.sources[0].group)
        done = self.state.apply(c.Advance(plan.id, Phase.RETIRE, Phase.DONE, self.now_ms))
        assert isinstance(done, Answer), done

    def run(self, rounds_max: int = 2000) -> int:
        """Does what is wished until nothing is; how many rounds that took."""
        for done in range(rounds_max):
            wishes = self.propose().wishes
            if not wishes:
                return done
            plans = [self.carry_out(wish) for wish in wishes]
            for plan in plans:
                if plan is not None:
                    self.finish(plan)
        raise AssertionError(f"the planner still wishes after {rounds_max} rounds: {wishes}")


def node(number: int, zone: str = "", weight: int = 100) -> Node:
    """A node on a host of its own."""
    return Node(number, f"10.0.0.{number}:7400", zone=zone, weight=weight, incarnation=1000 + number)


def cluster(nodes: int = 3, shards: int = 2, zones: int = 0, replicas: int = 3, kept: bool = True) -> World:
    """A namespace `default`, cut at two-byte keys, replicas in turn."""
    names = [node(i + 1, f"z{i % zones}" if zones else "") for i in range(nodes)]
    cuts = [b"", *((i * 65536 // shards).to_bytes(2, "big") for i in range(1, shards)), b""]
    rows = []
    for i in range(shards):
        turn = [names[(i + k) % nodes].id for k in range(min(replicas, nodes))]
        rows.append(ShardRow(2 + i, "default", cuts[i], cuts[i + 1], tuple(turn), 1, kept=kept and i > 0))
    return World(names, [Namespace("default", replicas=replicas)], rows)


def refusal(result: object) -> Refusal:
    """The result, which must be a refusal."""
    assert isinstance(result, Refusal), result
    return result


def move(world: World, group: int, *replicas: int) -> c.StartPlan:
    """A command to move a shard, or the placement group."""
    row = world.state.place_of(group)
    assert row is not None
    shape = Shape(Kind.MOVE, (group,), (Part(row.start, row.end, replicas),), world.state.epoch)
    return c.StartPlan(shape, "test", world.now_ms)
