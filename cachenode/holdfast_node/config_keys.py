"""Every key of the configuration: kind, default, bounds, meaning; and the check of one value.

The reference page and the tests read `SETTINGS`. Knows no file and no environment; config.py does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

MIB = 1024 * 1024
LOG_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(ValueError):
    """A key is missing, unknown or out of bounds; `key` is its dotted name, empty for the file itself."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}" if key else message)


class Setting(NamedTuple):
    """One key: dotted name ("nodes[]." marks a key of a list of tables), kind, bounds and what it means.

    default None: required, unless `text` says what absence means. bounds are for integers.
    """

    name: str
    kind: type
    default: object
    text: str
    minimum: int = 0
    maximum: int = 0
    choices: tuple[str, ...] = ()


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "cluster_id",
        str,
        "",
        "Name of the cluster; a data directory of another one is refused. Required, except to join.",
    ),
    Setting("node", int, 0, "Id of this node; one of nodes[].id. Required, except to join.", 0, 65_535),
    Setting(
        "join",
        str,
        "",
        "gRPC address of any node of the cluster to join, HOST:PORT. cluster_id, node, nodes and namespaces"
        " then come from the cluster.",
    ),
    Setting(
        "weight",
        int,
        100,
        "Share of bytes and leaders it takes against the others', when it joins.",
        0,
        10_000,
    ),
    Setting("data_dir", str, None, "Directory of the WAL, the snapshots and the node's identity."),
    Setting(
        "address",
        str,
        "",
        "Where gRPC listens, HOST:PORT. The other nodes connect to PORT + 10000. Absent: this node's"
        " nodes[].address.",
    ),
    Setting(
        "advertise",
        str,
        "",
        "Where others reach this node when it joins, HOST:PORT, if not where it listens: behind a forwarder."
        " Of the nodes listed that is nodes[].address. Absent: address.",
    ),
    Setting("http_address", str, "", "Where HTTP listens, HOST:PORT. Absent: this node's nodes[].http."),
    Setting("zone", str, "", "Failure domain of this node. Absent: this node's nodes[].zone."),
    Setting("init", bool, False, "Whether an empty data directory may be made into a new node."),
    Setting("log_level", str, "info", "Least severe log line.", choices=LOG_LEVELS),
    Setting("log_format", str, "text", "Form of a log line.", choices=("text", "json")),
    Setting("raft.election_min_ms", int, 300, "Least silence before a follower campaigns.", 50, 60_000),
    Setting("raft.election_max_ms", int, 600, "Most silence before a follower campaigns.", 100, 120_000),
    Setting("raft.heartbeat_ms", int, 75, "Between heartbeats; <= election_min_ms / 3.", 5, 20_000),
    # A record may take a quarter of a segment, and the largest entry is a little above 1 MiB.
    Setting("wal.segment_bytes", int, 64 * MIB, "Size of a WAL segment.", 8 * MIB, 1024 * MIB),
    Setting(
        "wal.total_bytes_max",
        int,
        1024 * MIB,
        "Above this, the groups that pin the oldest segments write snapshots.",
        32 * MIB,
        MIB * MIB,
    ),
    Setting("nodes[].id", int, None, "Id of the node, unique for ever within the cluster.", 1, 65_535),
    Setting("nodes[].address", str, None, "Its gRPC address, HOST:PORT."),
    Setting("nodes[].http", str, "", "Its HTTP address, HOST:PORT. Absent: known once it says so."),
    Setting("nodes[].zone", str, "", "Its failure domain."),
    Setting("namespaces[].name", str, None, "Name, [a-z0-9._-], at most 64 characters."),
    Setting(
        "namespaces[].budget_bytes",
        int,
        256 * MIB,
        "Most bytes in one shard; a key counts as its length + its value's + 64.",
        MIB,
        MIB * MIB,
    ),
    Setting(
        "namespaces[].eviction",
        str,
        "clock",
        "What a full shard does: evict what was not used lately, or refuse writes.",
        choices=("clock", "noevict"),
    ),
    Setting(
        "namespaces[].strict_ttl",
        bool,
        False,
        "Whether BOUNDED and ANY reads hide a key whose time has passed by the replica's clock.",
    ),
    Setting(
        "namespaces[].splits",
        list,
        (),
        "Keys at which the namespace is cut into shards, ascending; 'base64:...' for bytes that are no text.",
    ),
)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known name most like `name`; empty: none is."""
    found = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def refuse_unknown(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    """Raises ConfigError for a key that is not known."""
    for name in table:
        if name not in known:
            raise ConfigError(f"{where}{name}", f"no such setting{nearest(name, known)}")


def checked(key: str, value: Any, setting: Setting) -> Any:
    """The value, or the default where it is absent. Raises ConfigError naming `key`."""
    if value is None:
        if setting.default is None:
            raise ConfigError(key, f"is required: {setting.text}")
        return setting.default
    if setting.kind is list:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(key, f"must be a list, not {value!r}")
        return value
    if not isinstance(value, setting.kind) or (setting.kind is int and isinstance(value, bool)):
        raise ConfigError(key, f"must be {_KIND_NAMES[setting.kind]}, not {value!r}")
    if isinstance(value, int) and setting.kind is int and not setting.minimum <= value <= setting.maximum:
        raise ConfigError(key, f"must be {setting.minimum}..{setting.maximum}, not {value}")
    if setting.choices and value not in setting.choices:
        raise ConfigError(key, f"must be one of {', '.join(setting.choices)}, not {value!r}")
    return value


_KIND_NAMES = {str: "text", int: "an integer", bool: "true or false", list: "a list"}
