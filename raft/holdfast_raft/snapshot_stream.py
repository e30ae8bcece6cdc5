"""A snapshot on its way: being written, being sent, being received.

Each object is advanced one small step a turn (`step`), so that no state is large enough to stall the
loop; file writes run on the file thread. Order on disk (protocols.md 5): file, fsync, rename, directory
fsync - then the Base record, then whatever depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from holdfast_raft.machine import Builder, CorruptImage, Image
from holdfast_raft.messages import SnapshotChunk, SnapshotReply
from holdfast_raft.snapshots import SnapshotInfo, SnapshotReader, SnapshotStore, SnapshotWriter

CHUNKS_IN_FLIGHT_MAX = 4
WRITES_PENDING_MAX = 4


class FileThread(Protocol):
    """Runs file work off the loop, in order; `done` comes back on the loop with None or the exception."""

    def __call__(self, job: Callable[[], object], done: Callable[[BaseException | None], None]) -> None: ...


class Writing:
    """Chunks on their way into a snapshot file."""

    def __init__(
        self, writer: SnapshotWriter, files: FileThread, wake: Callable[[], None] | None = None
    ) -> None:
        self._writer = writer
        self._files = files
        self._wake = wake
        self._pending = 0
        self.failed: BaseException | None = None

    def may_add(self) -> bool:
        return self._pending < WRITES_PENDING_MAX

    def add(self, chunk: bytes, written: Callable[[], None] | None = None) -> None:
        self._writer.add(chunk)
        self._pending += 1
        self._files(self._writer.write_job(), lambda error: self._written(error, written))

    def _written(self, error: BaseException | None, written: Callable[[], None] | None) -> None:
        self._pending -= 1
        self.failed = self.failed or error
        if written is not None:
            written()
        if self._wake is not None:
            self._wake()

    def finish(self, done: Callable[[BaseException | None], None]) -> None:
        self._files(self._writer.finish, lambda error: done(self.failed or error))

    def abort(self) -> None:
        self._files(self._writer.abort, lambda _: None)


class SnapshotTaking:
    """Writes the state machine's image at (index, term) while entries go on being applied."""

    def __init__(
        self,
        image: Image,
        index: int,
        term: int,
        writer: SnapshotWriter,
        files: FileThread,
        done: Callable[[BaseException | None], None],
        wake: Callable[[], None] | None = None,
    ) -> None:
        self.index = index
        self.term = term
        self._image = image
        self._chunks: Iterator[bytes] | None = image.chunks()
        self._writing = Writing(writer, files, wake)
        self._done = done

    def step(self) -> None:
        """Encodes at most one more chunk."""
        if self._chunks is None:
            return
        if self._writing.failed is not None:
            self.cancel()
            self._done(self._writing.failed)
            return
        if not self._writing.may_add():
            return
        chunk = next(self._chunks, None)
        if chunk is not None:
            self._writing.add(chunk)
            return
        self._chunks = None
        self._image.release()
        self._writing.finish(self._done)

    @property
    def wants_turn(self) -> bool:
        """Whether step has something to do."""
        return self._chunks is not None and self._writing.may_add()

    def cancel(self) -> None:
        """Gives up; nothing of it stays."""
        if self._chunks is not None:
            self._chunks = None
            self._image.release()
            self._writing.abort()


class SnapshotSending:
    """Feeds one follower the latest snapshot, a window of chunks at a time."""

    def __init__(self, reader: SnapshotReader, info: SnapshotInfo) -> None:
        self.info = info
        self._reader = reader
        self._chunks = reader.chunks()
        try:
            self._ahead = next(self._chunks, None)
        except BaseException:
            reader.close()
            raise
        self._next_number = 0
        self._acknowledged = -1

    def next_chunk(self, commit_index: int) -> SnapshotChunk | None:
        """The next chunk if the window has room."""
        if self._ahead is None or self._next_number - self._acknowledged > CHUNKS_IN_FLIGHT_MAX:
            return None
        data, self._ahead = self._ahead, next(self._chunks, None)
        number = self._next_number
        self._next_number += 1
        return SnapshotChunk(
            self.info.index, self.info.term, commit_index, number, data, last=self._ahead is None
        )

    def replied(self, reply: SnapshotReply) -> bool:
        """Takes an acknowledgement; False: the follower wants to begin again."""
        if reply.refused:
            return False
        self._acknowledged = max(self._acknowledged, reply.number)
        return True

    def close(self) -> None:
        self._reader.close()


class SnapshotReceiving:
    """Takes a leader's snapshot: into a file and, beside the present state, into a builder."""

    def __init__(
        self,
        leader: int,
        chunk: SnapshotChunk,
        store: SnapshotStore,
        group: int,
        builder: Builder,
        files: FileThread,
    ) -> None:
        self.leader = leader
        self.index = chunk.index
        self.term = chunk.snapshot_term
        self.builder = builder
        self._writing = Writing(store.begin(group, self.index, self.term), files)
        self._expected = 0
        self.finishing = False

    def belongs(self, leader: int, chunk: SnapshotChunk) -> bool:
        """Whether the chunk is the next piece of what is being received."""
        return (
            leader == self.leader
            and (chunk.index, chunk.snapshot_term) == (self.index, self.term)
            and chunk.number == self._expected
            and not self.finishing
        )

    def take(self, chunk: SnapshotChunk, written: Callable[[], None]) -> None:
        """Takes the next piece; `written` when it left memory. Raises CorruptImage."""
        if self._writing.failed is not None:
            raise CorruptImage(f"the snapshot could not be written: {self._writing.failed}")
        self.builder.feed(chunk.data)
        self._writing.add(chunk.data, written)
        self._expected += 1

    def finish(self, done: Callable[[BaseException | None], None]) -> None:
        """After the last piece: checks the whole, then makes the file durable. Raises CorruptImage."""
        self.finishing = True
        self.builder.finish()
        self._writing.finish(done)

    def abort(self) -> None:
        """Gives up; nothing of it stays."""
        self._writing.abort()
