"""holdfast.cli.wal: a real write-ahead log, looked at from outside."""

from __future__ import annotations

import json

import pytest
from holdfast_raft.file_disk import FileDisk
from holdfast_raft.wal import Wal, WalOptions
from holdfast_raft.wal_records import Born

from tests.unit.holdfast.cli.console import Console


def sync(wal):
    job = wal.begin_sync()
    assert job is not None
    job.run()
    wal.end_sync(job)


@pytest.fixture
def data(tmp_path):
    wal = Wal.open(FileDisk(tmp_path), WalOptions(segment_bytes=1 << 20))
    wal.born(Born(2, (1, 2, 3), 1, 0, 0))
    for index in range(2, 5):
        wal.entry(2, index, 1, b"x" * 10)
    sync(wal)
    wal.append_mark()  # damage below a mark is refused; above it, it is a torn tail
    sync(wal)
    wal.close()
    return tmp_path


def test_verify_of_a_sound_wal_is_exit_code_0(data):
    """It says how many records of how many groups."""
    found = Console().json("wal", "verify", str(data))

    assert (found["ok"], found["groups"]) == (True, 1)
    assert Console().run("wal", "verify", str(data)).stdout.startswith("ok: ")


def test_verify_of_a_damaged_wal_is_exit_code_1_and_says_where(data):
    """Damage names segment and offset."""
    segment = next(path for path in sorted((data / "wal").iterdir()) if path.suffix == ".wal")
    content = bytearray(segment.read_bytes())
    place = content.index(b"x" * 10)
    content[place] ^= 1
    segment.write_bytes(content)

    result = Console().run("wal", "verify", str(data))

    assert result.exit_code == 1
    assert segment.name in result.stdout


def test_dump_prints_every_record_of_a_group(data):
    """One line a record, in JSON with segment, offset, lsn, kind, group and fields."""
    lines = Console().run("wal", "dump", str(data), "--group", "2", "-o", "json").stdout.splitlines()
    entries = [line for line in map(json.loads, lines) if line["kind"] == "entry"]

    assert [line["fields"]["index"] for line in entries] == [2, 3, 4]
    assert set(entries[0]) == {"segment", "offset", "lsn", "kind", "group", "fields"}
    assert "entry" in Console().run("wal", "dump", str(data)).stdout


def test_a_folder_without_a_wal_is_told(tmp_path):
    """A wrong path is not a sound WAL."""
    assert Console().run("wal", "verify", str(tmp_path)).exit_code == 1
