"""Makes the tables of docs/reference from the code (--write), or says which pages differ.

A page keeps its prose; what stands between `<!-- made by make docs -->` and `<!-- end -->` is made here:
settings from config_keys.py, metrics from metrics.py, reasons from the comments of types.proto, commands
from the command line itself. So a page cannot fall behind.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
BEGIN, END = "<!-- made by make docs -->", "<!-- end -->"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(columns)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def config_table() -> str:
    """Every setting."""
    from holdfast_node.config import SETTINGS, environment_name

    rows = []
    for setting in SETTINGS:
        bounds = f"{setting.minimum:,} .. {setting.maximum:,}".replace(",", " ") if setting.maximum else ""
        bounds = ", ".join(f"`{choice}`" for choice in setting.choices) or bounds
        variable = "" if "[]" in setting.name else f"`{environment_name(setting.name)}`"
        shown = _default(setting.default)
        rows.append((f"`{setting.name}`", _kind(setting.kind), shown, bounds, setting.text, variable))
    return table(("key", "kind", "default", "bounds", "what it is", "variable"), rows)


def _kind(kind: type) -> str:
    return {str: "text", int: "integer", bool: "true/false", list: "list"}[kind]


def _default(value: Any) -> str:
    if value is None:
        return "required"
    if value in ("", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def metrics_table() -> str:
    """Every metric."""
    from holdfast_node.metrics import METRICS

    return table(
        ("metric", "kind", "labels", "what it says"),
        (
            (f"`{m.name}{'_total' if m.kind == 'counter' else ''}`", m.kind, ", ".join(m.labels), m.text)
            for m in METRICS
        ),
    )


def reasons() -> Iterator[tuple[str, str]]:
    """Every reason with its comment in the proto."""
    text = (ROOT / "proto/holdfast/v1/types.proto").read_text()
    body = text[text.index("enum Reason {") :]
    body = body[: body.index("\n}")]
    for comment, name in re.findall(r"((?:  // .*\n)+)  REASON_(\w+) = \d+;", body):
        yield name, " ".join(line.strip().removeprefix("// ") for line in comment.splitlines())


def errors_table() -> str:
    """Every reason."""
    from holdfast.errors import Reason, error

    rows = ((f"`{n}`", f"`{type(error(Reason[n], '')).__name__}`", text) for n, text in reasons())
    return table(("reason", "class in the SDK, when refused", "what it means"), rows)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], (*path, name))
    else:
        yield " ".join(path), command


def cli_sections() -> str:
    """Every command with its help page."""
    from holdfast.cli.app import root

    parts = []
    for name, command in commands(root):
        context = click.Context(
            command, info_name=f"holdfast {name}", terminal_width=100, max_content_width=100
        )
        parts.append(f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```")
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "config.md": config_table,
    "metrics.md": metrics_table,
    "errors.md": errors_table,
    "cli.md": cli_sections,
}


def with_made_part(page: str, made: str) -> str:
    """The page with what stands between the marks replaced."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"a page needs {BEGIN} and {END}")
    return f"{head}{begin}\n\n{made}\n\n{end}{tail}"


def main() -> int:
    """Entry point; exit status 1 when a page differs."""
    write = "--write" in sys.argv
    differing = []
    for name, make in PAGES.items():
        path = REFERENCE / name
        page = path.read_text()
        wanted = with_made_part(page, make())
        if page != wanted:
            differing.append(name)
            if write:
                path.write_text(wanted)
    for name in differing:
        print(f"{'wrote' if write else 'differs'}: docs/reference/{name}")
    if differing and not write:
        print("run: make docs")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
