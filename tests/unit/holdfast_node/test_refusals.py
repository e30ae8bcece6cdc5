"""Raft's failures in a client's words."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.types import Outcome
from holdfast_node.refusals import from_raft
from holdfast_raft import errors

from tests.unit.holdfast_node.scripted import ENTRY

FAILURES = [
    (errors.NotLeader(2), Reason.NOT_LEADER),
    (errors.NoQuorum("x"), Reason.NO_QUORUM),
    (errors.Busy("x", 30), Reason.BUSY),
    (errors.DiskFull("x"), Reason.DISK_FULL),
    (errors.TooLarge("x"), Reason.INVALID),
    (errors.Superseded("x"), Reason.LEADERSHIP_LOST),
    (errors.Stopped("x"), Reason.STOPPED),
    (errors.LeadershipLost("x"), Reason.LEADERSHIP_LOST),
    (errors.DeadlinePassed("x"), Reason.DEADLINE),
    (errors.StoppedMidway("x"), Reason.STOPPED),
]


@pytest.mark.parametrize(("failure", "reason"), FAILURES)
def test_rafts_first_split_is_the_clients_outcome(failure: errors.RaftError, reason: Reason) -> None:
    """Refused stays refused and unknown stays unknown; a read is always refused."""
    outcome = Outcome.UNKNOWN if isinstance(failure, errors.Unknown) else Outcome.REFUSED

    assert from_raft(failure, ENTRY).reason is reason
    assert from_raft(failure, ENTRY).outcome is outcome
    assert from_raft(failure, ENTRY, read=True).outcome is Outcome.REFUSED


def test_every_leaf_of_rafts_errors_has_a_reason() -> None:
    """A new kind of failure must be given its words here."""
    leaves = {kind for base in (errors.Refused, errors.Unknown) for kind in base.__subclasses__()}

    assert leaves == {type(failure) for failure, _ in FAILURES}


def test_hints_reach_the_client() -> None:
    """The leader's address and the retry-after are not lost on the way."""
    assert from_raft(errors.NotLeader(2), ENTRY).leader == "127.0.0.1:7401"
    assert from_raft(errors.NotLeader(None), ENTRY).leader == ""
    assert from_raft(errors.NotLeader(9), ENTRY).leader == ""
    assert from_raft(errors.Busy("x", 30), ENTRY).retry_after_ms == 30
