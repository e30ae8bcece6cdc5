"""Who is asked for how often."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.bench import zipf


def test_one_seed_draws_one_list():
    """A run can be repeated; another seed is another run."""
    assert zipf.places(1000, 0.99, 50, 7) == zipf.places(1000, 0.99, 50, 7)
    assert zipf.places(1000, 0.99, 50, 7) != zipf.places(1000, 0.99, 50, 8)


def test_the_hot_keys_are_the_same_for_every_seed():
    """Several generators ask for the same hot keys."""
    hottest = {Counter(zipf.places(1000, 0.99, 20_000, seed)).most_common(1)[0][0] for seed in range(4)}

    assert len(hottest) == 1


def test_shares_are_those_of_the_law():
    """The first rank weighs 1, the n-th 1/n**s: with s = 1 and three keys 6/11, 3/11, 2/11."""
    assert zipf.share_of_hottest(3, 1.0, 1) == pytest.approx(6 / 11)
    assert zipf.share_of_hottest(3, 1.0, 2) == pytest.approx(9 / 11)


def test_draws_follow_the_shares():
    """The hottest of 100 keys is drawn as often as the law says (seeded: always the same draw)."""
    draws = zipf.places(100, 0.99, 100_000, 1)
    ((_, times),) = Counter(draws).most_common(1)

    assert times / len(draws) == pytest.approx(zipf.share_of_hottest(100, 0.99, 1), rel=0.03)
    assert set(draws) == set(range(100))


def test_the_hottest_keys_are_not_neighbours():
    """A range-sharded store would feel neighbours as one hot shard."""
    hottest = [place for place, _ in Counter(zipf.places(100_000, 0.99, 100_000, 3)).most_common(10)]

    assert max(hottest) - min(hottest) > 10_000
