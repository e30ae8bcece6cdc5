"""The data directory: whose it is, and that only one process uses it.

    LOCK          flock held while the process lives; holds its pid
    node.json     cluster, node, incarnation, the shards the cluster was born with, whether their replicas
                  here have been made
    members.json  incarnations of the other nodes, as first met
    cluster.news  the map and the nodes as last heard; a hint

Invariants: an empty directory becomes a node only when asked to (`init`), so that a lost disk or a
mistyped path never starts as an empty replica under an old name; an incarnation is random, made once
with the directory; the incarnation of a peer is durable here before anything it says counts
(protocols.md 6: a node that lost its disk is another node).

Writes go file, fsync, rename, directory fsync, on the calling thread: they happen at first start and at
first contact only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from holdfast.shardmap import ShardMap

LOCK = "LOCK"
NODE = "node.json"
MEMBERS = "members.json"
NEWS = "cluster.news"
FORMAT = 1
_TEMPORARY = ".new"
# What a first start that was cut off may have left behind.
_HARMLESS = frozenset({LOCK, NODE + _TEMPORARY, "lost+found"})


class DirectoryRefusedError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class Identity(NamedTuple):
    """Who a data directory belongs to."""

    cluster_id: str
    node: int
    incarnation: int


class DataDirectory:
    """An open, locked data directory. Close it when the process ends."""

    def __init__(self, path: Path, lock: int, document: dict[str, Any], members: dict[int, int]) -> None:
        self.path = path
        self.identity = _identity(document)
        self._document = document
        self._lock = lock
        self._members = members

    @property
    def has_replicas(self) -> bool:
        """Whether the node's replicas have been made durable: from then on the WAL must know them, and a
        WAL that does not has been lost.
        """
        return self._document.get("replicas") is True

    @property
    def wal_id(self) -> str:
        """The WAL that was made with the replicas; '': none yet."""
        return str(self._document.get("wal", ""))

    def replicas_made(self, wal_id: str) -> None:
        """Notes durably that every replica's Born record is on disk. Before this no message may leave."""
        document = {**self._document, "replicas": True, "wal": wal_id}
        _write_durably(self.path / NODE, document)
        self._document = document

    @staticmethod
    def peek(path: Path) -> Identity | None:
        """Whose directory it is; None: nobody's yet. Raises DirectoryRefusedError for what is damaged."""
        document = _read(path / NODE)
        try:
            return None if document is None else _identity(document)
        except (KeyError, TypeError, ValueError):
            raise DirectoryRefusedError(f"{path / NODE} is damaged: restore it, or reset the node") from None

    @staticmethod
    def peek_news(path: Path) -> bytes | None:
        """What `remember` wrote last there; None: nothing yet. A hint: the cluster tells it again."""
        try:
            return (path / NEWS).read_bytes()
        except FileNotFoundError:
            return None

    def last_news(self) -> bytes | None:
        """See peek_news."""
        return self.peek_news(self.path)

    def remember(self, news: bytes) -> None:
        """Writes down what is known of the cluster: its map and nodes. Not synced, as it is a hint."""
        temporary = self.path / (NEWS + _TEMPORARY)
        temporary.write_bytes(news)
        temporary.replace(self.path / NEWS)

    @classmethod
    def open(
        cls, path: Path, *, cluster_id: str, node: int, shape: list[Any], init: bool, incarnation: int = 0
    ) -> DataDirectory:
        """Locks the directory and checks that it belongs to this node of this cluster.

        Args:
            path: the directory.
            cluster_id: the cluster the configuration names.
            node: the node it names.
            shape: the shards it names, see `shape_of`; must be what the cluster was born with.
            init: make an empty directory into a new node.
            incarnation: of a new node; 0: a random one is made.

        Raises:
            DirectoryRefusedError: it cannot be used.
        """
        try:
            if init:
                path.mkdir(parents=True, exist_ok=True)
            lock = _take_lock(path)
        except OSError as problem:
            raise DirectoryRefusedError(
                f"data directory {path} cannot be used: {problem.strerror or problem}"
                + ("" if init else "; to make a new node there, start with --init")
            ) from None
        try:
            document = _identify(path, cluster_id, node, shape, init, incarnation)
            members = _read_members(path)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock, document, members)

    def admit(self, node: int, incarnation: int) -> bool:
        """Whether the peer is the one first met under that id; remembers a first meeting durably."""
        known = self._members.get(node)
        if known is not None:
            return known == incarnation
        members = {**self._members, node: incarnation}
        document = {"format": FORMAT, "incarnations": {str(n): f"{i:016x}" for n, i in members.items()}}
        _write_durably(self.path / MEMBERS, document)
        self._members = members
        return True

    def close(self) -> None:
        """Frees the lock. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        who = self.identity
        return f"<DataDirectory {self.path} of node {who.node} of {who.cluster_id!r}>"


def shape_of(shards: ShardMap) -> list[Any]:
    """What must not change after the first start, as JSON: ranges, groups and their nodes."""
    return [
        [s.namespace, s.range.start.hex(), s.range.end.hex(), s.group, [r.node for r in s.replicas]]
        for s in shards.shards
    ]


def _take_lock(path: Path) -> int:
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise DirectoryRefusedError(
            f"data directory {path} is in use by another process (pid {holder})"
        ) from None
    except OSError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _identity(document: dict[str, Any]) -> Identity:
    return Identity(document["cluster_id"], document["node"], int(document["incarnation"], 16))


def _identify(
    path: Path, cluster_id: str, node: int, shape: list[Any], init: bool, incarnation: int
) -> dict[str, Any]:
    document = _read(path / NODE)
    if document is None:
        return _make(path, cluster_id, node, shape, init, incarnation)
    try:
        identity = _identity(document)
        born = document["shape"]
    except (KeyError, TypeError, ValueError):
        raise DirectoryRefusedError(f"{path / NODE} is damaged: restore it, or reset the node") from None
    if identity.cluster_id != cluster_id:
        raise DirectoryRefusedError(
            f"data directory {path} belongs to cluster {identity.cluster_id!r},"
            f" the configuration names {cluster_id!r}"
        )
    if identity.node != node:
        raise DirectoryRefusedError(
            f"data directory {path} belongs to node {identity.node}, the configuration names node {node}"
        )
    if born != shape:
        raise DirectoryRefusedError(
            f"data directory {path} was made for other shards than the configuration describes:"
            " namespaces, their splits and the node ids are fixed after the first start"
        )
    return document


def refuse_strangers(path: Path) -> None:
    """Raises DirectoryRefusedError when a directory that is no node's yet holds what no first start left."""
    strangers = sorted({entry.name for entry in path.iterdir()} - _HARMLESS) if path.exists() else []
    if strangers:
        raise DirectoryRefusedError(
            f"data directory {path} is not empty and not a node's: it holds {strangers[0]!r}"
        )


def new_incarnation() -> int:
    """Names a data directory for ever; never 0."""
    return int.from_bytes(os.urandom(8), "big") | 1


def _make(
    path: Path, cluster_id: str, node: int, shape: list[Any], init: bool, incarnation: int
) -> dict[str, Any]:
    if not init:
        raise DirectoryRefusedError(
            f"data directory {path} holds no node; to make a new node there, start with --init"
            " (if this node had data before, do not: its disk is missing)"
        )
    refuse_strangers(path)
    document = {
        "format": FORMAT,
        "cluster_id": cluster_id,
        "node": node,
        "incarnation": f"{incarnation or new_incarnation():016x}",
        "shape": shape,
    }
    _write_durably(path / NODE, document)
    # The directory's own name must survive power loss too.
    _sync_folder(path.parent)
    return document


def _read_members(path: Path) -> dict[int, int]:
    document = _read(path / MEMBERS)
    if document is None:
        return {}
    try:
        return {int(node): int(text, 16) for node, text in document["incarnations"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DirectoryRefusedError(f"{path / MEMBERS} is damaged: restore it, or reset the node") from None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise DirectoryRefusedError(f"{file} cannot be read: {problem.strerror or problem}") from None
    except ValueError:
        raise DirectoryRefusedError(f"{file} is damaged: restore it, or reset the node") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DirectoryRefusedError(f"{file} has a format this version does not read")
    return document


def _write_durably(file: Path, document: dict[str, Any]) -> None:
    temporary = file.with_name(file.name + _TEMPORARY)
    with temporary.open("w", encoding="utf-8") as out:
        json.dump(document, out, indent=1)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(PermissionError):
            os.fsync(handle)
    finally:
        os.close(handle)
