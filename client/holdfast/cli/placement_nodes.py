"""Asks for changes of nodes: named before they join, cordoned, drained, weighed, forgotten.

Knows message classes, like placement.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from holdfast.cli.placement import NodeFacts, Placement, node_facts
from holdfast.v1 import placement_pb2 as pb

Labels = Iterable[tuple[str, str]]


class NodeChange(NamedTuple):
    """A node as it is after a change (or would be), and what changed, for a person."""

    node: NodeFacts
    explanation: str


async def add(
    placement: Placement, address: str, *, zone: str, labels: Labels, weight: int, dry_run: bool
) -> NodeChange:
    """Names a node that is going to join."""
    request = pb.AddNodeRequest(
        address=address, zone=zone, labels=dict(labels), weight=weight, dry_run=dry_run
    )
    return _change(await placement.change("AddNode", request))


async def set_standing(
    placement: Placement, node: int, *, cordon_ms: int | None = None, draining: bool | None = None,
    weight: int | None = None, zone: str | None = None, labels: Labels = (), drop_labels: Iterable[str] = (),
    dry_run: bool = False,
) -> NodeChange:  # fmt: skip
    """Changes what is named; None: stays."""
    request = pb.SetNodeRequest(
        node=node, cordon_ms=cordon_ms, draining=draining, weight=weight, zone=zone,
        set_labels=dict(labels), drop_labels=tuple(drop_labels), dry_run=dry_run,
    )  # fmt: skip
    return _change(await placement.change("SetNode", request))


async def remove(placement: Placement, node: int, *, dry_run: bool) -> NodeChange:
    """Forgets a node that holds nothing."""
    return _change(await placement.change("RemoveNode", pb.RemoveNodeRequest(node=node, dry_run=dry_run)))


def _change(answer: Any) -> NodeChange:
    return NodeChange(node_facts(answer.node), answer.explanation)
