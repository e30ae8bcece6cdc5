"""What generators ask fits what checkers judge: a faultless server passes, a faulty one does not."""

from __future__ import annotations

import pytest
from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.judging import judgements
from holdfast_chaos.record import Type, encode_event, encode_header, read
from holdfast_chaos.verdict import Verdict, overall

from tests.property.workload_runs import run

WORKLOADS = sorted(set(GENERATORS) - {"watch"})


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_faultless_server_is_valid(workload, seed):
    """Every workload, written to lines and read again, with writes of unknown outcome."""
    made = run(workload, seed, 1500)
    record = read([line + "\n" for line in (encode_header(made.header), *map(encode_event, made.events))])
    told = judgements(record)

    assert overall(told) is Verdict.VALID, told


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_server_that_forgets_is_invalid(workload):
    """Acknowledged writes of the middle of the run are undone: every final read shows less."""
    other = run(workload, 1, 1500)
    forgotten = run(workload, 1, 1500)._replace(
        events=tuple(
            event._replace(type=Type.FAIL, value=None, revision=None, error="NO_QUORUM")
            if event.type is Type.OK and event.f not in ("get", "read", "scan") and 400 < at < 1200
            else event
            for at, event in enumerate(other.events)
        )
    )

    assert overall(judgements(forgotten)) is Verdict.INVALID
