"""What `holdfast dev` keeps in its directory: the cluster's shape, a configuration and a place for each node.

    cluster.json            shape: cluster id, nodes, splits, base port; whether the nodes were made
    LOCK                    flock held while the supervisor lives; holds its pid
    node-1/config.toml      written at every start from the shape
    node-1/data/            the node's own
    node-1/log              what it printed

Invariant: the shape is fixed at the first start, except for the base port; a later start that asks for
another shape is refused and says what stands.

Starts no process (`supervisor.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from holdfast.cli.output import shown
from holdfast.cli.verbs import FailedError

HOST = "127.0.0.1"
HTTP_OFFSET = 100
PEER_OFFSET = 10_000  # a node's rule: holdfast_node.config
NODES_MAX = 9
SHARDS_MAX = 256
# Keys are cut where names made of these are cut evenly; other characters fall beside them.
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"

SHAPE_FILE = "cluster.json"
LOCK_FILE = "LOCK"


class Shape(NamedTuple):
    """What a dev cluster is. made: its nodes have their data directories."""

    cluster_id: str
    nodes: int
    splits: tuple[bytes, ...]
    base_port: int
    made: bool

    def node_ids(self) -> range:
        """Node ids, 1-based."""
        return range(1, self.nodes + 1)

    def address(self, node: int) -> str:
        """Where a node serves gRPC."""
        return f"{HOST}:{self.base_port + node - 1}"

    def http(self, node: int) -> str:
        """Where a node serves /metrics /healthz /readyz."""
        return f"{HOST}:{self.base_port + HTTP_OFFSET + node - 1}"

    def peer(self, node: int) -> str:
        """Where the other nodes reach a node."""
        return f"{HOST}:{self.base_port + PEER_OFFSET + node - 1}"


class Wanted(NamedTuple):
    """What the command line asks for; None: whatever stands, else the default."""

    nodes: int | None = None
    shards: int | None = None
    split_at: tuple[bytes, ...] = ()
    base_port: int | None = None


def even_splits(shards: int) -> tuple[bytes, ...]:
    """The `shards` - 1 keys that cut names of digits and small letters into equal parts."""
    width = len(ALPHABET)
    places = (i * width * width // shards for i in range(1, shards))
    return tuple((ALPHABET[p // width] + ALPHABET[p % width]).rstrip("0").encode() or b"0" for p in places)


def settle(folder: Path, wanted: Wanted) -> Shape:
    """The shape the cluster has, or gets at its first start. Raises FailedError for a contradiction."""
    splits = _wanted_splits(wanted)
    standing = _read(folder)
    if standing is None:
        nodes = wanted.nodes or 3
        return Shape(f"dev-{secrets.token_hex(4)}", nodes, splits or (), wanted.base_port or 7400, False)
    if wanted.nodes not in (None, standing.nodes):
        raise FailedError(f"{folder} holds a cluster of {standing.nodes} nodes, not {wanted.nodes}{_WAYS_ON}")
    if splits is not None and splits != standing.splits:
        cuts = ", ".join(map(shown, standing.splits)) or "nowhere"
        raise FailedError(
            f"{folder} holds a cluster of {len(standing.splits) + 1} shards, cut at {cuts}; shards are fixed"
            f" at the first start{_WAYS_ON}"
        )
    return standing._replace(base_port=wanted.base_port or standing.base_port)


_WAYS_ON = ": leave the option out, choose another --data, or remove the directory"


def _wanted_splits(wanted: Wanted) -> tuple[bytes, ...] | None:
    if wanted.split_at:
        cuts = tuple(sorted(set(wanted.split_at)))
        if wanted.shards not in (None, len(cuts) + 1):
            raise FailedError(f"--split-at makes {len(cuts) + 1} shards, --shards says {wanted.shards}")
        return cuts
    return None if wanted.shards is None else even_splits(wanted.shards)


def _read(folder: Path) -> Shape | None:
    file = folder / SHAPE_FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return Shape(
            cluster_id=str(document["cluster_id"]),
            nodes=int(document["nodes"]),
            splits=tuple(bytes.fromhex(cut) for cut in document["splits"]),
            base_port=int(document["base_port"]),
            made=bool(document["made"]),
        )
    except FileNotFoundError:
        if folder.exists() and any(entry.name != LOCK_FILE for entry in folder.iterdir()):
            raise FailedError(
                f"{folder} is not empty and holds no {SHAPE_FILE}: choose another --data"
            ) from None
        return None
    except OSError as problem:
        raise FailedError(f"cannot read {file}: {problem.strerror}") from None
    except (KeyError, TypeError, ValueError) as problem:
        raise FailedError(f"{file} is damaged ({problem}): restore it, or choose another --data") from None


def write(folder: Path, shape: Shape) -> None:
    """Writes the shape and every node's configuration."""
    document = {
        "cluster_id": shape.cluster_id,
        "nodes": shape.nodes,
        "splits": [cut.hex() for cut in shape.splits],
        "base_port": shape.base_port,
        "made": shape.made,
    }
    _write_file(folder / SHAPE_FILE, json.dumps(document, indent=2) + "\n")
    for node in shape.node_ids():
        home = node_home(folder, node)
        home.mkdir(exist_ok=True)
        _write_file(home / "config.toml", config_text(shape, node, home / "data"))


def _write_file(file: Path, text: str) -> None:
    new = file.with_name(file.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def node_home(folder: Path, node: int) -> Path:
    """Where everything of a node is."""
    return folder / f"node-{node}"


def config_text(shape: Shape, node: int, data: Path) -> str:
    """The node's configuration as TOML."""
    lines = [
        "# Written by `holdfast dev` at every start; changes are lost. Keys: docs/reference/config.md",
        f"cluster_id = {_quoted(shape.cluster_id)}",
        f"node = {node}",
        f"data_dir = {_quoted(str(data.absolute()))}",
        "",
    ]
    for other in shape.node_ids():
        lines += [
            "[[nodes]]",
            f"id = {other}",
            f"address = {_quoted(shape.address(other))}",
            f"http = {_quoted(shape.http(other))}",
            "",
        ]
    splits = ", ".join(_quoted(shown(cut)) for cut in shape.splits)
    lines += ["[[namespaces]]", 'name = "default"', f"splits = [{splits}]", ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    # JSON's string is a TOML basic string, once DEL is escaped too and surrogate pairs are not written.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def ports_in_use(shape: Shape) -> list[str]:
    """Addresses another process listens on, each with what it was wanted for."""
    found = []
    for node in shape.node_ids():
        ports = (("gRPC", shape.address(node)), ("HTTP", shape.http(node)), ("peers", shape.peer(node)))
        for purpose, address in ports:
            host, _, port = address.rpartition(":")
            with socket.socket() as probe:
                # As the servers do: a port that only waits for old connections to fade is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, int(port)))
                    probe.listen(1)
                except OSError:
                    found.append(f"{address} ({purpose} of node {node})")
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the directory for one supervisor. Raises FailedError naming the process that has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        raise FailedError(f"cannot use {folder}: {problem.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise FailedError(f"{folder} is in use by another `holdfast dev` (pid {holder})") from None
    finally:
        os.close(lock)
