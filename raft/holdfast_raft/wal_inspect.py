"""Looks at a WAL without changing it, for `holdfast wal dump` and `holdfast wal verify`.

Works on a stopped node and on a running one, whose files change while they are read: what looks damaged
is looked at again. Give it a ReadOnlyDisk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from holdfast_raft.disk import Disk
from holdfast_raft.wal import FOLDER
from holdfast_raft.wal_records import (
    BASE,
    BORN,
    COPY,
    COPYING,
    ENTRY,
    HARD,
    KEEP_SUFFIX,
    KIND_NAMES,
    MARK,
    STATE,
    TRUNCATE,
    Record,
    SegmentScan,
    WalDamaged,
    is_blank,
    parse_born,
    parse_copying,
    parse_hard,
    parse_header,
    parse_state,
    segment_name,
    segment_number,
)
from holdfast_raft.wal_replay import Replay, read_segment_bytes, replay_wal

_LOOKS_MAX = 3

Fields = Mapping[str, object]


class Line(NamedTuple):
    """One thing that stands in a segment. lsn: 0 for headers, marks and what could not be read."""

    segment: str
    offset: int
    lsn: int
    kind: str
    group: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a node would start on this WAL, and what it would find.

    Attributes:
        damage: empty, or what `Wal.open` would refuse with.
        segments, records, groups: that count.
        last_lsn: of the last readable record.
        synced_to: the highest mark; damage up to there is refused.
        torn: empty, or where unreadable bytes follow the last record; they will be cut.
    """

    damage: str = ""
    segments: int = 0
    records: int = 0
    groups: int = 0
    last_lsn: int = 0
    synced_to: int = 0
    torn: str = ""

    @property
    def ok(self) -> bool:
        return not self.damage


def dump(disk: Disk, folder: str = FOLDER) -> Iterator[Line]:
    """Everything readable in each segment, oldest first, also what no longer counts."""
    for name in disk.names(folder):
        number = segment_number(name)
        if number is None:
            continue
        try:
            data = read_segment_bytes(disk, folder, number)
        except FileNotFoundError:
            continue  # freed since it was listed
        header = parse_header(data)
        if header is None:
            kind = "spare" if is_blank(data, 0) else "damaged"
            yield Line(name, 0, 0, kind, 0, {"bytes": len(data)})
            continue
        facts = header._asdict() | {"wal_id": header.wal_id.hex()}
        yield Line(name, 0, 0, "header", 0, facts)
        scan = SegmentScan(data, header)
        for record in scan:
            yield _line(name, record)
        if scan.ended_by != "zeros":
            yield Line(name, scan.offset, 0, "unreadable", 0, {"why": scan.ended_by})


def verify(disk: Disk, folder: str = FOLDER) -> Verdict:
    """Reads all of it as a start would."""
    damage = ""
    for _ in range(_LOOKS_MAX):
        try:
            return _look(disk, folder)
        except (WalDamaged, FileNotFoundError) as error:
            damage = str(error)
    return Verdict(damage=damage)


def _look(disk: Disk, folder: str) -> Verdict:
    kinds: Counter[int] = Counter()

    def visit(_segment: int, record: Record) -> None:
        kinds[record.kind] += 1

    replay = replay_wal(disk, folder, visit)
    return _verdict(replay, kinds.total() - kinds[MARK])


def _verdict(replay: Replay, records: int) -> Verdict:
    torn = ""
    if replay.torn is not None:
        segment, offset = replay.torn
        torn = f"{segment_name(segment)} from offset {offset} on"
    return Verdict(
        segments=len(replay.chain),
        records=records,
        groups=sum(not log.facts.retired for log in replay.groups.values()),
        last_lsn=replay.last_lsn,
        synced_to=replay.marked,
        torn=torn,
    )


def _line(name: str, record: Record) -> Line:
    kind = KIND_NAMES[record.kind] if record.kind < len(KIND_NAMES) else f"kind {record.kind}"
    if record.kind == MARK:
        return Line(name, record.offset, 0, kind, 0, {"synced_to": record.lsn})
    return Line(name, record.offset, record.lsn, kind, record.group, _fields(record))


def _fields(record: Record) -> Fields:
    read = _READERS.get(record.kind)
    return {} if read is None else read(record)


def _entry_fields(record: Record) -> Fields:
    """With the content's CRC-32, by which two nodes' logs can be compared."""
    crc = crc32(record.body)
    return {"index": record.index, "term": record.term, "bytes": len(record.body), "crc": crc}


def _base_fields(record: Record) -> Fields:
    return {"index": record.index, "term": record.term, "keep_suffix": record.body == KEEP_SUFFIX}


def _born_fields(record: Record) -> Fields:
    born = parse_born(record.group, record.body)
    return {
        "members": list(born.members),
        "base_index": born.base_index,
        "base_term": born.base_term,
        "term": born.first_term,
        "vote": born.first_vote,
        "snapshot_crc": born.snapshot_crc,
        "about_bytes": len(born.about),
    }


def _state_fields(record: Record) -> Fields:
    facts = parse_state(record)
    return {
        "term": facts.term,
        "vote": facts.vote,
        "base_index": facts.base_index,
        "base_term": facts.base_term,
        "last": facts.last,
        "retired": facts.retired,
        "members": list(facts.born.members) if facts.born else [],
        "born_term": facts.born.first_term if facts.born else 0,
        "born_index": facts.born.base_index if facts.born else 0,
        "about_bytes": len(facts.born.about) if facts.born else 0,
        "copying": facts.copying or 0,
    }


_READERS: dict[int, Callable[[Record], Fields]] = {
    BASE: _base_fields,
    BORN: _born_fields,
    COPY: _entry_fields,
    COPYING: lambda record: {"source": parse_copying(record.body)},
    ENTRY: _entry_fields,
    HARD: lambda record: {"term": record.term, "vote": parse_hard(record.body)},
    STATE: _state_fields,
    TRUNCATE: lambda record: {"from_index": record.index},
}
