"""`python -m holdfast_node --config FILE`: one node in this process; or `--join ADDRESS ...`, without a file.

Exit status 0 after a clean end, 1 when it cannot start (one line on standard error says why), 2 for wrong
usage. HOLDFAST_* variables win over the file, flags over both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast_node import logs
from holdfast_node.config import Config, ConfigError, load
from holdfast_node.server import StartRefusedError, run

try:
    import uvloop
except ImportError:  # not on Windows; the stock loop serves, slower
    uvloop = None  # type: ignore[assignment]


_FLAGS = {
    "join": "gRPC address of any node of the cluster to join",
    "address": "where gRPC listens, HOST:PORT",
    "advertise": "where others reach it when it joins, HOST:PORT, if not where it listens",
    "http_address": "where HTTP listens, HOST:PORT",
    "data_dir": "the data directory",
    "zone": "failure domain of this node",
}

GC_OBJECTS = 20_000
"""Objects made, less those freed, that start a collection of the young."""
GC_YOUNG, GC_MIDDLE = 5, 200
"""So many collections of a generation start one of the next, which looks at all that outlived them: 400 000
objects took 30 to 50 ms while a million keys came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    flags = {name: value for name, value in vars(options).items() if name != "config"}
    try:
        config = load(options.config, os.environ, flags)
        logs.set_up(config.log_level, config.log_format)
        _run(config)
    except (ConfigError, StartRefusedError) as problem:
        print(f"holdfast: {problem}", file=sys.stderr)  # noqa: T201 the program's last word
        return 1
    return 0


def _run(config: Config) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop is not None else None) as runner:
        runner.run(run(config, ready=_settled))


def _settled() -> None:
    """What was loaded so far lives as long as the process: no collection need look at it again.

    Later collections come rarely: what a frame makes dies by its reference count, and looking for cycles
    every 700 objects cost a fifth of the CPU of a put (docs/evidence/speed-log.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, GC_YOUNG, GC_MIDDLE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m holdfast_node", description="Runs one Holdfast node.")
    parser.add_argument("--config", type=Path, help="TOML file; see docs/reference/config.md")
    parser.add_argument(
        "--init", action="store_true", default=None,
        help="make an empty data directory into a new node; first start only",
    )  # fmt: skip
    for name, text in _FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=text)
    parser.add_argument("--weight", type=int, help="share of bytes and leaders, when it joins")
    return parser


if __name__ == "__main__":
    sys.exit(main())
