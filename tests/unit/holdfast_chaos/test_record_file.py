"""Records as files."""

from __future__ import annotations

import pytest
from holdfast_chaos.record import Event, Header, Type
from holdfast_chaos.record_file import RecordFile, load

HEADER = Header("0", 1, "register", (), 3, "again")
INVOKE = Event(1, Type.INVOKE, "get", 10, "k")


def test_an_invoke_is_in_the_file_before_the_operation_is_sent(tmp_path):
    """Whoever dies after `append` of an invoke leaves it in the file; replies may lag."""
    path = tmp_path / "record.jsonl"
    with RecordFile(path, HEADER) as file:
        file.append(INVOKE)
        assert [event.type for event in load(path).events] == [Type.INVOKE]
        file.append(INVOKE._replace(type=Type.OK, time_ns=20))
        assert "2 events" in repr(file)

    assert [event.type for event in load(path).events] == [Type.INVOKE, Type.OK]


def test_a_record_is_never_written_over(tmp_path):
    """A file that exists is not a new record's."""
    path = tmp_path / "record.jsonl"
    path.write_text("mine")

    with pytest.raises(FileExistsError):
        RecordFile(path, HEADER)


def test_the_clock_does_not_go_back(tmp_path):
    """What a reader would refuse is not written."""
    with RecordFile(tmp_path / "record.jsonl", HEADER) as file:
        file.append(INVOKE)
        with pytest.raises(AssertionError):
            file.append(INVOKE._replace(time_ns=9))
