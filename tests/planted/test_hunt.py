"""What a hunt takes from what is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import hunt
from tests.planted.bugs import BUGS
from tests.planted.hunt import LATE, Hunted, Mix, told, without


def found(bug: str, nemeses: str, without_it: str = "") -> Hunted:
    command = f'... --nemesis {nemeses} --program "tests.planted {bug} node" --seed 1'
    return Hunted(bug, 30.0, 1, ["append: lost"], command, without_it)


def test_only_the_same_run_says_what_is_without_a_bug(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A line of another bug, when its run differed in nothing else; one of a mix since changed does not."""

    def begun(_mix: Mix, _seed: int, _folder: Path) -> int:
        return 3

    monkeypatch.setattr(hunt, "run", begun)
    known = [found("d2", "delay,reset", "valid")._asdict()]

    assert without(found("d1", "delay,reset"), LATE, tmp_path, known) == "valid"
    assert without(found("d1", "delay"), LATE, tmp_path, known) == "void"


def test_every_bug_stands_in_the_table_once():
    """Found, hunted in vain, named invisible, or not hunted; what was told last counts."""
    in_vain = found("d2", "delay")._replace(rules=[])._asdict()
    text = told([in_vain, found("d1", "delay")._asdict(), found("d2", "delay", "valid")._asdict()])

    assert [text.count(f"`{bug}`") for bug in BUGS] == [1] * len(BUGS)
    assert "| `d2` | 30 | 1 | append: lost | valid |" in text
    assert "- `d2`: in vain, 1 runs in 30 s" in told([in_vain])
