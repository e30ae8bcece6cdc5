"""The planted bugs fit the present sources, and planting refuses what would plant nothing."""

from __future__ import annotations

import linecache
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted import planting
from tests.planted.bugs import BUGS
from tests.planted.planting import Bug, Edit, PlantingError, edited, plant, source_of

ROOT = Path(__file__).parents[2]
JUDGE = """
import linecache
from holdfast_raft import guard
from holdfast_raft.messages import Append

class Log:
    base_index, last_index, last_term = 1, 5, 1
    def term_at(self, index):
        return 1 if 1 <= index <= 5 else None

print(guard.judge_append(Log(), 2, 1, Append(2, 1, 2, ((1, b"a"),))))
shown = [line for line in linecache.getlines(guard.__file__) if "< commit_index:" in line]
print(guard.__file__, len(shown))
"""


def bug(*edits: Edit) -> Bug:
    return Bug("a-bug", "what", "a rule", "a schedule", edits)


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.planted", *arguments],
        cwd=ROOT, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_every_edit_fits_the_present_sources(name: str) -> None:
    """What an edit replaces stands exactly once in its module, and the edited module compiles."""
    planted = BUGS[name]

    for module in planted.modules:
        file = source_of(planted, module)
        before = file.read_text(encoding="utf-8")
        after = edited(planted, module, before)
        assert after != before
        compile(after, str(file), "exec")


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_says_what_it_breaks_and_what_shows_it(name: str) -> None:
    """A bug names its rule, what is broken and the schedule that reveals it."""
    planted = BUGS[name]

    assert planted.name == name
    assert planted.edits
    assert all((planted.what, planted.rule, planted.shown_by))


def test_a_module_that_is_imported_already_is_refused() -> None:
    """A bug planted too late would not be there: it is an error, and nothing is planted."""
    before = list(sys.meta_path)

    with pytest.raises(PlantingError, match=r"a-bug: tests\.planted\.planting is imported already"):
        plant(bug(Edit(planting.__name__, "plant", "sow")))
    assert sys.meta_path == before


@pytest.mark.parametrize("text", ["is not in there at all", "import"])
def test_an_edit_that_does_not_fit_is_refused(text: str) -> None:
    """What stands nowhere, or more than once, is refused with bug, module and text; nothing is planted."""
    before = list(sys.meta_path)

    with pytest.raises(PlantingError) as refused:
        plant(bug(Edit("tests.planted.__main__", text, "")))
    assert "a-bug" in str(refused.value)
    assert "tests.planted.__main__" in str(refused.value)
    assert text in str(refused.value)
    assert sys.meta_path == before


def test_an_edit_that_makes_no_python_is_refused() -> None:
    """An edited module that does not compile is refused with bug and module; nothing is planted."""
    before = list(sys.meta_path)

    with pytest.raises(PlantingError, match=r"a-bug: tests\.planted\.__main__ .* no Python"):
        plant(bug(Edit("tests.planted.__main__", "def main(", "def main((")))
    assert sys.meta_path == before


def test_a_module_that_does_not_exist_is_refused() -> None:
    """A module that was renamed is named, with the bug that wants it."""
    with pytest.raises(PlantingError, match=r"a-bug: there is no module holdfast_raft\.gone"):
        plant(bug(Edit("holdfast_raft.gone", "a", "b")))


def test_a_planted_d1_changes_the_verdict_and_leaves_no_cache(tmp_path: Path) -> None:
    """In its own process the guard cuts matching entries; files and later processes know nothing of it."""
    (tmp_path / "judge.py").write_text(JUDGE)
    guard = ROOT / "raft/holdfast_raft/guard.py"
    caches = {path: path.read_bytes() for path in guard.parent.glob("__pycache__/guard.*.pyc")}

    found = run("d1", "judge", folder=tmp_path)
    sound = subprocess.run(
        [sys.executable, "judge.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )

    assert found.stderr == ""
    assert found.stdout.splitlines() == ["Extend(prev_index=3, prev_term=1, entries=())", f"{guard} 1"]
    assert sound.stdout.splitlines() == ["Present(index=3)", f"{guard} 0"]
    assert {path: path.read_bytes() for path in caches} == caches


def test_tracebacks_show_the_edited_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File names and lines of an edited module are true, and linecache shows the text that runs."""
    file = tmp_path / "planted_victim.py"
    file.write_text('"""A victim."""\n\n\ndef answer():\n    return 1\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    plant(bug(Edit("planted_victim", "    return 1\n", "    return 1 / 0\n")))
    import planted_victim

    try:
        with pytest.raises(ZeroDivisionError) as failed:
            planted_victim.answer()
        entry = failed.traceback[-1]
        assert (Path(entry.path), entry.lineno) == (file, 4)
        linecache.checkcache()
        assert linecache.getline(str(file), 5) == "    return 1 / 0\n"
        assert list(tmp_path.glob("__pycache__/*")) == []
    finally:
        del sys.modules["planted_victim"]


def test_the_entry_point_names_the_bugs_and_refuses_others() -> None:
    """`list` prints every bug with its rule; an unknown name or nothing to run is refused."""
    listed = run("list")

    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(BUGS)
    assert "there is no bug 'd99'" in run("d99", "holdfast_node").stderr
    assert run("d1").returncode == run("d99", "holdfast_node").returncode == 2


def test_a_server_process_runs_with_a_bug() -> None:
    """A node's own entry point runs under a bug, with its own arguments."""
    found = run("no-fsync", "holdfast_node", "--help")

    assert found.returncode == 0
    assert "usage: " in found.stdout
