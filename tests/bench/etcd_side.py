"""etcd beside us: three members on loopback, fsync on, its defaults, started and stopped by pid."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from holdfast_chaos.cluster.layout import free_ports

from tests.bench import peer_driver
from tests.bench.driving import Run, drive
from tests.bench.load import KEYS, VALUE_BYTES
from tests.bench.peer_driver import PeerAbsentError
from tests.integration.process_cluster import eventually

MEMBERS = 3


class Asked(NamedTuple):
    """What is asked of etcd. to_all: of all members, in turn; else of the leader only.

    Which of the two a row uses is what served etcd better on the machine the rows were written on.
    """

    load: str
    callers: int
    conns: int
    to_all: bool
    batch: int = 1


class Etcd:
    """A running etcd cluster."""

    name = "etcd"

    def __init__(self, processes: list[subprocess.Popen[bytes]], ports: list[int]) -> None:
        self._processes = processes
        self._ports = ports

    def _status(self, port: int) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def leader(self) -> int:
        """Which member leads, from 0."""
        said = [self._status(port) for port in self._ports]
        members = [each["header"]["member_id"] for each in said]
        return members.index(said[0]["leader"])

    def term(self) -> int:
        return max(int(self._status(port)["raftTerm"]) for port in self._ports)

    def is_ready(self) -> bool:
        for process in self._processes:
            assert process.poll() is None, "a member of etcd ended by itself"
        try:
            leaders = {self._status(port).get("leader", "0") for port in self._ports}
        except OSError:
            return False
        return len(leaders) == 1 and leaders != {"0"}

    def pids(self) -> dict[str, int]:
        leader = self.leader()
        return {
            f"etcd {number + 1}" if number != leader else "etcd leader": process.pid
            for number, process in enumerate(self._processes)
        }

    def run(self, asked: Asked, seconds: float, warmup: float, *, fill: bool = True) -> Run:
        """One measurement."""
        ports = self._ports if asked.to_all else [self._ports[self.leader()]]
        start = peer_driver.commands(
            asked.load,
            ",".join(f"127.0.0.1:{port}" for port in ports),
            callers=asked.callers,
            conns=min(asked.conns, asked.callers),
            seconds=seconds,
            warmup=warmup,
            keys=KEYS,
            value_bytes=VALUE_BYTES,
            fill=fill,
            batch=asked.batch,
        )
        return drive(start, 1, self.pids())


@contextmanager
def running(home: Path) -> Iterator[Etcd]:
    """A fresh cluster, ready; stopped and reaped at the end. Raises PeerAbsentError."""
    program = shutil.which("etcd")
    if program is None:
        raise PeerAbsentError(f"etcd is not installed: {peer_driver.PACKAGES}")
    ports = free_ports(2 * MEMBERS)
    clients, peers = ports[:MEMBERS], ports[MEMBERS:]
    cluster = ",".join(f"m{n}=http://127.0.0.1:{peers[n]}" for n in range(MEMBERS))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(MEMBERS):
            place = home / f"etcd-{number}"
            place.mkdir(parents=True)
            flags = {
                "name": f"m{number}",
                "data-dir": str(place / "data"),
                "listen-client-urls": f"http://127.0.0.1:{clients[number]}",
                "advertise-client-urls": f"http://127.0.0.1:{clients[number]}",
                "listen-peer-urls": f"http://127.0.0.1:{peers[number]}",
                "initial-advertise-peer-urls": f"http://127.0.0.1:{peers[number]}",
                "initial-cluster": cluster,
                "initial-cluster-state": "new",
                "initial-cluster-token": "bench",
                "logger": "zap",
            }
            with (place / "log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [program, *(f"--{name}={value}" for name, value in flags.items())],
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                    )
                )
        etcd = Etcd(processes, clients)
        eventually(etcd.is_ready, "etcd has a leader")
        yield etcd
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
