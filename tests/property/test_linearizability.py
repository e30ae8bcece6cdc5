"""The judge of linearizability against one that tries every order, on small random records."""

from __future__ import annotations

import random

import pytest
from holdfast_chaos import linearizability
from holdfast_chaos.linearizability import REGISTER, Part, smallest
from holdfast_chaos.verdict import Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.property.register_runs import is_explained, mutated, run, without_versions

OPERATIONS_MAX = 8


def is_valid(operations) -> bool:
    verdict = linearizability.check(operations).verdict
    assert verdict in (Verdict.VALID, Verdict.INVALID)
    return verdict is Verdict.VALID


@given(st.integers(0, 2**32), st.booleans())
def test_a_run_of_one_server_is_linearizable(seed, sums):
    """Whatever order the clients see: long runs, with writes of unknown outcome, versions and sums."""
    chance = random.Random(seed)

    assert is_valid(run(chance, chance.randint(1, 60), chance.randint(1, 6), sums=sums, open_share=0.1))


@pytest.mark.parametrize("block", range(8))
def test_the_verdict_is_that_of_trying_every_order(block):
    """Thousands of runs with one event swapped, dropped, doubled, moved or changed; also without versions."""
    broken = 0
    for seed in range(300 * block, 300 * (block + 1)):
        chance = random.Random(seed)
        sums = chance.random() < 0.2
        whole = run(chance, chance.randint(2, OPERATIONS_MAX), chance.randint(1, 4), sums=sums)
        changed = mutated(chance, whole)
        for operations in (changed, without_versions(changed)):
            expected = is_explained(operations)
            broken += not expected
            assert is_valid(operations) is expected, f"seed {seed}: {operations}"
    assert broken > 50, "the records are too good to prove anything"


@given(st.integers(0, 2**32))
def test_what_is_shown_of_a_violation_is_one(seed):
    """The small part has no explanation by trying every order either, whatever the key held before it."""
    chance = random.Random(seed)
    operations = mutated(chance, run(chance, OPERATIONS_MAX, 3))
    if is_valid(operations):
        return
    part = smallest(Part(operations), REGISTER)

    assert len(part.operations) <= len(operations)
    assert set(part.operations) <= set(operations)
    if part.since is None and all(
        o.end_ns <= part.until or o.outcome.value == "info" for o in part.operations
    ):
        assert not is_explained(part.operations)
