"""The placement group's state machine: commands in, answers out.

`apply` is total and deterministic: what a command says wrongly is a `Refusal`, and a refused command
changes nothing. The one exception is an entry that cannot be read, which stops the replica.
Invariants: those of content.py; restore(image(s)) equals s under every further command.
Not here: the rules of each noun (nodes.py, namespaces.py, plans.py, ending.py), which plans are good
(planner.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.errors import Reason

from holdfast_node.cache.seal import Abort, Seal
from holdfast_node.placement import ending, namespaces, nodes, plans
from holdfast_node.placement.answer import Answer, Result
from holdfast_node.placement.cluster import REPLICAS_USUAL, Refusal, ids
from holdfast_node.placement.commands import (
    AddNode,
    Advance,
    Bootstrap,
    CancelPlan,
    Command,
    CreateNamespace,
    DeleteNamespace,
    JoinNode,
    RemoveNode,
    SetNamespace,
    SetNode,
    SetPlanning,
    StartPlan,
    decode,
)
from holdfast_node.placement.content import Content
from holdfast_node.placement.image import Builder, Image
from holdfast_node.placement.shape import Part

__all__ = ["REPLICAS_USUAL", "PlacementState"]


class PlacementState(Content):
    """See the module docstring."""

    def apply_entry(self, data: bytes, place: tuple[int, int] = (0, 0)) -> Result:
        """Applies an entry, which stands at (index, term) in the log. Raises UnknownEntryError."""
        return self.apply(decode(data), place)

    def apply(self, command: Command, place: tuple[int, int] = (0, 0)) -> Result:
        """Applies a command; a Refusal changes nothing. place: of its entry, which a Seal records."""
        if not self.epoch and not isinstance(command, Bootstrap):
            return Refusal(Reason.CONDITION_FAILED, "the cluster has no map yet: its first nodes make one")
        if isinstance(command, Seal):
            return ending.seal(self, command, place)
        if isinstance(command, Abort):
            return ending.abort(self, command)
        return self._moved() or _RULES[type(command)](self, command)

    def _moved(self) -> Refusal | None:
        """Why a sealed state takes no command; whoever asks the group that goes on may be answered
        otherwise.
        """
        if self.sealed is None:
            return None
        target = self.sealed.targets[0]
        return Refusal(
            Reason.NOT_LEADER,
            f"the placement group has moved: group {target.group} on nodes {ids(target.replicas)} goes on",
        )

    def tried(self, command: Command) -> Result:
        """What apply would answer now; changes nothing."""
        copy = PlacementState()
        self.copy_into(copy)
        return copy.apply(command)

    def cut(self, start: bytes, end: bytes, source: int) -> PlacementState:  # noqa: ARG002 - a shard's need them
        """What the group that goes on begins with; this is the sealed state.

        The same at any later time and on every replica: the Seal is all that is added.
        """
        state = PlacementState()
        self.copy_into(state)
        ending.go_on(state)
        return state

    def builder(self) -> Builder:
        """Begins a restore; `PlacementState.restored` makes the state of it."""
        return Builder()

    def shed(self, count: int) -> bool:  # noqa: ARG002 - the contract's
        """It is small, and goes when it goes."""
        return False

    def freeze(self) -> Image:
        """An image of this moment; later commands do not change it."""
        return Image(self)

    @staticmethod
    def restored(builder: Builder) -> PlacementState:
        """The state that a finished builder holds."""
        state = PlacementState()
        builder.content.copy_into(state)
        return state

    def digest(self) -> str:
        """Of everything kept; equal states have equal digests."""
        *_, digest = self.freeze().digest_steps()
        return digest

    def __repr__(self) -> str:
        return (
            f"<PlacementState epoch {self.epoch}, {len(self.nodes)} nodes, {len(self.shards)} shards,"
            f" {len(self.plans)} plans{', sealed' if self.sealed else ''}>"
        )


def _bootstrap(content: Content, c: Bootstrap) -> Result:
    """The first map; all or nothing."""
    if content.epoch:
        return Answer(content.epoch, "there is a map already", changed=False)
    first = Content()
    first.nodes = {node.id: node for node in c.nodes}
    problem = _bootstrap_problem(first, c)
    if problem is not None:
        return problem
    content.nodes = first.nodes
    content.namespaces = {namespace.name: namespace for namespace in c.namespaces}
    content.shards = {row.group: row._replace(epoch=1, plan=0) for row in c.shards}
    content.placement = content.placement._replace(replicas=c.replicas, epoch=1)
    content.next_node = max(content.nodes) + 1
    content.next_group = max((content.next_group - 1, *content.shards)) + 1
    return Answer(content.step_epoch(), "the cluster has its first map")


def _bootstrap_problem(first: Content, c: Bootstrap) -> Refusal | None:
    named = {namespace.name for namespace in c.namespaces}
    groups = {row.group for row in c.shards} - {first.placement.group}
    good = (
        c.nodes
        and 0 not in first.nodes
        and c.replicas
        and set(c.replicas) <= set(first.nodes)
        and len(groups) == len(c.shards)
        and {row.namespace for row in c.shards} == named
    )
    if not good:
        return Refusal(Reason.INVALID, "the first map names nodes, namespaces or groups twice or not at all")
    for namespace in c.namespaces:
        rows = sorted((row for row in c.shards if row.namespace == namespace.name), key=lambda row: row.start)
        parts = tuple(Part(row.start, row.end, row.replicas) for row in rows)
        problem = namespaces.creation_problem(first, namespace, parts)
        if problem is not None:
            return problem
    return None


def _set_planning(content: Content, c: SetPlanning) -> Result:
    limits = {name: value for name, value in c.limits._asdict().items() if name != "paused" and value}
    paused = content.planning.paused.difference(c.resume).union(c.pause)
    planning = content.planning._replace(paused=paused, **limits)
    problem = planning.problem()
    if problem is not None:
        return problem
    changed = planning != content.planning
    content.planning = planning
    return Answer(content.epoch, changed=changed, planning=planning)


_RULES: dict[type, Callable[[Any, Any], Result]] = {
    Bootstrap: _bootstrap,
    JoinNode: nodes.join,
    AddNode: nodes.add,
    SetNode: nodes.set_node,
    RemoveNode: nodes.remove,
    CreateNamespace: namespaces.create,
    SetNamespace: namespaces.set_namespace,
    DeleteNamespace: namespaces.delete,
    StartPlan: plans.start,
    Advance: plans.advance,
    CancelPlan: plans.cancel,
    SetPlanning: _set_planning,
}
