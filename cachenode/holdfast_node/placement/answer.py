"""What a command of the placement group is answered: done, or refused with the reason."""

from __future__ import annotations

from typing import NamedTuple

from holdfast_node.placement.cluster import Namespace, Node, Planning, Refusal
from holdfast_node.placement.plan import Plan


class Answer(NamedTuple):
    """It is done, or it was so already.

    Attributes:
        epoch: the map's now.
        explanation: what changed, for a person.
        changed: False: everything was so already.
        node, namespace, plan, planning: what the command was about, as it is now.
    """

    epoch: int
    explanation: str = ""
    changed: bool = True
    node: Node | None = None
    namespace: Namespace | None = None
    plan: Plan | None = None
    planning: Planning | None = None


Result = Answer | Refusal
