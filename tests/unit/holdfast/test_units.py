"""Units, and where the keys of a hashed namespace stand."""

from __future__ import annotations

from holdfast.keys import KeyRange
from holdfast.units import Units, even_cuts, hash_of, is_among, unit_of
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.lists(st.sampled_from([b"/", b"a", b"b", b"\xff", b"\0"]), max_size=8).map(b"".join)
WHOLE = KeyRange(b"", b"")


def test_a_unit_goes_through_its_last_separator():
    """The unit of a key is its prefix through the n-th separator."""
    assert unit_of(b"site/7/temperature", 2, b"/") == b"site/7/"


def test_a_shorter_key_is_its_own_unit():
    """A key with fewer separators, or of a namespace without units, is a unit by itself."""
    assert unit_of(b"site/7", 2, b"/") == b"site/7"
    assert unit_of(b"site/7/x", 0, b"/") == b"site/7/x"


@given(KEYS, KEYS, st.integers(0, 3))
def test_an_allowed_cut_never_parts_two_keys_of_a_unit(cut, key, parts):
    """Whatever lies on either side of an allowed cut is of different units."""
    units = Units(parts)
    if not units.may_cut(cut):
        return
    unit = units.unit_of(key)
    others = [unit, unit + b"a", unit + b"\xff"] if parts and key.count(b"/") >= parts else [key]

    assert len({other < cut for other in others}) == 1


@given(KEYS, KEYS, KEYS, st.integers(0, 3), st.booleans())
def test_an_aligned_cut_is_allowed_and_inside(cut, start, end, parts, hashed):
    """Aligning gives a cut that is allowed and strictly inside the range, or none."""
    keys, units = KeyRange(start, end), Units(parts, hashed=hashed)
    found = units.align(cut, keys)

    assert found is None or (units.may_cut(found) and found in keys and found != start)


def test_a_cut_inside_a_unit_goes_to_its_beginning_or_behind_it():
    """It moves to the unit's beginning, or to its end when the shard begins there; else there is none."""
    units = Units(1)

    assert units.align(b"b/5", WHOLE) == b"b/"
    assert units.align(b"b/5", KeyRange(b"b/", b"c")) == b"b0"
    assert units.align(b"b/5", KeyRange(b"b/", b"b0")) is None


def test_the_hash_of_a_unit_never_changes():
    """Places are stored: the bytes of the hash are fixed."""
    assert hash_of(b"device/1/").hex() == "92da13f98b54f0cd"


@given(st.lists(KEYS, max_size=8), KEYS, st.integers(0, 2))
def test_placed_keys_of_a_unit_stand_together_in_order(keys, prefix, parts):
    """In a hashed namespace a unit's keys are neighbours, ordered as they are without hash."""
    units = Units(parts, hashed=True)
    placed = sorted(units.placed(key) for key in set(keys))
    order = [units.unit_of(key[8:]) for key in placed]
    runs = [unit for unit, before in zip(order, [None, *order], strict=False) if unit != before]

    assert len(runs) == len(set(order))
    assert [k[8:] for k in placed if units.unit_of(k[8:]) == prefix] == sorted(
        k for k in set(keys) if units.unit_of(k) == prefix
    )


@given(st.lists(KEYS, max_size=8), KEYS, KEYS, st.booleans(), st.integers(0, 2), st.booleans())
def test_a_range_of_places_holds_every_key_of_the_range_and_no_other(keys, start, end, prefix, parts, hashed):
    """Where a range has one range of places, that is exactly its keys: who asks there needs no filter."""
    units = Units(parts, hashed=hashed)
    meant = KeyRange.of_prefix(start) if prefix else KeyRange(start, end)
    found = units.places_of(meant)

    assert found is None or all((units.placed(key) in found) == (key in meant) for key in [*keys, start])


@given(st.lists(KEYS, max_size=8), KEYS, KEYS)
def test_among_others_a_key_is_told_by_itself(keys, start, end):
    """Whoever walks places keeps exactly the keys of the range."""
    units, meant = Units(1, hashed=True), KeyRange(start, end)

    assert [is_among(units.placed(key), meant) for key in keys] == [key in meant for key in keys]


def test_a_key_comes_back_from_its_place():
    """What clients are shown is what they put."""
    for units in (Units(1), Units(1, hashed=True)):
        assert units.key_at(units.placed(b"dev/x")) == b"dev/x"


def test_a_range_that_leaves_a_unit_is_everywhere():
    """In a hashed namespace a prefix shorter than a unit, or a range over units, has no one range."""
    for keys in (KeyRange.of_prefix(b"site/"), KeyRange(b"site/7/", b"site/8"), KeyRange(b"", b"")):
        assert Units(2, hashed=True).places_of(keys) is None
    assert Units(0, hashed=True).places_of(KeyRange.of_prefix(b"site/7")) is None


def test_one_key_has_one_place_whatever_its_unit():
    """A range of one key is one place, also where keys are units by themselves."""
    for units in (Units(0, hashed=True), Units(2, hashed=True)):
        place = units.placed(b"site")
        assert units.places_of(KeyRange(b"site", b"site\0")) == KeyRange(place, place + b"\0")


def test_even_cuts_part_the_hash_space_evenly():
    """n shards take n - 1 cuts at even distances, each allowed in a hashed namespace."""
    cuts = even_cuts(4)

    assert [cut[0] for cut in cuts] == [64, 128, 192]
    assert all(Units(hashed=True).may_cut(cut) for cut in cuts)
    assert even_cuts(1) == ()
