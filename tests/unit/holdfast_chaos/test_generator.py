"""What clients ask: seeded, unique, at every level, bounded on every key."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from holdfast_chaos.asks import SEEN, Ask
from holdfast_chaos.generator import DEVICES, GENERATORS, UNIT_KEYS, generator
from holdfast_chaos.keyspace import PARTS, splits
from holdfast_chaos.rotation import OPEN_MAX, OPERATIONS_MAX
from holdfast_chaos.sightings import put_by

from tests.unit.holdfast_chaos.records import Script

PROCESSES = 8


def asked(workload: str, count: int = 3000, seed: int = 1) -> list[Ask]:
    made = generator(workload, random.Random(seed), PROCESSES, 3 * PROCESSES)
    return [made.next(1 + n % PROCESSES, n % PARTS) for n in range(count)]


@pytest.mark.parametrize("workload", sorted(GENERATORS))
def test_the_same_seed_asks_the_same(workload):
    """And another seed asks something else."""
    assert asked(workload) == asked(workload)
    assert asked(workload) != asked(workload, seed=2)


def test_nothing_depends_on_how_a_process_hashes():
    """The same questions under another PYTHONHASHSEED."""
    program = (
        "import random, json\n"
        "from holdfast_chaos.generator import GENERATORS, generator\n"
        "made = {w: generator(w, random.Random(3), 4, 8) for w in sorted(GENERATORS)}\n"
        "print(json.dumps({w: [g.next(1 + n % 4, n % 3) for n in range(200)] for w, g in made.items()}))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip

    assert len(told) == 1
    assert set(json.loads(told.pop())) == set(GENERATORS)


@pytest.mark.parametrize("workload", sorted(GENERATORS))
def test_a_value_is_written_once(workload):
    """So that a read says whose write it saw. Numbers of counters and banks are not told apart."""
    values = Counter()
    for ask in asked(workload):
        if ask.f in ("append", "add") and isinstance(ask.value, str):
            values[ask.value] += 1
        if ask.f in ("put", "txn"):
            (operation,) = Script().op(ask.f, ask.value, key=ask.key, at=(0, None)).operations
            values.update(value for _, value in put_by(operation))

    assert workload in ("counter", "bank") or values
    assert all(count == 1 for count in values.values())


@pytest.mark.parametrize("workload", sorted(set(GENERATORS) - {"txn", "ttl"}))
def test_reads_of_every_level_are_asked_for(workload):
    """A BOUNDED one with its bound, the others without."""
    reads = [ask for ask in asked(workload) if ask.level]

    assert {ask.level for ask in reads} == {"LINEARIZABLE", "SESSION", "BOUNDED", "ANY"}
    assert all((ask.bound_ms is not None) == (ask.level == "BOUNDED") for ask in reads)


@pytest.mark.parametrize("workload", ["register", "session", "txn"])
def test_a_key_stays_judgeable(workload):
    """So many operations and so many open writes fall on one key, then it rests."""
    made = generator(workload, random.Random(1), PROCESSES, 3 * PROCESSES)
    used: Counter[str] = Counter()
    left_open: Counter[str] = Counter()
    for n in range(5000):
        ask = made.next(1 + n % PROCESSES, n % PARTS)
        used[ask.key] += 1
        if ask.f in ("put", "delete", "txn") and n % 10 == 0:
            left_open[ask.key] += 1
            made.ended_open(ask)
    del used[""]

    assert max(used.values()) <= OPERATIONS_MAX
    assert max(left_open.values()) <= OPEN_MAX


@pytest.mark.parametrize("workload", sorted(GENERATORS))
def test_everything_is_read_in_the_end(workload):
    """Every object that was ever used, LINEARIZABLE."""
    made = generator(workload, random.Random(1), PROCESSES, 3 * PROCESSES)
    used = {made.next(1, n % PARTS).key for n in range(2000)} - {"", "w/"}
    final = made.final()

    assert used <= {ask.key for ask in final}
    assert {ask.level for ask in final} == {"LINEARIZABLE"}


@pytest.mark.parametrize("workload", sorted(GENERATORS))
def test_a_part_is_a_shard(workload):
    """What is asked for in a part lies between its cuts, and all that one operation touches with it."""
    cuts = ("", *splits(workload), "~")
    made = generator(workload, random.Random(1), PROCESSES, 3 * PROCESSES)
    for n in range(3000):
        ask = made.next(1, n % PARTS)
        keys = [step[1] for step in ask.value["then"]] if ask.f == "txn" else [ask.key or cuts[n % PARTS]]
        assert all(cuts[n % PARTS] <= key < cuts[n % PARTS + 1] for key in keys)


def test_registers_are_written_under_every_condition():
    """None, the revision last seen, absent, present; with the previous value; deletes too."""
    asks = asked("register")

    assert {ask.expect for ask in asks if ask.f == "put"} == {None, SEEN, "absent", "present"}
    assert {ask.expect for ask in asks if ask.f == "delete"} == {None, SEEN}
    assert any(ask.want_previous for ask in asks)


def test_some_clients_of_registers_only_read():
    """They may stay with a leader that was cut off; who writes would find the new one."""
    made = generator("register", random.Random(1), PROCESSES, 3 * PROCESSES)
    asks = [(client, made.next(client, 0).f) for client in range(1, 1 + PROCESSES) for _ in range(200)]

    assert {client for client, _ in asks} - {client for client, f in asks if f != "get"} == {3, 6}


def test_a_transaction_touches_a_key_once():
    """So that a revision of a key is one value."""
    for ask in asked("txn"):
        for branch in ("then", "otherwise") if ask.f == "txn" else ():
            names = [step[1] for step in ask.value[branch]]
            assert len(names) == len(set(names)) <= len(UNIT_KEYS)


def test_devices_are_asked_for_unevenly_and_in_bursts():
    """A few devices get most, and a burst is about one device."""
    asks = asked("device", 20_000)
    devices = Counter(ask.key.split("/")[1] for ask in asks)
    most = sum(count for _, count in devices.most_common(len(devices) // 10))

    assert len(devices) > DEVICES // 2
    assert most > len(asks) / 3
    assert sum(ask.in_burst for ask in asks) > len(asks) / 10


def test_a_ttl_key_is_written_once():
    """Only then it is certain what a read must show."""
    assert max(Counter(ask.key for ask in asked("ttl") if ask.f == "put").values()) == 1


def test_sessions_hand_tokens_to_each_other():
    """To the process that asks, from any."""
    handed = [ask for ask in asked("session") if ask.f == "token"]

    assert handed
    assert all(1 <= ask.value["from"] <= PROCESSES for ask in handed)
