"""Runs a module with a bug planted: `python -m tests.planted NAME MODULE [ARGS...]`.

python -m tests.planted list
python -m tests.planted d1 tests.sim replay --seed 7
python -m tests.planted no-fsync holdfast_node serve --config node.toml
"""

from __future__ import annotations

import runpy
import sys

from tests.planted.bugs import BUGS
from tests.planted.planting import PlantingError, plant

USAGE = "usage: python -m tests.planted NAME MODULE [ARGS...] | list"
WRONG_USE = 2


def main(arguments: list[str]) -> int:
    """Plants and runs; returns only when there is nothing to run."""
    if arguments == ["list"]:
        width = max(map(len, BUGS))
        for bug in BUGS.values():
            sys.stdout.write(f"{bug.name:{width}}  {bug.rule}: {bug.what}\n")
        return 0
    if len(arguments) < 2:
        sys.stderr.write(USAGE + "\n")
        return WRONG_USE
    name, module, *rest = arguments
    if name not in BUGS:
        sys.stderr.write(f"there is no bug {name!r}; `python -m tests.planted list` names them\n")
        return WRONG_USE
    try:
        plant(BUGS[name])
    except PlantingError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
