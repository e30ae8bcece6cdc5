"""What the targets of a reshape begin with: parts of a sealed state, and sealed states joined.

Records and repeats are handed over by reference and copied by whoever writes them first, so that a hand-over
costs the number of buckets, sessions and kept events. A target goes on where its source stood: same
revision, stamp, policy and repeats. Of several sources the greater revision and stamp; what the others' keys
and repeats have of time left stays what it was, so their deadlines move on by the difference.

Invariant: the source is not changed, and what is made of it at any later time is the same.
Not here: whether the source is sealed (state.py), who runs the targets.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_node.cache.history import History
from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.sessions import Sessions


def cut(space: Keyspace, start: bytes, end: bytes, source: int) -> Keyspace:
    """The keys of [start, end) with their history, of group `source`."""
    part = Keyspace(space.policy)
    part.revision, part.stamp_ms = space.revision, space.stamp_ms
    # A hand outside the range comes to its first key.
    part.hand = space.hand if start <= space.hand and (not end or space.hand < end) else b""
    part.buckets = space.buckets.cut(start, end)
    part.history = space.history.cut(start, end, source)
    return part


def joined(
    spaces: Sequence[Keyspace], tables: Sequence[Sessions], groups: Sequence[int], policy: Policy
) -> tuple[Keyspace, Sessions]:
    """Neighbours in key order, of these groups, as one. Raises ValueError when they are in another order."""
    whole = Keyspace(policy)
    whole.revision = max(space.revision for space in spaces)
    whole.stamp_ms = max(space.stamp_ms for space in spaces)
    whole.hand = spaces[0].hand
    shifts = [whole.stamp_ms - space.stamp_ms for space in spaces]
    for space, shift_ms in zip(spaces, shifts, strict=True):
        whole.buckets = whole.buckets.joined(space.buckets.later(shift_ms) if shift_ms else space.buckets)
    whole.history = History.joined(
        [(space.history, group, space.revision) for space, group in zip(spaces, groups, strict=True)],
        whole.revision,
    )
    return whole, Sessions.joined(list(zip(tables, shifts, strict=True)))
