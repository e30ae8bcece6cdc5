"""Which files of the repository are ours, for the tests that read them as text or syntax.

Walks the working tree, so that a new file is checked before it is committed; generated stubs, caches and
the virtual environment are not ours.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Top-level folder -> the import package that lives in it.
PACKAGES = {
    "client": "holdfast",
    "raft": "holdfast_raft",
    "cachenode": "holdfast_node",
    "chaos": "holdfast_chaos",
}
TEXT = {".py", ".pyi", ".md", ".toml", ".yaml", ".yml", ".proto", ".service", ".json", ".sh", ""}


def is_generated(path: Path) -> bool:
    """Whether a tool wrote it (the stubs)."""
    return "_pb2" in path.name


def _walk(top: Path) -> Iterator[Path]:
    for path in sorted(top.iterdir()):
        if path.name == "__pycache__" or path.name.endswith((".egg-info", "_cache")):
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path


@cache
def package_files() -> tuple[Path, ...]:
    """Every Python file of the four packages, without stubs."""
    found = (path for top, package in PACKAGES.items() for path in _walk(ROOT / top / package))
    return tuple(path for path in found if path.suffix == ".py" and not is_generated(path))


@cache
def scripts_of_tests() -> tuple[Path, ...]:
    """Every Python file under tests/."""
    return tuple(path for path in _walk(ROOT / "tests") if path.suffix == ".py")


@cache
def text_files() -> tuple[Path, ...]:
    """Every text file that is meant to be committed."""
    tops = (*PACKAGES, "tests", "proto", "deploy", "docs", ".ci")
    below = (path for top in tops if (ROOT / top).is_dir() for path in _walk(ROOT / top))
    above = (path for path in sorted(ROOT.iterdir()) if path.is_file())
    return tuple(path for path in (*above, *below) if path.suffix in TEXT)


@cache
def syntax(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shown(path: Path) -> str:
    """The path as people write it."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """The dotted name a package file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports; `from a import b` counts as a and a.b."""
    found: set[str] = set()
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found
