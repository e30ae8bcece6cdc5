"""One node's configuration: TOML file, then HOLDFAST_* environment, then flags, into one frozen object.

Every value is checked here, so nothing behind this module meets one out of bounds (config_keys.py holds
the keys with their bounds). An unknown key is refused with the
nearest known one: a typo must not become a default. Unknown HOLDFAST_* variables are left alone unless
they look like a typo, because service managers inject variables of that form.

Does not touch the data directory (identity.py) or the network.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.keys import DEFAULT_NAMESPACE, KEY_BYTES_MAX, NAMESPACE, KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap

from holdfast_node.config_keys import SETTINGS, ConfigError, Setting, checked, nearest, refuse_unknown
from holdfast_node.limits import GRPC_PORT_MAX, PEER_PORT_ABOVE

ENVIRONMENT_PREFIX = "HOLDFAST_"
NODES_MAX = 64
SHARDS_MAX = 1024
REPLICAS_PER_SHARD = 3
# Group 1 is kept for placement; ids are never reused.
FIRST_SHARD_GROUP = 2
BASE64_PREFIX = "base64:"

__all__ = [
    "SETTINGS",
    "Config",
    "ConfigError",
    "NamespaceConfig",
    "NodeEntry",
    "first_map",
    "from_mapping",
    "load",
    "placement_nodes",
]

_CLUSTER_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")


_BY_NAME = {setting.name: setting for setting in SETTINGS}
_TOP = tuple(s for s in SETTINGS if "." not in s.name)
_TABLES = ("raft", "wal")
_LISTS = ("nodes", "namespaces")


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One node of the cluster."""

    id: int
    address: str
    http: str
    zone: str


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """One namespace and its policy; `splits` cut it into len(splits) + 1 shards."""

    name: str
    budget_bytes: int
    eviction: str
    strict_ttl: bool
    splits: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a node is told from outside; checked. Make one with `load` or `from_mapping`."""

    cluster_id: str
    node: int
    join: str
    weight: int
    address: str
    advertise: str
    http_address: str
    zone: str
    data_dir: Path
    init: bool
    log_level: str
    log_format: str
    election_min_ms: int
    election_max_ms: int
    heartbeat_ms: int
    wal_segment_bytes: int
    wal_total_bytes_max: int
    nodes: tuple[NodeEntry, ...]
    namespaces: tuple[NamespaceConfig, ...]

    def namespace(self, name: str) -> NamespaceConfig | None:
        """The namespace of that name."""
        return next((entry for entry in self.namespaces if entry.name == name), None)


def load(
    file: Path | None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Reads the file, lets HOLDFAST_* variables and then flags (dotted names) win over it.

    Raises ConfigError. A flag of value None counts as absent.
    """
    raw = _read(file) if file is not None else {}
    for name, text in (environ or {}).items():
        key = _environment_key(name)
        if key is not None:
            _put(raw, key, _from_text(key, text))
    for key, value in (flags or {}).items():
        if value is None:
            continue
        if key not in _BY_NAME or "[]" in key:
            raise ConfigError(key, f"no such setting{nearest(key, _BY_NAME)}")
        _put(raw, key, value)
    return from_mapping(raw)


def from_mapping(raw: Mapping[str, Any]) -> Config:
    """Checks a parsed TOML document. Raises ConfigError."""
    known = {s.name for s in _TOP} | set(_TABLES) | set(_LISTS)
    refuse_unknown("", raw, known)
    top = {s.name: checked(s.name, raw.get(s.name), s) for s in _TOP}
    raft = _table(raw, "raft")
    wal = _table(raw, "wal")
    nodes = tuple(NodeEntry(**row) for row in _rows(raw, "nodes"))
    namespaces = tuple(_namespace(i, row) for i, row in enumerate(_rows(raw, "namespaces")))
    if not namespaces:
        namespaces = (_namespace(0, _row("namespaces", 0, {"name": DEFAULT_NAMESPACE})),)
    _check_join(top, nodes, raw)
    own = NodeEntry(0, "", "", "") if top["join"] else _check_nodes(nodes, top["node"])
    config = Config(
        cluster_id=top["cluster_id"],
        node=top["node"],
        join=top["join"],
        weight=top["weight"],
        address=top["address"] or own.address,
        advertise=top["advertise"] or own.address or top["address"],
        http_address=top["http_address"] or own.http,
        zone=top["zone"] or own.zone,
        data_dir=Path(top["data_dir"]).expanduser(),
        init=top["init"],
        log_level=top["log_level"],
        log_format=top["log_format"],
        election_min_ms=raft["election_min_ms"],
        election_max_ms=raft["election_max_ms"],
        heartbeat_ms=raft["heartbeat_ms"],
        wal_segment_bytes=wal["segment_bytes"],
        wal_total_bytes_max=wal["total_bytes_max"],
        nodes=nodes,
        namespaces=namespaces,
    )
    _check_whole(config)
    return config


def first_map(config: Config) -> ShardMap:
    """The map a cluster is born with: namespaces in the order given, cut at their splits.

    Replicas rotate from shard to shard, and the first replica of each is the one to campaign first, so
    that leaders spread over the nodes.
    """
    nodes = sorted(config.nodes, key=lambda entry: entry.id)
    wanted = min(REPLICAS_PER_SHARD, len(nodes))
    shards = []
    group = FIRST_SHARD_GROUP
    for namespace in config.namespaces:
        cuts = (b"", *namespace.splits, b"")
        for start, end in itertools.pairwise(cuts):
            turn = (group - FIRST_SHARD_GROUP) % len(nodes)
            chosen = [nodes[(turn + i) % len(nodes)] for i in range(wanted)]
            replicas = tuple(Replica(entry.id, entry.address) for entry in chosen)
            shards.append(Shard(namespace.name, KeyRange(start, end), group, 1, replicas, 0))
            group += 1
    return ShardMap(1, shards)


def placement_nodes(config: Config) -> tuple[int, ...]:
    """The nodes that a cluster's placement group is born on."""
    return tuple(sorted(entry.id for entry in config.nodes)[:REPLICAS_PER_SHARD])


def split_address(key: str, address: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT" or "[V6]:PORT". Raises ConfigError naming `key`."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(key, f"{address!r} is not HOST:PORT with a port of 1..65535")
    return host, int(port)


def check_grpc_address(key: str, address: str) -> None:
    """Raises ConfigError unless it is HOST:PORT, with room for the peer port above."""
    _, port = split_address(key, address)
    if port > GRPC_PORT_MAX:
        raise ConfigError(
            key,
            f"{address!r}: the port must be at most {GRPC_PORT_MAX}, since the other nodes connect to"
            f" port + {PEER_PORT_ABOVE}",
        )


def peer_address(address: str) -> str:
    """Where the other nodes reach the node of a gRPC address; both were checked."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + PEER_PORT_ABOVE}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ---- sources ----------------------------------------------------------------------


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError("", f"cannot read {file}: {problem.strerror or problem}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError("", f"{file} is not valid TOML: {problem}") from None


def environment_name(key: str) -> str:
    """The variable that sets a key: raft.heartbeat_ms -> HOLDFAST_RAFT_HEARTBEAT_MS."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "_")


_BY_ENVIRONMENT = {environment_name(s.name): s.name for s in SETTINGS if "[]" not in s.name}


def _environment_key(name: str) -> str | None:
    if not name.startswith(ENVIRONMENT_PREFIX):
        return None
    key = _BY_ENVIRONMENT.get(name)
    if key is None and difflib.get_close_matches(name, _BY_ENVIRONMENT, 1, 0.9):
        raise ConfigError(name, f"no such environment variable{nearest(name, _BY_ENVIRONMENT)}")
    return key


def _from_text(key: str, text: str) -> object:
    kind = _BY_NAME[key].kind
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ConfigError(environment_name(key), f"{text!r} is not an integer") from None
    if kind is bool:
        truth = {"1": True, "true": True, "0": False, "false": False}.get(text.lower())
        if truth is None:
            raise ConfigError(environment_name(key), f"{text!r} is not true or false")
        return truth
    return text


def _put(raw: dict[str, Any], key: str, value: object) -> None:
    table, dot, name = key.rpartition(".")
    if not dot:
        raw[name] = value
        return
    inner = raw.setdefault(table, {})
    if not isinstance(inner, dict):
        raise ConfigError(table, "must be a table")
    inner[name] = value


# ---- shapes -----------------------------------------------------------------------


def _fields(prefix: str) -> dict[str, Setting]:
    return {s.name.removeprefix(prefix): s for s in SETTINGS if s.name.startswith(prefix)}


def _table(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(name, f"must be a table [{name}]")
    fields = _fields(f"{name}.")
    refuse_unknown(f"{name}.", table, set(fields))
    return {field: checked(f"{name}.{field}", table.get(field), s) for field, s in fields.items()}


def _rows(raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = raw.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError(name, f"must be tables, [[{name}]]")
    return [_row(name, i, row) for i, row in enumerate(rows)]


def _row(name: str, place: int, row: Mapping[str, Any]) -> dict[str, Any]:
    fields = _fields(f"{name}[].")
    where = f"{name}[{place}]."
    refuse_unknown(where, row, set(fields))
    return {field: checked(where + field, row.get(field), s) for field, s in fields.items()}


def _namespace(place: int, row: dict[str, Any]) -> NamespaceConfig:
    where = f"namespaces[{place}]."
    if not NAMESPACE.match(row["name"]):
        raise ConfigError(
            f"{where}name",
            f"{row['name']!r} is not 1..64 of [a-z0-9._-], beginning and ending with [a-z0-9]",
        )
    splits = tuple(_split(f"{where}splits[{i}]", text) for i, text in enumerate(row.pop("splits")))
    if any(left >= right for left, right in itertools.pairwise(splits)):
        raise ConfigError(f"{where}splits", "must be in ascending order of their bytes, each once")
    return NamespaceConfig(splits=splits, **row)


def _split(key: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise ConfigError(key, f"must be text, not {text!r}")
    if text.startswith(BASE64_PREFIX):
        try:
            cut = base64.b64decode(text.removeprefix(BASE64_PREFIX), validate=True)
        except binascii.Error as problem:
            raise ConfigError(key, f"is not base64: {problem}") from None
    else:
        cut = text.encode()
    if not 1 <= len(cut) <= KEY_BYTES_MAX:
        raise ConfigError(key, f"must be 1..{KEY_BYTES_MAX} bytes, not {len(cut)}")
    return cut


# ---- relations --------------------------------------------------------------------


def _check_nodes(nodes: tuple[NodeEntry, ...], own: int) -> NodeEntry:
    if not 1 <= len(nodes) <= NODES_MAX:
        raise ConfigError("nodes", f"must name 1..{NODES_MAX} nodes, [[nodes]], not {len(nodes)}")
    ids = [entry.id for entry in nodes]
    addresses = [entry.address for entry in nodes]
    for i, entry in enumerate(nodes):
        if ids.index(entry.id) != i:
            raise ConfigError(f"nodes[{i}].id", f"{entry.id} is named twice")
        if addresses.index(entry.address) != i:
            raise ConfigError(f"nodes[{i}].address", f"{entry.address} is named twice")
        _check_loopback(f"nodes[{i}].address", entry.address)
        check_grpc_address(f"nodes[{i}].address", entry.address)
        if entry.http:
            _check_loopback(f"nodes[{i}].http", entry.http)
    found = next((entry for entry in nodes if entry.id == own), None)
    if found is None:
        raise ConfigError("node", f"{own} is none of the nodes listed: {', '.join(map(str, sorted(ids)))}")
    return found


def _check_join(top: Mapping[str, Any], nodes: tuple[NodeEntry, ...], raw: Mapping[str, Any]) -> None:
    """What a node is told that is born with its cluster, and one that joins must not be told."""
    if not top["join"]:
        if top["advertise"]:
            raise ConfigError(
                "advertise", "is of nodes that join: others reach this one at its nodes[].address"
            )
        for key in ("cluster_id", "node"):
            if not top[key]:
                raise ConfigError(key, f"is required: {_BY_NAME[key].text}")
        return
    _check_loopback("join", top["join"])
    if not top["address"]:
        raise ConfigError("address", "is required to join: where this node will serve, HOST:PORT")
    for key, given in (("node", top["node"]), ("nodes", nodes), ("namespaces", raw.get("namespaces"))):
        if given:
            raise ConfigError(
                key, "comes from the cluster when a node joins: leave it out, or leave `join` out"
            )


def _check_loopback(key: str, address: str) -> None:
    host, _ = split_address(key, address)
    if not is_loopback(host):
        raise ConfigError(
            key,
            f"{address!r} can be reached from other machines, and TLS is not available in this version:"
            " use a loopback address (127.0.0.1 or [::1])",
        )


def _check_timing(config: Config) -> None:
    if config.election_min_ms >= config.election_max_ms:
        raise ConfigError("raft.election_max_ms", "must be above raft.election_min_ms")
    if config.heartbeat_ms * 3 > config.election_min_ms:
        raise ConfigError("raft.heartbeat_ms", "must be at most a third of raft.election_min_ms")
    if config.wal_segment_bytes * 4 > config.wal_total_bytes_max:
        raise ConfigError("wal.total_bytes_max", "must hold at least four segments of wal.segment_bytes")


def _check_whole(config: Config) -> None:
    if (config.cluster_id or not config.join) and not _CLUSTER_ID.match(config.cluster_id):
        raise ConfigError("cluster_id", f"{config.cluster_id!r} is not 1..64 characters of [A-Za-z0-9._-]")
    if not str(config.data_dir) or str(config.data_dir) == ".":
        raise ConfigError("data_dir", "must name a directory")
    _check_loopback("address", config.address)
    _check_loopback("advertise", config.advertise)
    if not config.http_address:
        raise ConfigError("http_address", "is required, here or as nodes[].http of this node")
    _check_loopback("http_address", config.http_address)
    for key in ("address", "advertise"):
        check_grpc_address(key, getattr(config, key))
    if config.http_address == config.address:
        raise ConfigError("http_address", f"{config.http_address} is also the gRPC address")
    if config.http_address == peer_address(config.address):
        raise ConfigError(
            "http_address", f"{config.http_address} is also where the other nodes reach this one"
        )
    _check_timing(config)
    names = [entry.name for entry in config.namespaces]
    for i, name in enumerate(names):
        if names.index(name) != i:
            raise ConfigError(f"namespaces[{i}].name", f"{name!r} is named twice")
    shards = sum(len(entry.splits) + 1 for entry in config.namespaces)
    if shards > SHARDS_MAX:
        raise ConfigError("namespaces", f"make {shards} shards; at most {SHARDS_MAX}")
