"""The write-ahead log of a node, shared by all its groups.

Appending (the hard state, entries, truncations, bases of all groups) only fills a buffer, on the loop
thread; a SyncJob writes and syncs what was buffered, on any thread; `end_sync` tells what is durable.

Invariants:
- A record counts once its LSN <= durable_lsn, which is the LSN the finished sync *began* with.
- Each batch opens with a mark that says up to where the WAL was synced before it. Damage below the
  highest mark stops the start (WalDamaged), above it is a torn tail.
- Every segment opens with the state of every group, so only live entries keep an old segment.
- `open` copies what stood above the mark, or in a last segment with little in it, into a new segment,
  and replaces it atomically: after a failed sync or a kill the tail may exist in the page cache only.
- A write or sync that failed is never tried again: SyncJob.run raises, the owner stops the process.

It starts no thread and keeps no entries in memory: those are the engine's (`recovered` is handed over).
Source: protocols.md 5; raft-on-pysyncobj.md A.4, D11, D12, D26; Rebello et al., ATC 2020.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

from holdfast_raft.disk import Disk, File
from holdfast_raft.wal_files import NO_SPACE, Chunk, SegmentFiles, SyncJob
from holdfast_raft.wal_opening import RecoveredGroup, forget_copies, keep, recovered, stays
from holdfast_raft.wal_records import (
    ABOUT_BYTES_MAX,
    BASE,
    BORN,
    COPY,
    COPYING,
    CRC,
    DROP_SUFFIX,
    ENTRY,
    HARD,
    HEAD,
    HEADER_BYTES,
    KEEP_SUFFIX,
    MARK_BYTES,
    OVERHEAD_BYTES,
    RETIRE,
    STATE,
    TRUNCATE,
    Born,
    GroupFacts,
    Header,
    WalDamaged,
    born_body,
    copying_body,
    hard_body,
    header_bytes,
    mark_bytes,
    segment_name,
    state_body,
)
from holdfast_raft.wal_replay import Replay, replay_wal
from holdfast_raft.wal_spans import GroupLog, Segment

__all__ = ["Born", "RecoveredGroup", "SyncJob", "Wal", "WalDamaged", "WalOptions"]

FOLDER = "wal"
_COMPACT_BELOW = 16  # copy an oldest segment's rest forward below 1/16 of a segment
_COMPACT_SLICE_BYTES = 64 * 1024  # copied in one call, so that no turn of the loop is long
_WAL_ID_BYTES = 16
_SMALL_BODY_BYTES = 16  # bounds records that change facts, Born apart

_pack_head = HEAD.pack
_pack_crc = CRC.pack


@dataclass(frozen=True, slots=True)
class WalOptions:
    """Bounds of the WAL.

    Attributes:
        segment_bytes: size of a segment; a record may take a quarter of it.
        segments_max, total_bytes_max: above either, groups are asked to snapshot (`over_budget`).
    """

    segment_bytes: int = 64 << 20
    segments_max: int = 4
    total_bytes_max: int = 1 << 30


class Wal:
    """See the module docstring. All methods on the loop thread, jobs excepted; open with `Wal.open`."""

    def __init__(self, disk: Disk, options: WalOptions, replay: Replay) -> None:
        """Takes over what was read and begins the segment that this process writes."""
        self._options = options
        self._wal_id = replay.wal_id or self._new_id()
        self._lsn = self._durable = self._marked = replay.last_lsn
        forget_copies(replay)
        self._logs = {group: GroupLog(log.facts) for group, log in replay.groups.items()}
        self._segments: OrderedDict[int, Segment] = OrderedDict()  # oldest first; the last is written
        self._batch: list[Chunk] = []
        self._pieces: list[bytes] = []  # of the batch's last chunk
        self._mark_place: tuple[Chunk, int, int] | None = None  # chunk, piece, offset of the batch's mark
        self._job: SyncJob | None = None
        self._segment = Segment(0, 0)  # the one being written
        self._offset = 0
        self._room_to = 0  # records may go up to there without a look; 0 while no batch is open
        self._segment_end = 0
        self._crc = 0
        self._files = self._start(disk, replay)
        self.recovered = {group: recovered(group, log) for group, log in replay.groups.items()}

    @classmethod
    def open(cls, disk: Disk, options: WalOptions | None = None) -> Wal:
        """Replays the WAL and makes all of it durable; blocks. Raises WalDamaged, OSError."""
        disk.make_dir(FOLDER)
        for name in disk.names(FOLDER):
            if name.endswith(".new"):
                disk.unlink(f"{FOLDER}/{name}")
        return cls(disk, options or WalOptions(), replay_wal(disk, FOLDER))

    def _new_id(self) -> bytes:
        """Of a new WAL; records of another's are never taken for its own."""
        return secrets.token_bytes(_WAL_ID_BYTES)

    def __repr__(self) -> str:
        first, last = next(iter(self._segments)), next(reversed(self._segments))
        return (
            f"<Wal segments {first}..{last}, {len(self._logs)} groups,"
            f" appended to {self._lsn}, durable to {self._durable}{', disk full' if self.disk_full else ''}>"
        )

    def facts(self, group: int) -> GroupFacts | None:
        """What is known of a group now, retired ones too; to be read only."""
        log = self._logs.get(group)
        return None if log is None else log.facts

    def groups(self) -> Iterator[tuple[int, GroupFacts]]:
        return ((group, log.facts) for group, log in self._logs.items())

    # ---- appending -----------------------------------------------------------------------------------

    def entry(self, group: int, index: int, term: int, data: bytes) -> int:
        """Appends the entry at `index`, which must follow the group's last. The hot path."""
        log = self._logs[group]
        facts = log.facts
        if index != facts.last + 1 or facts.retired:
            raise ValueError(f"entry {index} of group {group} follows {facts.last}")
        length = len(data)
        end = self._offset + length + OVERHEAD_BYTES
        if end > self._room_to:
            end = self._make_room(length + OVERHEAD_BYTES) + length + OVERHEAD_BYTES
        lsn = self._lsn + 1
        head = _pack_head(length, ENTRY, group, index, term, lsn)
        self._crc = crc = crc32(data, crc32(head, self._crc))
        self._pieces += (head, data, _pack_crc(crc))
        self._offset = end
        self._lsn = lsn
        facts.last = index
        span = log.tail
        if span is None or span.segment is not self._segment:
            span = log.open_span(self._segment, index)
        span.last = index
        span.bytes += length + OVERHEAD_BYTES
        return lsn

    def born(self, born: Born) -> int:
        """A replica comes to be: new, or of a copy that stands at its base.

        Raises ValueError if there was such a replica before, or if `about` is too long.
        """
        if len(born.about) > ABOUT_BYTES_MAX:
            raise ValueError(f"about has {len(born.about)} bytes; at most {ABOUT_BYTES_MAX} are kept")
        log = self._logs.get(born.group)
        body = born_body(born)
        if log is None:
            lsn = self._append(BORN, born.group, born.base_index, born.base_term, body)
            self._logs[born.group] = GroupLog(GroupFacts(born))
            return lsn
        self._reserve(len(body))
        log.facts.be_born(born)
        return self._append(BORN, born.group, born.base_index, born.base_term, body)

    def copying(self, group: int, source: int) -> int:
        """A log begins that follows the one of `source`; what an earlier such copy left is void."""
        log = self._logs.get(group)
        if log is not None and log.facts.copying is None:
            raise ValueError(f"group {group} was born here before")
        lsn = self._append(COPYING, group, 0, 0, copying_body(source))
        if log is not None:
            log.drop_from(0, lsn)
        self._logs[group] = GroupLog(GroupFacts(None, source))
        return lsn

    def hard_state(self, group: int, term: int, vote: int | None) -> int:
        """Raises ValueError if the term goes back, or if this term's vote changes."""
        log = self._living(group)
        facts = log.facts
        if (term, vote) != (facts.term, facts.vote):
            self._reserve()
            facts.set_hard_state(term, vote)
            log.hard_lsn = self._append(HARD, group, 0, term, hard_body(vote))
        return log.hard_lsn

    def truncate(self, group: int, from_index: int) -> int:
        """The group's log ends before `from_index` now."""
        log = self._living(group)
        self._reserve()
        log.facts.cut(from_index)
        lsn = self._append(TRUNCATE, group, from_index, 0, b"")
        log.drop_from(from_index, lsn)
        return lsn

    def base(self, group: int, index: int, term: int, *, keep_suffix: bool) -> int:
        """A durable snapshot stands at (index, term): entries up to there may go.

        keep_suffix: the log holds (index, term) and goes on; else all of it is dropped.
        """
        log = self._living(group)
        self._reserve()
        log.facts.rebase(index, term, keep_suffix)
        lsn = self._append(BASE, group, index, term, KEEP_SUFFIX if keep_suffix else DROP_SUFFIX)
        log.drop_to(index, lsn)
        log.drop_from(log.facts.last + 1, lsn)
        return lsn

    def retire(self, group: int) -> int:
        """The replica ends; a tombstone stays for ever."""
        log = self._living(group)
        self._reserve()
        log.facts.retire()
        lsn = self._append(RETIRE, group, 0, 0, b"")
        log.drop_from(0, lsn)
        return lsn

    def append_mark(self) -> None:
        """Opens a batch if none is open; its mark is what an idle node lacks: see `needs_mark`."""
        self._make_room(0)

    @property
    def needs_mark(self) -> bool:
        """Idle, and no mark on disk says yet that the last records are durable."""
        return self._durable > self._marked and self._job is None and not self._batch

    @property
    def wal_id(self) -> bytes:
        """Random, made with the WAL: who keeps it elsewhere can tell that a WAL is the one it knew."""
        return self._wal_id

    @property
    def appended_lsn(self) -> int:
        return self._lsn

    @property
    def durable_lsn(self) -> int:
        return self._durable

    # ---- syncing -------------------------------------------------------------------------------------

    def begin_sync(self) -> SyncJob | None:
        """Takes what was appended. None: there is nothing, or a sync is under way (or failed)."""
        if self._job is not None or self._mark_place is None:
            return None
        chunk, piece, offset = self._mark_place
        chunk.pieces[piece] = mark_bytes(self._wal_id, chunk.segment, offset, self._durable)
        self._marked = self._durable
        self._job = SyncJob(self._files, self._batch, self._lsn)
        self._batch, self._mark_place, self._room_to = [], None, 0
        return self._job

    def end_sync(self, job: SyncJob) -> int:
        """The job ran without raising: returns the new durable LSN."""
        assert job is self._job, "syncs end in the order they began"
        self._job = None
        self._durable = job.lsn
        return job.lsn

    def close(self) -> None:
        """Closes the files; what was not synced is lost. No job may be running."""
        self._files.close()

    # ---- space ---------------------------------------------------------------------------------------

    @property
    def disk_full(self) -> bool:
        """There is no room for a spare segment: append no entries; votes still fit."""
        return self._files.full

    def entries_fit(self, size: int) -> bool:
        """Whether entries may be taken: on a full disk the last eighth of a segment is for votes."""
        return (
            not self.disk_full or self._offset + size <= self._segment_end - self._options.segment_bytes // 8
        )

    def retry_space_job(self) -> Callable[[], None]:
        """A job for the sync thread that looks for room again; `disk_full` tells what it found."""
        return self._files.keep_spare

    @property
    def segment_count(self) -> int:
        """Segments in use, the spare not counted."""
        return len(self._segments)

    @property
    def over_budget(self) -> bool:
        """Groups that pin the oldest segment should snapshot now."""
        total = sum(segment.size for segment in self._segments.values())
        return len(self._segments) > self._options.segments_max or total > self._options.total_bytes_max

    def pins(self) -> dict[int, int]:
        """Groups whose entries keep the oldest segment, with about how many bytes; largest first."""
        oldest = next(iter(self._segments.values()))
        if oldest is self._segment:
            return {}
        found = {group: log.bytes_in(oldest) for group, log in self._logs.items()}
        return dict(sorted(((g, n) for g, n in found.items() if n), key=lambda pin: -pin[1]))

    def compact(self, entry_at: Callable[[int, int], tuple[bytes, int]]) -> bool:
        """Copies a slice of what little is left in the oldest segment forward.

        entry_at: (group, index) -> (data, term) of an entry still in the log. Returns whether to call
        again soon.
        """
        oldest = next(iter(self._segments.values()))
        if oldest is self._segment or not oldest.spans:
            return False
        if sum(self.pins().values()) * _COMPACT_BELOW >= self._options.segment_bytes:
            return False
        copied = 0
        for group, log in self._logs.items():
            while (span := log.first_span_in(oldest)) is not None:
                if copied >= _COMPACT_SLICE_BYTES:
                    return True
                data, term = entry_at(group, span.first)
                lsn = self._append(COPY, group, span.first, term, data)
                log.copied_first(span, self._segment, len(data) + OVERHEAD_BYTES, lsn)
                copied += len(data) + OVERHEAD_BYTES
        return False

    def free_job(self) -> Callable[[], None] | None:
        """A job for the sync thread that unlinks segments nothing keeps. None: there are none."""
        freed: list[int] = []
        while len(self._segments) > 1:
            oldest, following = list(self._segments.values())[:2]
            if oldest.spans or max(oldest.released_lsn, following.opened_lsn) > self._durable:
                break
            del self._segments[oldest.id]
            freed.append(oldest.id)
        return self._files.unlink_doomed if self._files.doom(freed) else None

    # ---- inside --------------------------------------------------------------------------------------

    def _living(self, group: int) -> GroupLog:
        log = self._logs.get(group)
        if log is None or log.facts.retired:
            raise ValueError(f"group {group} is {'not born' if log is None else 'retired'} here")
        return log

    def _reserve(self, body_bytes: int = _SMALL_BODY_BYTES) -> None:
        """Room for a record, before facts change: a new segment opens with the facts as they were."""
        if self._offset + body_bytes + OVERHEAD_BYTES > self._room_to:
            self._make_room(body_bytes + OVERHEAD_BYTES)

    def _append(self, kind: int, group: int, index: int, term: int, body: bytes) -> int:
        size = len(body) + OVERHEAD_BYTES
        if self._offset + size > self._room_to:
            self._make_room(size)
        self._lsn += 1
        head = _pack_head(len(body), kind, group, index, term, self._lsn)
        self._crc = crc32(body, crc32(head, self._crc))
        self._pieces += (head, body, _pack_crc(self._crc))
        self._offset += size
        return self._lsn

    def _make_room(self, size: int) -> int:
        """Opens a batch with its mark if none is open, goes on to the next segment if this is full."""
        if size > self._options.segment_bytes // 4:
            raise ValueError(f"a record of {size} bytes does not fit segments of {self._segment_end}")
        if not self._batch:
            if self._offset + MARK_BYTES > self._segment_end:
                self._next_segment()
            else:
                self._open_chunk(self._offset, [])
            self._place_mark()
        if self._offset + size > self._segment_end:
            self._next_segment()
        self._room_to = self._segment_end
        return self._offset

    def _open_chunk(self, offset: int, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._batch.append(Chunk(self._segment.id, offset, pieces))

    def _place_mark(self) -> None:
        # What the mark says is filled in when the batch is taken, so its CRC is not part of the chain.
        self._mark_place = (self._batch[-1], len(self._pieces), self._offset)
        self._pieces.append(b"")
        self._offset += MARK_BYTES

    def _next_segment(self) -> None:
        previous = self._segment.id
        self._begin_segment(previous + 1, self._options.segment_bytes, previous, self._lsn)

    def _begin_segment(self, segment: int, size: int, previous: int, previous_end: int) -> None:
        """Header, and the state of every group."""
        header = header_bytes(Header(self._wal_id, segment, previous, previous_end, self._lsn + 1))
        self._segment = self._segments[segment] = Segment(segment, size)
        self._segment_end = self._room_to = size
        self._open_chunk(0, [header])
        self._offset = HEADER_BYTES
        (self._crc,) = CRC.unpack_from(header, HEADER_BYTES - CRC.size)
        for group, log in self._logs.items():
            facts = log.facts
            self._append(STATE, group, facts.base_index, facts.base_term, state_body(facts))
        self._segment.opened_lsn = self._lsn
        assert self._offset <= size // 2, "the states of all groups take half a segment: make segments larger"

    # ---- opening -------------------------------------------------------------------------------------

    def _start(self, disk: Disk, replay: Replay) -> SegmentFiles:
        """Begins a segment with all state and the entries to copy; it is durable before it counts."""
        disk.sync_dir(FOLDER)  # what supersedes a file must be durable before the file goes
        for unused in replay.unused:
            disk.unlink(f"{FOLDER}/{segment_name(unused)}")
        kept, previous_end = keep(replay, self._options.segment_bytes // 2)
        self._segments.update((file.id, Segment(file.id, file.size)) for file in kept)
        number = max([0, *replay.unused, *(file.id for file in replay.chain)]) + 1
        kept_ids = {file.id for file in kept}
        copied_bytes = sum(
            len(stored.data) + OVERHEAD_BYTES
            for log in replay.groups.values()
            for stored in log.entries.values()
            if not stays(stored, kept_ids, replay.marked)
        )
        # A full disk has the room of the spare just unlinked: no more is asked for where that is enough.
        size = self._options.segment_bytes
        size += copied_bytes if copied_bytes > size // 2 else 0
        self._begin_segment(number, size, kept[-1].id if kept else 0, previous_end)
        self._place_entries(replay, kept_ids)
        self._pieces.append(mark_bytes(self._wal_id, number, self._offset, self._lsn))
        self._offset += MARK_BYTES
        self._durable = self._marked = self._lsn
        files = self._put_in_place(disk, number)
        try:
            for file in replay.chain[len(kept) :]:
                disk.unlink(f"{FOLDER}/{segment_name(file.id)}")
            files.keep_spare()
        except BaseException:
            files.close()
            raise
        return files

    def _place_entries(self, replay: Replay, kept_ids: set[int]) -> None:
        """Copies the entries that must be, and notes where each stands."""
        for group, found in replay.groups.items():
            log = self._logs[group]
            for index, stored in sorted(found.entries.items()):
                segment = self._segment
                if stays(stored, kept_ids, replay.marked):
                    segment = self._segments[stored.segment]
                else:
                    self._append(COPY, group, index, stored.term, stored.data)
                log.extend(segment, index, len(stored.data) + OVERHEAD_BYTES)

    def _put_in_place(self, disk: Disk, number: int) -> SegmentFiles:
        (chunk,) = self._batch
        self._batch, self._pieces, self._room_to = [], [], 0
        new = f"{FOLDER}/{number:010d}.new"
        file = self._create_new(disk, new)
        try:
            file.write_at(0, chunk.pieces)
            file.sync()
            disk.rename(new, f"{FOLDER}/{segment_name(number)}")
            disk.sync_dir(FOLDER)
        except BaseException:
            file.close()
            raise
        return SegmentFiles(disk, FOLDER, self._options.segment_bytes, number, file)

    def _create_new(self, disk: Disk, path: str) -> File:
        try:
            return disk.create(path, self._segment_end)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
        # Stopped on a full disk, without a spare: a short segment is enough to start and vote.
        self._segment_end = self._segment.size = self._offset + self._options.segment_bytes // 16
        return disk.create(path, self._segment_end)
