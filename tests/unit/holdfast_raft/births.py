"""A group that goes on from another's state, born on nodes of the simulated network."""

from __future__ import annotations

from holdfast_raft.machine import StateMachine
from holdfast_raft.messages import Addressed, NodeMessage
from holdfast_raft.replication import LogLimits

from tests.sim.cluster import Cluster, SimNode
from tests.sim.tape import Tape

MEMBERS = (2, 1, 3)
GROUP = 7
BASE = (40, 3)
"""Index and term at which the state of the born stands."""


class Births(Cluster):
    """Three nodes without a group; `give_birth` makes group 7 from a state at BASE."""

    def __init__(self, seed: int, log_limits: LogLimits | None = None) -> None:
        super().__init__(seed, groups=(), log_limits=log_limits)
        self.groups[GROUP] = MEMBERS
        self.agreed[GROUP] = {}
        self.world.run_for(1.0)

    def make_machine(self, node: SimNode, group: int) -> StateMachine:
        tape = Tape(self.agreed[group])
        tape.items = [b"from the source"]
        return tape

    def give_birth(self, number: int) -> None:
        node = self.nodes[number]
        assert node.driver is not None
        node.machines[GROUP] = self.make_machine(node, GROUP)
        node.driver.create_group(GROUP, MEMBERS, node.machines[GROUP], base=BASE, about=b"a target")

    def give_birth_to_all(self) -> None:
        for number in MEMBERS:
            self.give_birth(number)
        self.elect(GROUP)

    def restart_all(self) -> None:
        for node in self.nodes.values():
            node.lose_power()
        for node in self.nodes.values():
            node.start()

    def watch(self, *kinds: type) -> list[tuple[int, int, Addressed]]:
        """Group messages of these kinds put on their way from now on: (source, target, message)."""
        seen: list[tuple[int, int, Addressed]] = []
        promises = self.promises.observe

        def observe(source: int, target: int, message: NodeMessage) -> None:
            promises(source, target, message)
            if isinstance(message, Addressed) and isinstance(message.body, kinds):
                seen.append((source, target, message))

        self.network.observe = observe
        return seen
