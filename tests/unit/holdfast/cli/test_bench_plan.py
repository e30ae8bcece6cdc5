"""holdfast.cli.bench_plan: processes share a bench, and all its keys are under its prefixes."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from holdfast.cli import bench_plan
from holdfast.cli.bench_plan import Pace, Plan
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.holdfast.cli.benches import plan


def drawn(made: Plan, count: int) -> list[tuple[str, bytes]]:
    return list(itertools.islice(made.operations(random.Random(made.own_seed())), count))


@given(st.integers(1, 20), st.integers(20, 1000), st.integers(20, 1000))
def test_shares_add_up_to_the_whole(shares: int, callers: int, total: int) -> None:
    """Callers, operations, rate and keys to fill are dealt, none twice and none left out."""
    whole = plan(callers=callers, total=total, rate=1000.0, keys=33)
    parts = whole.split(shares)

    assert sum(part.callers for part in parts) == callers
    assert sum(part.total or 0 for part in parts) == total
    assert round(sum(part.rate or 0 for part in parts), 6) == 1000
    filled = [key for part in parts for key in part.to_fill()]
    assert sorted(filled) == [whole.key(n) for n in range(33)]
    assert sum(part.to_fill_count() for part in parts) == 33


def test_a_plan_reaches_its_process_as_it_is() -> None:
    """Through JSON, bytes in prefixes included."""
    sent = plan(prefixes=(b"a", b"\xff\x00"), rate=1.5, level="SESSION", ttl_ms=5, total=None, seconds=2.0)

    assert Plan.from_json(sent.to_json()) == sent


def test_every_key_is_a_prefix_and_a_number() -> None:
    """Also those that are incremented; they are others, and prefixes are dealt evenly."""
    made = plan(prefixes=(b"a-", b"b-"), weights={"put": 1, "increment": 1})
    operations = drawn(made, 2000)

    assert {key[:2] for _, key in operations} == {b"a-", b"b-"}
    assert all(key[2:].lstrip(b"n").isdigit() for _, key in operations)
    assert {key for kind, key in operations if kind == "put"} == {made.key(n) for n in range(10)}
    assert {key for kind, key in operations if kind == "increment"} == {made.counter(n) for n in range(10)}
    assert len(made.counter(0)) == len(b"a-") + bench_plan.NAME_BYTES


def test_keys_made_before_are_those_made_when_asked() -> None:
    """A key space too large to be made before is drawn from alike."""
    few, many = plan(keys=bench_plan.READY_MAX), plan(keys=bench_plan.READY_MAX + 1)

    assert all(key == many.key(int(key[6:])) for _, key in drawn(many, 100) + drawn(few, 100))


def test_the_mix_is_by_weight() -> None:
    """Three gets for a put, and nothing that has no weight."""
    seen = Counter(kind for kind, _ in drawn(plan(weights={"put": 1, "get": 3}), 8000))

    assert set(seen) == {"put", "get"}
    assert 2.7 < seen["get"] / seen["put"] < 3.3


def test_a_seed_repeats_itself_and_shares_differ() -> None:
    """The same seed and share draw the same; another share draws something else."""
    one, other = plan(seed=5).split(2)

    assert drawn(one, 100) == drawn(plan(seed=5).split(2)[0], 100)
    assert drawn(one, 100) != drawn(other, 100)
    assert drawn(plan(zipf=0.99), 100) != drawn(plan(), 100)


def test_a_pace_is_even_and_shares_take_turns() -> None:
    """Two shares of 10/s together are due at equal intervals of 100 ms."""
    paces = [Pace(100.0, 5.0, share / 2) for share in range(2)]
    due = sorted(pace.due(number) for pace in paces for number in range(3))

    assert [round(at, 6) for at in due] == [100.0, 100.1, 100.2, 100.3, 100.4, 100.5]


@given(st.floats(0.1, 1e5), st.integers(0, 10_000), st.sampled_from([0.0, 0.25, 0.5]))
def test_what_is_due_before_is_counted(rate: float, number: int, phase: float) -> None:
    """Half an interval after operation n was due, n + 1 have been."""
    pace = Pace(0.0, rate, phase)

    assert pace.due_before(pace.due(number) + 0.5 / rate) == number + 1
    assert pace.due_before(-1.0) == 0
