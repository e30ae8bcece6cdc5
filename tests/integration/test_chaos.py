"""The harness itself, on real nodes: a short run with two faults is valid, and leaves what it promises."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from holdfast_chaos.record_file import load
from holdfast_chaos.report import page
from holdfast_chaos.runner import Wish, judged, run
from holdfast_chaos.verdict import Verdict

FAULTS = ("kill-leader", "isolate-leader")


@pytest.mark.slow
def test_a_short_run_with_a_kill_and_a_partition_is_valid(tmp_path: Path) -> None:
    """Both faults fire and are healed, thousands of operations are judged, and every promise was kept.

    How soon writes go on is not judged closely here: machines that run tests are busy.
    """
    wish = Wish(
        nemeses=FAULTS, seconds=12.0, rate=250.0, rate_min=20.0, seed=11, interval=1.0, recovery_ms=8000.0
    )
    folder = tmp_path / "run"
    outcome = judged(asyncio.run(run(wish, folder)))
    proofs = [
        n.value["text"] for n in load(folder / "record.jsonl").events if n.f == "fault" and "text" in n.value
    ]

    assert outcome.verdict is Verdict.VALID, outcome.judgements
    assert any("ended by signal 9" in proof for proof in proofs)
    assert any("bytes had to wait" in proof for proof in proofs)
    assert json.loads((folder / "verdict.json").read_text())["verdict"] == "valid"
    assert "node.ready" in (folder / "node-1.log").read_text()
    assert "What each fault cost" in page(outcome.record, outcome.judgements)
