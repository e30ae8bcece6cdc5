"""What a run is made of before it begins, and how it is judged when it is over."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast_chaos.cluster.cluster import STOCK
from holdfast_chaos.generator import GENERATORS
from holdfast_chaos.keyspace import PREFIXES, splits
from holdfast_chaos.nemesis.known import NEMESES
from holdfast_chaos.record_file import RecordFile
from holdfast_chaos.runner import OURS, Wish, header_of, judged, plan_of, program_of
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import Script

LONG = Wish(nemeses=tuple(NEMESES), seconds=600.0, seed=4)


def saved(folder: Path, script: Script, wish: Wish) -> Path:
    path = folder / "record.jsonl"
    with RecordFile(path, header_of(wish, plan_of(wish))) as file:
        for event in script.events:
            file.append(event)
    return path


def test_a_seed_makes_the_same_plan_again():
    """And another one another."""
    assert plan_of(LONG) == plan_of(LONG)
    assert plan_of(LONG) != plan_of(LONG._replace(seed=5))


def test_in_ten_minutes_every_nemesis_has_its_turn():
    """What the record's header demands is what the plan holds."""
    assert {fault.name for fault in plan_of(LONG)} == set(NEMESES)
    assert set(header_of(LONG, plan_of(LONG)).nemeses) == set(NEMESES)


def test_what_the_plan_has_no_time_for_is_not_demanded():
    """A short run says which nemeses it is about."""
    short = LONG._replace(seconds=20.0)
    header = header_of(short, plan_of(short))

    assert 0 < len(header.nemeses) < len(NEMESES)


def test_a_node_is_the_users_own_unless_its_disk_is_commanded():
    """The stock program where it can be; the one that was asked for in any case."""
    assert program_of(Wish(nemeses=("kill-one",))) == STOCK
    assert program_of(Wish(nemeses=("kill-one", "slow-disk"))) == OURS
    assert program_of(Wish(nemeses=("slow-disk",), program=("-m", "mine"))) == ("-m", "mine")


def test_every_workload_has_more_than_one_shard():
    """Else nothing of routing is tested."""
    assert set(PREFIXES) == set(GENERATORS)
    assert all(splits(workload) for workload in GENERATORS)


def test_too_few_operations_are_void(tmp_path: Path) -> None:
    """A run that did little has shown little, however right it was."""
    script = Script().put("a", at=(0, 1), revision=1).note("end", at=2)
    outcome = judged(saved(tmp_path, script, Wish(seconds=10.0, rate_min=1.0)))

    assert outcome.verdict is Verdict.VOID
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "void"


def test_a_nemesis_that_did_not_fire_is_void(tmp_path: Path) -> None:
    """Begun and healed, but without a proof."""
    script = Script().put("a", at=(0, 1), revision=1).note("end", at=9)
    for at, phase in ((2, "begin"), (3, "healed")):
        script.note("fault", {"id": 1, "name": "kill-one", "phase": phase}, at=at)
    script.put("b", at=(2, 3), revision=2).put("c", at=(4, 5), revision=3)
    wish = Wish(nemeses=("kill-one",), seconds=20.0, rate_min=0.1)
    outcome = judged(saved(tmp_path, script, wish))

    assert outcome.verdict is Verdict.VOID
    assert any("shows no proof" in f.message for j in outcome.judgements for f in j.findings)


def test_a_run_without_its_end_is_void(tmp_path: Path) -> None:
    """It was cut off before its final reads."""
    script = Script().put("a", at=(0, 1), revision=1)
    outcome = judged(saved(tmp_path, script, Wish(seconds=10.0, rate_min=0.1)))

    assert outcome.verdict is Verdict.VOID


def test_data_is_kept_only_as_evidence(tmp_path: Path) -> None:
    """Of a valid run the nodes' data goes; of any other it stays."""
    script = Script().put("a", at=(0, 1), revision=1)
    wish = Wish(seconds=10.0, rate_min=0.1)
    for name, made in (
        ("void", script),
        ("valid", Script().put("a", at=(0, 1), revision=1).note("end", at=2)),
    ):
        (tmp_path / name / "nodes").mkdir(parents=True)
        judged(saved(tmp_path / name, made, wish))

    assert (tmp_path / "void" / "nodes").exists()
    assert not (tmp_path / "valid" / "nodes").exists()
