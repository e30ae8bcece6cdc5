"""Where the disk code can be interrupted: every call of wal*.py and snapshots.py that changes the disk."""

from __future__ import annotations

import ast
from pathlib import Path

import holdfast_raft

CALLS = frozenset(("create", "write_at", "sync", "rename", "unlink", "sync_dir"))
FILES = ("wal*.py", "snapshots.py")


def crash_points() -> dict[str, str]:
    """file:line -> what is called there, as faults.call_site names it."""
    folder = Path(holdfast_raft.__file__).parent
    found: dict[str, str] = {}
    for pattern in FILES:
        for path in sorted(folder.glob(pattern)):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in CALLS
                ):
                    found[f"{path.name}:{node.lineno}"] = node.func.attr
    return dict(
        sorted(found.items(), key=lambda place: (place[0].split(":")[0], int(place[0].split(":")[1])))
    )
