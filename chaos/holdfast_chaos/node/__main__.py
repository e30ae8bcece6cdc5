"""`python -m holdfast_chaos.node --config FILE [--init]`: a real node on a disk and a wall clock of ours.

Takes these two arguments of `python -m holdfast_node`. With HOLDFAST_CHAOS_DISK=unsynced its WAL and
snapshots lie on a disk that keeps nothing but what was synced, in the folder `disk` beside the data
directory: a kill -9 is then a loss of power too. Otherwise they lie in the data directory as always.
HOLDFAST_CHAOS_SEED: for what survives of what was not synced.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import uvloop
from holdfast_node import logs
from holdfast_node.config import Config, ConfigError, load, split_address
from holdfast_node.server import StartRefusedError, run
from holdfast_raft.disk import Disk
from holdfast_raft.file_disk import FileDisk

from holdfast_chaos.node.control import Control, serve
from holdfast_chaos.node.faulty_disk import FaultyDisk, SkewedTime
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk

UNSYNCED = "unsynced"
DISK = "HOLDFAST_CHAOS_DISK"
SEED = "HOLDFAST_CHAOS_SEED"


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m holdfast_chaos.node", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--init", action="store_true", default=None)
    options = parser.parse_args()
    # What the server takes for the operating system's wall clock; its monotonic one is left alone.
    clock = SkewedTime()
    time.time_ns = clock
    try:
        config = load(options.config, os.environ, {"init": options.init})
        logs.set_up(config.log_level, config.log_format)
        disk = FaultyDisk(_under(config))
        _, port = split_address("address", config.address)
        stop = serve(port, Control(disk, clock))
        uvloop.run(run(config, disk=disk))
    except (ConfigError, StartRefusedError) as problem:
        print(f"holdfast: {problem}", file=sys.stderr)
        return 1
    stop()
    return 0


def _under(config: Config) -> Disk:
    if os.environ.get(DISK) != UNSYNCED:
        return FileDisk(config.data_dir)
    place = config.data_dir.with_name("disk")
    place.mkdir(parents=True, exist_ok=True)
    return UnsyncedDisk(place, seed=int(os.environ.get(SEED, "0")))


if __name__ == "__main__":
    sys.exit(main())
