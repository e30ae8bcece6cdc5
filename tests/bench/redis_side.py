"""Redis beside us, for orientation: one primary and two replicas, AOF synced every second (its own advice).

Not a like for like: SET is acknowledged before anything is on a disk or a replica, and SET + WAIT 1 by one
replica's memory. It shows what an acknowledgement costs, and what compiled code does.
"""

from __future__ import annotations

import csv
import io
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast_chaos.cluster.layout import free_ports

from tests.bench import peer_driver
from tests.bench.driving import Run, drive
from tests.bench.load import KEYS, VALUE_BYTES
from tests.bench.peer_driver import PeerAbsentError
from tests.integration.process_cluster import eventually

NODES = 3
REQUESTS_A_SECOND = 60_000
"""redis-benchmark takes a count, not a time; about what two cores do."""


class Redis:
    """A running primary with its replicas."""

    name = "Redis"

    def __init__(self, processes: list[subprocess.Popen[bytes]], ports: list[int]) -> None:
        self._processes = processes
        self._ports = ports

    def pids(self) -> dict[str, int]:
        names = ("Redis primary", *(f"Redis replica {n}" for n in range(1, NODES)))
        return {name: process.pid for name, process in zip(names, self._processes, strict=True)}

    def info(self, port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"INFO replication\r\n")
            return connection.recv(1 << 16).decode()

    def is_ready(self) -> bool:
        try:
            return self.info(self._ports[0]).count("state=online") == NODES - 1
        except OSError:
            return False

    def benchmark(self, callers: int, seconds: float) -> dict[str, float]:
        """{"SET": requests a second, "GET": ...} as redis-benchmark says."""
        asked = subprocess.run(
            [
                "redis-benchmark", "-p", str(self._ports[0]), "-t", "set,get", "-c", str(callers),
                "-d", str(VALUE_BYTES), "-r", str(KEYS), "-n", str(int(REQUESTS_A_SECOND * seconds)), "--csv",
            ],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return rates(asked.stdout)

    def set_wait(self, callers: int, seconds: float, warmup: float) -> Run:
        """SET and WAIT 1 on one connection, by peerload."""
        start = peer_driver.commands(
            "redis-set-wait", f"127.0.0.1:{self._ports[0]}", callers=callers, conns=callers, seconds=seconds,
            warmup=warmup, keys=KEYS, value_bytes=VALUE_BYTES, fill=False,
        )  # fmt: skip
        return drive(start, 1, self.pids())


def rates(table: str) -> dict[str, float]:
    """Requests a second by test, of redis-benchmark's CSV."""
    rows = csv.DictReader(line for line in io.StringIO(table) if line.startswith('"'))
    return {row["test"]: float(row["rps"]) for row in rows}


@contextmanager
def running(home: Path) -> Iterator[Redis]:
    """A fresh primary with two replicas; stopped and reaped at the end. Raises PeerAbsentError."""
    program = shutil.which("redis-server")
    if program is None or shutil.which("redis-benchmark") is None:
        raise PeerAbsentError(f"redis-server or redis-benchmark is not installed: {peer_driver.PACKAGES}")
    ports = free_ports(NODES)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, port in enumerate(ports):
            place = home / f"redis-{number}"
            place.mkdir(parents=True)
            flags = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""]
            flags += ["--appendonly", "yes", "--appendfsync", "everysec"]
            if number:
                flags += ["--replicaof", "127.0.0.1", str(ports[0])]
            with (place / "log").open("wb") as log:
                processes.append(
                    subprocess.Popen([program, *flags], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
                )
        redis = Redis(processes, ports)
        eventually(redis.is_ready, "Redis and its replicas")
        yield redis
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
