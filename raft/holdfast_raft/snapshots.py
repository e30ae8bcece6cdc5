"""Snapshot files: `snapshots/<group>/<index>-<term>.snap`.

    file  = header, chunks, footer
    chunk = length, CRC, data; the CRC goes on from the previous chunk's
    footer = length field of all ones, then count of chunks, bytes of data, last CRC, CRC

Invariants:
- A file under its final name is whole and durable: written, synced, renamed, directory synced.
- SnapshotInfo.crc is over the chunks only, so that the same chunks have the same CRC on every node.
- What a reader returns passed its CRC; SnapshotDamaged otherwise, and never a shorter snapshot.

`begin`, `add` and `write_job` belong to the loop thread and do no I/O; the jobs, `finish` and `abort`
block and run one after the other on a file thread. What is in a chunk is the state machine's affair.
Source: protocols.md 5 (order), raft-on-pysyncobj.md D7.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple
from zlib import crc32

from holdfast_raft.disk import Disk, File

FOLDER = "snapshots"

_MAGIC = b"HFSNAP\x00\x01"  # the last byte is the format's version
_HEADER = struct.Struct("<8sQQQ")  # magic, group, index, term
_CRC = struct.Struct("<I")
_HEADER_BYTES = _HEADER.size + _CRC.size
_CHUNK = struct.Struct("<II")  # length, CRC
_LENGTH = struct.Struct("<I")
_FOOTER = struct.Struct("<IIQI")  # all ones, chunks, bytes of data, CRC of the last chunk
_FOOTER_BYTES = _FOOTER.size + _CRC.size
_FOOTER_LENGTH = 0xFFFF_FFFF

# A file is synced as it grows: one large sync at its end would hold up the WAL's on the same disk.
SYNC_EVERY_BYTES = 4 << 20


class SnapshotDamaged(Exception):
    """A snapshot file does not hold what was written: its replica cannot start from it.

    Attributes:
        file: path below the data directory.
        offset: where the first unreadable piece stands.
    """

    def __init__(self, file: str, offset: int, what: str) -> None:
        self.file = file
        self.offset = offset
        super().__init__(f"snapshot {file} is damaged at offset {offset}: {what}")


class SnapshotInfo(NamedTuple):
    """A whole snapshot on disk. path: below the data directory; bytes: of its chunks' data."""

    group: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    term: int
    crc: int
    path: str
    bytes: int
    chunk_count: int


class SnapshotWriter:
    """A snapshot being written, own or received."""

    def __init__(self, store: SnapshotStore, group: int, index: int, term: int, temporary: str) -> None:
        self._store = store
        self._place = (group, index, term)
        self._temporary = temporary
        self._pieces: list[bytes] = [_header(*self._place)]
        self._moved = False
        self._count = 0
        self._bytes = 0
        self.crc = 0
        # From here on the file thread's.
        self._file: File | None = None
        self._offset = 0
        self._synced = 0
        self._ended = False

    def __repr__(self) -> str:
        return f"<SnapshotWriter {self._temporary}, {self._count} chunks, {self._bytes} bytes>"

    def add(self, chunk: bytes) -> None:
        """Buffers a chunk; an empty one is a programmer's error."""
        assert chunk, "a chunk holds something"
        length = _LENGTH.pack(len(chunk))
        self.crc = crc32(chunk, crc32(length, self.crc))
        self._pieces += (length, _LENGTH.pack(self.crc), chunk)
        self._count += 1
        self._bytes += len(chunk)

    def stands_at(self, index: int, term: int) -> None:
        """The state turns out to stand there. Before `finish`."""
        self._moved = self._moved or (index, term) != self._place[1:]
        self._place = (self._place[0], index, term)

    def write_job(self) -> Callable[[], None]:
        """Takes what is buffered; the job writes it. After a job raised, `finish` raises too."""
        pieces, self._pieces = self._pieces, []
        return lambda: self._write(pieces)

    def finish(self) -> SnapshotInfo:
        """Writes the rest and makes the file durable under its name. On the file thread."""
        footer = _FOOTER.pack(_FOOTER_LENGTH, self._count, self._bytes, self.crc)
        pieces, self._pieces = [*self._pieces, footer, _CRC.pack(crc32(footer))], []
        self._write(pieces)
        assert self._file is not None
        try:
            if self._moved:
                self._file.write_at(0, [_header(*self._place)])
            self._file.sync()
            info = SnapshotInfo(*self._place, self.crc, _path(*self._place), self._bytes, self._count)
            self._store.put_in_place(self._temporary, info)
        except BaseException:
            self.abort()
            raise
        self._ended = True
        self._file.close()
        return info

    def abort(self) -> None:
        """Removes what was written. On the file thread, any number of times, also after finish."""
        if self._ended:
            return
        self._ended = True
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):  # finish may have failed after the rename
                self._store.disk.unlink(self._temporary)

    def _write(self, pieces: list[bytes]) -> None:
        if self._ended:
            raise OSError(f"snapshot {self._temporary} was given up")
        try:
            if self._file is None:
                self._store.disk.make_dir(_folder(self._place[0]))
                self._file = self._store.disk.create(self._temporary, 0)
            if not pieces:
                return
            self._file.write_at(self._offset, pieces)
            self._offset += sum(map(len, pieces))
            if self._offset - self._synced >= self._store.sync_every_bytes:
                self._file.sync()
                self._synced = self._offset
        except BaseException:
            self.abort()  # a file with a hole must never get its final name
            raise


class SnapshotReader:
    """A whole snapshot, read chunk by chunk. Close it."""

    def __init__(self, file: File, info: SnapshotInfo) -> None:
        self.info = info
        self._file = file
        # Where chunk n begins and the CRC it goes on from; grows as chunks are read.
        self._places: list[tuple[int, int]] = [(_HEADER_BYTES, 0)]

    def __repr__(self) -> str:
        return f"<SnapshotReader {self.info.path}, {len(self._places) - 1} of {self.info.chunk_count} read>"

    def chunks(self) -> Iterator[bytes]:
        """All chunks in order. Raises SnapshotDamaged."""
        for number in range(self.info.chunk_count):
            yield self.chunk(number)

    def chunk(self, number: int) -> bytes:
        """Chunk `number`, from 0 on. Raises SnapshotDamaged."""
        assert 0 <= number < self.info.chunk_count, f"no chunk {number} in {self.info.path}"
        while len(self._places) <= number:
            self._read(len(self._places) - 1)
        return self._read(number)

    def close(self) -> None:
        self._file.close()

    def _read(self, number: int) -> bytes:
        offset, before = self._places[number]
        head = self._file.read_at(offset, _CHUNK.size)
        if len(head) < _CHUNK.size:
            raise SnapshotDamaged(self.info.path, offset, "the file ends within a chunk")
        length, crc = _CHUNK.unpack(head)
        if length > self.info.bytes:
            raise SnapshotDamaged(self.info.path, offset, "the chunk's length is out of bounds")
        data = self._file.read_at(offset + _CHUNK.size, length)
        if len(data) < length or crc32(data, crc32(head[: _LENGTH.size], before)) != crc:
            raise SnapshotDamaged(self.info.path, offset, f"the CRC of chunk {number} does not fit")
        if number + 1 == self.info.chunk_count and crc != self.info.crc:
            raise SnapshotDamaged(self.info.path, offset, "the last chunk is not the one the footer names")
        if len(self._places) == number + 1:
            self._places.append((offset + _CHUNK.size + length, crc))
        return data


class SnapshotStore:
    """The snapshots of all groups of a node."""

    def __init__(self, disk: Disk, sync_every_bytes: int = SYNC_EVERY_BYTES) -> None:
        """Removes what unfinished writes left. Blocks."""
        self.disk = disk
        self.sync_every_bytes = sync_every_bytes
        self._numbers = itertools.count()
        # Ascending by (index, term). Replaced, never changed in place: two threads look at it.
        self._known: dict[int, tuple[tuple[int, int], ...]] = {}
        self._infos: dict[str, SnapshotInfo] = {}
        disk.make_dir(FOLDER)
        for folder in disk.names(FOLDER):
            if folder.isdecimal():
                self._known[int(folder)] = self._look_into(int(folder))

    def __repr__(self) -> str:
        return f"<SnapshotStore {sum(map(len, self._known.values()))} files of {len(self._known)} groups>"

    def begin(self, group: int, index: int, term: int) -> SnapshotWriter:
        """A writer for the snapshot at (index, term); one that stands there already is replaced."""
        temporary = f"{_folder(group)}/{index}-{term}.{next(self._numbers)}.tmp"
        return SnapshotWriter(self, group, index, term, temporary)

    def groups(self) -> list[int]:
        """Those with snapshots here."""
        return [group for group, places in self._known.items() if places]

    def latest(self, group: int) -> SnapshotInfo | None:
        """The newest snapshot, None if there is none. Raises SnapshotDamaged if its ends are unreadable.

        An older one is no substitute: the log no longer holds what lies between.
        """
        known = self._known.get(group, ())
        return self._info(_path(group, *known[-1]), group) if known else None

    def open(self, info: SnapshotInfo) -> SnapshotReader:
        """Opens a snapshot for reading; it stays readable while it is open, even when removed."""
        return SnapshotReader(self.disk.open(info.path), info)

    def remove_older(self, group: int, keep_index: int) -> None:
        """Removes the snapshots below `keep_index`. Blocks."""
        self._remove(group, lambda index: index < keep_index)

    def remove_group(self, group: int) -> None:
        """Removes all snapshots of the group. Blocks."""
        self._remove(group, lambda _: True)

    def put_in_place(self, temporary: str, info: SnapshotInfo) -> None:
        """The last step of a writer: the name that makes it count."""
        self.disk.rename(temporary, info.path)
        self.disk.sync_dir(_folder(info.group))
        self._infos[info.path] = info
        places = {*self._known.get(info.group, ()), (info.index, info.term)}
        self._known[info.group] = tuple(sorted(places))

    def _look_into(self, group: int) -> tuple[tuple[int, int], ...]:
        places: list[tuple[int, int]] = []
        self.disk.sync_dir(_folder(group))  # a name may stand in the page cache only: nothing rests on it
        for name in self.disk.names(_folder(group)):
            stem, _, kind = name.rpartition(".")
            index, _, term = stem.partition("-")
            if kind == "tmp":
                self.disk.unlink(f"{_folder(group)}/{name}")
            elif kind == "snap" and index.isdecimal() and term.isdecimal():
                places.append((int(index), int(term)))
        return tuple(sorted(places))

    def _remove(self, group: int, condemned: Callable[[int], bool]) -> None:
        known = self._known.get(group, ())
        self._known[group] = tuple(place for place in known if not condemned(place[0]))
        gone = [_path(group, *place) for place in known if condemned(place[0])]
        for path in gone:
            self._infos.pop(path, None)
            self.disk.unlink(path)
        if gone:
            self.disk.sync_dir(_folder(group))

    def _info(self, path: str, group: int) -> SnapshotInfo:
        info = self._infos.get(path)
        if info is None:
            file = self.disk.open(path)
            try:
                info = self._infos[path] = _read_ends(file, path, group)
            finally:
                file.close()
        return info


def _header(group: int, index: int, term: int) -> bytes:
    fields = _HEADER.pack(_MAGIC, group, index, term)
    return fields + _CRC.pack(crc32(fields))


def _folder(group: int) -> str:
    return f"{FOLDER}/{group}"


def _path(group: int, index: int, term: int) -> str:
    return f"{_folder(group)}/{index}-{term}.snap"


def _read_ends(file: File, path: str, group: int) -> SnapshotInfo:
    size = file.size()
    if size < _HEADER_BYTES + _FOOTER_BYTES:
        raise SnapshotDamaged(path, size, "the file is too short")
    head = file.read_at(0, _HEADER_BYTES)
    foot = file.read_at(size - _FOOTER_BYTES, _FOOTER_BYTES)
    if head[_HEADER.size :] != _CRC.pack(crc32(head[: _HEADER.size])):
        raise SnapshotDamaged(path, 0, "the header's CRC does not fit")
    magic, header_group, index, term = _HEADER.unpack_from(head)
    if magic != _MAGIC or header_group != group or path != _path(group, index, term):
        raise SnapshotDamaged(path, 0, f"the header is that of group {header_group} at {index}, term {term}")
    if foot[_FOOTER.size :] != _CRC.pack(crc32(foot[: _FOOTER.size])):
        raise SnapshotDamaged(path, size - _FOOTER_BYTES, "the footer's CRC does not fit")
    length, count, data_bytes, crc = _FOOTER.unpack_from(foot)
    if length != _FOOTER_LENGTH:
        raise SnapshotDamaged(path, size - _FOOTER_BYTES, "the footer is not a footer")
    if size != _HEADER_BYTES + count * _CHUNK.size + data_bytes + _FOOTER_BYTES:
        raise SnapshotDamaged(path, size, f"the file is not as long as {count} chunks of {data_bytes} bytes")
    return SnapshotInfo(group, index, term, crc, path, data_bytes, count)
