"""The map, and what is laid over it."""

import itertools

import pytest
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.units import Units, even_cuts
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


UNITS = Units(1, hashed=True)


def hashed(*cuts: bytes, first: int = 20, units: Units = UNITS) -> list[Shard]:
    bounds = [b"", *cuts, b""]
    return [
        shard(first + at, start, end)._replace(units=units)
        for at, (start, end) in enumerate(itertools.pairwise(bounds))
    ]


@given(st.binary(max_size=12))
def test_a_key_of_a_hashed_namespace_is_located_by_its_place(key):
    """Whoever has a key asks `locate`, whoever has its place `at`: the same shard serves both."""
    made = ShardMap(1, hashed(*even_cuts(5)))
    found = made.locate("default", key)

    assert found == made.at("default", UNITS.placed(key))
    assert UNITS.placed(key) in found.range
    assert made.units_of("default") == made.hashed_by("default") == UNITS


def test_a_namespace_that_is_not_hashed_has_its_keys_at_themselves():
    """Also one that the map does not know: nothing is hashed by guess."""
    made = ShardMap(1, [shard(2, b"", b"")])

    assert (made.hashed_by("default"), made.hashed_by("other")) == (None, None)
    assert made.units_of("other").placed(b"k") == b"k"


def test_shards_of_other_units_are_not_laid_over_a_row():
    """A name given anew is another namespace: until the map says so, its places must not mix."""
    ordered, anew = [shard(2, b"", b"")], hashed(b"\x80")

    assert ShardMap(1, ordered).overlaid(anew).shards == tuple(ordered)
    assert ShardMap(1, anew).overlaid([shard(99, b"a", b"b")]).shards == tuple(anew)
    other = hashed(b"\x80", first=40, units=Units(2, hashed=True))
    assert ShardMap(1, anew).overlaid(other).shards == tuple(anew)


def test_a_map_whose_shards_differ_in_units_is_refused():
    """One half of a namespace hashed and the other not is no map."""
    with pytest.raises(ValueError, match="differ in units"):
        ShardMap(1, [hashed(b"\x80")[0], shard(3, b"\x80", b"")])
