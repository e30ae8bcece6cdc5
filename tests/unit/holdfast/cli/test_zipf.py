"""holdfast.cli.zipf: draws follow the law, and the popular stand apart."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from holdfast.cli.zipf import Zipf, stride_of

DRAWS = 40_000


@pytest.mark.parametrize("exponent", [0.5, 0.99, 1.0, 2.5])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_popularity_falls_by_the_law(n: int, exponent: float) -> None:
    """Rank k comes up in proportion to 1 / k**exponent, within five standard deviations."""
    zipf = Zipf(n, exponent, random.Random(7))
    seen = Counter(zipf.rank() for _ in range(DRAWS))
    weights = [rank**-exponent for rank in range(1, n + 1)]

    assert set(seen) <= set(range(1, n + 1))
    for rank, weight in enumerate(weights, 1):
        expected = DRAWS * weight / sum(weights)
        assert abs(seen[rank] - expected) <= 5 * expected**0.5 + 1


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1000, 10_000])
def test_every_rank_has_a_place_of_its_own(n: int) -> None:
    """Scattering is one to one; neighbours in popularity are no neighbours in the key space."""
    stride = stride_of(n)
    places = [rank * stride % n for rank in range(1, n + 1)]

    assert sorted(places) == list(range(n))
    if n > 10:
        assert min(abs(a - b) for a, b in itertools.pairwise(places)) > n // 10


def test_places_are_those_of_the_key_space() -> None:
    """0 <= place < n, and one of them comes up far more often than its share."""
    zipf = Zipf(1000, 0.99, random.Random(1))
    seen = Counter(zipf.place() for _ in range(DRAWS))

    assert set(seen) <= set(range(1000))
    assert seen.most_common(1)[0][1] > 50 * DRAWS / 1000


def drawn(n: int, count: int, seed: int) -> list[int]:
    law = Zipf(n, 0.99, random.Random(seed))
    return [law.place() for _ in range(count)]


def test_one_seed_draws_one_list() -> None:
    """A run can be repeated; another seed is another run."""
    assert drawn(1000, 50, 7) == drawn(1000, 50, 7)
    assert drawn(1000, 50, 7) != drawn(1000, 50, 8)


def test_the_hot_keys_are_the_same_for_every_seed() -> None:
    """Several generators ask for the same hot keys."""
    assert len({Counter(drawn(1000, 20_000, seed)).most_common(1)[0][0] for seed in range(4)}) == 1


def test_the_hottest_keys_are_not_neighbours() -> None:
    """A range-sharded store would feel neighbours as one hot shard."""
    hottest = [place for place, _ in Counter(drawn(100_000, 100_000, 3)).most_common(10)]

    assert max(hottest) - min(hottest) > 10_000
