"""Which nodes a shard should be on: distinct zones first, then distinct hosts, then room.

Invariant: a choice depends on ids and figures only, never on the order in which nodes were met.
Not here: when a shard should be elsewhere (the policies' modules).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from holdfast.errors import Reason
from holdfast.units import even_cuts

from holdfast_node.placement.cluster import Namespace, Node, Refusal, ids
from holdfast_node.placement.commands import CreateNamespace
from holdfast_node.placement.content import Content
from holdfast_node.placement.loads import Loads
from holdfast_node.placement.namespaces import creation_problem
from holdfast_node.placement.outlook import SHARD_BYTES, Outlook
from holdfast_node.placement.shape import Part


def crowding(nodes: Mapping[int, Node], replicas: Iterable[int]) -> tuple[int, int]:
    """Pairs of replicas that would fail together: in one zone, on one host. Less is better."""
    chosen = [nodes[node] for node in replicas]
    pairs = list(itertools.combinations(chosen, 2))
    return (
        sum(bool(a.zone) and a.zone == b.zone for a, b in pairs),
        sum(a.host == b.host for a, b in pairs),
    )


def filled_up(
    nodes: Mapping[int, Node],
    stays: Sequence[int],
    takers: Iterable[Node],
    count: int,
    held: Mapping[int, int],
) -> tuple[int, ...] | None:
    """`stays` with the best of the takers, `count` in all; None: there are not enough."""
    chosen = list(stays)
    free = {node.id for node in takers} - set(chosen)
    while len(chosen) < count:
        if not free:
            return None
        best = min(free, key=lambda n: (crowding(nodes, [*chosen, n]), held[n] / nodes[n].weight, n))
        chosen.append(best)
        free.discard(best)
    return tuple(chosen)


def replicas_wanted(namespace: Namespace, present: int, available: int) -> int:
    """How many replicas a shard should have, given how many nodes could hold one.

    While there are too few nodes: an odd number, as an even one survives no more losses; never fewer than
    there are.
    """
    if available >= namespace.replicas:
        return namespace.replicas
    odd = available if available % 2 else available - 1
    return max(odd, min(present, namespace.replicas), 1)


def new_namespace(
    content: Content,
    loads: Loads,
    now_ms: int,
    namespace: Namespace,
    shards: int = 1,
    cuts: Sequence[bytes] = (),
) -> CreateNamespace | Refusal:
    """The command that makes a namespace: its shards by `cuts`, or (hashed) evenly; placed by room."""
    if namespace.hashed and not cuts:
        cuts = even_cuts(max(1, shards))
    if shards > 1 and len(cuts) + 1 != shards:
        return Refusal(
            Reason.INVALID, f"{shards} shards take {shards - 1} cuts, not {len(cuts)}: name the keys", "cuts"
        )
    outlook = Outlook(content, loads, now_ms)
    held = outlook.held()
    takers = [node for node in outlook.participants() if not loads.node(node.id).disk_full]
    count = replicas_wanted(namespace, 0, len(takers))
    parts: list[Part] = []
    for start, end in itertools.pairwise((b"", *cuts, b"")):
        chosen = filled_up(content.nodes, (), takers, count, held)
        if chosen is None:
            down = ids(sorted(content.members()))
            return Refusal(Reason.NO_QUORUM, f"none of the nodes {down} can take a replica now", "replicas")
        # Who is chosen first leads: turn by turn, or the roomiest node would lead everything.
        turn = len(parts) % len(chosen)
        parts.append(Part(start, end, (*chosen[turn:], *chosen[:turn])))
        for node in chosen:
            held[node] += SHARD_BYTES
    return creation_problem(content, namespace, parts) or CreateNamespace(namespace, tuple(parts))
