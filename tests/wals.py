"""A WAL in the hands of a test: what the driver does with one, and what stands on its disk."""

from __future__ import annotations

from zlib import crc32

from holdfast_chaos.node.unsynced_disk import UnsyncedDisk
from holdfast_raft.wal import Born, Wal, WalOptions
from holdfast_raft.wal_inspect import Line, dump
from holdfast_raft.wal_records import CRC, HEAD, MARK, Header, Record, header_bytes, mark_bytes

OPTIONS = WalOptions(segment_bytes=4096, segments_max=3, total_bytes_max=1 << 20)
BORN = Born(group=1, members=(10, 11, 12), base_index=5, base_term=2, snapshot_crc=99)


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


def lines(disk: UnsyncedDisk, kind: str) -> list[Line]:
    return [line for line in dump(disk) if line.kind == kind]


def flip(disk: UnsyncedDisk, segment: str, at: int) -> None:
    path = disk.root / "wal" / segment
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def forged(header: Header, *records: Record) -> bytes:
    """A segment in which every CRC fits, whatever its records say; their offsets are not looked at."""
    data = header_bytes(header)
    (crc,) = CRC.unpack(data[-CRC.size :])
    for record in records:
        if record.kind == MARK:
            data += mark_bytes(header.wal_id, header.segment, len(data), record.lsn)
            continue
        head = HEAD.pack(len(record.body), record.kind, record.group, record.index, record.term, record.lsn)
        crc = crc32(record.body, crc32(head, crc))
        data += head + record.body + CRC.pack(crc)
    return data
