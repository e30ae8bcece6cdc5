"""The command line, `holdfast`. Needs the extra `cli` (click, rich); `dev`, `serve` and `wal` need `server`.

Only this package knows click and rich. Importing it imports neither: a user of the SDK who runs the
script without the extra gets a sentence, not a traceback.
"""

from __future__ import annotations

import sys

# What the extra `cli` brings.
_EXTRA = {"click", "rich"}


def main() -> None:
    """Entry point of the `holdfast` script."""
    try:
        from holdfast.cli.app import root
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(f"holdfast: {problem.name} is not installed: pip install 'holdfast[cli]'\n")
        sys.exit(1)
    root.main(prog_name="holdfast")
