"""Reads a WAL back: which segments count, what each group's log holds, and whether anything is missing.

Invariants:
- What replay returns is the state after some prefix of what was ever appended, and that prefix reaches
  at least to the highest mark; else WalDamaged. There is no third outcome.
- Unreadable bytes above the highest mark are a torn tail, below it damage. A valid mark, wherever it
  stands, is true: it was written after the sync it speaks of.
- At the end every group's log is whole from its base to its last index, or WalDamaged: so a segment
  that vanished is noticed even when no mark tells of it.

It only reads; `wal` decides what becomes of the files.
Source: protocols.md 5; Alagappan et al., "Protocol-Aware Recovery", FAST 2018.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from holdfast_raft.disk import Disk
from holdfast_raft.wal_records import (
    BASE,
    BORN,
    COPY,
    COPYING,
    ENTRY,
    HARD,
    HEADER_BYTES,
    KEEP_SUFFIX,
    MARK,
    RETIRE,
    STATE,
    TRUNCATE,
    GroupFacts,
    Header,
    Record,
    SegmentScan,
    WalDamaged,
    highest_mark,
    is_blank,
    parse_born,
    parse_copying,
    parse_hard,
    parse_header,
    parse_state,
    segment_name,
    segment_number,
)


class Stored(NamedTuple):
    """An entry and where it stands."""

    data: bytes
    term: int
    segment: int
    lsn: int


class GroupReplay:
    """One group's part of the WAL while it is read."""

    def __init__(self, facts: GroupFacts) -> None:
        self.facts = facts
        self.entries: dict[int, Stored] = {}

    def prune(self) -> None:
        """Forgets entries that the facts no longer hold."""
        first, last = self.facts.base_index + 1, self.facts.last
        self.entries = {i: e for i, e in self.entries.items() if first <= i <= last}

    def first_missing(self) -> int | None:
        """Index of the first entry between base and last that was not read."""
        wanted = range(self.facts.base_index + 1, self.facts.last + 1)
        if self.facts.retired or len(wanted) == len(self.entries):
            return None
        return next(index for index in wanted if index not in self.entries)


@dataclass(slots=True)
class SegmentFile:
    """A segment on disk. header: None = not valid (an unused spare, or torn)."""

    id: int
    size: int
    header: Header | None
    end: int = 0  # offset after the last valid record
    last_lsn: int = 0
    counts_to: int = 0  # records above this LSN do not count: a later segment says so
    ended_by: str = ""
    blank: bool = False


@dataclass(slots=True)
class Replay:
    """What a WAL says.

    Attributes:
        wal_id: empty when there is no WAL yet.
        chain: the segments that count, oldest first.
        unused: ids of segments that do not (spares, superseded ones).
        groups: by id, retired ones included.
        last_lsn: LSN of the last record read.
        marked: highest mark; what stands above it may never have been synced.
        torn: (segment id, offset) of unreadable bytes after the last record, None when it ends clean.
    """

    wal_id: bytes = b""
    chain: list[SegmentFile] = field(default_factory=list)
    unused: list[int] = field(default_factory=list)
    groups: dict[int, GroupReplay] = field(default_factory=dict)
    last_lsn: int = 0
    marked: int = 0
    torn: tuple[int, int] | None = None


def replay_wal(disk: Disk, folder: str, visit: Callable[[int, Record], None] | None = None) -> Replay:
    """Reads the WAL in `folder`. Raises WalDamaged.

    visit: told (segment id, record) of each record that counts, marks included.
    """
    files = _read_headers(disk, folder)
    replay = Replay()
    if not files:
        return replay
    _pick_chain(replay, files)
    tail = replay.chain[-1]
    for segment in replay.chain:
        _read_segment(replay, disk, folder, segment, visit)
        if segment is not tail and segment.last_lsn < segment.counts_to:
            raise _damage(
                segment, f"{segment.ended_by}, but records up to LSN {segment.counts_to} were synced"
            )
    _judge_tail(replay, files)
    for group, log in replay.groups.items():
        missing = log.first_missing()
        if missing is not None:
            what = f"the WAL begins here, but entry {missing} of group {group} stands in no segment"
            raise _damage(replay.chain[0], what, 0)
    return replay


def read_segment_bytes(disk: Disk, folder: str, segment: int) -> bytes:
    file = disk.open(f"{folder}/{segment_name(segment)}")
    try:
        return file.read_at(0, file.size())
    finally:
        file.close()


def _damage(segment: SegmentFile, what: str, offset: int | None = None) -> WalDamaged:
    return WalDamaged(segment_name(segment.id), segment.end if offset is None else offset, what)


def _read_headers(disk: Disk, folder: str) -> list[SegmentFile]:
    files: list[SegmentFile] = []
    for name in disk.names(folder):
        number = segment_number(name)
        if number is None:
            continue
        file = disk.open(f"{folder}/{name}")
        try:
            head = file.read_at(0, HEADER_BYTES)
            header = parse_header(head)
            blank = not head.strip(b"\0")
            files.append(SegmentFile(number, file.size(), header, blank=blank))
        finally:
            file.close()
    for segment in files:
        if segment.header is not None and segment.header.segment != segment.id:
            what = f"its header says it is segment {segment.header.segment}"
            raise _damage(segment, what, 0)
    return files


def _pick_chain(replay: Replay, files: list[SegmentFile]) -> None:
    """Follows the headers from the newest segment back."""
    valid = {s.id: s for s in files if s.header is not None}
    if not valid:
        raise _damage(files[0], "no segment has a valid header", 0)
    tail = valid[max(valid)]
    link: SegmentFile | None = tail
    while link is not None and link.header is not None:
        if link.header.wal_id != (replay.wal_id or link.header.wal_id):
            raise _damage(link, "it belongs to another WAL", 0)
        replay.wal_id = link.header.wal_id
        replay.chain.insert(0, link)
        before = next((s for s in files if s.id == link.header.previous), None)
        if before is not None and before.header is None:
            raise _damage(before, "its header is not valid, and later segments go on from it", 0)
        if before is not None:
            before.counts_to = link.header.previous_end
        link = before
    oldest = replay.chain[0]
    stray = next((s for s in files if oldest.header and s.id <= oldest.header.previous), None)
    if stray is not None and oldest.header is not None:
        # Segments are freed oldest first, each durably before the next: an older one cannot be left.
        missing = SegmentFile(oldest.header.previous, 0, None)
        raise _damage(missing, "the file is missing though an older one is there", 0)
    counted = {s.id for s in replay.chain}
    replay.unused = [s.id for s in files if s.id not in counted]


def _read_segment(
    replay: Replay,
    disk: Disk,
    folder: str,
    segment: SegmentFile,
    visit: Callable[[int, Record], None] | None,
) -> None:
    assert segment.header is not None
    data = read_segment_bytes(disk, folder, segment.id)
    is_tail = segment is replay.chain[-1]
    scan = SegmentScan(data, segment.header, None if is_tail else segment.counts_to)
    for record in scan:
        if visit is not None:
            visit(segment.id, record)
        if record.kind != MARK:
            _apply(replay, segment, record)
    segment.end, segment.last_lsn, segment.ended_by = scan.offset, scan.lsn, scan.ended_by
    replay.last_lsn = max(replay.last_lsn, scan.lsn)
    replay.marked = max(replay.marked, scan.marked)
    if is_tail:
        after = highest_mark(data, scan.offset, segment.header.wal_id, segment.id)
        replay.marked = max(replay.marked, after)
        if scan.ended_by != "zeros" or not is_blank(data, scan.offset):
            replay.torn = (segment.id, scan.offset)
        for later in replay.unused:
            if later > segment.id:
                rest = read_segment_bytes(disk, folder, later)
                after = highest_mark(rest, 0, segment.header.wal_id, later)
                replay.marked = max(replay.marked, after)


def _judge_tail(replay: Replay, files: list[SegmentFile]) -> None:
    tail = replay.chain[-1]
    if replay.marked <= tail.last_lsn:
        return
    later = [s for s in files if s.id > tail.id]
    reason = tail.ended_by
    if later and tail.ended_by == "zeros" and not later[0].blank:
        raise _damage(later[0], f"its header is not valid, and a mark says LSN {replay.marked} was synced", 0)
    raise _damage(tail, f"{reason} after LSN {tail.last_lsn}, but a mark says LSN {replay.marked} was synced")


def _apply(replay: Replay, segment: SegmentFile, record: Record) -> None:
    kind = record.kind
    try:
        if kind in (ENTRY, COPY):
            _take_entry(replay.groups[record.group], segment.id, record)
        elif kind == STATE:
            log = replay.groups.setdefault(record.group, GroupReplay(GroupFacts(None)))
            log.facts = parse_state(record)
            log.prune()
        elif kind == BORN:
            _take_born(replay, record)
        elif kind == COPYING:
            _take_copying(replay, record)
        else:
            _change_facts(replay.groups[record.group], record)
    except (KeyError, ValueError, struct.error) as error:
        # The CRC fits, so these bytes were written on purpose: by a newer program, or by a bug.
        what = f"record of kind {kind} for group {record.group} does not fit what precedes it ({error})"
        raise _damage(segment, what, record.offset) from error


def _take_born(replay: Replay, record: Record) -> None:
    born = parse_born(record.group, record.body)
    copy = replay.groups.get(record.group)
    if copy is None:
        replay.groups[record.group] = GroupReplay(GroupFacts(born))
    else:
        copy.facts.be_born(born)


def _take_copying(replay: Replay, record: Record) -> None:
    earlier = replay.groups.get(record.group)
    if earlier is not None and earlier.facts.copying is None:
        raise ValueError("it was born here before")
    replay.groups[record.group] = GroupReplay(GroupFacts(None, parse_copying(record.body)))


def _take_entry(log: GroupReplay, segment: int, record: Record) -> None:
    facts = log.facts
    if record.kind == ENTRY:
        if record.index != facts.last + 1 or facts.retired:
            raise ValueError(f"entry {record.index} follows {facts.last}" + ", retired" * facts.retired)
        facts.last = record.index
    elif not facts.base_index < record.index <= facts.last:
        return
    log.entries[record.index] = Stored(record.body, record.term, segment, record.lsn)


def _change_facts(log: GroupReplay, record: Record) -> None:
    facts = log.facts
    if record.kind == HARD:
        facts.set_hard_state(record.term, parse_hard(record.body))
        return
    before = (facts.base_index, facts.last)
    if record.kind == TRUNCATE:
        facts.cut(record.index)
        for index in range(record.index, before[1] + 1):
            log.entries.pop(index, None)
        return
    if record.kind == BASE:
        facts.rebase(record.index, record.term, record.body == KEEP_SUFFIX)
    elif record.kind == RETIRE:
        facts.retire()
    else:
        raise ValueError("a newer program wrote it")
    log.prune()
