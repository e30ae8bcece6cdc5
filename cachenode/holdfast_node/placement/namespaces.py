"""How namespaces are made, changed and dropped.

Invariant: a namespace's shards cover all its keys from the command that makes it on, each with a group id
that was never given before.
A dropped namespace's groups leave the map at once; their replicas are ended when nodes hear of it. A write
that such a replica still takes meanwhile is lost with the namespace.
Not here: on which nodes the first shards are (placing.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from holdfast.errors import Reason
from holdfast.keys import KEY_BYTES_MAX, NAMESPACE

from holdfast_node.config import SHARDS_MAX
from holdfast_node.limits import MIB
from holdfast_node.placement.answer import Answer, Result
from holdfast_node.placement.cluster import Namespace, Refusal, ShardRow
from holdfast_node.placement.commands import CreateNamespace, DeleteNamespace, SetNamespace
from holdfast_node.placement.content import Content
from holdfast_node.placement.shape import Part

REPLICAS_MAX = 7
NAMESPACES_MAX = 256
# The budget as configuration bounds it.
_BOUNDS = {"budget_bytes": (MIB, MIB * MIB), "replicas": (1, REPLICAS_MAX), "unit_parts": (0, 16)}


def create(content: Content, c: CreateNamespace) -> Result:
    """Makes a namespace with its first shards."""
    problem = creation_problem(content, c.namespace, c.shards)
    if problem is not None:
        return problem
    content.namespaces[c.namespace.name] = c.namespace
    epoch = content.step_epoch()
    for part in c.shards:
        group = content.next_group
        content.next_group += 1
        content.shards[group] = ShardRow(
            group, c.namespace.name, part.start, part.end, part.replicas, epoch, kept=bool(part.start)
        )
    explanation = f"namespace {c.namespace.name} has {len(c.shards)} shards"
    return Answer(epoch, explanation, namespace=c.namespace)


def creation_problem(content: Content, namespace: Namespace, parts: Sequence[Part]) -> Refusal | None:
    """Why a namespace with these shards cannot be made."""
    problem = namespace_problem(namespace)
    if problem is not None:
        return problem
    if namespace.name in content.namespaces:
        return _invalid("namespace.name", f"there is a namespace {namespace.name!r} already")
    if len(content.namespaces) >= NAMESPACES_MAX:
        return _invalid("namespace.name", f"there are {NAMESPACES_MAX} namespaces, the most there may be")
    if len(content.shards) + len(parts) > SHARDS_MAX:
        return _invalid(
            "shards", f"the cluster has {len(content.shards)} shards; with {len(parts)} more it were above"
            f" {SHARDS_MAX}"
        )  # fmt: skip
    return tiling_problem(namespace, parts, b"", b"") or _replicas_problem(content, parts)


def tiling_problem(namespace: Namespace, parts: Sequence[Part], start: bytes, end: bytes) -> Refusal | None:
    """Why the parts do not cover [start, end) once, in order, without separating a unit."""
    if not parts or parts[0].start != start or parts[-1].end != end:
        return _invalid("cuts", "the parts do not begin and end where the whole does")
    for left, right in itertools.pairwise(parts):
        cut = right.start
        if left.end != cut or not left.start < cut or (end and cut >= end):
            return _invalid(
                "cuts", "cuts must be in ascending order of their bytes, each once, inside the range"
            )
        problem = cut_problem(namespace, cut)
        if problem is not None:
            return problem
    return None


def cut_problem(namespace: Namespace, cut: bytes) -> Refusal | None:
    """Why no shard may begin at `cut`."""
    if len(cut) > KEY_BYTES_MAX:
        return _invalid("cuts", f"a cut is at most {KEY_BYTES_MAX} bytes, not {len(cut)}")
    if namespace.units.may_cut(cut):
        return None
    if namespace.hashed:
        return _invalid("cuts", "the namespace is hashed: a cut is at most 8 bytes of the hash space")
    unit = namespace.units.unit_of(cut)
    return _invalid(
        "cuts",
        f"{cut!r} lies inside the unit {unit!r}, which is never separated: cut at {unit!r}, or after it",
    )


def _replicas_problem(content: Content, parts: Sequence[Part]) -> Refusal | None:
    for part in parts:
        known = all(node in content.members() for node in part.replicas)
        if not part.replicas or len(set(part.replicas)) != len(part.replicas) or not known:
            return _invalid("shards", f"{list(part.replicas)} are not different nodes of this cluster")
    return None


def namespace_problem(namespace: Namespace) -> Refusal | None:
    """What is wrong with a namespace's settings."""
    name = namespace.name
    if not NAMESPACE.match(name):
        return _invalid(
            "namespace.name",
            f"{name[:80]!r} is not 1..64 of [a-z0-9._-], beginning and ending with [a-z0-9]",
        )
    for field, (least, most) in _BOUNDS.items():
        value = getattr(namespace, field)
        if not least <= value <= most:
            return _invalid(f"namespace.{field}", f"must be {least}..{most}, not {value}")
    if len(namespace.unit_separator) != 1:
        return _invalid("namespace.unit_separator", "must be one byte")
    return None


def set_namespace(content: Content, c: SetNamespace) -> Result:
    """Changes a namespace's policy."""
    found = content.namespaces.get(c.name)
    if found is None:
        return unknown_namespace(content, c.name)
    wanted = {name: value for name, value in c._asdict().items() if name != "name" and value is not None}
    changed = found._replace(**wanted)
    problem = namespace_problem(changed)
    if problem is not None:
        return problem
    if changed == found:
        return Answer(content.epoch, "nothing changes", changed=False, namespace=found)
    content.namespaces[c.name] = changed
    said = "; ".join(f"{name}: {getattr(found, name)} -> {value}" for name, value in wanted.items())
    return Answer(content.step_epoch(), f"namespace {c.name}: {said}", namespace=changed)


def delete(content: Content, c: DeleteNamespace) -> Result:
    """Drops a namespace with every key in it."""
    found = content.namespaces.get(c.name)
    if found is None:
        return unknown_namespace(content, c.name)
    rows = content.row(c.name)
    plans = [plan.id for plan in content.plans.values() if plan.namespace == c.name]
    if plans:
        return Refusal(
            Reason.BUSY, f"plan {plans[0]} is under way over its shards: wait for it, or cancel it", "name"
        )
    for row in rows:
        del content.shards[row.group]
    del content.namespaces[c.name]
    return Answer(
        content.step_epoch(), f"namespace {c.name} with its {len(rows)} shards is gone", namespace=found
    )


def unknown_namespace(content: Content, name: str) -> Refusal:
    """There is no such namespace."""
    known = ", ".join(sorted(content.namespaces)[:8]) or "none"
    return Refusal(Reason.UNKNOWN_NAMESPACE, f"there is no namespace {name[:80]!r}; known: {known}", "name")


def _invalid(field: str, message: str) -> Refusal:
    return Refusal(Reason.INVALID, message, field)
