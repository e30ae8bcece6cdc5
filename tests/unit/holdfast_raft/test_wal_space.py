"""Segments: rotation, freeing, copying forward, full and failing disks (protocols.md 5)."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from holdfast_chaos.node.unsynced_disk import Fault, UnsyncedDisk
from holdfast_raft.wal import Born, Wal, WalOptions

from tests.wals import OPTIONS, append, boot, data_of, lines, settle, started, sync


@pytest.fixture
def disk(tmp_path: Path) -> UnsyncedDisk:
    return UnsyncedDisk(tmp_path)


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


@pytest.mark.parametrize("how", ["hard_state", "truncate", "base", "retire"])
def test_a_segment_that_a_change_opens_begins_with_the_state_before_it(disk, how):
    """Else a replay would take the change twice: truncating what is cut already counts as damage."""
    wal = started(disk)
    append(wal, 25)
    assert wal.segment_count == 1  # with less room left than the smallest record takes
    match how:
        case "hard_state":
            wal.hard_state(1, 7, 11)
        case "truncate":
            wal.truncate(1, 30)
        case "base":
            wal.base(1, 28, 2, keep_suffix=True)
        case "retire":
            wal.retire(1)
    assert wal.segment_count == 2
    sync(wal)

    (state,) = (line.fields for line in lines(disk, "state"))
    assert (state["term"], state["base_index"], state["last"], state["retired"]) == (3, 5, 30, False)
    found = Wal.open(boot(disk), OPTIONS).recovered[1]
    first, last = {"truncate": (6, 29), "base": (29, 30), "retire": (0, -1)}.get(how, (6, 30))
    assert [index for _, index, _ in found.entries] == list(range(first, last + 1))
    assert (found.term, found.retired) == (7 if how == "hard_state" else 3, how == "retire")


def test_a_segment_is_kept_by_its_own_entries_only(disk):
    """What a log continued in later segments counts there, and lets go of the oldest."""
    wal = started(disk)
    append(wal, 60)
    sync(wal)
    entries = lines(disk, "entry")
    oldest = [line for line in entries if line.segment == entries[0].segment]
    assert wal.segment_count > 2
    assert wal.pins() == {1: len(oldest) * 144}

    wal.base(1, 5 + len(oldest), 2, keep_suffix=True)
    sync(wal)
    before = wal.segment_count
    wal.free_job()()

    assert wal.segment_count == before - 1


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


def test_a_base_lets_go_of_nothing_behind_it(disk):
    """The last entry alone keeps its segment, however many follow."""
    wal = started(disk)
    append(wal, 60)
    wal.base(1, 64, 2, keep_suffix=True)
    holds = wal.segment_count
    for term in range(4, 104):
        wal.hard_state(1, term, None)
    sync(wal)
    assert wal.segment_count > holds

    wal.free_job()()

    assert wal.pins() == {1: 144}
    assert data_of(Wal.open(boot(disk), OPTIONS)) == ["1/65/2"]


def test_a_batch_that_begins_at_the_end_of_a_segment_begins_the_next(disk):
    """Where not even the mark fits: it is never written over the end of its segment."""
    wal = started(disk)
    append(wal, 25)
    sync(wal)
    assert wal.segment_count == 1

    append(wal, 1, first=31)
    assert wal.segment_count == 2
    sync(wal)

    assert len({line.segment for line in lines(disk, "mark")}) == 2
    assert len(data_of(Wal.open(boot(disk), OPTIONS))) == 26


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


def test_the_segment_being_written_is_not_copied_forward(disk):
    """Its entries are where copying would put them."""
    wal = started(disk)
    append(wal, 2)
    sync(wal)
    assert wal.segment_count == 1

    assert not wal.compact(lambda group, index: pytest.fail(f"copied {index} of {group}"))


def test_large_remainders_are_not_copied(disk):
    """Copying is for what is below a sixteenth of a segment; else the group must snapshot."""
    wal = started(disk)
    append(wal, 60)
    sync(wal)

    assert not wal.compact(lambda group, index: pytest.fail(f"copied {index} of {group}"))


@pytest.mark.parametrize("how", ["truncate", "drop", "retire"])
def test_entries_that_a_conflict_or_a_snapshot_removed_pin_nothing(disk, how):
    """Segments whose entries were all cut away go like those below a base."""
    wal = started(disk)
    append(wal, 100)
    sync(wal)
    if how == "truncate":
        wal.truncate(1, 6)
    elif how == "drop":
        wal.base(1, 7, 9, keep_suffix=False)
    else:
        wal.retire(1)
    sync(wal)
    wal.free_job()()

    assert wal.segment_count == 1


def test_what_a_base_let_go_no_longer_counts_as_pinning(disk):
    """The bytes a group pins shrink with its log."""
    wal = started(disk)
    append(wal, 100)
    before = wal.pins()[1]
    in_oldest = before // 144

    wal.base(1, 5 + in_oldest // 2, 2, keep_suffix=True)

    assert wal.pins()[1] == before - in_oldest // 2 * 144


def test_copying_forward_takes_slices(disk):
    """One call copies at most about 64 KiB, says that there is more, and loses no place."""
    wal = started(disk, WalOptions(segment_bytes=4 << 20))
    wal.born(Born(2, (10,), 0, 0, 0))
    append(wal, 15, size=10_000, group=2, first=1, term=0)
    append(wal, 420, size=10_000)
    wal.base(1, 425, 2, keep_suffix=True)
    sync(wal)
    asked = []

    def entry_at(group: int, index: int) -> tuple[bytes, int]:
        asked.append(index)
        return f"{group}/{index}/0".encode().ljust(10_000), 0

    rounds = 1
    while wal.compact(entry_at):
        rounds += 1
    sync(wal)
    wal.free_job()()

    assert rounds > 1
    assert asked == list(range(1, 16))
    assert len(data_of(Wal.open(boot(disk)), 2)) == 15


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


def test_on_a_full_disk_the_last_eighth_of_a_segment_takes_no_entries(tmp_path):
    """Entries are refused where they would leave less; with room for a spare there is no such bound."""
    disk = UnsyncedDisk(tmp_path, space_bytes=2 * 4096)
    wal = started(disk)
    assert wal.entries_fit(1 << 30)
    append(wal, 30)
    sync(wal)
    assert wal.disk_full

    used = lines(disk, "entry")[-1].offset + 144
    room = OPTIONS.segment_bytes - used - OPTIONS.segment_bytes // 8
    assert room > 0
    assert wal.entries_fit(room)
    assert not wal.entries_fit(room + 1)

    disk.space_bytes += 4096
    wal.retry_space_job()()
    assert wal.entries_fit(room + 1)


def test_a_node_starts_on_a_full_disk(tmp_path):
    """The spare's room is enough to start, vote and wait for space."""
    disk = UnsyncedDisk(tmp_path)
    wal = started(disk)
    append(wal, 5)
    sync(wal)

    disk.power_off()
    disk = UnsyncedDisk(tmp_path, space_bytes=0)
    wal = Wal.open(disk, OPTIONS)
    assert (tmp_path / "wal" / lines(disk, "header")[-1].segment).stat().st_size == OPTIONS.segment_bytes
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
