"""Pairing events into operations."""

from __future__ import annotations

import pytest
from holdfast_chaos.operation import FOREVER, notes, pair, text_of
from holdfast_chaos.record import Event, RecordError, Type

PUT = Event(1, Type.INVOKE, "put", 10, "k", "v", line=2)
OK = Event(1, Type.OK, "put", 20, "k", revision=3, node=2, line=3)


def problem(*events: Event) -> str:
    with pytest.raises(RecordError) as found:
        pair(events)
    return str(found.value)


def test_a_reply_closes_the_operation_of_its_process():
    """Each reply belongs to what its process has in flight; the interval is closed."""
    other = PUT._replace(process=2)
    operations = pair([PUT, other, OK._replace(process=2, time_ns=15), OK])

    assert [(o.invoke.process, o.start_ns, o.end_ns) for o in operations] == [(1, 10, 20), (2, 10, 15)]


def test_an_operation_without_a_known_outcome_is_open_for_ever():
    """`info`, or no reply at all."""
    told = pair([PUT, OK._replace(type=Type.INFO)])[0]
    untold = pair([PUT])[0]

    assert (told.end_ns, untold.end_ns) == (FOREVER, FOREVER)
    assert untold.outcome is Type.INFO


def test_a_process_has_one_operation_in_flight():
    """Else a reply would not say whose it is."""
    again = "line 3: process 1 asks again while its operation is in flight"
    assert problem(PUT, PUT._replace(line=3)) == again
    assert problem(OK) == "line 3: process 1 has nothing in flight"
    assert problem(PUT, OK, OK._replace(line=4)) == "line 4: process 1 has nothing in flight"


def test_an_unknown_outcome_retires_the_process():
    """What it asked may still happen while it would ask the next thing."""
    told = problem(PUT, OK._replace(type=Type.INFO), PUT._replace(line=4))

    assert told == "line 4: process 1 was retired by an unknown outcome and asks again"


def test_a_reply_answers_what_was_asked():
    """A reply that names another operation or key is a defect of the recorder."""
    assert problem(PUT, OK._replace(key="other")).startswith("line 3: process 1 asked put k")
    assert problem(PUT, OK._replace(f="get")).startswith("line 3: process 1 asked put k")
    assert pair([PUT, OK._replace(key=None)])[0].is_ok


def test_notes_are_no_operations():
    """What the harness notes stands beside them."""
    note = Event(0, Type.NOTE, "fault", 12, value={})

    assert pair([PUT, note, OK])[0].end_ns == 20
    assert notes([PUT, note, OK]) == (note,)


def test_an_operation_tells_itself_in_one_line():
    """Line, interval, who, what, and what came of it."""
    told = text_of(pair([PUT._replace(expect=4), OK])[0])
    read = pair([Event(3, Type.INVOKE, "get", 10, "k", level="ANY"), Event(3, Type.OK, "get", 20, "k")])[0]

    assert "line 2: [0.000, 0.000] ms  process 1  put k v if at 4 -> ok @3 from node 2" in told
    assert text_of(read).endswith("process 3  get k ANY -> ok None")
    assert text_of(pair([PUT])[0]).endswith("put k v -> no answer")
    assert len(text_of(pair([PUT._replace(value="x" * 500)])[0])) < 150


def test_a_session_is_named_or_is_its_process():
    """Promises of sessions go by this."""
    assert pair([PUT])[0].session == "process 1"
    assert pair([PUT._replace(session="s")])[0].session == "s"
