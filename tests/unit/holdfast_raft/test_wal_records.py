"""Where reading a segment's records ends, and why, when every byte but one rule fits."""

from __future__ import annotations

import pytest
from holdfast_raft.wal_records import (
    BORN,
    ENTRY,
    HEADER_BYTES,
    MARK,
    OVERHEAD_BYTES,
    Born,
    Header,
    Record,
    SegmentScan,
    born_body,
    parse_header,
)

from tests.wals import forged

HEADER = Header(b"of this WAL only", 1, 0, 0, 1)
BIRTH = Record(BORN, 1, 0, 0, 1, born_body(Born(1, (10, 11), 0, 0, 0)), 0)
SECOND = HEADER_BYTES + OVERHEAD_BYTES + len(BIRTH.body)  # where the second record stands


def entry(lsn: int) -> Record:
    return Record(ENTRY, 1, 1, 2, lsn, b"data", 0)


@pytest.mark.parametrize("lsn", [1, 3, 1 << 63])
def test_records_end_where_an_lsn_does_not_follow_the_one_before(lsn: int) -> None:
    """Though its CRC fits: a record left out, or there twice, is not read over."""
    scan = SegmentScan(forged(HEADER, BIRTH, entry(lsn), entry(lsn + 1)), HEADER)

    assert [record.lsn for record in scan] == [1]
    assert (scan.ended_by, scan.lsn, scan.offset) == (f"LSN {lsn} follows 1", 1, SECOND)


def test_a_segments_first_record_has_the_lsn_its_header_names() -> None:
    """A gap is allowed between segments, where a header tells of it, and nowhere else."""
    scan = SegmentScan(forged(HEADER, BIRTH._replace(lsn=2)), HEADER)

    assert list(scan) == []
    assert (scan.ended_by, scan.offset) == ("LSN 2 follows 0", HEADER_BYTES)


def test_a_record_longer_than_what_is_left_is_not_read() -> None:
    """A length is not believed before the CRC behind it was looked at."""
    data = forged(HEADER, BIRTH, entry(2))[:-1]
    scan = SegmentScan(data, HEADER)

    assert [record.lsn for record in scan] == [1]
    assert scan.ended_by == "the record's length runs over the end of the segment"
    assert scan.offset == SECOND


def test_records_end_at_a_mark_of_another_place() -> None:
    """A mark's CRC fits wherever it is copied to; it names its WAL, segment and offset."""
    other = HEADER._replace(segment=2)
    data = bytearray(forged(HEADER, BIRTH, Record(MARK, 0, 0, 0, 1, b"", 0)))
    data[SECOND:] = forged(other, BIRTH, Record(MARK, 0, 0, 0, 1, b"", 0))[SECOND:]
    scan = SegmentScan(bytes(data), HEADER)

    assert [record.kind for record in scan] == [BORN]
    assert (scan.ended_by, scan.marked, scan.offset) == ("the mark's CRC does not fit", 0, SECOND)


def test_what_was_forged_is_read_when_no_rule_is_broken() -> None:
    """The segments of these tests fail by what they change, not by how they are made."""
    data = forged(HEADER, BIRTH, entry(2), Record(MARK, 0, 0, 0, 2, b"", 0))
    scan = SegmentScan(data, HEADER)

    assert parse_header(data) == HEADER
    assert [record.kind for record in scan] == [BORN, ENTRY, MARK]
    assert (scan.ended_by, scan.lsn, scan.marked, scan.offset) == ("zeros", 2, 2, len(data))
