"""The WAL: one test per rule of protocols.md 5, on a disk that forgets what was not synced."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest
from holdfast_raft.wal import Born, Wal, WalDamaged, WalOptions
from holdfast_raft.wal_inspect import dump

from tests.disks import Fault, UnsyncedDisk

OPTIONS = WalOptions(segment_bytes=4096, segments_max=3, total_bytes_max=1 << 20)
BORN = Born(group=1, members=(10, 11, 12), base_index=5, base_term=2, snapshot_crc=99)


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


def started(disk: UnsyncedDisk, options: WalOptions = OPTIONS) -> Wal:
    """A WAL in which group 1 is born, all of it durable and marked."""
    wal = Wal.open(disk, options)
    wal.born(BORN)
    sync(wal)
    settle(wal)
    return wal


def sync(wal: Wal) -> int:
    job = wal.begin_sync()
    assert job is not None
    job.run()
    return wal.end_sync(job)


def settle(wal: Wal) -> None:
    """What an idle node does."""
    while wal.needs_mark:
        wal.append_mark()
        sync(wal)


def boot(disk: UnsyncedDisk, *, torn: bool = False) -> UnsyncedDisk:
    disk.power_off(torn=torn)
    return UnsyncedDisk(disk.root)


def append(wal: Wal, count: int, size: int = 100, group: int = 1, first: int = 6, term: int = 2) -> int:
    lsn = 0
    for index in range(first, first + count):
        lsn = wal.entry(group, index, term, f"{group}/{index}/{term}".encode().ljust(size, b"."))
    return lsn


def data_of(wal: Wal, group: int = 1) -> list[str]:
    return [data.decode().rstrip(".") for data, _, _ in wal.recovered[group].entries]


def reopened(disk: UnsyncedDisk, options: WalOptions = OPTIONS) -> Wal:
    return Wal.open(UnsyncedDisk(disk.root), options)


def lines(disk: UnsyncedDisk, kind: str) -> list:
    return [line for line in dump(disk) if line.kind == kind]


def flip(disk: UnsyncedDisk, segment: str, at: int) -> None:
    path = disk.root / "wal" / segment
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


# ---- what comes back -----------------------------------------------------------------------------------


def test_a_fresh_directory_holds_no_group(disk):
    """A node that never ran recovers nothing."""
    assert Wal.open(disk, OPTIONS).recovered == {}


def test_everything_appended_and_synced_comes_back(disk):
    """Born record, hard state, base and entries of every group survive power loss once synced."""
    wal = started(disk)
    wal.born(Born(7, (10, 11), 0, 0, 0))
    wal.hard_state(1, 4, 11)
    append(wal, 3)
    append(wal, 1, group=7, first=1, term=0)
    sync(wal)

    wal = Wal.open(boot(disk), OPTIONS)
    one, seven = wal.recovered[1], wal.recovered[7]

    assert one.born == BORN
    assert (one.term, one.vote, one.base, one.retired) == (4, 11, (5, 2), False)
    assert [(index, term) for _, index, term in one.entries] == [(6, 2), (7, 2), (8, 2)]
    assert data_of(wal) == ["1/6/2", "1/7/2", "1/8/2"]
    assert (seven.term, seven.vote, data_of(wal, 7)) == (0, None, ["7/1/0"])


def test_what_was_not_synced_is_gone_after_power_loss(disk):
    """Appending alone, or writing without a finished sync, promises nothing."""
    wal = started(disk)
    append(wal, 2)

    assert Wal.open(boot(disk), OPTIONS).recovered[1].entries == []


def test_a_vote_of_a_lower_term_or_a_second_vote_is_an_error(disk):
    """Nothing makes a term go back or a vote of a term change."""
    wal = started(disk)
    wal.hard_state(1, 4, None)
    wal.hard_state(1, 4, 11)

    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(1, 3, 11)
    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(1, 4, 12)
    with pytest.raises(ValueError, match="goes back"):
        wal.hard_state(1, 4, None)


def test_an_unchanged_hard_state_depends_on_the_record_that_set_it(disk):
    """Saying the same again writes nothing and returns the LSN to wait for."""
    wal = started(disk)
    lsn = wal.hard_state(1, 4, 11)

    assert wal.hard_state(1, 4, 11) == lsn == wal.appended_lsn


def test_truncated_entries_stay_truncated(disk):
    """A conflict's truncation is a record: what it cut does not come back, what follows does."""
    wal = started(disk)
    append(wal, 4)
    wal.truncate(1, 8)
    append(wal, 1, first=8, term=3)
    sync(wal)

    assert data_of(Wal.open(boot(disk), OPTIONS)) == ["1/6/2", "1/7/2", "1/8/3"]


def test_nothing_clears_term_and_vote(disk):
    """Truncation, base and a dropped log leave the hard state as it was."""
    wal = started(disk)
    wal.hard_state(1, 9, 12)
    append(wal, 3)
    wal.truncate(1, 7)
    wal.base(1, 6, 2, keep_suffix=True)
    wal.base(1, 50, 9, keep_suffix=False)
    sync(wal)

    found = Wal.open(boot(disk), OPTIONS).recovered[1]

    assert (found.term, found.vote, found.base, found.entries) == (9, 12, (50, 9), [])


def test_a_base_keeps_what_follows_only_when_told(disk):
    """keep_suffix keeps entries after the base; without it the whole log goes."""
    wal = started(disk)
    append(wal, 4)
    wal.base(1, 7, 2, keep_suffix=True)
    sync(wal)
    wal = Wal.open(boot(disk), OPTIONS)
    assert data_of(wal) == ["1/8/2", "1/9/2"]

    wal.base(1, 8, 3, keep_suffix=False)
    append(wal, 1, first=9, term=3)
    job = wal.begin_sync()
    job.run()

    assert data_of(reopened(disk)) == ["1/9/3"]


def test_entries_must_follow_one_another(disk):
    """A gap, a repeat, an unborn or a retired group is a programmer's error, and writes nothing."""
    wal = started(disk)
    before = wal.appended_lsn

    for index in (5, 7):
        with pytest.raises(ValueError, match="follows"):
            wal.entry(1, index, 2, b"x")
    with pytest.raises(KeyError):
        wal.entry(2, 1, 1, b"x")
    with pytest.raises(ValueError, match="not born"):
        wal.hard_state(2, 1, None)
    with pytest.raises(ValueError, match="outside"):
        wal.truncate(1, 6)
    with pytest.raises(ValueError, match="base goes back"):
        wal.base(1, 4, 2, keep_suffix=True)
    with pytest.raises(ValueError, match="born here before"):
        wal.born(BORN)
    assert wal.appended_lsn == before


def test_a_record_that_would_not_fit_a_segment_is_refused(disk):
    """A record takes at most a quarter of a segment, so that a fresh one always has room."""
    wal = started(disk)

    with pytest.raises(ValueError, match="does not fit"):
        wal.entry(1, 6, 2, bytes(OPTIONS.segment_bytes // 4))


def test_a_retired_group_leaves_a_tombstone_for_ever(disk):
    """Retirement survives segments and restarts, and the group's id is never born again."""
    wal = started(disk)
    append(wal, 3)
    wal.retire(1)
    sync(wal)

    for _ in range(3):
        disk = boot(disk)
        wal = Wal.open(disk, OPTIONS)

    assert wal.recovered[1].retired
    assert wal.recovered[1].entries == []
    with pytest.raises(ValueError, match="born here before"):
        wal.born(BORN)
    with pytest.raises(ValueError, match="retired"):
        wal.hard_state(1, 99, None)


# ---- LSNs and marks ------------------------------------------------------------------------------------


def test_a_sync_covers_what_was_appended_when_it_began(disk):
    """Records appended while a sync is under way are not durable when it ends."""
    wal = started(disk)
    first = append(wal, 1)
    job = wal.begin_sync()
    second = append(wal, 1, first=7)
    job.run()

    assert wal.end_sync(job) == wal.durable_lsn == first < second == wal.appended_lsn


def test_one_sync_at_a_time(disk):
    """While a sync is under way, or after one failed, no other begins."""
    wal = started(disk)
    assert wal.begin_sync() is None

    append(wal, 1)
    job = wal.begin_sync()
    append(wal, 1, first=7)
    assert wal.begin_sync() is None

    disk.fail(Fault("sync"))
    with pytest.raises(OSError, match="Input/output"):
        job.run()
    assert wal.begin_sync() is None
    assert wal.durable_lsn < wal.appended_lsn


def test_each_batch_opens_with_a_mark_that_says_what_was_synced(disk):
    """The mark of a batch names the LSN of the batch before, which its sync had finished."""
    wal = started(disk)
    first = append(wal, 2)
    sync(wal)
    append(wal, 2, first=8)
    sync(wal)

    assert lines(disk, "mark")[-1].fields == {"synced_to": first}


def test_an_idle_node_marks_its_last_sync(disk):
    """needs_mark holds after a sync until a mark for it was written, then no longer."""
    wal = started(disk)
    assert not wal.needs_mark

    lsn = append(wal, 1)
    assert not wal.needs_mark
    sync(wal)
    assert wal.needs_mark
    wal.append_mark()
    assert not wal.needs_mark
    sync(wal)

    assert not wal.needs_mark
    assert lines(disk, "mark")[-1].fields == {"synced_to": lsn}


@pytest.mark.parametrize("torn_bytes", [1, 50, 150])
def test_a_torn_tail_is_cut(disk, torn_bytes):
    """A batch of which only a part reached the disk is cut where it stops being whole."""
    wal = started(disk)
    append(wal, 1)
    sync(wal)
    append(wal, 3, first=7)
    job = wal.begin_sync()
    place = disk.root / "wal" / "0000000001.wal"
    before = place.read_bytes()
    job.run()
    after = place.read_bytes()
    end = len(after.rstrip(b"\0"))
    place.write_bytes(after[: end - torn_bytes] + before[end - torn_bytes :])

    found = data_of(reopened(disk))

    assert found == ["1/6/2", "1/7/2", "1/8/2", "1/9/2"][: len(found)]
    assert 1 <= len(found) < 4


def test_damage_below_the_mark_is_refused_with_the_ways_on(disk):
    """A flipped bit under the highest mark stops the start, naming segment, offset and two ways on."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    settle(wal)
    entry = lines(disk, "entry")[1]
    flip(disk, entry.segment, entry.offset + 60)

    with pytest.raises(WalDamaged) as caught:
        reopened(disk)

    assert (caught.value.segment, caught.value.offset) == (entry.segment, entry.offset)
    assert "restore the file" in str(caught.value)
    assert "holdfast node reset" in str(caught.value)


def test_damage_above_the_mark_is_a_torn_tail(disk):
    """The same flip before an idle mark was written costs the batch, not the start."""
    wal = started(disk)
    append(wal, 1)
    sync(wal)
    append(wal, 2, first=7)
    sync(wal)
    entry = lines(disk, "entry")[2]
    flip(disk, entry.segment, entry.offset + 60)

    assert data_of(reopened(disk)) == ["1/6/2", "1/7/2"]


def test_a_lost_block_below_the_mark_is_refused(disk):
    """Zeros where a later mark says there were records are damage, not the end of the WAL."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    settle(wal)
    first, mark = lines(disk, "entry")[0], lines(disk, "mark")[-1]
    path = disk.root / "wal" / first.segment
    content = bytearray(path.read_bytes())
    content[first.offset : mark.offset] = bytes(mark.offset - first.offset)
    path.write_bytes(content)

    with pytest.raises(WalDamaged):
        reopened(disk)


def test_a_client_cannot_forge_a_mark(disk):
    """A mark copied into a value, as it would stand there or elsewhere, is not taken for one."""
    wal = started(disk)
    mark = lines(disk, "mark")[-1]
    segment = (disk.root / "wal" / mark.segment).read_bytes()
    wal.entry(1, 6, 2, segment[mark.offset : mark.offset + 76])
    append(wal, 1, first=7)
    sync(wal)
    forged = lines(disk, "entry")[0]
    flip(disk, forged.segment, forged.offset)

    assert reopened(disk).recovered[1].entries == []


def test_a_record_is_valid_only_in_its_place(disk):
    """A record copied over another, or from another segment, does not pass its CRC."""
    wal = started(disk)
    append(wal, 2)
    sync(wal)
    settle(wal)
    one, two = lines(disk, "entry")
    path = disk.root / "wal" / one.segment
    content = bytearray(path.read_bytes())
    size = two.offset - one.offset
    content[two.offset : two.offset + size] = content[one.offset : two.offset]
    path.write_bytes(content)

    with pytest.raises(WalDamaged) as caught:
        reopened(disk)
    assert caught.value.offset == two.offset


# ---- restarts ------------------------------------------------------------------------------------------


def test_a_start_makes_the_tail_durable_before_anything_leaves(disk):
    """What a failed sync left in the page cache only is written again at open: see ATC 2020."""
    wal = started(disk)
    append(wal, 2)
    job = wal.begin_sync()
    disk.fail(Fault("sync"))
    with pytest.raises(OSError, match="Input/output"):
        job.run()

    again = Wal.open(disk, OPTIONS)
    assert data_of(again) == ["1/6/2", "1/7/2"]

    assert data_of(Wal.open(boot(disk), OPTIONS)) == ["1/6/2", "1/7/2"]


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_dir", "unlink"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_start_that_fails_loses_nothing(disk, operation, after):
    """Whatever step of opening fails, and power with it, the next start finds everything."""
    wal = started(disk)
    append(wal, 40)
    sync(wal)
    disk = boot(disk)
    disk.fail(Fault(operation, after=after))
    with contextlib.suppress(OSError):
        Wal.open(disk, OPTIONS)

    assert len(data_of(Wal.open(boot(disk, torn=True), OPTIONS))) == 40


def test_restarting_over_and_over_does_not_grow_the_wal(disk):
    """A last segment with little in it is replaced at a start, not kept beside the next."""
    wal = started(disk)
    append(wal, 3)
    sync(wal)
    for _ in range(10):
        disk = boot(disk)
        wal = Wal.open(disk, OPTIONS)

    assert wal.segment_count == 1
    assert len(disk.names("wal")) == 2  # it and the spare
    assert data_of(wal) == ["1/6/2", "1/7/2", "1/8/2"]


def test_a_wal_of_another_node_among_the_segments_is_refused(disk, tmp_path):
    """Segments carry the WAL's id: one of another WAL does not join the chain."""
    wal = started(disk)
    append(wal, 60)
    sync(wal)
    other = UnsyncedDisk(tmp_path / "other")
    stranger = started(other)
    append(stranger, 60)
    sync(stranger)
    names = [name for name in disk.names("wal") if name in other.names("wal")]
    target = disk.root / "wal" / names[1]
    target.write_bytes((other.root / "wal" / names[1]).read_bytes())

    with pytest.raises(WalDamaged, match="another WAL"):
        reopened(disk)


# ---- segments ------------------------------------------------------------------------------------------


def test_entries_go_on_over_segments(disk):
    """A log longer than a segment comes back whole, over several batches and segments."""
    wal = started(disk)
    for first in range(6, 106, 10):
        append(wal, 10, first=first)
        sync(wal)

    assert wal.segment_count > 3
    assert len(data_of(Wal.open(boot(disk), OPTIONS))) == 100


def test_a_batch_may_span_several_segments(disk):
    """One batch larger than two segments is written in order and comes back whole."""
    wal = started(disk)
    append(wal, 100)
    sync(wal)

    assert len(data_of(Wal.open(boot(disk), OPTIONS))) == 100


def test_the_next_segment_is_preallocated_before_it_is_needed(disk):
    """A spare of full size stands under its durable name before its first record."""
    wal = started(disk)
    spare = disk.names("wal")[-1]

    assert (disk.root / "wal" / spare).stat().st_size == OPTIONS.segment_bytes
    assert lines(disk, "spare")[-1].segment == spare
    append(wal, 60)
    sync(wal)
    assert lines(disk, "spare")[-1].segment > spare


def test_every_segment_opens_with_the_state_of_all_groups(disk):
    """Hard state, Born and base of each group stand at the head of each segment."""
    wal = started(disk)
    wal.born(Born(2, (10, 11), 0, 0, 0))
    wal.hard_state(1, 6, 12)
    append(wal, 60)
    sync(wal)

    headers = lines(disk, "header")
    last = headers[-1].segment
    states = {line.group: line.fields for line in lines(disk, "state") if line.segment == last}
    assert len(headers) > 2
    assert set(states) == {1, 2}
    assert (states[1]["term"], states[1]["vote"], states[1]["members"]) == (6, 12, [10, 11, 12])


def test_segments_are_freed_once_a_base_is_durable(disk):
    """A snapshot's Base lets the segments below go, but only after the Base is synced."""
    wal = started(disk)
    append(wal, 100)
    sync(wal)
    assert wal.free_job() is None
    names = disk.names("wal")

    wal.base(1, 105, 2, keep_suffix=True)
    assert wal.free_job() is None
    sync(wal)
    wal.free_job()()

    assert wal.segment_count == 1
    assert len(disk.names("wal")) == 2 < len(names)
    assert wal.free_job() is None
    found = Wal.open(boot(disk), OPTIONS).recovered[1]
    assert (found.base, found.entries) == ((105, 2), [])


def test_a_segment_is_not_freed_before_its_successor_is_durable(disk):
    """Without entries the old segment still holds the only durable hard state."""
    wal = started(disk)
    term = 3
    while wal.segment_count == 1:
        term += 1
        wal.hard_state(1, term, None)

    assert wal.free_job() is None
    sync(wal)
    assert wal.free_job() is not None


def test_a_failed_unlink_is_tried_again_before_younger_segments_go(disk):
    """Segments leave oldest first, so that a gap always means a lost file."""
    wal = started(disk)
    append(wal, 100)
    wal.base(1, 105, 2, keep_suffix=True)
    sync(wal)
    disk.fail(Fault("unlink"))
    with pytest.raises(OSError, match="Input/output"):
        wal.free_job()()
    before = disk.names("wal")

    wal.free_job()()

    assert len(before) > 2
    assert len(disk.names("wal")) == 2
    assert wal.free_job() is None


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_missing_segment_is_refused(disk, which):
    """A segment that someone removed is noticed, also the oldest, of which no other speaks."""
    wal = started(disk)
    append(wal, 100)
    sync(wal)
    (disk.root / "wal" / disk.names("wal")[which]).unlink()

    with pytest.raises(WalDamaged):
        reopened(disk)


def test_the_groups_that_pin_the_oldest_segment_are_named(disk):
    """Over the budget, the WAL says whose entries keep the oldest segment, largest first."""
    wal = started(disk)
    wal.born(Born(2, (10,), 0, 0, 0))
    append(wal, 1, group=2, first=1)
    assert wal.pins() == {}
    append(wal, 5)
    assert not wal.over_budget

    append(wal, 110, group=2, first=2)
    sync(wal)

    assert wal.over_budget
    assert list(wal.pins()) == [2, 1]
    assert wal.pins()[1] == 5 * 144


def test_the_budget_in_bytes_counts_too(disk):
    """total_bytes_max bounds the WAL whatever the number of segments."""
    wal = started(disk, WalOptions(segment_bytes=4096, segments_max=100, total_bytes_max=8192))
    append(wal, 20)
    assert not wal.over_budget

    append(wal, 60, first=26)
    sync(wal)

    assert wal.over_budget


def test_small_remainders_are_copied_forward(disk):
    """What little an idle group keeps in the oldest segment moves, and the segment goes."""
    wal = started(disk)
    wal.born(Born(2, (10,), 0, 0, 0))
    wal.entry(2, 1, 0, b"kept")
    append(wal, 60)
    wal.base(1, 65, 2, keep_suffix=True)
    sync(wal)
    asked = []

    def entry_at(group: int, index: int) -> tuple[bytes, int]:
        asked.append((group, index))
        return b"kept", 0

    assert not wal.compact(entry_at)
    assert asked == [(2, 1)]
    assert wal.free_job() is None  # the copy is not durable yet
    sync(wal)
    wal.free_job()()
    wal.entry(2, 2, 0, b"next")
    sync(wal)

    assert wal.segment_count == 1
    assert data_of(Wal.open(boot(disk), OPTIONS), 2) == ["kept", "next"]


def test_large_remainders_are_not_copied(disk):
    """Copying is for what is below a sixteenth of a segment; else the group must snapshot."""
    wal = started(disk)
    append(wal, 60)
    sync(wal)

    assert not wal.compact(lambda group, index: pytest.fail(f"copied {index} of {group}"))


# ---- failing and full disks ----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_write_or_sync_is_raised(disk, operation):
    """The job raises and nothing of it counts as durable: the process must stop."""
    wal = started(disk)
    append(wal, 1)
    durable = wal.durable_lsn
    disk.fail(Fault(operation))

    with pytest.raises(OSError, match="Input/output"):
        wal.begin_sync().run()
    assert wal.durable_lsn == durable


def test_a_full_disk_leaves_room_for_votes(tmp_path):
    """No room for a spare is said, not raised; votes fit, and room found later ends it."""
    disk = UnsyncedDisk(tmp_path, space_bytes=2 * 4096)
    wal = started(disk)
    assert not wal.disk_full

    append(wal, 30)
    sync(wal)
    assert wal.disk_full
    wal.retry_space_job()()
    assert wal.disk_full
    lsn = wal.hard_state(1, 7, 11)
    assert sync(wal) == lsn

    disk.space_bytes += 4096
    wal.retry_space_job()()
    assert not wal.disk_full
    assert Wal.open(boot(disk), OPTIONS).recovered[1].vote == 11


def test_a_node_starts_on_a_full_disk(tmp_path):
    """The spare's room is enough to start, vote and wait for space."""
    disk = UnsyncedDisk(tmp_path)
    wal = started(disk)
    append(wal, 5)
    sync(wal)

    disk.power_off()
    disk = UnsyncedDisk(tmp_path, space_bytes=0)
    wal = Wal.open(disk, OPTIONS)
    wal.hard_state(1, 7, 11)
    sync(wal)

    found = Wal.open(boot(disk), OPTIONS)
    assert data_of(found)[-1] == "1/10/2"
    assert found.recovered[1].vote == 11


def test_a_node_that_stopped_on_a_full_disk_starts_in_a_short_segment(tmp_path):
    """Without a spare to give way, what fits beside the copied state is taken."""
    disk = UnsyncedDisk(tmp_path, space_bytes=2 * 4096)
    wal = started(disk)
    append(wal, 30)
    sync(wal)
    settle(wal)
    assert wal.disk_full

    disk.power_off()
    disk = UnsyncedDisk(tmp_path, space_bytes=3000)
    wal = Wal.open(disk, OPTIONS)
    wal.hard_state(1, 7, 11)
    sync(wal)

    found = Wal.open(boot(disk), OPTIONS)
    assert len(data_of(found)) == 30
    assert found.recovered[1].vote == 11


def test_other_errors_of_preallocation_are_raised(disk):
    """Only a full disk is expected there; a failing one stops the process."""
    wal = started(disk)
    append(wal, 30)
    disk.fail(Fault("create", errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        wal.begin_sync().run()


def test_the_repr_tells_where_it_stands(disk):
    """One line names segments, groups and both LSNs."""
    wal = started(disk)

    assert repr(wal) == "<Wal segments 1..1, 1 groups, appended to 1, durable to 1>"
