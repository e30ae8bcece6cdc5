"""What the policies would do now, and why; also why they do nothing.

Pure: state and reports in, wishes out. Whoever carries them out asks again after each, as every wish
changes what the others see.
Order is precedence: replicas lost, then nodes to be emptied, then cuts and merges, then comfort.
Not here: shapes that a person asks for (by_hand.py), whether a shape may become a plan (plans.judge).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from holdfast_node.placement import balance, leading, merging, replacing, splitting, spreading
from holdfast_node.placement.cluster import Policy
from holdfast_node.placement.content import Content
from holdfast_node.placement.loads import Loads
from holdfast_node.placement.outlook import Outlook, Wish

__all__ = ["Proposals", "Wish", "propose"]

_POLICIES: tuple[tuple[Policy, tuple[Callable[[Outlook], None], ...]], ...] = (
    (Policy.REPLACE, (replacing.replace,)),
    (Policy.DRAIN, (replacing.drain,)),
    (Policy.SPLIT_BY_SIZE, (splitting.by_size,)),
    (Policy.SPLIT_BY_LOAD, (splitting.by_load,)),
    (Policy.MERGE, (merging.merge,)),
    (Policy.BALANCE, (spreading.spread, balance.even_bytes, leading.even_leaders)),
)


class Proposals(NamedTuple):
    """One round of planning.

    Attributes:
        wishes: in the order in which they are to be done; all of them fit together.
        idle: why nothing more is done, a line for a person each, beginning with the policy.
        cancels: (plan, why): open plans that wait for a lost node.
    """

    wishes: tuple[Wish, ...]
    idle: tuple[str, ...]
    cancels: tuple[tuple[int, str], ...]


def propose(content: Content, loads: Loads, now_ms: int) -> Proposals:
    """What the policies that are not paused would do now."""
    outlook = Outlook(content, loads, now_ms)
    paused = content.planning.paused
    for policy, parts in _POLICIES:
        if policy in paused:
            outlook.say_idle(policy, "paused")
            continue
        for part in parts:
            part(outlook)
    cancels = () if Policy.REPLACE in paused else tuple(replacing.hopeless(outlook))
    return Proposals(tuple(outlook.wishes), tuple(outlook.idle), cancels)
