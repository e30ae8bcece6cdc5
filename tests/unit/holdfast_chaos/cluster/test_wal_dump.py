"""What a WAL's records say of a log."""

from __future__ import annotations

import json

from holdfast_chaos.cluster.wal_dump import logs


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
        {"kind": "state", "group": 8, "fields": {"term": 3, "retired": True}},
        {"kind": "copy", "group": 7, "fields": {"index": 4, "term": 1, "crc": 8}},
        {"kind": "born", "group": 6, "fields": {"base_index": 9, "base_term": 1, "term": 2, "vote": 3}},
    ]
    found = logs("\n".join(map(json.dumps, lines)).encode())

    told = {group: (log.term, log.last, [entry.crc for entry in log.entries]) for group, log in found.items()}
    assert {group for group, log in found.items() if log.is_retired} == {8, 9}
    assert {group: told[group] for group in (2, 6, 7)} == {2: (2, 2, [5, 7]), 6: (2, 9, []), 7: (0, 4, [8])}
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
    state = {"kind": "state", "fields": {"term": 3, "base_index": 6, "last": 9, "retired": False}}
    assert (ended(), ended(kept), ended(alone)) == ((4, 7), (6, 7), (6, 6))
    assert (ended(state), ended({"kind": "truncate", "fields": {"from_index": 6}})) == ((6, 9), (4, 5))
