"""Asks for namespaces and their policies.

Knows message classes, like placement.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from holdfast.cli.placement import Placement
from holdfast.cli.placement_plans import word
from holdfast.v1 import placement_pb2 as pb


class NamespaceFacts(NamedTuple):
    """A namespace, its policy and what it holds."""

    name: str
    budget_bytes: int = 0  # of one shard; 0: the default
    eviction: str = "clock"  # clock | noevict
    strict_ttl: bool = False
    replicas: int = 3
    unit_parts: int = 0
    unit_separator: bytes = b"/"
    hashed: bool = False
    shards: int = 0
    keys: int = 0
    bytes: int = 0


class NamespaceChange(NamedTuple):
    """A namespace as it is after a change (or would be), and what changed, for a person."""

    namespace: NamespaceFacts
    explanation: str


async def namespaces(placement: Placement) -> list[NamespaceFacts]:
    """Every namespace, by name."""
    answer = await placement.look("ListNamespaces", pb.ListNamespacesRequest())
    return sorted(map(_facts, answer.namespaces))


async def create(
    placement: Placement, wanted: NamespaceFacts, *, cuts: tuple[bytes, ...], dry_run: bool
) -> NamespaceChange:
    """Makes a namespace with that policy and number of shards."""
    namespace = pb.Namespace(
        name=wanted.name,
        budget_bytes=wanted.budget_bytes,
        eviction=_eviction(wanted.eviction == "noevict"),
        strict_ttl=wanted.strict_ttl,
        replicas=wanted.replicas,
        unit_parts=wanted.unit_parts,
        unit_separator=wanted.unit_separator,
        hashed=wanted.hashed,
    )
    request = pb.CreateNamespaceRequest(namespace=namespace, shards=wanted.shards, cuts=cuts, dry_run=dry_run)
    return _change(await placement.change("CreateNamespace", request))


async def set_policy(
    placement: Placement, name: str, *, budget_bytes: int | None, noevict: bool | None,
    strict_ttl: bool | None, replicas: int | None, dry_run: bool,
) -> NamespaceChange:  # fmt: skip
    """Changes what is named; None: stays."""
    request = pb.SetNamespaceRequest(
        name=name, budget_bytes=budget_bytes, strict_ttl=strict_ttl, replicas=replicas, dry_run=dry_run
    )
    if noevict is not None:
        request.eviction = _eviction(noevict)
    return _change(await placement.change("SetNamespace", request))


async def delete(placement: Placement, name: str, confirm: str, *, dry_run: bool) -> NamespaceChange:
    """Drops a namespace with every key in it."""
    request = pb.DeleteNamespaceRequest(name=name, confirm=confirm, dry_run=dry_run)
    return _change(await placement.change("DeleteNamespace", request))


def _eviction(noevict: bool) -> pb.Namespace.Eviction.ValueType:
    return pb.Namespace.EVICTION_NOEVICT if noevict else pb.Namespace.EVICTION_CLOCK


def _change(answer: Any) -> NamespaceChange:
    return NamespaceChange(_facts(answer.namespace), answer.explanation)


def _facts(message: Any) -> NamespaceFacts:
    eviction = message.eviction or pb.Namespace.EVICTION_CLOCK
    return NamespaceFacts(
        name=message.name,
        budget_bytes=message.budget_bytes,
        eviction=word(pb.Namespace.Eviction, eviction, "EVICTION_"),
        strict_ttl=message.strict_ttl,
        replicas=message.replicas or 3,
        unit_parts=message.unit_parts,
        unit_separator=message.unit_separator or b"/",
        hashed=message.hashed,
        shards=message.shards,
        keys=message.keys,
        bytes=message.bytes,
    )
