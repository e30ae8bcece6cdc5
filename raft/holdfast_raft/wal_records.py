"""The WAL's bytes: segment headers, records, marks.

    segment = header, then records, then zeros (segments are preallocated)
    header  = magic, WAL id, segment, previous segment, its last LSN that counts, first LSN, CRC
    record  = length, kind, group, index, term, LSN | body | CRC
    mark    = a record whose CRC stands alone and whose LSN field says up to where the WAL is synced

Invariants:
- A record's CRC goes on from the previous record's, the first one's from the header's: it covers the
  previous CRC, the segment's id and the LSN, so that no record is valid anywhere but in its place.
- A mark is found without reading what stands before it (by the WAL's random id, which no client knows,
  in every mark), because what stands before it may be what is damaged.
- LSNs count records up by one; a header's first LSN may leave a gap, a segment has none.

Nothing here touches a disk or decides what damage means: see `wal_replay`.
Source: protocols.md 5; Alagappan et al., "Protocol-Aware Recovery", FAST 2018.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

END, MARK, STATE, BORN, HARD, ENTRY, TRUNCATE, BASE, RETIRE, COPY, COPYING = range(11)
# COPY: an entry of this WAL, written again. COPYING: a log that follows another group's.
KIND_NAMES = (
    "end", "mark", "state", "born", "hard", "entry", "truncate", "base", "retire", "copy", "copying",
)  # fmt: skip

MAGIC = b"HFWAL\x00\x00\x01"  # the last byte is the format's version
_HEADER = struct.Struct("<8s16sQQQQ")
HEAD = struct.Struct("<IB3xQQQQ")  # length of body, kind, group, index, term, LSN
CRC = struct.Struct("<I")
_MARK_BODY = struct.Struct("<16sQQ")  # WAL id, segment, offset of the mark
_STATE = struct.Struct("<QqQB")  # term, vote (-1: none), last index, flags
_BORN = struct.Struct("<QQII")  # base index, base term, CRC of the snapshot, count of members
_HARD = struct.Struct("<q")  # vote (-1: none); the term stands in the head
_SOURCE = struct.Struct("<Q")  # the group that is copied

LSN_MAX = (1 << 64) - 1
HEADER_BYTES = _HEADER.size + CRC.size
OVERHEAD_BYTES = HEAD.size + CRC.size
MARK_BYTES = OVERHEAD_BYTES + _MARK_BODY.size
_RETIRED, _HAS_BORN, _COPYING = 1, 2, 4
_ZEROS = bytes(1 << 16)
KEEP_SUFFIX, DROP_SUFFIX = b"\x01", b"\x00"  # body of BASE
ABOUT_BYTES_MAX = 4096
"""Of Born.about: it is repeated in the opening of every segment."""


class WalDamaged(Exception):
    """The WAL lacks records that were synced: this node must not speak until someone decided.

    Attributes:
        segment: file name of the segment.
        offset: where in the file the first unreadable record stands.
    """

    def __init__(self, segment: str, offset: int, what: str) -> None:
        self.segment = segment
        self.offset = offset
        super().__init__(
            f"WAL segment {segment} is damaged at offset {offset}: {what}. "
            "This node promised what stood there, so it does not start without it. Two ways on: restore "
            "the file as it was, or run `holdfast node reset`: the node forgets its data and joins again "
            "under a new identity, copying from the others"
        )


class Born(NamedTuple):
    """That a replica exists here: of which group, with whom, from which state on.

    base_index, base_term: where the state it begins with stands. Of a replica that was a copy, the log goes
    back further.
    snapshot_crc: SnapshotInfo.crc of the snapshot it starts from; 0 when it starts empty.
    about: the owner's words, at most ABOUT_BYTES_MAX; unread here.

    Of a group that goes on from others' state the record is a vote too: its first term is the one after the
    base's, and every member's vote in it is the first member's (docs/decisions/0006).
    """

    group: int
    members: tuple[int, ...]
    base_index: int
    base_term: int
    snapshot_crc: int
    about: bytes = b""

    @property
    def goes_on(self) -> bool:
        """Whether it begins with the state of other groups; else empty."""
        return self.base_index > 1

    @property
    def first_term(self) -> int:
        """The term that it is born in."""
        return self.base_term + 1 if self.goes_on else self.base_term

    @property
    def first_vote(self) -> int | None:
        """Whom it votes for in that term."""
        return self.members[0] if self.goes_on else None


class Header(NamedTuple):
    """A segment's first bytes.

    previous_end: of the segments before this one, the records up to this LSN count and later ones do
    not; all of them were synced before this header was written.
    """

    wal_id: bytes
    segment: int
    previous: int
    previous_end: int
    first_lsn: int


class Record(NamedTuple):
    """One record as it stands in a segment."""

    kind: int
    group: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    term: int
    lsn: int
    body: bytes
    offset: int


class GroupFacts:
    """What the WAL says of one group, without its entries.

    Both the appending side and replay change it through these methods, so that they agree.

    copying: the group whose log this one follows, until it is born; None: it is born, or retired.
    """

    __slots__ = ("base_index", "base_term", "born", "copying", "last", "retired", "term", "vote")

    def __init__(self, born: Born | None, copying: int | None = None) -> None:
        self.born = born
        self.copying = copying
        self.base_index = born.base_index if born else 0
        self.base_term = born.base_term if born else 0
        self.last = self.base_index  # index of the last entry of the log
        self.term = born.first_term if born else 0
        self.vote = born.first_vote if born else None
        self.retired = False

    def be_born(self, born: Born) -> None:
        """A copy becomes a replica, standing where its log ends. Raises ValueError if it cannot."""
        if self.copying is None:
            raise ValueError("it was born here before")
        if born.base_index != self.last:
            raise ValueError(f"a copy is born at {born.base_index}, its log ends at {self.last}")
        self.born, self.copying = born, None
        self.term, self.vote = born.first_term, born.first_vote

    def set_hard_state(self, term: int, vote: int | None) -> None:
        """Raises ValueError when the term goes back or a vote of this term changes."""
        if term < self.term or (term == self.term and self.vote is not None and vote != self.vote):
            raise ValueError(
                f"hard state goes back: term {self.term} vote {self.vote} -> term {term} vote {vote}"
            )
        self.term, self.vote = term, vote

    def cut(self, from_index: int) -> None:
        if not self.base_index < from_index <= self.last:
            raise ValueError(f"truncate from {from_index} outside {self.base_index + 1}..{self.last}")
        self.last = from_index - 1

    def rebase(self, index: int, term: int, keep_suffix: bool) -> None:
        if index < self.base_index:
            raise ValueError(f"base goes back from {self.base_index} to {index}")
        if not keep_suffix or index > self.last:
            self.last = index
        self.base_index, self.base_term = index, term

    def retire(self) -> None:
        self.retired, self.copying = True, None
        self.last = self.base_index


def header_bytes(header: Header) -> bytes:
    """The header with its CRC, which is also where the segment's chain begins."""
    fields = _HEADER.pack(
        MAGIC, header.wal_id, header.segment, header.previous, header.previous_end, header.first_lsn
    )
    return fields + CRC.pack(crc32(fields))


def parse_header(data: bytes) -> Header | None:
    """The header of a segment's bytes, None when there is no valid one."""
    if len(data) < HEADER_BYTES or CRC.unpack_from(data, _HEADER.size)[0] != crc32(data[: _HEADER.size]):
        return None
    magic, wal_id, segment, previous, previous_end, first_lsn = _HEADER.unpack_from(data)
    return Header(wal_id, segment, previous, previous_end, first_lsn) if magic == MAGIC else None


def mark_bytes(wal_id: bytes, segment: int, offset: int, synced_to: int) -> bytes:
    head = HEAD.pack(_MARK_BODY.size, MARK, 0, 0, 0, synced_to)
    body = _MARK_BODY.pack(wal_id, segment, offset)
    return head + body + CRC.pack(crc32(body, crc32(head)))


def mark_at(data: bytes, offset: int, wal_id: bytes, segment: int) -> int | None:
    """What the mark at `offset` says, None when no valid mark of this WAL and place stands there."""
    if offset < 0 or offset + MARK_BYTES > len(data):
        return None
    synced_to: int = HEAD.unpack_from(data, offset)[5]
    whole = data[offset : offset + MARK_BYTES]
    return synced_to if whole == mark_bytes(wal_id, segment, offset, synced_to) else None


def highest_mark(data: bytes, start: int, wal_id: bytes, segment: int) -> int:
    """The highest mark anywhere after `start`, 0 when there is none."""
    highest = 0
    found = data.find(wal_id, start)
    while found >= 0:
        synced_to = mark_at(data, found - HEAD.size, wal_id, segment)
        highest = max(highest, synced_to or 0)
        found = data.find(wal_id, found + 1)
    return highest


class SegmentScan:
    """Iterates over a segment's records, marks included, up to the first that is not valid.

    to_lsn: stops after this LSN; None = reads all.

    Attributes:
        offset, lsn: where reading stopped, and the LSN of the last record read.
        marked: the highest mark read.
        ended_by: why reading stopped; "zeros" is how a segment ends in good order.
    """

    def __init__(self, data: bytes, header: Header, to_lsn: int | None = None) -> None:
        self._data = data
        self._header = header
        self._to_lsn = LSN_MAX if to_lsn is None else to_lsn
        self.offset = HEADER_BYTES
        self.lsn = header.first_lsn - 1
        self.marked = header.previous_end
        self.ended_by = "zeros"

    def __iter__(self) -> Iterator[Record]:
        data, size = self._data, len(self._data)
        view = memoryview(data)
        chain = CRC.unpack_from(data, _HEADER.size)[0]
        while self.offset + OVERHEAD_BYTES <= size and self.lsn < self._to_lsn:
            offset = self.offset
            length, kind, group, index, term, lsn = HEAD.unpack_from(data, offset)
            if kind == END and length == 0 and lsn == 0:
                return
            body_at = offset + HEAD.size
            end = body_at + length + CRC.size
            if end > size:
                self.ended_by = "the record's length runs over the end of the segment"
                return
            if kind == MARK:
                if mark_at(data, offset, self._header.wal_id, self._header.segment) is None:
                    self.ended_by = "the mark's CRC does not fit"
                    return
                self.marked = max(self.marked, lsn)
            else:
                crc = crc32(view[body_at : end - CRC.size], crc32(view[offset:body_at], chain))
                if crc != CRC.unpack_from(data, end - CRC.size)[0]:
                    self.ended_by = "the record's CRC does not fit"
                    return
                if lsn != self.lsn + 1:
                    self.ended_by = f"LSN {lsn} follows {self.lsn}"
                    return
                chain, self.lsn = crc, lsn
            self.offset = end
            yield Record(kind, group, index, term, lsn, data[body_at : end - CRC.size], offset)


def born_body(born: Born) -> bytes:
    count = len(born.members)
    fixed = _BORN.pack(born.base_index, born.base_term, born.snapshot_crc, count)
    return fixed + struct.pack(f"<{count}Q", *born.members) + born.about


def parse_born(group: int, body: bytes) -> Born:
    base_index, base_term, snapshot_crc, count = _BORN.unpack_from(body)
    members = struct.unpack_from(f"<{count}Q", body, _BORN.size)
    return Born(group, members, base_index, base_term, snapshot_crc, body[_BORN.size + 8 * count :])


def copying_body(source: int) -> bytes:
    return _SOURCE.pack(source)


def parse_copying(body: bytes) -> int:
    source: int
    (source,) = _SOURCE.unpack(body)
    return source


def hard_body(vote: int | None) -> bytes:
    return _HARD.pack(-1 if vote is None else vote)


def parse_hard(body: bytes) -> int | None:
    (vote,) = _HARD.unpack(body)
    return None if vote < 0 else vote


def state_body(facts: GroupFacts) -> bytes:
    """Body of STATE; base index and term stand in the head."""
    flags = _RETIRED * facts.retired | _HAS_BORN * (facts.born is not None)
    flags |= _COPYING * (facts.copying is not None)
    vote = -1 if facts.vote is None else facts.vote
    fixed = _STATE.pack(facts.term, vote, facts.last, flags)
    if facts.copying is not None:
        return fixed + copying_body(facts.copying)
    return fixed + (born_body(facts.born) if facts.born else b"")


def parse_state(record: Record) -> GroupFacts:
    term, vote, last, flags = _STATE.unpack_from(record.body)
    rest = record.body[_STATE.size :]
    born = parse_born(record.group, rest) if flags & _HAS_BORN else None
    facts = GroupFacts(born, parse_copying(rest) if flags & _COPYING else None)
    facts.term, facts.vote, facts.last = term, None if vote < 0 else vote, last
    facts.base_index, facts.base_term = record.index, record.term
    facts.retired = bool(flags & _RETIRED)
    return facts


def is_blank(data: bytes, start: int) -> bool:
    """Whether nothing but zeros stands from `start` on."""
    view = memoryview(data)
    blocks = range(start, len(data), len(_ZEROS))
    return all(view[at : at + len(_ZEROS)] == _ZEROS[: len(data) - at] for at in blocks)


def segment_name(segment: int) -> str:
    return f"{segment:010d}.wal"


def segment_number(name: str) -> int | None:
    """The id in a segment's file name, None for other files."""
    stem, dot, kind = name.partition(".")
    return int(stem) if dot and kind == "wal" and stem.isdecimal() else None
