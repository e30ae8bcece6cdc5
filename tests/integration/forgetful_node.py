"""A node on a disk that keeps nothing but what was synced: `python -m tests.integration.forgetful_node`.

Takes the arguments of `python -m holdfast_node`. Its WAL and snapshots lie on an `UnsyncedDisk` in the
folder `disk` beside the data directory, which keeps the node's identity. Signals:

    SIGUSR1  the power fails: unsynced bytes are gone, the process ends where it stands (so it does with
             SIGKILL, as the unsynced bytes are its memory)
    SIGUSR2  the disk begins to lie: a sync says yes and keeps nothing (to see that the tests would notice)

With HOLDFAST_TEST_TORN=SEED some sectors and names of what was not synced survive SIGUSR1.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import uvloop
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk
from holdfast_node import logs
from holdfast_node.config import load
from holdfast_node.server import run

POWER_FAILED = 137


def main() -> None:
    config_file = Path(sys.argv[sys.argv.index("--config") + 1])
    config = load(config_file, os.environ, {"init": True} if "--init" in sys.argv else {})
    place = config.data_dir.with_name("disk")
    place.mkdir(parents=True, exist_ok=True)
    torn = os.environ.get("HOLDFAST_TEST_TORN")
    disk = UnsyncedDisk(place, seed=int(torn or 0))

    def power_off(*_: object) -> None:
        try:
            disk.power_off(torn=torn is not None and not disk.lies)
        finally:
            os._exit(POWER_FAILED)

    def lie(*_: object) -> None:
        disk.lies = True

    signal.signal(signal.SIGUSR1, power_off)
    signal.signal(signal.SIGUSR2, lie)
    logs.set_up(config.log_level, config.log_format)
    uvloop.run(run(config, disk=disk))


if __name__ == "__main__":
    main()
