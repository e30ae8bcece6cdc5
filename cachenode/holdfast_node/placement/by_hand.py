"""Shapes that a person asks for: split, merge, move; each refused with the reason and what to do instead.

What depends only on what is replicated is judged again when the plan starts (plans.judge); what depends on
reports (down, full, without a majority) is judged here alone, as reports are nobody's promise.
Not here: shapes that a policy wishes (planner.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import Reason
from holdfast.keys import KeyRange

from holdfast_node.placement.cluster import Refusal, ShardRow, ids
from holdfast_node.placement.content import Content
from holdfast_node.placement.loads import Loads, ShardLoad
from holdfast_node.placement.namespaces import cut_problem
from holdfast_node.placement.nodes import unknown_node
from holdfast_node.placement.plan import Kind
from holdfast_node.placement.plans import judge, merge_problem, source_problem
from holdfast_node.placement.shape import Part, Shape


class Desk:
    """Answers the admin verbs from one moment's state and reports."""

    def __init__(self, content: Content, loads: Loads, now_ms: int) -> None:
        self._content = content
        self._loads = loads
        self._now_ms = now_ms

    # ---- split -----------------------------------------------------------------------------------------

    def split_at(self, group: int, key: bytes) -> Shape | Refusal:
        """In two at `key`, with which the right part begins."""
        if self._is_hashed(group):
            return Refusal(
                Reason.INVALID,
                f"shard {group} is of a hashed namespace, which no key parts: name a place (`--at-hash`), or"
                " halve it (`--middle`, `--by-load`)",
                "key",
            )
        return self._split_at(group, key, "key")

    def split_at_place(self, group: int, place: bytes) -> Shape | Refusal:
        """In two at a place of the hash space, with which the right part begins."""
        if group in self._content.shards and not self._is_hashed(group):
            message = f"shard {group} is not of a hashed namespace: name a key (`--at`)"
            return Refusal(Reason.INVALID, message, "place")
        return self._split_at(group, place, "place")

    def _is_hashed(self, group: int) -> bool:
        row = self._content.shards.get(group)
        return row is not None and self._content.namespaces[row.namespace].hashed

    def _split_at(self, group: int, cut: bytes, field: str) -> Shape | Refusal:
        row = self._shard(group, Kind.SPLIT)
        if isinstance(row, Refusal):
            return row
        shown = _place(cut) if self._is_hashed(group) else repr(cut)
        if cut not in KeyRange(row.start, row.end) or cut == row.start:
            return Refusal(
                Reason.INVALID,
                f"{shown} does not lie inside shard {group}, which is {self._range(row)}: the cut must be"
                " after its beginning and before its end",
                field,
            )
        problem = cut_problem(self._content.namespaces[row.namespace], cut)
        if problem is not None:
            return problem._replace(field=field)
        left = self._led_as_now(row)
        others = [node for node in row.replicas if node != left[0] and self._loads.node(node).is_up]
        # The right part is led by another node, so that both have it easier.
        first = (others or left)[0]
        right = (first, *(node for node in row.replicas if node != first))
        return self._judged(Kind.SPLIT, (group,), (Part(row.start, cut, left), Part(cut, row.end, right)))

    def split_middle(self, group: int) -> Shape | Refusal:
        """In two parts of about the same bytes."""
        load = self._reported(group, Kind.SPLIT)
        if isinstance(load, Refusal):
            return load
        if not load.middle:
            return Refusal(
                Reason.INVALID,
                f"shard {group} has {load.keys} keys of {load.bytes} bytes, which no cut parts: they are"
                " one unit, or too few; name a key with `--at`, or a place with `--at-hash`",
                "middle",
            )
        return self._split_at(group, load.middle, "middle")

    def split_by_load(self, group: int) -> Shape | Refusal:
        """In two parts of about the same load."""
        load = self._reported(group, Kind.SPLIT)
        if isinstance(load, Refusal):
            return load
        if load.hot_key is not None:
            return Refusal(
                Reason.INVALID,
                f"most of shard {group}'s load is on one key, {load.hot_key!r}: no cut halves that",
                "by_load",
            )
        if not load.middle_by_load:
            return Refusal(
                Reason.INVALID,
                f"shard {group} was asked for too little ({load.ops_per_s} operations/s) to know where its"
                " load parts: try `--middle`",
                "by_load",
            )
        return self._split_at(group, load.middle_by_load, "by_load")

    # ---- merge -----------------------------------------------------------------------------------------

    def merge(self, group: int, other: int) -> Shape | Refusal:
        """Two neighbours into one, in any order."""
        rows = []
        for field, number in (("group", group), ("other", other)):
            row = self._shard(number, Kind.MERGE, field)
            if isinstance(row, Refusal):
                return row
            rows.append(row)
        if group == other:
            return Refusal(Reason.INVALID, f"shard {group} is named twice", "other")
        left, right = sorted(rows, key=lambda row: (row.namespace, row.start))
        problem = merge_problem(left, right)
        if problem is not None:
            return problem
        lost = [node for node in left.replicas if self._loads.node(node).down_ms]
        if lost:
            return Refusal(
                Reason.CONDITION_FAILED,
                f"node {lost[0]} is down, and a merge waits for every replica: wait for it, or until it is"
                " replaced",
                "group",
            )
        part = Part(left.start, right.end, self._led_as_now(left))
        return self._judged(Kind.MERGE, (left.group, right.group), (part,))

    # ---- move ------------------------------------------------------------------------------------------

    def move(self, group: int, nodes: Sequence[int]) -> Shape | Refusal:
        """To these nodes, the one to lead first."""
        row = self._shard(group, Kind.MOVE)
        if isinstance(row, Refusal):
            return row
        for node in nodes:
            problem = self._newcomer_problem(row, node, "nodes")
            if problem is not None:
                return problem
        return self._judged(Kind.MOVE, (group,), (Part(row.start, row.end, tuple(nodes)),))

    def move_one(self, group: int, from_node: int, to_node: int) -> Shape | Refusal:
        """The replica on one node to another."""
        row = self._shard(group, Kind.MOVE)
        if isinstance(row, Refusal):
            return row
        if from_node not in row.replicas:
            return Refusal(
                Reason.INVALID,
                f"node {from_node} has no replica of shard {group}; it is on nodes {ids(row.replicas)}",
                "from_node",
            )
        if to_node in row.replicas:
            return Refusal(
                Reason.INVALID,
                f"node {to_node} has a replica of shard {group} already; it is on nodes {ids(row.replicas)}",
                "to_node",
            )
        problem = self._newcomer_problem(row, to_node, "to_node")
        if problem is not None:
            return problem
        wanted = tuple(to_node if node == from_node else node for node in self._led_as_now(row))
        return self._judged(Kind.MOVE, (group,), (Part(row.start, row.end, wanted),))

    def _newcomer_problem(self, row: ShardRow, number: int, field: str) -> Refusal | None:
        """Why no replica can be copied to the node now."""
        if number in row.replicas:
            return None
        node = self._content.nodes.get(number)
        if node is None:
            return unknown_node(self._content, number, field)
        load = self._loads.node(number)
        why = node.why_no_replica(self._now_ms)
        if not why and load.down_ms is None:
            why = "has not been heard of yet: try again in a moment"
        elif not why and load.down_ms:
            why = f"is down, for {load.down_ms} ms: choose another, or wait for it"
        elif not why and load.disk_full:
            why = "is full: its disk takes no writes; choose another, or free space there"
        return Refusal(Reason.CONDITION_FAILED, f"node {number} {why}", field) if why else None

    # ---- for all ---------------------------------------------------------------------------------------

    def _shard(self, group: int, kind: Kind, field: str = "group") -> ShardRow | Refusal:
        problem = source_problem(self._content, group, kind, field)
        row = self._content.place_of(group)
        if problem is not None or row is None:
            assert problem is not None, "a source is there"
            return problem
        load = self._loads.shards.get(group)
        if load is not None and not load.has_quorum:
            return Refusal(
                Reason.NO_QUORUM,
                f"shard {group} has no majority: start its nodes {ids(row.replicas)} first",
                field,
            )
        return row

    def _reported(self, group: int, kind: Kind) -> ShardLoad | Refusal:
        row = self._shard(group, kind)
        if isinstance(row, Refusal):
            return row
        load = self._loads.shards.get(group)
        if load is None:
            return Refusal(
                Reason.LAGGING,
                f"shard {group} has not reported its figures yet: try again in a moment",
                "group",
            )
        return load

    def _range(self, row: ShardRow) -> str:
        hashed = self._content.namespaces[row.namespace].hashed
        start, end = (_place(b) if hashed else repr(b) for b in (row.start, row.end))
        return f"[{start}, {end})" if row.end else f"[{start}, to the last key]"

    def _led_as_now(self, row: ShardRow) -> tuple[int, ...]:
        load = self._loads.shards.get(row.group)
        leader = load.leader if load is not None and load.leader in row.replicas else row.replicas[0]
        return (leader, *(node for node in row.replicas if node != leader))

    def _judged(self, kind: Kind, sources: tuple[int, ...], parts: tuple[Part, ...]) -> Shape | Refusal:
        shape = Shape(kind, sources, parts, self._content.epoch)
        return judge(self._content, shape, self._now_ms) or shape


def _place(cut: bytes) -> str:
    return f"place {cut.hex() or '0'}"
