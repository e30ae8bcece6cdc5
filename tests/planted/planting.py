"""Plants a bug: edits the source text of product modules as they are imported, in this process only.

The product has no switch for it. An edit names a piece of a module's source that occurs exactly once and
what stands there instead; a finder in front of all others compiles the edited text. Files and .pyc caches
are neither read for it nor written. What does not fit is refused before anything runs, so that a campaign
never runs the whole program for a broken one.

Forked children inherit it. A process that the program starts anew does not: start it by
`python -m tests.planted` too.
"""

from __future__ import annotations

import importlib.util
import linecache
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple


class PlantingError(Exception):
    """The bug cannot be planted; says which, where and why."""


class Edit(NamedTuple):
    """In the source of `module`, `before` (which occurs once) becomes `after`."""

    module: str
    before: str
    after: str


class Bug(NamedTuple):
    """A known violation of a safety rule.

    Attributes:
        what: one sentence: what the edits break.
        rule: the rule they break: D1..D30, or a section of protocols.md.
        shown_by: the schedule that makes it visible.
        edits: in the order in which they are made.
    """

    name: str
    what: str
    rule: str
    shown_by: str
    edits: tuple[Edit, ...]

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules it edits, each once."""
        return tuple(dict.fromkeys(edit.module for edit in self.edits))


def source_of(bug: Bug, module: str) -> Path:
    """The file of a module, which is not imported for it. Raises PlantingError."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not spec.has_location:
        raise PlantingError(f"bug {bug.name}: there is no module {module} to edit")
    return Path(spec.origin)


def edited(bug: Bug, module: str, source: str) -> str:
    """The source of `module` with the bug's edits. Raises PlantingError when one does not fit."""
    for edit in bug.edits:
        if edit.module != module:
            continue
        count = source.count(edit.before)
        if count != 1:
            raise PlantingError(
                f"bug {bug.name}: in {module} this must stand exactly once,"
                f" it stands {count} times:\n{edit.before}"
            )
        source = source.replace(edit.before, edit.after)
    return source


def plant(bug: Bug) -> None:
    """From now on the bug's modules are imported with its edits. Raises PlantingError."""
    imported = [module for module in bug.modules if module in sys.modules]
    if imported:
        raise PlantingError(f"bug {bug.name}: {', '.join(imported)} is imported already, without the bug")
    sources = {}
    for module in bug.modules:
        file = source_of(bug, module)
        text = edited(bug, module, file.read_text(encoding="utf-8"))
        try:
            compile(text, str(file), "exec")
        except SyntaxError as error:
            raise PlantingError(f"bug {bug.name}: {module} with its edits is no Python: {error}") from error
        sources[module] = text
    sys.meta_path.insert(0, _Finder(sources))


class _Finder(MetaPathFinder):
    """Finds the edited modules, as PathFinder does, but with a loader that knows their text."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._sources:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self._sources[name])
        spec.cached = None
        return spec


class _Loader(SourceFileLoader):
    """Loads one module from a text; where its file lies it still says."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        """Not SourceLoader's, which would look for a .pyc of the whole source."""
        # What a traceback shows; without a time of change linecache never looks at the file.
        linecache.cache[self.path] = (len(self._text), None, self._text.splitlines(keepends=True), self.path)
        code = compile(self._text, self.path, "exec", dont_inherit=True)
        assert isinstance(code, CodeType)
        return code
