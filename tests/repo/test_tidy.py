"""House rules a linter does not know: sizes, names, leftovers, what never runs here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.repo.measured import measurements
from tests.repo.sources import (
    PACKAGES,
    ROOT,
    is_generated,
    module_name,
    package_files,
    scripts_of_tests,
    shown,
    syntax,
    text_files,
)

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
# file -> why it may be longer.
LONG_FILES: dict[str, str] = {
    "client/holdfast/client.py": "every call's signature and docstring, where its users look; no logic",
    "raft/holdfast_raft/group.py": "joins the parts of a replica; the order in which they act is its rule",
    "tests/unit/holdfast_node/test_watch_hub.py": "one rule a test, one place for all rules of watches",
}
# file:function -> why it may be longer.
LONG_FUNCTIONS: dict[str, str] = {}

BANNED_NAMES = re.compile(r"(?i)(?:^|_)(utils?|helpers?|managers?|common|misc)(?:_|$)")
BANNED_CLASS = re.compile(r"(Utils?|Helper|Manager|Common|Misc)(?:$|[A-Z])")
# Written apart so that this file passes its own test.
LEFTOVER = re.compile(
    r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b(?!\([\w.-]+, #\d+\))"
)
MACHINE = re.compile(
    "|".join(("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/[a-z]", r"\.py" + "env/versions", "/tm" + "p/hf"))
)
NEVER_CALLED = {("time", "sleep"), ("os", "fork"), ("os", "forkpty")}
# file -> why it may call what is never called otherwise.
MAY_CALL = {
    "raft/holdfast_raft/file_removal.py": "gives blocks back at a bounded rate, in a thread of its own",
    "tests/bench/quiet.py": "a measurement lasts its time",
    "tests/integration/process_cluster.py": "looks at another process until a deadline",
}
NEVER_IMPORTED = {"pickle", "cPickle", "dill", "marshal", "shelve", "multiprocessing"}

CODE = (*package_files(), *scripts_of_tests())


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(syntax(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_module_says_what_it_is():
    """A module that holds code opens with a docstring."""
    silent = [shown(p) for p in CODE if syntax(p).body and not ast.get_docstring(syntax(p))]

    assert silent == []


def test_files_stay_readable():
    """No file is longer than 500 lines, unless the table here gives a reason."""
    long = [shown(p) for p in CODE if len(p.read_text().splitlines()) > FILE_LINES_MAX]

    assert sorted(set(long) - set(LONG_FILES)) == []
    assert sorted(set(LONG_FILES) - set(long)) == []


def test_functions_fit_on_a_screen():
    """No function is longer than 70 lines, unless the table here gives a reason."""
    long = {
        f"{shown(p)}:{f.name}"
        for p in CODE
        for f in functions(p)
        if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES_MAX
    }

    assert sorted(long - set(LONG_FUNCTIONS)) == []
    assert sorted(set(LONG_FUNCTIONS) - long) == []


def test_names_say_something():
    """No module, class or function is named after being useful."""
    modules = [shown(p) for p in CODE if BANNED_NAMES.search(p.stem) or BANNED_NAMES.search(p.parent.name)]
    classes = [
        f"{shown(p)}:{n.name}"
        for p in CODE
        for n in ast.walk(syntax(p))
        if isinstance(n, ast.ClassDef) and BANNED_CLASS.search(n.name)
    ]
    named = [f"{shown(p)}:{f.name}" for p in CODE for f in functions(p) if BANNED_NAMES.search(f.name)]

    assert modules + classes + named == []


def test_leftovers_have_an_owner():
    """A leftover note names its owner and issue, like (ann, #12)."""
    found = [
        f"{shown(p)}:{i}"
        for p in text_files()
        if not is_generated(p)
        for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if LEFTOVER.search(line)
    ]

    assert found == []


def test_nothing_names_the_machine_it_was_written_on():
    """No committed text holds a path of a developer's machine."""
    found = [
        f"{shown(p)}:{i}"
        for p in text_files()
        if not is_generated(p)
        for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE.search(line)
    ]

    assert found == []


def is_banned_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in NEVER_CALLED
    )


def test_no_code_sleeps_forks_or_pickles():
    """Neither packages nor tests sleep in a thread, fork, or use serializers that run code."""
    calls = [
        f"{shown(p)}:{n.lineno}"
        for p in CODE
        if shown(p) not in MAY_CALL
        for n in ast.walk(syntax(p))
        if is_banned_call(n)
    ]
    imported = [
        f"{shown(p)}:{n.lineno}"
        for p in CODE
        for n in ast.walk(syntax(p))
        if (isinstance(n, ast.Import) and {a.name.partition(".")[0] for a in n.names} & NEVER_IMPORTED)
        or (isinstance(n, ast.ImportFrom) and (n.module or "").partition(".")[0] in NEVER_IMPORTED)
    ]

    assert calls + imported == []


def test_no_test_measures_time():
    """No test asserts how long something took: it looks at the pauses that were chosen, or counts time.

    Runs that report figures, and waits that give up some day, are no tests and may read a clock.
    """
    found = [
        f"{shown(p)}:{line}"
        for p in scripts_of_tests()
        if p.name.startswith("test_") or shown(p).startswith("tests/unit/")
        for line in sorted(measurements(syntax(p)))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("is_one", "text"),
    [
        (True, "began = time.monotonic(); act(); took = time.monotonic() - began"),
        (True, "began, n = loop.time(), 0; act(); told.append(asyncio.get_running_loop().time() - began)"),
        (True, "self.at = perf_counter(); ended = perf_counter(); assert ended < self.at + 3"),
        (True, "assert time.perf_counter_ns() < limit"),
        (False, "end = time.monotonic() + 5; left = end - time.monotonic()"),
        (False, "began = world.now; assert world.now - began < 3"),
        (False, "assert node.monotonic() < 3; assert shard.time() > 2"),
    ],
)
def test_measured_times_are_told_from_others(is_one, text):
    """A difference of readings and an assert on one are found; deadlines and simulated times are not."""
    assert bool(measurements(ast.parse(f"def test(): {text}"))) == is_one


def test_every_test_states_its_rule():
    """Every test function has a docstring: the rule it proves."""
    silent = [
        f"{shown(p)}:{f.name}"
        for p in scripts_of_tests()
        if p.name.startswith("test_")
        for f in functions(p)
        if f.name.startswith("test") and not ast.get_docstring(f)
    ]

    assert silent == []


def test_unit_tests_mirror_the_packages():
    """tests/unit/<package>/.../test_x.py (or test_x_<aspect>.py) is about the module x of that place."""
    modules = {module_name(p) for p in package_files()}
    strays = []
    for path in scripts_of_tests():
        parts = path.relative_to(ROOT / "tests").parts
        if parts[0] != "unit" or not path.name.startswith("test_"):
            continue
        words = path.stem.removeprefix("test_").split("_")
        wanted = {".".join((*parts[1:-1], "_".join(words[:n]))) for n in range(1, len(words) + 1)}
        if not wanted & modules and f"{'.'.join(parts[1:-1])}.__{words[0]}__" not in modules:
            strays.append(shown(path))

    assert strays == []


@pytest.mark.parametrize("top", sorted(PACKAGES))
def test_a_top_level_folder_is_not_a_package(top):
    """Only the import packages inside the rooms can be imported, never `client` or `raft` themselves."""
    assert not (ROOT / top / "__init__.py").exists()
