"""Definite and indefinite failures."""

from __future__ import annotations

import asyncio

import pytest
from holdfast.errors import Reason, error
from holdfast.types import Outcome
from holdfast_chaos.outcomes import closing_type, present_revision, reason_text
from holdfast_chaos.record import Type


@pytest.mark.parametrize("reason", list(Reason))
def test_a_write_is_failed_only_on_proof(reason):
    """Refused: it has no effect, now or later. Unknown: it may have."""
    if reason is not Reason.PREVIOUS_NOT_KEPT:
        assert closing_type(error(reason, ""), is_write=True) is Type.FAIL
    assert closing_type(error(reason, "", outcome=Outcome.UNKNOWN), is_write=True) is Type.INFO


@pytest.mark.parametrize("failure", [TimeoutError(), asyncio.CancelledError(), KeyError("x")])
def test_whatever_else_ends_a_write_leaves_it_unknown(failure):
    """Cancelling, or a defect, proves nothing."""
    assert closing_type(failure, is_write=True) is Type.INFO
    assert reason_text(failure) == type(failure).__name__


def test_a_previous_value_that_is_not_kept_means_that_it_happened():
    """PREVIOUS_NOT_KEPT is a success whose result is lost, unless it comes under another outcome."""
    kept_not = error(Reason.PREVIOUS_NOT_KEPT, "", outcome=None)

    assert closing_type(kept_not, is_write=True) is Type.OK
    assert closing_type(kept_not.under(Outcome.UNKNOWN), is_write=True) is Type.INFO
    assert closing_type(kept_not.under(Outcome.REFUSED), is_write=True) is Type.INFO  # it contradicts itself


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_read_that_fails_has_failed(outcome):
    """A read has no effect to be unsure of."""
    assert closing_type(error(Reason.DEADLINE, "", outcome=outcome), is_write=False) is Type.FAIL


def test_a_failed_condition_tells_the_present_revision():
    """Only that: other failures have read nothing."""
    assert present_revision(error(Reason.CONDITION_FAILED, "", revision=7)) == 7
    assert present_revision(error(Reason.BUSY, "")) is None
    assert present_revision(TimeoutError()) is None
