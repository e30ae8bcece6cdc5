"""The map, and what is laid over it."""

from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from hypothesis import given
from hypothesis import strategies as st

KEYS = [b"", *(bytes((n,)) for n in range(97, 107))]


def shard(group: int, start: bytes, end: bytes, namespace: str = "default") -> Shard:
    return Shard(namespace, KeyRange(start, end), group, 1, (Replica(1, "n:1"),), 0)


def entries() -> st.SearchStrategy[Shard]:
    ends = st.tuples(st.integers(0, 9), st.integers(1, 11))
    return st.builds(
        lambda group, at: shard(group, KEYS[at[0]], KEYS[at[0] + at[1]] if sum(at) < 11 else b""),
        st.integers(1, 9),
        ends,
    )


@given(st.lists(entries(), max_size=6))
def test_at_every_key_the_latest_group_serves(laid):
    """Whatever is laid over a map, in whatever order: the greatest group whose range holds the key."""
    base = [shard(2, b"", b"d"), shard(5, b"d", b"")]
    made = ShardMap(3, base).overlaid(laid)

    for key in KEYS:
        wanted = max(entry.group for entry in (*base, *laid) if key in entry.range)
        assert made.locate("default", key).group == wanted
    assert made.epoch == 3


def test_entries_of_a_namespace_that_is_not_there_are_left_out():
    """One entry does not make a namespace: it might not be all of it."""
    made = ShardMap(1, [shard(2, b"", b"")]).overlaid([shard(9, b"", b"", "other")])

    assert made.namespaces() == ("default",)


def test_what_stays_of_a_cut_shard_is_narrower():
    """The entry of before keeps the keys that nobody else was named for."""
    made = ShardMap(1, [shard(2, b"", b"")]).overlaid([shard(9, b"c", b"e")])

    assert [(s.group, s.range) for s in made.shards] == [
        (2, KeyRange(b"", b"c")),
        (9, KeyRange(b"c", b"e")),
        (2, KeyRange(b"e", b"")),
    ]
