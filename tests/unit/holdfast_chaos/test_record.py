"""The format of records: what is written is read, what is damaged is named, what comes later is borne."""

from __future__ import annotations

import json

import pytest
from holdfast_chaos.record import Event, Header, RecordError, Type, encode_event, encode_header, read

HEADER = Header(
    "0.1.0", 7, "register", ("kill-leader",), 3, "python -m holdfast_chaos run", settings={"slack_ms": 5}
)
PUT = Event(4, Type.INVOKE, "put", 1200, "k1", "v17", expect="absent", ttl_ms=50, session="s4")
OK = Event(4, Type.OK, "put", 5100, "k1", node=2, group=3, revision=12, applied_index=40)


def lines(*events: Event | str, header: str | None = None) -> list[str]:
    made = [encode_event(e) if isinstance(e, Event) else e for e in events]
    return [line + "\n" for line in [header or encode_header(HEADER), *made]]


def problem(*events: Event | str, header: str | None = None) -> str:
    with pytest.raises(RecordError) as found:
        read(lines(*events, header=header))
    return str(found.value)


def test_what_is_written_is_read():
    """A record comes back as it was, each event with its line."""
    record = read(lines(PUT, OK))

    assert record.header == HEADER
    assert record.events == (PUT._replace(line=2), OK._replace(line=3))
    assert not record.torn


def test_fields_that_do_not_apply_are_left_out():
    """A line holds what there is to say."""
    assert json.loads(encode_event(OK)) == {
        "process": 4, "type": "ok", "f": "put", "time_ns": 5100, "key": "k1", "node": 2, "group": 3,
        "revision": 12, "applied_index": 40,
    }  # fmt: skip


def test_a_reader_ignores_fields_it_does_not_know():
    """A later version may add fields to the header and to events."""
    header = json.dumps({**json.loads(encode_header(HEADER)), "colour": "red"})
    event = json.dumps({**json.loads(encode_event(PUT)), "weight": 3})

    assert read(lines(event, header=header)).events == (PUT._replace(line=2),)


def test_a_reader_refuses_what_changes_the_meaning():
    """An event of a type it does not know, or another format, is refused."""
    header = json.dumps({**json.loads(encode_header(HEADER)), "record": 2})

    assert (
        problem(encode_event(PUT).replace('"invoke"', '"maybe"'))
        == "line 2: an event of unknown type 'maybe'"
    )
    assert problem(header=header) == "line 1: a record of format 2, this reads 1"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"process":1,"type":"ok","f":"get"}', "no 'time_ns'"),
        ('{"process":"1","type":"ok","f":"get","time_ns":9999}', "'process' is '1', not int"),
        ('{"process":true,"type":"ok","f":"get","time_ns":9999}', "'process' is True, not int"),
        ('{"process":1,"type":"ok","f":"get","time_ns":9999,"level":"STALE"}', "no level: 'STALE'"),
        ('{"process":1,"type":"ok","f":"get","time_ns":9999,"expect":"green"}', "no condition: 'green'"),
        (
            '{"process":1,"type":"ok","f":"get","time_ns":9999,"want_previous":1}',
            "'want_previous' is 1, not bool",
        ),
    ],
)
def test_a_damaged_line_is_named(line, reason):
    """The error tells the line and what is wrong with it."""
    told = problem(PUT, line)

    assert told.startswith("line 3: ")
    assert reason in told


def test_time_does_not_go_back():
    """All times are of one clock; two events in one ns are fine."""
    read(lines(PUT, OK._replace(time_ns=1200)))

    assert problem(OK, PUT) == "line 3: time goes back, from 5100 to 1200"


def test_a_torn_last_line_is_dropped_and_said():
    """A recorder that was killed leaves half a line: it was never sent, or its answer is not known."""
    whole = lines(PUT, OK)
    record = read([*whole[:-1], whole[-1][:20]])

    assert record.torn
    assert record.events == (PUT._replace(line=2),)


def test_a_line_without_newline_in_the_middle_is_damage():
    """Only the last line may be torn."""
    with pytest.raises(RecordError, match="line 2: it has no newline"):
        read([encode_header(HEADER) + "\n", encode_event(PUT), encode_event(OK) + "\n"])


def test_a_record_needs_a_header():
    """An empty file, or one that begins with an event, is no record; nor is one whose header lacks facts."""
    with pytest.raises(RecordError, match="line 1: there is no header"):
        read([])
    with pytest.raises(RecordError, match="a record of format None"):
        read([encode_event(PUT) + "\n"])
    assert problem(header='{"record":1}') == "line 1: the header has no 'version'"
    bad = json.dumps({**json.loads(encode_header(HEADER)), "nemeses": [1]})
    assert "'nemeses'" in problem(header=bad)
