"""Valid bytes with wrong content: refused with segment and offset, never made something of.

Every CRC of these segments fits. So no disk did it, but another program, a defect, or somebody's hands.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest
from holdfast_raft.file_disk import FileDisk
from holdfast_raft.wal_records import (
    BASE,
    BORN,
    COPY,
    COPYING,
    CRC,
    DROP_SUFFIX,
    ENTRY,
    HARD,
    KEEP_SUFFIX,
    MAGIC,
    MARK,
    RETIRE,
    TRUNCATE,
    Born,
    Header,
    Record,
    SegmentScan,
    WalDamaged,
    born_body,
    copying_body,
    hard_body,
    header_bytes,
    segment_name,
)
from holdfast_raft.wal_replay import Replay, replay_wal

from tests.wals import forged

FIRST = Header(b"of this WAL only", 1, 0, 0, 1)


def numbered(header: Header, *records: Record) -> list[Record]:
    return [record._replace(lsn=header.first_lsn + n) for n, record in enumerate(records)]


def of(kind: int, group: int, index: int = 0, term: int = 0, body: bytes = b"") -> Record:
    return Record(kind, group, index, term, 0, body, 0)


BIRTH = of(BORN, 1, body=born_body(Born(1, (10, 11), 5, 2, 0)))
SIXTH = of(ENTRY, 1, 6, 2, b"six")
SEVENTH = of(ENTRY, 1, 7, 2, b"seven")


def replayed(tmp_path: Path, *segments: bytes, names: tuple[int, ...] = ()) -> Replay:
    """What a start makes of these segments, named 1, 2, ... or as told."""
    (tmp_path / "wal").mkdir()
    for number, data in zip(names or range(1, len(segments) + 1), segments, strict=True):
        (tmp_path / "wal" / segment_name(number)).write_bytes(data + bytes(200))
    return replay_wal(FileDisk(tmp_path), "wal")


def refusal(tmp_path: Path, *segments: bytes, names: tuple[int, ...] = ()) -> WalDamaged:
    with pytest.raises(WalDamaged) as caught:
        replayed(tmp_path, *segments, names=names)
    assert f"WAL segment {caught.value.segment} is damaged at offset {caught.value.offset}" in str(
        caught.value
    )
    return caught.value


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (of(ENTRY, 2, 1, 1, b"x"), "kind 5 for group 2 does not fit what precedes it"),
        (of(COPY, 2, 1, 1, b"x"), "kind 9 for group 2 does not fit what precedes it"),
        (of(HARD, 2, 0, 1, hard_body(None)), "kind 4 for group 2 does not fit what precedes it"),
        (of(RETIRE, 2), "kind 8 for group 2 does not fit what precedes it"),
        (of(ENTRY, 1, 7, 2, b"x"), "entry 7 follows 7"),
        (of(ENTRY, 1, 9, 2, b"x"), "entry 9 follows 7"),
        (of(HARD, 1, 0, 3, hard_body(None)), "hard state goes back: term 4 vote 11 -> term 3 vote None"),
        (of(HARD, 1, 0, 4, hard_body(10)), "hard state goes back: term 4 vote 11 -> term 4 vote 10"),
        (of(TRUNCATE, 1, 5), "truncate from 5 outside 6..7"),
        (of(TRUNCATE, 1, 8), "truncate from 8 outside 6..7"),
        (of(BASE, 1, 4, 2, KEEP_SUFFIX), "base goes back from 5 to 4"),
        (of(BASE, 1, 4, 2, DROP_SUFFIX), "base goes back from 5 to 4"),
        (of(77, 1, 6, 2, b"news"), "a newer program wrote it"),
        (BIRTH, "it was born here before"),
        (of(HARD, 1, 0, 3, b""), "kind 4 for group 1 does not fit what precedes it"),
        (of(BORN, 3, 1, 0, b""), "kind 3 for group 3 does not fit what precedes it"),
        (of(COPYING, 1, body=copying_body(2)), "it was born here before"),
        (of(COPYING, 3, body=b"?"), "kind 10 for group 3 does not fit what precedes it"),
    ],
)
def test_a_record_that_does_not_fit_what_precedes_it_is_refused(
    tmp_path: Path, wrong: Record, what: str
) -> None:
    """Above every mark too: a torn tail is what cannot be read, not what cannot be true."""
    vote = of(HARD, 1, 0, 4, hard_body(11))
    records = numbered(FIRST, BIRTH, SIXTH, SEVENTH, vote, wrong)
    data = forged(FIRST, *records)
    *_, last = SegmentScan(data, FIRST)

    refused = refusal(tmp_path, data)

    assert (refused.segment, refused.offset) == ("0000000001.wal", last.offset)
    assert what in str(refused)


def test_the_same_records_without_a_wrong_one_are_replayed(tmp_path: Path) -> None:
    """The refusals of these tests come from what is wrong, not from how the segments are made."""
    vote = of(HARD, 1, 0, 4, hard_body(11))
    mark = Record(MARK, 0, 0, 0, 4, b"", 0)

    replay = replayed(tmp_path, forged(FIRST, *numbered(FIRST, BIRTH, SIXTH, SEVENTH, vote), mark))

    facts = replay.groups[1].facts
    assert (facts.last, facts.term, facts.vote) == (7, 4, 11)
    assert [entry.data for entry in replay.groups[1].entries.values()] == [b"six", b"seven"]
    assert (replay.last_lsn, replay.marked, replay.torn) == (4, 4, None)


def test_a_copy_of_an_entry_the_log_no_longer_holds_is_left_out(tmp_path: Path) -> None:
    """A copy may have been on its way when its entry went; that is no damage."""
    copies = [of(COPY, 1, index, 2, b"copy") for index in (5, 6, 7, 8)]

    replay = replayed(tmp_path, forged(FIRST, *numbered(FIRST, BIRTH, SIXTH, SEVENTH, *copies)))

    assert {i: entry.data for i, entry in replay.groups[1].entries.items()} == {6: b"copy", 7: b"copy"}


def test_a_gap_of_lsns_below_a_mark_is_refused(tmp_path: Path) -> None:
    """The record that is missing was synced: the place it is missing at is named, and both LSNs."""
    one, two, four = numbered(FIRST, BIRTH, SIXTH, SEVENTH)
    mark = Record(MARK, 0, 0, 0, 4, b"", 0)
    whole = forged(FIRST, one, two)

    refused = refusal(tmp_path, forged(FIRST, one, two, four._replace(lsn=4), mark))

    assert (refused.segment, refused.offset) == ("0000000001.wal", len(whole))
    assert "LSN 4 follows 2 after LSN 2, but a mark says LSN 4 was synced" in str(refused)


def test_a_segment_under_anothers_name_is_refused(tmp_path: Path) -> None:
    """A header names its segment: a file that was renamed or copied does not pass for another."""
    data = forged(FIRST, *numbered(FIRST, BIRTH))

    refused = refusal(tmp_path, data, names=(3,))

    assert (refused.segment, refused.offset) == ("0000000003.wal", 0)
    assert "its header says it is segment 1" in str(refused)


def test_a_segment_of_another_wal_is_refused(tmp_path: Path) -> None:
    """Also when the numbers would fit: two nodes' segments do not make a third's WAL."""
    after = Header(FIRST.wal_id, 2, 1, 1, 2)
    foreign = forged(FIRST._replace(wal_id=b"of another WAL.."), *numbered(FIRST, BIRTH))

    refused = refusal(tmp_path, foreign, forged(after, *numbered(after, SIXTH)))

    assert (refused.segment, refused.offset) == ("0000000001.wal", 0)
    assert "it belongs to another WAL" in str(refused)


def test_an_entry_behind_a_tombstone_is_refused(tmp_path: Path) -> None:
    """A retired group takes nothing any more, so nobody wrote that."""
    records = numbered(FIRST, BIRTH, SIXTH, of(RETIRE, 1), SEVENTH)

    assert "retired" in str(refusal(tmp_path, forged(FIRST, *records)))


@pytest.mark.parametrize("version", [0, 2])
def test_a_wal_of_another_format_is_refused(tmp_path: Path, version: int) -> None:
    """The magic ends with the format's version: what another program wrote is not read, nor overwritten."""
    fields = MAGIC[:-1] + bytes([version]) + header_bytes(FIRST)[len(MAGIC) : -CRC.size]
    body = forged(FIRST, *numbered(FIRST, BIRTH))[len(fields) + CRC.size :]

    refused = refusal(tmp_path, fields + CRC.pack(crc32(fields)) + body)

    assert (refused.segment, refused.offset) == ("0000000001.wal", 0)
    assert "no segment has a valid header" in str(refused)


def test_a_segment_that_others_go_on_from_must_have_a_header(tmp_path: Path) -> None:
    """It is not taken for a spare: the next one's header says that records of it count."""
    after = Header(FIRST.wal_id, 2, 1, 1, 2)

    refused = refusal(tmp_path, b"", forged(after, *numbered(after, SIXTH)))

    assert (refused.segment, refused.offset) == ("0000000001.wal", 0)
    assert "later segments go on from it" in str(refused)


def test_files_that_are_no_segments_are_left_alone(tmp_path: Path) -> None:
    """What an administrator laid beside the segments neither counts nor harms."""
    (tmp_path / "wal").mkdir()
    for name in ("notes.txt", "0000000001.wal.bak", "first.wal", "0000000002"):
        (tmp_path / "wal" / name).write_bytes(b"HFWAL, not")

    assert replay_wal(FileDisk(tmp_path), "wal") == Replay()
