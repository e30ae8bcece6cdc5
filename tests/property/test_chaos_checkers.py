"""Checkers against the obvious judge: what they call broken is broken, and lists are judged completely."""

from __future__ import annotations

import random
from typing import Any

import pytest
from holdfast_chaos import append_list, bank, counter, guarantees, sets, values
from holdfast_chaos.operation import Operation
from holdfast_chaos.verdict import Judgement, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.property import register_runs
from tests.property.object_runs import ACCOUNTS, BALANCE, OBJECTS, is_explained, mutated, run


def judged(workload: str, operations: list[Operation]) -> Judgement:
    if workload == "bank":
        return bank.check(operations, ACCOUNTS, BALANCE, overdraft=True)
    check: Any = {"append": append_list.check, "set": sets.check, "counter": counter.check}[workload]
    return check(operations)


@given(st.integers(0, 2**32), st.sampled_from(sorted(OBJECTS)))
def test_a_run_of_one_server_is_never_called_broken(seed, workload):
    """Writes of unknown outcome, refused ones and overlapping ones included."""
    chance = random.Random(seed)

    assert judged(workload, run(chance, workload, chance.randint(1, 60))).verdict is not Verdict.INVALID


@pytest.mark.parametrize("workload", sorted(OBJECTS))
def test_what_is_called_broken_has_no_order(workload):
    """Runs with one event changed: INVALID only when no order explains them. For lists: whenever."""
    missed = found = 0
    for seed in range(1500):
        chance = random.Random(seed)
        operations = mutated(chance, run(chance, workload, chance.randint(2, 7)))
        is_broken = judged(workload, operations).verdict is Verdict.INVALID
        explained = is_explained(operations, workload)
        assert not (is_broken and explained), f"seed {seed}: {judged(workload, operations)}"
        missed += not is_broken and not explained
        found += is_broken
        if workload == "append":
            assert is_broken or explained, f"seed {seed}: {operations}"
    assert found > 100
    assert missed <= found / 2, "a checker that looks away"


@given(st.integers(0, 2**32))
def test_registers_of_one_server_keep_values_and_guarantees(seed):
    """Sessions and values are not called broken in a linearizable run."""
    chance = random.Random(seed)
    operations = register_runs.run(chance, chance.randint(1, 60), chance.randint(1, 6))

    assert values.check(operations).verdict is Verdict.VALID
    assert guarantees.check(operations).verdict is Verdict.VALID
