"""A scripted cluster whose shards split, merge and move under its clients.

What a reshape does to a shard's state (keys, revisions, table of repeats, history) is done here at once; how
far each node has heard of it is the test's choice: a node that is not `aware` has sealed sources and answers
as they do, and tells the old map. The first one that is leads the targets, unless the test says `lead`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from holdfast.errors import Reason
from holdfast.keys import KeyRange
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2

from tests.unit.holdfast.scripted_node import Group, ScriptedCluster, ScriptedNode, refusal

PAUSE_MS = 20


class ReshapedCluster(ScriptedCluster):
    """`told`: how many of the targets a sealed source names, when not all."""

    told = 9

    # ---- acts ----

    def split(self, at: bytes, numbers: tuple[int, int] = (10, 11), **more: Any) -> tuple[Group, Group]:
        """Two groups go on with the shard of `at`, cut there."""
        source = self.group_at(at)
        left = _part(source, numbers[0], source.start, at)
        right = _part(source, numbers[1], at, source.end)
        self._reshaped([source], [left, right], **more)
        return left, right

    def move(self, number: int, nodes: tuple[int, ...], **more: Any) -> Group:
        """Another group on these nodes goes on with the first shard."""
        source = self.groups[0]
        target = _part(source, number, source.start, source.end)
        target.nodes = nodes
        self._reshaped([source], [target], **more)
        return target

    def merge(self, number: int, **more: Any) -> Group:
        """One group goes on with the first two shards."""
        left, right = self.groups[:2]
        target = Group(number, left.start, right.end)
        target.leader, target.nodes = left.leader, left.nodes
        target.store.keys = left.store.keys | right.store.keys
        target.first = target.store.revision = max(left.store.revision, right.store.revision)
        target.stamp_ms = max(left.stamp_ms, right.stamp_ms)
        target.done = left.done | right.done
        target.segments = {source.number: list(source.store.events) for source in (left, right)}
        self._reshaped([left, right], [target], **more)
        return target

    def _reshaped(
        self,
        sources: list[Group],
        targets: list[Group],
        aware: Sequence[int] = (),
        lead: Sequence[int] = (),
    ) -> None:
        """`lead`: who leads each target, and stands first in its descriptor; 0: nobody yet."""
        for at, target in enumerate(targets):
            target.leader = lead[at] if lead else aware[0] if aware else target.leader
            nodes = target.nodes or tuple(node.number for node in self.nodes)
            target.nodes = tuple(sorted(nodes, key=lambda number, first=target.leader: number != first))
        old = list(self.groups)
        self.groups = sorted(
            [*(group for group in old if group not in sources), *targets], key=lambda group: group.start
        )
        for target in targets:
            self._told[target.number] = len(target.store.events)
        for node in self.nodes:
            if node.number not in aware and node.groups is None:
                node.groups = old
        for source in sources:
            source.after = targets
            for node in self.nodes:
                self._cancel_watches(node, source)

    def publish(self) -> None:
        """Every node has the newest map."""
        self.epoch += 1
        for node in self.nodes:
            node.groups = None

    def _cancel_watches(self, node: ScriptedNode, source: Group) -> None:
        for out, number, _, watched in node.watchers:
            if watched is source:
                response = pb.WatchResponse(watch=number, cancelled=self.wrong_shard(source.after))
                if not node.stuck_snapshots:
                    response.point.group, response.point.revision = source.number, source.store.revision
                out.put_nowait(response)
        node.watchers = [watcher for watcher in node.watchers if watcher[3] is not source]

    # ---- what nodes say ----

    def wrong_shard(self, groups: list[Group]) -> types_pb2.Error:
        """The answer of a sealed source: descriptors know no leader, and the epoch of before."""
        shards = [self.shard_message(group) for group in groups[: self.told]]
        for shard in shards:
            shard.leader = 0
        return refusal(Reason.WRONG_SHARD, shards=shards)

    def misplaced(self, node: ScriptedNode, group: Group, operation: pb.Operation) -> Any:
        """A sealed source, a node without a replica, an operation that lies in two shards."""
        if group.merging:
            targets = [self.shard_message(target) for target in group.after]
            return refusal(Reason.BUSY, retry_after_ms=PAUSE_MS, shards=targets)
        if group.after:
            return self.wrong_shard(group.after)
        if group.nodes and node.number not in group.nodes:
            return refusal(Reason.WRONG_SHARD, shards=[self.shard_message(group)])
        if operation.delete.HasField("range"):
            return self._crossing(node, group, operation.delete.range)
        keys = [part.key for part in (*operation.txn.compares, *operation.txn.then)]
        groups = {self.group_at(key, node.groups).number: self.group_at(key, node.groups) for key in keys}
        return self._cross_shard(list(groups.values())) if len(groups) > 1 else None

    def misplaced_watch(self, node: ScriptedNode, group: Group, start: pb.WatchStart) -> Any:
        """The same of a watch."""
        point = getattr(start, "from")
        if group.after and not group.merging:
            return self.wrong_shard(group.after)
        if group.nodes and node.number not in group.nodes:
            return refusal(Reason.WRONG_SHARD, shards=[self.shard_message(group)])
        if point.group > group.number:
            return refusal(Reason.WRONG_SHARD)
        return self._crossing(node, group, start.range)

    def _crossing(self, node: ScriptedNode, group: Group, keys: pb.KeyRange) -> Any:
        if KeyRange(group.start, group.end).covers(KeyRange(keys.start, keys.end)):
            return None
        asked = KeyRange(keys.start, keys.end)
        return self._cross_shard(
            [
                g
                for g in node.groups or self.groups
                if not asked.intersect(KeyRange(g.start, g.end)).is_empty()
            ]
        )

    def _cross_shard(self, groups: list[Group]) -> types_pb2.Error:
        return refusal(Reason.CROSS_SHARD, shards=[self.shard_message(group) for group in groups])

    def continued(self, group: Group, operation: pb.Operation, result: pb.Result) -> pb.Result:
        """A page that ends with its shard says where the range goes on."""
        end = operation.scan.range.end
        if operation.HasField("scan") and group.end and (not end or end > group.end) and not result.page.next:
            result.page.next = group.end
        return result


def _part(source: Group, number: int, start: bytes, end: bytes) -> Group:
    part = Group(number, start, end)
    part.store = copy.deepcopy(source.store)
    part.store.keys = {key: record for key, record in part.store.keys.items() if key in KeyRange(start, end)}
    part.store.events = [event for event in part.store.events if event.key in KeyRange(start, end)]
    part.done = dict(source.done)
    part.index, part.leader, part.nodes = source.index, source.leader, source.nodes
    part.stamp_ms = source.stamp_ms
    part.ancestors = {source.number, *source.ancestors}
    part.segments = dict(source.segments)
    return part
