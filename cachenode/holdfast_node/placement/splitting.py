"""Shards that are cut: too large, or too busy for the node that leads them.

A cut by load is wished only while one node's loop is busy and another's is not, of the hottest shard that
the busy one leads; a part is then led by the least busy of its nodes. A single hot key cannot be cut: that
is said, and nothing done. Neither policy cuts inside a unit.
"""

from __future__ import annotations

from holdfast.keys import KeyRange

from holdfast_node.cache.policy import Eviction
from holdfast_node.config import SHARDS_MAX
from holdfast_node.placement.cluster import Policy
from holdfast_node.placement.outlook import Outlook, Standing

LOAD_SPLIT_OPS_MIN = 500
"""Operations/s below which a shard is not what makes its node busy."""
LOAD_SPLIT_REST_MS = 60_000
"""After a split the figures need time to say what it did."""


def by_size(outlook: Outlook) -> None:
    """Cuts shards above their limit in the middle, the largest first."""
    policy = Policy.SPLIT_BY_SIZE
    large = [
        s
        for s in outlook.ordered()
        if s.load is not None and s.load.bytes > _limit(outlook, s) and not s.is_taken
    ]
    large.sort(key=lambda s: -s.size)
    if not large:
        outlook.say_idle(policy, f"no shard is above {outlook.planning.split_bytes} bytes")
    for standing in large:
        group = standing.row.group
        load = standing.load
        assert load is not None, "only shards with figures are large"
        if not standing.may_be_planned:
            outlook.say_idle(policy, f"shard {group} is large; it waits for a leader, or for its last plan")
            continue
        key = _usable(outlook, standing, load.middle)
        if not key:
            outlook.say_idle(
                policy, f"shard {group} has {load.bytes} bytes that no cut parts: they are one unit"
            )
            continue
        if outlook.is_full(policy) or _no_room(outlook, policy):
            return
        why = f"{load.bytes} bytes, above {_limit(outlook, standing)}"
        outlook.split(policy, group, key, _least_leading(outlook, standing), why)


def _limit(outlook: Outlook, standing: Standing) -> int:
    """The bytes above which a shard is cut. One that never evicts is cut before its budget refuses writes;
    one that does is bounded by its budget on purpose.
    """
    namespace = outlook.content.namespaces[standing.row.namespace]
    limit = outlook.planning.split_bytes
    return limit if namespace.eviction is Eviction.CLOCK else min(limit, namespace.budget_bytes * 3 // 4)


def by_load(outlook: Outlook) -> None:
    """Cuts the hottest shard of each busy node, while another node has time."""
    policy, planning = Policy.SPLIT_BY_LOAD, outlook.planning
    busy = {node.id: outlook.loads.node(node.id).busy_percent for node in outlook.participants()}
    hot = sorted((n for n in busy if busy[n] > planning.busy_percent), key=lambda n: (-busy[n], n))
    if not hot:
        outlook.say_idle(policy, f"no node's loop is above {planning.busy_percent} % busy")
        return
    if min(busy.values()) >= planning.idle_percent:
        outlook.say_idle(
            policy,
            f"nodes are busy, and none is below {planning.idle_percent} %: a cut would not help, add one",
        )
        return
    for node in hot:
        _relieve(outlook, node, busy)


def _relieve(outlook: Outlook, node: int, busy: dict[int, int]) -> None:
    policy = Policy.SPLIT_BY_LOAD
    led = [s for s in outlook.ordered() if s.leader == node and s.may_be_planned]
    hottest = max(led, key=lambda s: (s.load.ops_per_s if s.load else 0, -s.row.group), default=None)
    if hottest is None or hottest.load is None or hottest.load.ops_per_s < LOAD_SPLIT_OPS_MIN:
        outlook.say_idle(policy, f"node {node} is busy, but not with a shard that it leads")
        return
    group, load = hottest.row.group, hottest.load
    if load.hot_key is not None:
        outlook.say_idle(policy, f"shard {group} is hot by one key, {load.hot_key!r}: no cut halves that")
        return
    if outlook.now_ms - hottest.row.split_ms < LOAD_SPLIT_REST_MS:
        outlook.say_idle(policy, f"shard {group} is hot, and was split a moment ago")
        return
    key = _usable(outlook, hottest, load.middle_by_load)
    if not key:
        outlook.say_idle(policy, f"shard {group} is hot, and no cut halves its load")
        return
    others = sorted((busy[n], n) for n in hottest.replicas if n != node and n in busy)
    if not others or others[0][0] > outlook.planning.busy_percent:
        outlook.say_idle(policy, f"shard {group} is hot, and so are all its nodes")
        return
    if outlook.is_full(policy) or _no_room(outlook, policy):
        return
    least, other = others[0]
    why = f"{load.ops_per_s} operations/s on node {node}, {busy[node]} % busy; {least} % on node {other}"
    outlook.split(policy, group, key, other, why)


def _usable(outlook: Outlook, standing: Standing, key: bytes) -> bytes:
    """The key moved to where a cut may be; empty: nowhere in the shard."""
    row = standing.row
    if not key:
        return b""
    units = outlook.content.namespaces[row.namespace].units
    return units.align(key, KeyRange(row.start, row.end)) or b""


def _least_leading(outlook: Outlook, standing: Standing) -> int:
    """Who of a shard's nodes is to lead the right part."""
    leads = dict.fromkeys(standing.replicas, 0)
    for other in outlook.shards.values():
        if other.leader in leads:
            leads[other.leader] += 1
    able = [node for node in standing.replicas if outlook.is_up(node)] or list(standing.replicas)
    return min(able, key=lambda node: (leads[node], node))


def _no_room(outlook: Outlook, policy: Policy) -> bool:
    wished = sum(wish.shape is not None for wish in outlook.wishes)
    if len(outlook.shards) + len(outlook.content.plans) + wished < SHARDS_MAX:
        return False
    outlook.say_idle(policy, f"the cluster has {SHARDS_MAX} shards, the most there may be")
    return True
