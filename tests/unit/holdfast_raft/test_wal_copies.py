"""Logs of copies in the WAL: begun, begun anew, born, ended; and what a birth record says besides."""

from __future__ import annotations

from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk
from holdfast_raft.wal import Born, Wal
from holdfast_raft.wal_records import ABOUT_BYTES_MAX

from tests.wals import OPTIONS, append, boot, lines, settle, started, sync

SOURCE, COPY = 1, 7


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


@pytest.fixture
def wal(disk: UnsyncedDisk) -> Wal:
    """A WAL with a group, and a copy whose snapshot stands at (20, 3) with entries 21 and 22 behind it."""
    wal = started(disk)
    wal.copying(COPY, SOURCE)
    wal.base(COPY, 20, 3, keep_suffix=False)
    append(wal, 2, group=COPY, first=21, term=3)
    return wal


def birth(index: int = 22, about: bytes = b"") -> Born:
    return Born(COPY, (10, 11, 12), index, 3, 99, about)


def restarted(wal: Wal, disk: UnsyncedDisk) -> Wal:
    sync(wal)
    return Wal.open(boot(disk), OPTIONS)


def test_a_copy_that_is_born_has_all_that_it_followed(disk, wal):
    """The log begins at its snapshot, the replica where the copy stood: the first term is that place's."""
    wal.born(birth(about=b"words"))
    wal.hard_state(COPY, 5, 11)
    append(wal, 1, group=COPY, first=23, term=4)
    again = restarted(wal, disk)

    found = again.recovered[COPY]
    assert found.born == birth(about=b"words")
    assert (found.base, found.term, found.vote, found.copying) == ((20, 3), 5, 11, None)
    assert [index for _, index, _ in found.entries] == [21, 22, 23]


def test_a_new_born_copy_has_voted_for_the_first_member_in_the_term_after_its_base(disk, wal):
    """By being born: it never votes below what its state is made of, nor for two in its first term."""
    wal.born(birth())
    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(COPY, 3, None)
    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(COPY, 4, 11)
    found = restarted(wal, disk).recovered[COPY]

    assert (found.term, found.vote) == (4, 10)


def test_a_copy_that_was_not_born_begins_anew_at_a_start(disk, wal):
    """Nobody knows how far it was meant to go: its entries are let go, its source is remembered."""
    again = restarted(wal, disk)

    found = again.recovered[COPY]
    assert (found.born, found.copying, found.base, found.entries) == (None, SOURCE, (0, 0), [])
    assert again.pins().get(COPY) is None
    again.copying(COPY, SOURCE)
    again.base(COPY, 5, 1, keep_suffix=False)
    append(again, 1, group=COPY, first=6, term=1)
    again.born(Born(COPY, (10,), 6, 1, 99))
    sync(again)
    found = Wal.open(boot(UnsyncedDisk(disk.root)), OPTIONS).recovered[COPY]
    assert [index for _, index, _ in found.entries] == [6]


def test_a_copy_that_begins_anew_lets_go_of_what_it_had(disk, wal):
    """Its entries keep no segment any more."""
    append(wal, 60, group=COPY, first=23, term=3)
    sync(wal)
    assert wal.pins()
    wal.copying(COPY, SOURCE)
    sync(wal)
    settle(wal)

    assert wal.pins() == {}
    wal.free_job()()
    assert wal.segment_count == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_copy_is_found_again_through_new_segments(disk, wal, restart):
    """A segment opens with the state of copies too, born or not."""
    append(wal, 60, group=COPY, first=23, term=3)
    if restart:
        wal, disk = restarted(wal, disk), UnsyncedDisk(disk.root)
        assert lines(disk, "state")[-1].fields["copying"] == SOURCE
        wal.copying(COPY, SOURCE)
        wal.base(COPY, 82, 3, keep_suffix=False)
    wal.born(birth(82, about=bytes(500)))
    append(wal, 60, group=COPY, first=83, term=3)
    found = restarted(wal, UnsyncedDisk(disk.root) if restart else disk).recovered[COPY]

    assert found.born == birth(82, about=bytes(500))
    assert found.entries[-1][1] == 142


def test_a_birth_at_the_end_of_a_segment_is_whole(tmp_path):
    """A segment opens with the facts before the record that changes them, wherever that falls."""
    for size in range(100, 200):
        disk = UnsyncedDisk(tmp_path / str(size))
        wal = started(disk)
        wal.copying(COPY, SOURCE)
        wal.base(COPY, 20, 3, keep_suffix=False)
        append(wal, 21, group=COPY, first=21, term=3, size=size)
        wal.born(birth(41, about=bytes(700)))

        assert restarted(wal, disk).recovered[COPY].born == birth(41, about=bytes(700)), size


def test_a_copy_that_is_dropped_is_a_tombstone(disk, wal):
    """Its id is used up."""
    wal.retire(COPY)
    for begin in (lambda: wal.copying(COPY, SOURCE), lambda: wal.born(birth())):
        with pytest.raises(ValueError, match="born here before"):
            begin()
    found = restarted(wal, disk).recovered[COPY]

    assert (found.retired, found.born, found.copying, found.entries) == (True, None, None, [])


def test_a_copy_is_not_born_where_its_log_does_not_stand(wal):
    """There would be a hole, or entries that its state has not seen."""
    for index in (21, 23):
        with pytest.raises(ValueError, match="its log ends at 22"):
            wal.born(birth(index))


def test_what_was_born_is_not_copied(wal):
    """A replica's promises are never thrown away for a copy."""
    with pytest.raises(ValueError, match="born here before"):
        wal.copying(SOURCE, COPY)


def test_a_birth_says_no_more_than_fits(wal):
    """It is repeated at the opening of every segment; what is refused has changed nothing."""
    before = wal.appended_lsn
    for group in (COPY, 8):
        with pytest.raises(ValueError, match="4097 bytes"):
            wal.born(Born(group, (10,), 22, 3, 0, bytes(ABOUT_BYTES_MAX + 1)))

    assert wal.appended_lsn == before
    assert wal.facts(8) is None
    assert wal.facts(COPY).born is None
    assert dict(wal.groups())[COPY].copying == SOURCE
