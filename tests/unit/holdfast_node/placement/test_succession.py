"""Who sees to it that a moved placement group comes to be."""

from __future__ import annotations

from collections.abc import Callable

from holdfast_node.cache.seal import Seal
from holdfast_node.placement.commands import Advance, JoinNode, StartPlan
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from holdfast_node.placement.succession import Succession
from holdfast_node.talk import CopyOrder, Word

from tests.unit.holdfast_node.placement.test_replica import led


def test_new_nodes_are_told_to_copy_for_as_long_as_the_sealed_state_is_here() -> None:
    """Those that had the group make theirs of the state they have; it ends when it is over."""
    replica, group = led()
    target = Part(b"", b"", (1, 4))
    replica.propose(JoinNode("127.0.0.1:7404", 4), lambda _: None)
    group.committed()
    shape = Shape(Kind.MOVE, (1,), (target,), replica.state.epoch)
    replica.propose(StartPlan(shape, "", 1), lambda _: None)
    replica.propose(Advance(1, Phase.PREPARE, Phase.SEAL, 1), lambda _: None)
    group.committed()
    replica.propose(Seal(1, True, replica.state.plans[1].targets), lambda _: None)
    group.committed()
    said: list[tuple[int, Word]] = []
    timers: list[Callable[[], None]] = []
    over: list[bool] = []
    Succession(
        replica,
        call_later=lambda _, act: timers.append(act),
        tell=lambda node, word: said.append((node, word)),
        is_over=lambda: bool(over),
    )

    for _ in range(2):
        timers.pop()()

    rate = replica.state.planning.copy_bytes_per_s
    order = CopyOrder(1, "", replica.state.plans[1].targets[0], 1, (1, 2, 3), rate)
    assert said == [(4, order)] * 2
    over.append(True)
    timers.pop()()
    assert (len(said), timers) == (2, [])
