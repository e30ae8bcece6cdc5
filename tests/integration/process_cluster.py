"""Real nodes in real processes on loopback ports and real directories: for integration tests and benches.

Nothing is mocked: each node is `python -m holdfast_node` (or, for power loss, the same server over a disk
that forgets what was not synced). Signals go to pids this module started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import holdfast
from holdfast.v1 import placement_pb2, placement_pb2_grpc
from holdfast_chaos.cluster.layout import free_ports

START_WITHIN_S = 60.0
POLL_S = 0.01
FIRST_GROUP = 2


def eventually(reached: Callable[[], bool], what: str, within: float = START_WITHIN_S) -> None:
    """Waits for a condition of another process; fails naming it when it does not come."""
    end = time.monotonic() + within
    while not reached():
        assert time.monotonic() < end, f"within {within} s did not happen: {what}"
        time.sleep(POLL_S)  # the condition is another process's: one can only look again


class NodeProcess:
    """One node."""

    def __init__(
        self, cluster: ProcessCluster, number: int, config: Path, flags: tuple[str, ...] = ()
    ) -> None:
        """flags: how it is started, instead of by `config`."""
        self.number = number
        self.config = config
        self.address = cluster.address(number)
        self.http = cluster.http(number)
        self._flags = flags or ("--config", str(config))
        self.process: subprocess.Popen[bytes] | None = None
        self._cluster = cluster

    def start(self, *, init: bool = False) -> None:
        assert self.process is None or self.process.poll() is not None
        log = (self.config.parent / "log").open("ab")
        command = [sys.executable, "-m", self._cluster.module, *self._flags]
        with log:
            self.process = subprocess.Popen(
                [*command, *(["--init"] if init else [])],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env=self._cluster.environment,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reap(self) -> int:
        """Waits for the process to end by itself; its exit status."""
        assert self.process is not None
        return self.process.wait(timeout=START_WITHIN_S)

    def kill(self) -> None:
        """kill -9, and reaps it."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def is_ready(self) -> bool:
        """What /readyz says."""
        if not self.is_running():
            raise AssertionError(f"node {self.number} ended by itself:\n{self.log()}")
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def replicas(self) -> list[placement_pb2.ReplicaStatus]:
        return list(self._hosted().replicas)

    def placement(self) -> list[placement_pb2.ReplicaStatus]:
        """Its replicas of the placement group."""
        return list(self._hosted().placement)

    def _hosted(self) -> placement_pb2.ListReplicasResponse:
        with grpc.insecure_channel(self.address) as channel:
            stub = placement_pb2_grpc.PlacementStub(channel)
            answer: placement_pb2.ListReplicasResponse = stub.ListReplicas(
                placement_pb2.ListReplicasRequest(), timeout=5
            )
            return answer

    def ask(self, path: str) -> tuple[int, str]:
        """GET of the node's HTTP port: status and body."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def log(self) -> str:
        return (self.config.parent / "log").read_text(errors="replace")[-4000:]


class ProcessCluster:
    """`nodes` nodes that are born together, and those that join later."""

    def __init__(
        self,
        home: Path,
        *,
        nodes: int = 3,
        splits: tuple[str, ...] = (),
        module: str = "holdfast_node",
        extra: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.home = home
        self.module = module
        self.environment = {**os.environ, **(environment or {})}
        self._ports = free_ports(2 * nodes)
        self._count = nodes
        self._joined: dict[int, tuple[str, ...]] = {}
        self._digests: dict[tuple[int, int], str] = {}  # (group, index) -> digest, as first said
        cuts = ", ".join(f'"{cut}"' for cut in splits)
        table = "".join(
            f'[[nodes]]\nid = {n}\naddress = "{self.address(n)}"\nhttp = "{self.http(n)}"\n\n'
            for n in range(1, nodes + 1)
        )
        self.nodes: dict[int, NodeProcess] = {}
        for number in range(1, nodes + 1):
            place = home / f"node-{number}"
            place.mkdir(parents=True)
            config = place / "config.toml"
            config.write_text(
                f'cluster_id = "test"\nnode = {number}\ndata_dir = "{place / "data"}"\n{extra}\n{table}'
                f'[[namespaces]]\nname = "default"\nsplits = [{cuts}]\n'
            )
            self.nodes[number] = NodeProcess(self, number, config)

    def address(self, node: int) -> str:
        if node in self._joined:
            return self._joined[node][0]
        return f"127.0.0.1:{self._ports[node - 1]}"

    def http(self, node: int) -> str:
        if node in self._joined:
            return self._joined[node][1]
        return f"127.0.0.1:{self._ports[self._count + node - 1]}"

    @property
    def endpoints(self) -> str:
        return ",".join(node.address for node in self.nodes.values())

    def join(self, through: int = 1, listens_on: str = "") -> NodeProcess:
        """A new node joins through another; it is ready when this returns. listens_on: a name of the host."""
        number = max(self.nodes) + 1
        self._joined[number] = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
        place = self.home / f"node-{number}"
        place.mkdir()
        address, http = self._joined[number]
        flags = ("--join", self.nodes[through].address, "--address", address, "--http-address", http)
        flags += ("--data-dir", str(place / "data"))
        if listens_on:
            flags = (
                *flags,
                "--address",
                f"{listens_on}:{address.rpartition(':')[2]}",
                "--advertise",
                address,
            )
        node = self.nodes[number] = NodeProcess(self, number, place / "config.toml", flags)
        node.start()
        eventually(node.is_ready, f"node {number} ready; its log:\n{node.log()}")
        return node

    def start(self, *, init: bool = False) -> None:
        """Starts the nodes that do not run, and waits until all are ready."""
        for node in self.nodes.values():
            if not node.is_running():
                node.start(init=init)
        self.wait_ready()

    def wait_ready(self) -> None:
        for node in self.nodes.values():
            eventually(node.is_ready, f"node {node.number} ready; its log:\n{node.log()}")

    def leader(self, group: int = FIRST_GROUP) -> NodeProcess:
        """The node that leads the shard (the first one), as the running nodes say."""
        found: list[NodeProcess] = []

        def known() -> bool:
            for node in self.nodes.values():
                if not node.is_running():
                    continue
                for replica in node.replicas():
                    leads = replica.role == placement_pb2.ReplicaStatus.ROLE_LEADER and replica.has_quorum
                    if leads and replica.shard.group == group:
                        found.append(node)
                        return True
            return False

        eventually(known, "a leader")
        return found[-1]

    def digests_agree(self) -> bool:
        """Whether all replicas of every shard say the same digest at the same index.

        Fails at once when two replicas say different digests for one index.
        """
        now: dict[int, set[int]] = {}
        for node in self.nodes.values():
            for replica in node.replicas():
                place = (replica.shard.group, replica.applied_index)
                digest = self._digests.setdefault(place, replica.digest)
                assert digest == replica.digest, f"two states of group, index {place}: node {node.number}"
                now.setdefault(replica.shard.group, set()).add(replica.applied_index)
        return all(len(seen) == 1 for seen in now.values())

    def close(self) -> None:
        for node in self.nodes.values():
            if node.process is not None and node.is_running():
                node.process.send_signal(signal.SIGCONT)
            node.kill()


@contextmanager
def running(
    home: Path,
    *,
    nodes: int = 3,
    splits: tuple[str, ...] = (),
    module: str = "holdfast_node",
    extra: str = "",
    environment: dict[str, str] | None = None,
) -> Iterator[ProcessCluster]:
    """A fresh cluster, ready; killed at the end."""
    cluster = ProcessCluster(
        home, nodes=nodes, splits=splits, module=module, extra=extra, environment=environment
    )
    try:
        cluster.start(init=True)
        yield cluster
    finally:
        cluster.close()


def verified(cluster: ProcessCluster) -> None:
    """Waits until all replicas stand at one index with one digest."""
    eventually(cluster.digests_agree, "equal digests at equal index")


def with_client(cluster: ProcessCluster, act: Callable[[holdfast.Client], Awaitable[None]]) -> None:
    """Runs `act` with an SDK client."""

    async def run() -> None:
        async with holdfast.connect(cluster.endpoints) as client:
            await act(client)

    asyncio.run(run())
