"""Tokens: what a session has seen."""

from itertools import pairwise

import pytest
from holdfast.token import ENTRIES_MAX, BadTokenError, Standing, Token, TokenEntry
from hypothesis import given
from hypothesis import strategies as st

POINTS = [bytes((n,)) for n in range(1, 13)]


def entries() -> st.SearchStrategy[TokenEntry]:
    edges = st.tuples(st.integers(0, 10), st.integers(1, 5))
    return st.builds(
        lambda at, group, index: TokenEntry(POINTS[at[0]], POINTS[min(at[0] + at[1], 11)], group, index),
        edges,
        st.integers(1, 4),
        st.integers(0, 9),
    )


def seen_at(position: bytes, merged: list[TokenEntry]) -> tuple[int, int]:
    """The slow, obvious version: the greatest (group, index) of all entries that hold the position."""
    found = [(e.group, e.index) for e in merged if e.start <= position < e.end]
    return max(found, default=(0, 0))


@given(st.lists(entries(), max_size=12))
def test_every_position_keeps_the_greatest_group_and_index(merged):
    """Merging loses nothing: each position stands at the greatest (group, index) merged there."""
    token = Token("c", merged)

    for position in POINTS:
        held = [(e.group, e.index) for e in token.entries if e.start <= position < e.end]
        assert (held or [(0, 0)]) == [seen_at(position, merged)]


@given(st.lists(entries(), max_size=12))
def test_entries_are_ordered_and_do_not_overlap(merged):
    """Whatever is merged, entries stay ordered by start and disjoint."""
    found = Token("c", merged).entries

    for left, right in pairwise(found):
        assert left.end <= right.start


@given(st.lists(entries(), max_size=8), st.lists(entries(), max_size=8))
def test_a_merge_covers_both_and_nothing_less(one, other):
    """The merge of two tokens covers both; a token covers another only if it stands as far everywhere."""
    left, right = Token("c", one), Token("c", other)
    joined = Token("c", [*one, *other])

    assert joined.covers(left)
    assert joined.covers(right)
    assert left.covers(right) == all(seen_at(p, one) >= seen_at(p, other) for p in POINTS)


@given(st.lists(entries(), max_size=8), st.sampled_from(POINTS), st.integers(1, 5), st.integers(0, 10))
def test_a_replica_may_serve_what_it_has_applied(merged, position, group, index):
    """A smaller group in the token is satisfied, the same waits for the index, a greater one forbids."""
    seen_group, seen_index = seen_at(position, merged)
    wanted = Standing.SATISFIED
    if seen_group > group:
        wanted = Standing.SUPERSEDED
    elif seen_group == group and seen_index > index:
        wanted = Standing.BEHIND

    assert wanted is Token("c", merged).standing(position, group, index)


@given(st.lists(entries(), max_size=8), st.integers(0, 9), st.integers(1, 3), st.integers(1, 5))
def test_a_range_needs_what_its_neediest_position_needs(merged, low, width, group):
    """`needed` is the greatest index of any position in the range, None where a later group has served."""
    start, end = POINTS[low], POINTS[min(low + width, 11)]
    seen = [seen_at(p, merged) for p in POINTS if start <= p < end]
    wanted = max((index for g, index in seen if g == group), default=0)

    assert (None if any(g > group for g, _ in seen) else wanted) == Token("c", merged).needed(
        start, end, group
    )


def test_neighbours_that_say_the_same_become_one():
    """Ranges that meet, of the same group and index, take one entry."""
    token = Token(
        "c", [TokenEntry(b"a", b"b", 2, 1), TokenEntry(b"c", b"d", 2, 1), TokenEntry(b"b", b"c", 2, 1)]
    )

    assert token.entries == (TokenEntry(b"a", b"d", 2, 1),)


def test_a_late_answer_of_an_old_group_does_not_lower_the_token():
    """An answer of a group that was cut, arriving after one of its successor, changes nothing there."""
    token = Token("c", [TokenEntry(b"a", b"m", 7, 3)])

    assert token.raise_to(TokenEntry(b"a", b"z", 5, 100))
    assert token.entries == (TokenEntry(b"a", b"m", 7, 3), TokenEntry(b"m", b"z", 5, 100))


def full_token() -> Token:
    spans = [(n.to_bytes(2, "big"), (n + 1).to_bytes(2, "big")) for n in range(0, 2 * ENTRIES_MAX, 2)]
    return Token("c", [TokenEntry(start, end, 2, 1) for start, end in spans])


def test_a_full_token_refuses_a_new_range_and_keeps_what_it_has():
    """Beyond 1024 entries `raise_to` answers False and changes nothing; known ranges still rise."""
    token = full_token()
    before = token.entries

    assert not token.raise_to(TokenEntry(b"\xf0", b"\xf1", 2, 1))
    assert before == token.entries
    assert token.raise_to(TokenEntry(b"\x00\x00", b"\x00\x01", 2, 9))


def test_a_merge_that_does_not_fit_changes_nothing():
    """A merge is all or nothing."""
    token = full_token()
    before = token.entries

    assert not token.merge(
        Token("c", [TokenEntry(b"\x00\x00", b"\x00\x01", 2, 9), TokenEntry(b"x", b"y", 2, 1)])
    )
    assert before == token.entries


@pytest.mark.parametrize(
    "entry",
    [TokenEntry(b"b", b"a", 2, 1), TokenEntry(b"a", b"a", 2, 1), TokenEntry(b"a", b"b", 0, 1)],
    ids=["backwards", "empty", "no group"],
)
def test_an_entry_that_cannot_be_is_refused(entry):
    """An empty range or a group that is no id is a BadTokenError, never stored."""
    with pytest.raises(BadTokenError):
        Token("c", [entry])


def test_tokens_of_two_clusters_do_not_merge():
    """A token of another cluster is refused, whatever it holds."""
    with pytest.raises(BadTokenError, match="cluster 'b'"):
        Token("a").merge(Token("b"))
