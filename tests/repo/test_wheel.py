"""What is shipped: the three packages and nothing of the tests; no planted bug, and no switch for one.

The wheel is built once, by the project's own backend, without a network.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from holdfast_node.__main__ import _parser
from holdfast_node.config_keys import SETTINGS

from tests.planted.bugs import BUGS
from tests.repo.sources import PACKAGES, ROOT

SHIPPED = sorted(set(PACKAGES.values()) - {"holdfast_chaos"})

# file -> why it may touch the environment.
ENVIRONMENT = {
    "holdfast_node/__main__.py": "hands it to config.load, which knows the settings below and no others",
    "holdfast/cli/supervisor.py": "passes it on to the nodes that `holdfast dev` starts",
}
# Of click: an option that may be set by a variable.
VARIABLES = {"HOLDFAST_ENDPOINTS"}
# What a node can be told, by file, environment or flag: names, places, sizes, times. A new one is added here
# by whoever has seen that no value of it within its bounds weakens a rule of the guard, WAL or reads.
JUDGED = {
    "cluster_id", "node", "join", "weight",
    "data_dir", "address", "advertise", "http_address", "zone", "init", "log_level", "log_format",
    "raft.election_min_ms", "raft.election_max_ms", "raft.heartbeat_ms",
    "wal.segment_bytes", "wal.total_bytes_max",
    "nodes[].id", "nodes[].address", "nodes[].http", "nodes[].zone",
    "namespaces[].name", "namespaces[].budget_bytes", "namespaces[].eviction", "namespaces[].strict_ttl",
    "namespaces[].splits",
}  # fmt: skip
FLAGS = {
    "-h", "--help", "--config", "--init", "--join", "--address", "--advertise", "--http-address",
    "--data-dir", "--zone", "--weight",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Name -> contents of every file in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as files:
        return {name: files.read(name) for name in files.namelist()}


@pytest.fixture(scope="module")
def sources(wheel: dict[str, bytes]) -> dict[str, str]:
    """The Python of the wheel, stubs included."""
    return {name: data.decode() for name, data in wheel.items() if name.endswith(".py")}


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    """Every module of the shipped packages is in it; nothing of the tests, the chaos harness or the bugs."""
    tops = {name.partition("/")[0] for name in wheel}
    expected = {
        path.relative_to(ROOT / top).as_posix()
        for top, package in PACKAGES.items()
        if package in SHIPPED
        for path in (ROOT / top / package).rglob("*.py")
    }

    assert sorted(top for top in tops if not top.endswith(".dist-info")) == SHIPPED
    assert {name for name in wheel if name.endswith(".py")} == expected
    assert [name for name in wheel if "planted" in name or "tests" in Path(name).parts] == []


def test_nothing_shapes_the_wheel_but_its_list_of_packages() -> None:
    """No build hook and no forced file can put in what the list of packages does not name."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]

    assert set(hatch) == {"build"}
    assert set(hatch["build"]) == {"targets", "dev-mode-dirs"}
    assert set(hatch["build"]["targets"]["wheel"]) == {"packages"}


def test_no_shipped_source_holds_a_planted_bug(sources: dict[str, str]) -> None:
    """What an edit puts in stands nowhere, what it replaces stands in its module, nobody imports tests."""
    planted = [
        (bug.name, name)
        for bug in BUGS.values()
        for edit in bug.edits
        for name, text in sources.items()
        if not edit.after or edit.after in text
    ]
    missing = [
        (bug.name, edit.module)
        for bug in BUGS.values()
        for edit in bug.edits
        if edit.before not in sources[edit.module.replace(".", "/") + ".py"]
    ]
    aware = [name for name, text in sources.items() if "tests.planted" in text or "import tests" in text]

    assert planted + missing + aware == []


def environment_uses(text: str) -> bool:
    """Whether a source reads or changes the process's environment."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}:
            return True
    return False


def test_the_environment_is_read_where_the_table_says(sources: dict[str, str]) -> None:
    """No shipped module reads an environment variable by itself, and click only the named ones."""
    readers = {name for name, text in sources.items() if environment_uses(text)}
    variables = {
        ast.unparse(keyword.value).strip("'\"")
        for text in sources.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in {"envvar", "auto_envvar_prefix"}
    }

    assert readers == set(ENVIRONMENT)
    assert variables == VARIABLES


def test_every_setting_was_judged_to_weaken_no_safety_rule() -> None:
    """A node can be told what the table here says, by file, variable or flag, and nothing else."""
    assert {setting.name for setting in SETTINGS} == JUDGED
    assert {flag for action in _parser()._actions for flag in action.option_strings} == FLAGS
