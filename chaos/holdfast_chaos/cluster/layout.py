"""Where a node lives: its ports, its directory, and the configuration file that says so.

Each node has three ports: the gate that everybody knows it by, where it listens for gRPC, and HTTP. A node's
peers reach it `PEERS_ABOVE` its gRPC port, so that port of the node and of its gate belongs to it too.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

CLUSTER_ID: Final = "chaos"
WAL: Final = "wal"
"""In the folder where a node stores."""
FROZEN: Final = "frozen"
"""Below a cluster's folder: copies of all WALs, of moments at which all nodes stood still."""
FIRST_PORT: Final = 12_000
"""Below what kernels hand out to clients (from 32 768 on)."""
PORTS: Final = 10_000
PEERS_ABOVE: Final = 10_000
"""How far above its gRPC port a node listens to other nodes: also below what kernels hand out."""

assert PORTS <= PEERS_ABOVE, "nobody's port is another one's for peers"
assert FIRST_PORT + PORTS + PEERS_ABOVE <= 32_768


class Place(NamedTuple):
    """One node's. number: what the harness calls it; its id in the cluster may change (a wiped disk)."""

    number: int
    folder: Path
    gate: int
    port: int
    http: int

    @property
    def known_as(self) -> str:
        """The address that peers and clients use."""
        return f"127.0.0.1:{self.gate}"

    @property
    def address(self) -> str:
        """Where the node listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def http_address(self) -> str:
        """Where it serves health and metrics."""
        return f"127.0.0.1:{self.http}"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def disk(self) -> Path:
        """What a disk of ours keeps of the WAL and the snapshots."""
        return self.folder / "disk"

    @property
    def stored(self) -> Path:
        """Where its WAL is, on whichever disk it runs."""
        return self.disk if (self.disk / WAL).is_dir() else self.data

    @property
    def control(self) -> Path:
        """The socket that takes commands to a disk of ours."""
        return self.folder / "control"

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.folder / "log"


# Processes side by side begin apart.
_candidates = itertools.count(os.getpid() * 40)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now, nor the one for peers above each; others at each call."""
    found: list[int] = []
    while len(found) < count:
        candidate = FIRST_PORT + next(_candidates) % PORTS
        with socket.socket() as probe, socket.socket() as above:
            try:
                probe.bind(("127.0.0.1", candidate))
                above.bind(("127.0.0.1", candidate + PEERS_ABOVE))
                found.append(candidate)
            except OSError:
                pass
    return found


def places(home: Path, count: int) -> tuple[Place, ...]:
    """Where `count` nodes live below `home`."""
    ports = iter(free_ports(3 * count))
    return tuple(
        Place(n, home / f"node-{n}", next(ports), next(ports), next(ports)) for n in range(1, count + 1)
    )


def born_with(place: Place, everyone: Sequence[Place], splits: Sequence[str], settings: str) -> str:
    """The configuration of a node that the cluster begins with."""
    cuts = ", ".join(f'"{cut}"' for cut in splits)
    table = "".join(
        f'[[nodes]]\nid = {other.number}\naddress = "{other.known_as}"\nhttp = "{other.http_address}"\n\n'
        for other in everyone
    )
    return (
        f'cluster_id = "{CLUSTER_ID}"\nnode = {place.number}\n{_own(place)}{settings}\n{table}'
        f'[[namespaces]]\nname = "default"\nsplits = [{cuts}]\n'
    )


def joining(place: Place, by: Place, settings: str) -> str:
    """The configuration of a node that joins by asking another one."""
    return f'join = "{by.known_as}"\nadvertise = "{place.known_as}"\n{_own(place)}{settings}\n'


def _own(place: Place) -> str:
    return f'data_dir = "{place.data}"\naddress = "{place.address}"\nhttp_address = "{place.http_address}"\n'
