"""How nodes come, change and go.

Invariants:
- One id belongs to one incarnation for ever: whoever comes with a new data directory is a new node, and the
  node whose address it serves at is gone.
- A member's address is its own.
Not here: whether a node is up (loads.py).
"""

from __future__ import annotations

from collections.abc import Collection

from holdfast.errors import Reason

from holdfast_node.config import NODES_MAX
from holdfast_node.placement.answer import Answer, Result
from holdfast_node.placement.cluster import WEIGHT_USUAL, Node, Refusal, ids
from holdfast_node.placement.commands import AddNode, JoinNode, RemoveNode, SetNode
from holdfast_node.placement.content import Content

NODE_ID_MAX = 65_535
WEIGHT_MAX = 10_000
LABELS_MAX = 64
TEXT_BYTES_MAX = 256


# ---- joining -------------------------------------------------------------------------------------------


def join(content: Content, c: JoinNode) -> Result:
    """A node says that it is there: it keeps its id, or is given one."""
    problem = _text_problem(c.address, c.zone, c.labels, c.weight)
    if problem is None and not c.incarnation:
        problem = Refusal(
            Reason.INVALID, "a node without incarnation: it has no data directory", "incarnation"
        )
    if problem is not None:
        return problem
    known = _known(content, c)
    if isinstance(known, Refusal):
        return known
    there = content.at_address(c.address)
    if known is not None:
        return _came_back(content, c, known, there)
    if there is not None and there.expected:
        return _arrived(content, c, there)
    refusal = _no_room(content)
    if refusal is not None and there is None:
        return refusal
    if there is not None:
        content.nodes[there.id] = there._replace(gone=True)
    node = _give_id(
        content, Node(0, c.address, c.http, c.zone, c.labels, c.weight or WEIGHT_USUAL, c.incarnation)
    )
    instead = f", in place of node {there.id}, whose data directory is gone" if there is not None else ""
    return Answer(content.step_epoch(), f"node {node.id} has joined{instead}", node=node)


def _known(content: Content, c: JoinNode) -> Node | Refusal | None:
    """The node that it is, by its incarnation or by the id it was given; None: a new one."""
    found = next((n for n in content.nodes.values() if n.incarnation == c.incarnation), None)
    if found is None and c.node:
        claimed = content.nodes.get(c.node)
        if claimed is None:
            return Refusal(
                Reason.CONDITION_FAILED,
                f"node {c.node} was removed from this cluster: to join as a new one, start it with an empty"
                " data directory",
                "node",
            )
        # A node that configuration named: its incarnation becomes known when it first says so.
        found = claimed if not claimed.incarnation and not claimed.expected else None
    if found is not None and found.gone:
        return Refusal(
            Reason.CONDITION_FAILED,
            f"node {found.id} was given up when another node joined at {found.address}: to join as a new one,"
            " start it with an empty data directory",
            "incarnation",
        )
    if found is not None and c.node not in (0, found.id):
        return Refusal(
            Reason.INVALID, f"this data directory is node {found.id}'s, not node {c.node}'s", "node"
        )
    return found


def _came_back(content: Content, c: JoinNode, known: Node, there: Node | None) -> Result:
    """The same node again; zone, labels and weight are the operators' since it first joined."""
    if there is not None and there.id != known.id:
        return Refusal(
            Reason.CONDITION_FAILED,
            f"{c.address} is node {there.id}'s address: serve at another, or remove that node first",
            "address",
        )
    node = known._replace(address=c.address, http=c.http or known.http, incarnation=c.incarnation)
    if node == known:
        return Answer(content.epoch, f"node {node.id} is known", changed=False, node=node)
    content.nodes[node.id] = node
    # An incarnation that becomes known is no news for anybody.
    if node._replace(incarnation=0) != known._replace(incarnation=0):
        content.step_epoch()
    return Answer(content.epoch, f"node {node.id} is at {node.address}", node=node)


def _arrived(content: Content, c: JoinNode, expected: Node) -> Result:
    node = expected._replace(
        http=c.http,
        zone=expected.zone or c.zone,
        labels=tuple(sorted((dict(c.labels) | dict(expected.labels)).items())),
        incarnation=c.incarnation,
        expected=False,
    )
    content.nodes[node.id] = node
    return Answer(content.step_epoch(), f"node {node.id} has joined", node=node)


def _give_id(content: Content, node: Node) -> Node:
    node = node._replace(id=content.next_node)
    content.next_node += 1
    content.nodes[node.id] = node
    return node


def _no_room(content: Content) -> Refusal | None:
    living = sum(not node.gone for node in content.nodes.values())
    if living >= NODES_MAX:
        return Refusal(
            Reason.CONDITION_FAILED,
            f"the cluster has {living} nodes, the most there may be: remove one that is not needed",
        )
    if content.next_node > NODE_ID_MAX:
        return Refusal(Reason.CONDITION_FAILED, f"all {NODE_ID_MAX} node ids have been given")
    return None


def _text_problem(
    address: str, zone: str, labels: tuple[tuple[str, str], ...], weight: int
) -> Refusal | None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        return Refusal(Reason.INVALID, f"{address!r} is not HOST:PORT", "address")
    if weight > WEIGHT_MAX:
        return Refusal(Reason.INVALID, f"weight must be 0..{WEIGHT_MAX}, not {weight}", "weight")
    if len(labels) > LABELS_MAX:
        return Refusal(Reason.INVALID, f"at most {LABELS_MAX} labels, not {len(labels)}", "labels")
    for text in (address, zone, *(text for label in labels for text in label)):
        if len(text.encode()) > TEXT_BYTES_MAX:
            return Refusal(
                Reason.INVALID, f"{text[:20]!r}... is longer than {TEXT_BYTES_MAX} bytes", "labels"
            )
    return None


# ---- by the operator's word ----------------------------------------------------------------------------


def add(content: Content, c: AddNode) -> Result:
    """A node is expected at an address."""
    there = content.at_address(c.address)
    problem = _text_problem(c.address, c.zone, c.labels, c.weight)
    if problem is None and there is not None and not there.expected:
        problem = Refusal(
            Reason.CONDITION_FAILED,
            f"{c.address} is node {there.id}'s address; a node that lost its data directory need not be"
            " added: start it with `holdfast serve --join`",
            "address",
        )
    if problem is None and there is None:
        problem = _no_room(content)
    if problem is not None:
        return problem
    wanted = Node(0, c.address, "", c.zone, c.labels, c.weight or WEIGHT_USUAL, expected=True)
    if there is not None:
        node = wanted._replace(id=there.id)
        content.nodes[node.id] = node
    else:
        node = _give_id(content, wanted)
    return Answer(
        content.epoch,
        f"node {node.id} is expected: start it with `holdfast serve --join` at {c.address}",
        changed=node != there,
        node=node,
    )


def set_node(content: Content, c: SetNode) -> Result:
    """Changes a node's standing."""
    node = content.nodes.get(c.node)
    if node is None:
        return unknown_node(content, c.node, "node")
    labels = {name: value for name, value in node.labels if name not in c.drop_labels} | dict(c.set_labels)
    changed = node._replace(
        cordoned_until_ms=node.cordoned_until_ms if c.cordoned_until_ms is None else c.cordoned_until_ms,
        draining=node.draining if c.draining is None else c.draining,
        weight=node.weight if c.weight is None else c.weight,
        zone=node.zone if c.zone is None else c.zone,
        labels=tuple(sorted(labels.items())),
    )
    problem = _text_problem(changed.address, changed.zone, changed.labels, changed.weight)
    if problem is not None:
        return problem
    content.nodes[node.id] = changed
    if changed.zone != node.zone:
        content.step_epoch()
    return Answer(content.epoch, _changes(content, node, changed), changed=changed != node, node=changed)


def _changes(content: Content, before: Node, after: Node) -> str:
    """What differs, for a person."""
    said = [
        f"{name}: {getattr(before, name)!r} -> {getattr(after, name)!r}"
        for name in ("weight", "zone", "labels")
        if getattr(before, name) != getattr(after, name)
    ]
    if before.cordoned_until_ms != after.cordoned_until_ms:
        said.append("cordoned" if after.cordoned_until_ms else "no longer cordoned")
    if before.draining != after.draining:
        replicas = len(content.groups_on(after.id))
        said.append(f"its {replicas} replicas are moved away" if after.draining else "no longer drained")
    return f"node {after.id}: " + ("; ".join(said) or "nothing changes")


def remove(content: Content, c: RemoveNode) -> Result:
    """Forgets a node that holds nothing."""
    problem = removal_problem(content, c.node)
    if problem is not None:
        return problem
    node = content.nodes.pop(c.node)
    if not node.expected:
        content.step_epoch()
    return Answer(content.epoch, f"node {node.id} is forgotten; its id is never used again", node=node)


def removal_problem(content: Content, node: int, down: Collection[int] = ()) -> Refusal | None:
    """Why a node cannot be forgotten, and what to do first. down: nodes known not to answer."""
    found = content.nodes.get(node)
    if found is None:
        return unknown_node(content, node, "node")
    groups = content.groups_on(node)
    lost = [group for group in groups if _breaks(content, content.shards[group].replicas, node, down)]
    drain = (
        f"wait until they are replaced (`holdfast node show {node}`)"
        if found.gone or found.draining
        else f"move them away first: `holdfast node drain {node}`"
    )
    if lost:
        return _held(f"removing node {node} would break the majority of shards {ids(lost)}: {drain}")
    if groups:
        return _held(f"node {node} holds replicas of {len(groups)} shards ({ids(groups)}): {drain}")
    if node in content.placement.replicas:
        return _held(f"node {node} holds a replica of the placement group: {drain}")
    plans = content.plans_for(node)
    if plans:
        return _held(f"plans {ids(plans)} are not done with node {node}: wait for them, or cancel them")
    return None


def _held(message: str) -> Refusal:
    return Refusal(Reason.CONDITION_FAILED, message, "node")


def _breaks(content: Content, replicas: tuple[int, ...], node: int, down: Collection[int]) -> bool:
    left = [n for n in replicas if n != node and n not in down and not content.nodes[n].gone]
    return len(left) <= len(replicas) // 2


def unknown_node(content: Content, node: int, field: str) -> Refusal:
    """There is no such node."""
    known = ids(sorted(content.nodes)) or "none"
    return Refusal(Reason.INVALID, f"there is no node {node}; known: {known}", field)
