"""Sees to it that the group that goes on comes to be, from a node with a sealed replica of the placement
group.

Between the Seal and the first leader of the group that goes on nobody conducts. A new node that has lost
its copy just then - it started again before it was born there - would wait for an order that nobody
gives, and without it the new group may have no majority; also when it was led for a moment, and lost a node.
So every node with the sealed state says this one order, again and again, for as long as it has that state:
until every replica of the new group stands on its own.

Invariant: it says nothing but that the sealed group is to be copied under the id that its Seal names. That is
harmless at any later time: whoever was born under that id, or ended it, does nothing; and a replica that
is made too late is of a group whose others have ended, or had everything that was decided.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast_node import talk
from holdfast_node.placement.replica import PlacementReplica

SAY_EVERY = 0.5


class Succession:
    """See the module docstring. Begins at once, and ends by itself."""

    def __init__(
        self,
        replica: PlacementReplica,
        *,
        call_later: Callable[[float, Callable[[], None]], None],
        tell: Callable[[int, talk.Word], None],
        is_over: Callable[[], bool],
    ) -> None:
        """Makes it.

        Args:
            replica: sealed, here.
            call_later: the driver's timer.
            tell: says a word to a node, this one included.
            is_over: the replica is here no more.
        """
        self._replica = replica
        self._call_later = call_later
        self._tell = tell
        self._is_over = is_over
        call_later(SAY_EVERY, self._say)  # the copies that were ready for the Seal need no word

    def _say(self) -> None:
        if self._is_over():
            return
        self._call_later(SAY_EVERY, self._say)  # first: a defect must not end it
        state = self._replica.state
        sealed = state.sealed
        assert sealed is not None, "a Seal is never taken back"
        (target,), holders = sealed.targets, state.placement.replicas
        rate = state.planning.copy_bytes_per_s
        order = talk.CopyOrder(
            sealed.plan, state.placement.namespace, target, state.placement.group, holders, rate
        )
        for node in target.replicas:
            if node not in holders:
                self._tell(node, order)
