"""The shape of a plan that is not one yet: which shards it would end, which it would start.

A planner or an admin verb makes a shape; `plans.judge` says whether it may become a plan, when it is asked
for and again when the command is applied.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast_node.placement.plan import Kind


class Part(NamedTuple):
    """A target without its group, which is given when the plan starts. replicas: the first is to lead."""

    start: bytes
    end: bytes
    replicas: tuple[int, ...]


class Shape(NamedTuple):
    """What a plan would do.

    Attributes:
        sources: groups to end, in any order.
        targets: in key order.
        epoch: the map's when it was planned.
    """

    kind: Kind
    sources: tuple[int, ...]
    targets: tuple[Part, ...]
    epoch: int
