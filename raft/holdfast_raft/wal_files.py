"""The segment files a WAL writes, as its sync thread sees them: the current one and one spare.

Invariant: a spare stands preallocated and named in a synced directory before its first record; so a
full disk is noticed one segment ahead, and what must still be written (votes) has room.
It knows nothing of records, and takes no decision: which bytes go where is settled on the loop thread.
"""

from __future__ import annotations

import contextlib
import errno
from typing import NamedTuple

from holdfast_raft.disk import Disk, File
from holdfast_raft.wal_records import segment_name

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

# A preallocated block that was never written costs its first sync a change of the file's extents. Zeros
# written ahead, one such stretch at a time, leave that to one sync in hundreds: 125 us against 190 us a
# sync measured on ext4.
_ZEROS = bytes(1 << 20)


class Chunk(NamedTuple):
    """Bytes that go into one segment."""

    segment: int
    offset: int
    pieces: list[bytes]


class SegmentFiles:
    """Used by one thread at a time; `full` may be read by any."""

    def __init__(self, disk: Disk, folder: str, segment_bytes: int, current: int, file: File) -> None:
        self._disk = disk
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._current = current
        self._file = file
        self._zeroed_to = 0  # of the current file: up to there blocks were written before
        self._spare: File | None = None
        self._doomed: list[int] = []  # freed segments whose files still stand, oldest first
        self.full = False  # there is no spare because the disk has no room for one

    def path(self, segment: int) -> str:
        return f"{self._folder}/{segment_name(segment)}"

    def write(self, chunks: list[Chunk]) -> None:
        """Writes and syncs each chunk before the next: a later segment's header says so of an earlier."""
        for chunk in chunks:
            if chunk.segment != self._current:
                self._advance(chunk.segment)
            self._file.write_at(chunk.offset, chunk.pieces)
            end = chunk.offset + sum(map(len, chunk.pieces))
            if end > self._zeroed_to:
                self._zero_ahead(end)
            self._file.sync()

    def _advance(self, segment: int) -> None:
        if self._spare is None:
            self._spare = self._preallocate(segment)
        self._file.close()
        self._file, self._spare, self._current = self._spare, None, segment
        self._zeroed_to = 0

    def _zero_ahead(self, end: int) -> None:
        room = min(len(_ZEROS), self._file.size() - end)
        if room > 0:
            self._file.write_at(end, [_ZEROS[:room]])
        self._zeroed_to = end + room

    def keep_spare(self) -> None:
        """Makes the spare if there is none. No room is not an error: `full` says it."""
        if self._spare is not None:
            return
        try:
            self._spare = self._preallocate(self._current + 1)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self.full = True
        else:
            self.full = False

    def _preallocate(self, segment: int) -> File:
        file = self._disk.create(self.path(segment), self._segment_bytes)
        try:
            file.sync()
            self._disk.sync_dir(self._folder)
        except BaseException:
            file.close()
            raise
        return file

    def doom(self, segments: list[int]) -> bool:
        """Notes segments for `unlink_doomed`; returns whether it has anything to do."""
        self._doomed += segments
        return bool(self._doomed)

    def unlink_doomed(self) -> None:
        """Removes freed segments, each durably before the next: replay takes a gap for a lost file.

        After an OSError the rest waits for the next call.
        """
        while self._doomed:
            with contextlib.suppress(FileNotFoundError):
                self._disk.unlink(self.path(self._doomed[0]))
            self._disk.sync_dir(self._folder)
            del self._doomed[0]

    def close(self) -> None:
        self._file.close()
        if self._spare is not None:
            self._spare.close()
            self._spare = None


class SyncJob:
    """What one sync writes. `run` on any thread, then `Wal.end_sync` on the loop's."""

    __slots__ = ("_chunks", "_files", "lsn")

    def __init__(self, files: SegmentFiles, chunks: list[Chunk], lsn: int) -> None:
        self._files = files
        self._chunks = chunks
        self.lsn = lsn

    def run(self) -> None:
        """Writes and syncs. Raises OSError; then nothing may be appended or synced any more."""
        self._files.write(self._chunks)
        self._files.keep_spare()
