"""What a WAL's records say of a log."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from holdfast_chaos.cluster.wal_dump import logs
from holdfast_raft.file_disk import FileDisk, ReadOnlyDisk
from holdfast_raft.wal import Born, Wal, WalOptions
from holdfast_raft.wal_inspect import dump
from holdfast_raft.wal_replay import replay_wal

STATE = {
    "term": 3,
    "base_index": 3,
    "last": 9,
    "born_term": 1,
    "born_index": 1,
    "retired": False,
    "copying": 0,
}


def test_a_log_is_what_was_written_last_and_not_cut_off():
    """A WAL may hold an index twice, what a truncation took, and groups that have gone."""
    lines = [
        {"kind": "entry", "group": 9, "fields": {"index": 1, "term": 1, "crc": 5}},
        {"kind": "hard", "group": 2, "fields": {"term": 1, "vote": None}},
        {"kind": "entry", "group": 2, "fields": {"index": 1, "term": 1, "crc": 5}},
        {"kind": "entry", "group": 2, "fields": {"index": 2, "term": 1, "crc": 6}},
        {"kind": "hard", "group": 2, "fields": {"term": 2, "vote": 1}},
        {"kind": "truncate", "group": 2, "fields": {"from_index": 2}},
        {"kind": "entry", "group": 2, "fields": {"index": 2, "term": 2, "crc": 7}},
        {"kind": "mark", "group": 0, "fields": {"synced_to": 4}},
        {"kind": "retire", "group": 9, "fields": {}},
        {"kind": "state", "group": 8, "fields": STATE | {"retired": True}},
        {"kind": "state", "group": 7, "fields": STATE | {"last": 6}},
        {"kind": "copy", "group": 7, "fields": {"index": 4, "term": 1, "crc": 8}},
        {"kind": "copy", "group": 7, "fields": {"index": 2, "term": 1, "crc": 8}},
        {"kind": "born", "group": 6, "fields": {"base_index": 9, "base_term": 1, "term": 2, "vote": 3}},
    ]
    found = logs("\n".join(map(json.dumps, lines)).encode())

    told = {group: (log.term, log.last, [entry.crc for entry in log.entries]) for group, log in found.items()}
    assert {group for group, log in found.items() if log.is_retired} == {8, 9}
    assert {group: told[group] for group in (2, 6, 7)} == {2: (2, 2, [5, 7]), 6: (2, 9, []), 7: (3, 6, [8])}
    assert told[9][2] == []


def test_the_terms_of_a_log_begin_at_their_first_entries():
    """Of what the WAL still tells."""
    told = [(5, 1), (6, 1), (7, 4), (8, 4)]
    lines = [{"kind": "entry", "group": 2, "fields": {"index": i, "term": t, "crc": 0}} for i, t in told]

    assert logs("\n".join(map(json.dumps, lines)).encode())[2].terms == [(5, 1), (7, 4)]


def test_a_log_ends_where_its_last_record_says():
    """A base takes what is before it, and what is behind it unless it keeps that; a state tells all anew."""
    lines = [
        {"kind": "born", "group": 2, "fields": {"base_index": 4, "term": 2}},
        *({"kind": "entry", "group": 2, "fields": {"index": at, "term": 2, "crc": at}} for at in (5, 6, 7)),
    ]

    def ended(*more: dict) -> tuple[int, int]:
        records = [*lines, *({"group": 2, **line} for line in more)]
        log = logs("\n".join(map(json.dumps, records)).encode())[2]
        assert log.born == (2, 4)
        return log.base, log.last

    kept = {"kind": "base", "fields": {"index": 6, "term": 2, "keep_suffix": True}}
    alone = {"kind": "base", "fields": {"index": 6, "term": 2, "keep_suffix": False}}
    state = {"kind": "state", "fields": STATE | {"base_index": 6, "born_term": 2, "born_index": 4}}
    assert (ended(), ended(kept), ended(alone)) == ((4, 7), (6, 7), (6, 6))
    assert (ended(state), ended({"kind": "truncate", "fields": {"from_index": 6}})) == ((6, 9), (4, 5))


OPTIONS = WalOptions(segment_bytes=4096)
GROUPS = (1, 2, 3)


def step(wal: Wal, chance: random.Random) -> None:
    """Something that may come next in a WAL, of some group."""
    group = chance.choice(GROUPS)
    facts = wal.facts(group)
    kind = chance.choices(
        ("entries", "truncate", "base", "hard", "compact", "birth", "retire"), (40, 6, 8, 6, 15, 4, 0.3)
    )[0]
    if facts is None:
        if chance.random() < 0.5:
            wal.born(Born(group, (10, 11), 0, 0, 77))
        else:
            wal.copying(group, 9)
            wal.base(group, 20, 3, keep_suffix=False)
    elif facts.retired:
        return
    elif kind == "entries":
        for index in range(facts.last + 1, facts.last + chance.randrange(1, 6)):
            wal.entry(group, index, max(facts.term, 3), bytes(chance.randrange(1, 200)))
    elif kind == "truncate" and facts.last > facts.base_index:
        wal.truncate(group, chance.randrange(facts.base_index + 1, facts.last + 1))
    elif kind == "base":
        index = chance.randrange(facts.base_index, facts.last + 3)
        wal.base(group, index, max(facts.term, 3), keep_suffix=chance.random() < 0.7)
    elif kind == "hard" and facts.copying is None:
        wal.hard_state(group, facts.term + chance.randrange(1, 3), 11)
    elif kind == "birth" and facts.copying is not None and chance.random() < 0.5:
        wal.copying(group, 9)  # anew
    elif kind == "birth" and facts.copying is not None:
        wal.born(Born(group, (10, 11), facts.last, 3, 99))
    elif kind == "retire":
        wal.retire(group)
    elif kind == "compact":
        wal.compact(lambda _group, index: (f"copied {index}".encode(), 3))


@pytest.mark.parametrize("seed", range(12))
def test_a_log_is_what_a_start_would_find(tmp_path: Path, seed: int) -> None:
    """By whatever records it came about: `holdfast wal dump` and a start read the same WAL."""
    chance = random.Random(seed)
    wal = Wal.open(FileDisk(tmp_path), OPTIONS)
    for _ in range(60):
        for _ in range(chance.randrange(1, 12)):
            step(wal, chance)
        if (job := wal.begin_sync()) is not None:
            job.run()
            wal.end_sync(job)
        if (free := wal.free_job()) is not None and chance.random() < 0.5:
            free()
        if chance.random() < 0.1:
            wal.close()
            wal = Wal.open(FileDisk(tmp_path), OPTIONS)
        lines = [line._asdict() | {"fields": dict(line.fields)} for line in dump(ReadOnlyDisk(tmp_path))]
        found = logs("\n".join(map(json.dumps, lines)).encode())
        for group, known in replay_wal(ReadOnlyDisk(tmp_path), "wal").groups.items():
            log, facts, born = found[group], known.facts, known.facts.born
            assert log.is_retired == facts.retired
            if not facts.retired:
                assert (log.term, log.base, log.last) == (facts.term, facts.base_index, facts.last)
                assert log.born == ((born.first_term, born.base_index) if born else (0, 0))
                assert log.is_copy == (facts.copying is not None)
                assert {e.index: e.term for e in log.entries} == {i: e.term for i, e in known.entries.items()}
    wal.close()
