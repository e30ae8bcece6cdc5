"""The configuration: sources, bounds, refusals that name the key, and the map a cluster is born with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from holdfast_node.config import ConfigError, environment_name, first_map, from_mapping, load, placement_nodes
from holdfast_node.config_keys import SETTINGS
from hypothesis import given
from hypothesis import strategies as st

BASE: dict[str, Any] = {
    "cluster_id": "dev",
    "node": 2,
    "data_dir": "/data",
    "nodes": [
        {"id": n, "address": f"127.0.0.1:{7399 + n}", "http": f"127.0.0.1:{7499 + n}"} for n in (1, 2, 3)
    ],
}


def refusal(raw: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        from_mapping(raw)
    return caught.value


def test_addresses_default_to_this_nodes_entry() -> None:
    """Where to listen comes from this node's entry unless it is named apart."""
    config = from_mapping(BASE)

    assert (config.address, config.http_address) == ("127.0.0.1:7401", "127.0.0.1:7501")
    assert from_mapping({**BASE, "address": "127.0.0.1:9"}).address == "127.0.0.1:9"


@pytest.mark.parametrize("key", ["address", "nodes[0].address"])
def test_a_grpc_port_leaves_room_for_the_peer_port_above_it(key: str) -> None:
    """The other nodes connect to the gRPC port + 10 000, which is refused where it would be no port."""
    high = {"address": "127.0.0.1:55536"}
    raw = (
        {**BASE, **high}
        if key == "address"
        else {**BASE, "nodes": [{**BASE["nodes"][0], **high}, *BASE["nodes"][1:]]}
    )

    caught = refusal(raw)

    assert caught.key == key
    assert "at most 55535" in caught.message


def test_http_and_the_other_nodes_need_ports_of_their_own() -> None:
    """HTTP at the port where the other nodes connect is refused before anything listens."""
    assert refusal({**BASE, "http_address": "127.0.0.1:17401"}).key == "http_address"


def test_a_typo_is_refused_with_the_nearest_key() -> None:
    """An unknown key is never ignored: the refusal names it and the nearest known one."""
    caught = refusal({**BASE, "raft": {"hartbeat_ms": 50}})

    assert caught.key == "raft.hartbeat_ms"
    assert "did you mean 'heartbeat_ms'?" in caught.message


def test_a_typo_inside_a_list_names_its_place() -> None:
    """The refusal of a key in a list of tables says in which entry."""
    caught = refusal({**BASE, "namespaces": [{"name": "a", "evicton": "clock"}]})

    assert caught.key == "namespaces[0].evicton"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """The order of sources is file, environment, flags."""
    file = tmp_path / "node.toml"
    file.write_text(
        'cluster_id = "file"\nnode = 1\ndata_dir = "/data"\n[raft]\nheartbeat_ms = 10\n'
        '[[nodes]]\nid = 1\naddress = "127.0.0.1:1"\nhttp = "127.0.0.1:2"\n'
    )
    environ = {"HOLDFAST_CLUSTER_ID": "environment", "HOLDFAST_RAFT_HEARTBEAT_MS": "20", "HOLDFAST_INIT": "1"}

    config = load(file, environ, {"raft.heartbeat_ms": 30, "data_dir": None})

    assert (config.cluster_id, config.heartbeat_ms, config.init) == ("environment", 30, True)


def test_foreign_variables_are_left_alone_and_near_misses_refused() -> None:
    """A service manager's HOLDFAST_PORT is no error; a variable that looks like a typo is."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"HOLDFAST_PORT": "tcp://1.2.3.4", "HOLDFAST_CLUSTER_IDS": "x"})

    assert caught.value.key == "HOLDFAST_CLUSTER_IDS"
    assert "HOLDFAST_CLUSTER_ID" in caught.value.message


def test_an_unreadable_or_broken_file_is_a_clear_error(tmp_path: Path) -> None:
    """A missing file and bad TOML both name the file."""
    broken = tmp_path / "broken.toml"
    broken.write_text("node = ")

    for file in (tmp_path / "missing.toml", broken):
        with pytest.raises(ConfigError, match=file.name):
            load(file)


@pytest.mark.parametrize("address", ["0.0.0.0:7400", "10.0.0.1:7400", "example.org:7400", "[2001:db8::1]:1"])
def test_only_loopback_may_be_listened_on(address: str) -> None:
    """An address other machines can reach is refused with the reason: no TLS in this version."""
    caught = refusal({**BASE, "address": address})

    assert caught.key == "address"
    assert "TLS is not available" in caught.message


@pytest.mark.parametrize("address", ["127.0.0.1:7400", "127.9.9.9:1", "localhost:80", "[::1]:55535"])
def test_loopback_addresses_are_taken(address: str) -> None:
    """Every form of loopback is an address to listen on."""
    assert from_mapping({**BASE, "address": address}).address == address


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", ":7400", "127.0.0.1:x"])
def test_an_address_is_host_and_port(address: str) -> None:
    """What is not HOST:PORT with a usable port is refused, naming the key."""
    assert refusal({**BASE, "http_address": address}).key == "http_address"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"cluster_id": "-"}, "cluster_id"),
        ({"node": 4}, "node"),
        ({"node": True}, "node"),
        ({"node": "2"}, "node"),
        ({"nodes": []}, "nodes"),
        ({"nodes": {}}, "nodes"),
        ({"data_dir": ""}, "data_dir"),
        ({"log_level": "loud"}, "log_level"),
        ({"raft": 3}, "raft"),
        ({"raft": {"heartbeat_ms": 1}}, "raft.heartbeat_ms"),
        ({"raft": {"heartbeat_ms": 101}}, "raft.heartbeat_ms"),
        ({"raft": {"election_min_ms": 600}}, "raft.election_max_ms"),
        ({"wal": {"segment_bytes": 1073741824}}, "wal.total_bytes_max"),
        ({"http_address": "127.0.0.1:7401"}, "http_address"),
        ({"nodes": [*BASE["nodes"], {"id": 1, "address": "127.0.0.1:1"}]}, "nodes[3].id"),
        ({"nodes": [*BASE["nodes"], {"id": 4, "address": "127.0.0.1:7400"}]}, "nodes[3].address"),
        ({"nodes": [*BASE["nodes"], {"id": 4, "address": "10.0.0.1:7400"}]}, "nodes[3].address"),
        ({"namespaces": [{"name": "Bad"}]}, "namespaces[0].name"),
        ({"namespaces": [{"name": "a"}, {"name": "a"}]}, "namespaces[1].name"),
        ({"namespaces": [{"name": "a", "splits": ["m", "m"]}]}, "namespaces[0].splits"),
        ({"namespaces": [{"name": "a", "splits": [1]}]}, "namespaces[0].splits[0]"),
        ({"namespaces": [{"name": "a", "splits": ["base64:!"]}]}, "namespaces[0].splits[0]"),
        ({"namespaces": [{"name": "a", "splits": [""]}]}, "namespaces[0].splits[0]"),
        ({"namespaces": [{"name": "a", "splits": "m"}]}, "namespaces[0].splits"),
        ({"namespaces": [{"name": "a", "splits": [f"{i:04}" for i in range(1024)]}]}, "namespaces"),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused_by_name(change: dict[str, Any], key: str) -> None:
    """Every refusal names the key at fault."""
    assert refusal({**BASE, **change}).key == key


@pytest.mark.parametrize("key", ["cluster_id", "node", "data_dir"])
def test_a_required_key_says_what_it_is_for(key: str) -> None:
    """A missing required key is refused with its meaning."""
    caught = refusal({k: v for k, v in BASE.items() if k != key})

    assert caught.key == key
    assert "is required" in caught.message


def test_the_default_namespace_is_there_without_being_named() -> None:
    """A configuration without namespaces has the one called default, in one shard."""
    shards = first_map(from_mapping(BASE)).shards

    assert [(s.namespace, s.group, s.epoch) for s in shards] == [("default", 2, 1)]


def test_shards_cover_their_namespace_and_leaders_spread() -> None:
    """Splits make contiguous shards with growing group ids; the first replicas rotate over the nodes."""
    raw = {**BASE, "namespaces": [{"name": "default", "splits": ["g", "base64:/w=="]}, {"name": "a"}]}

    shards = first_map(from_mapping(raw))

    default = [s for s in shards.shards if s.namespace == "default"]
    assert [(s.range.start, s.range.end) for s in default] == [(b"", b"g"), (b"g", b"\xff"), (b"\xff", b"")]
    assert sorted(s.group for s in shards.shards) == [2, 3, 4, 5]
    assert [s.replicas[0].node for s in default] == [1, 2, 3]


def test_more_than_three_nodes_share_the_shards() -> None:
    """A shard has three replicas also when there are more nodes, and each node gets some."""
    nodes = [{"id": n, "address": f"127.0.0.1:{n}", "http": f"127.0.0.1:{n + 10}"} for n in range(1, 6)]
    raw = {**BASE, "nodes": nodes, "namespaces": [{"name": "a", "splits": ["b", "c", "d", "e"]}]}

    shards = first_map(from_mapping(raw)).shards

    assert {len(s.replicas) for s in shards} == {3}
    assert {r.node for s in shards for r in s.replicas} == {1, 2, 3, 4, 5}


def test_every_flat_key_has_its_own_variable() -> None:
    """No two keys share an environment variable."""
    names = [environment_name(s.name) for s in SETTINGS if "[]" not in s.name]

    assert len(names) == len(set(names))


JOIN = {
    "join": "127.0.0.1:7400", "address": "127.0.0.1:7404", "http_address": "127.0.0.1:7504", "data_dir": "d",
}  # fmt: skip


def test_a_node_that_joins_is_told_only_where() -> None:
    """The cluster's name, its id, the others and the namespaces come from the cluster."""
    config = from_mapping(JOIN)

    assert (config.cluster_id, config.node, config.nodes, config.weight) == ("", 0, (), 100)
    assert (config.address, config.http_address) == ("127.0.0.1:7404", "127.0.0.1:7504")
    assert from_mapping({**JOIN, "cluster_id": "prod", "weight": 50, "zone": "z"}).weight == 50


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"node": 4}, "node"),
        ({"nodes": [{"id": 1, "address": "127.0.0.1:1"}]}, "nodes"),
        ({"namespaces": [{"name": "default"}]}, "namespaces"),
        ({"address": ""}, "address"),
        ({"http_address": ""}, "http_address"),
        ({"join": "prod.example.com:7400"}, "join"),
        ({"join": "nowhere"}, "join"),
        ({"advertise": "10.0.0.1:7400"}, "advertise"),
        ({"weight": 10_001}, "weight"),
        ({"cluster_id": "-"}, "cluster_id"),
    ],
)
def test_what_a_node_that_joins_must_not_say_is_refused(change: dict[str, object], key: str) -> None:
    """By the key that is wrong."""
    assert refusal({**JOIN, **change}).key == key


def test_others_reach_a_node_that_joins_where_it_says() -> None:
    """Where it listens, unless something stands in front of it. Of a node listed the list says it."""
    assert from_mapping(JOIN).advertise == "127.0.0.1:7404"
    assert from_mapping({**JOIN, "advertise": "127.0.0.1:9"}).advertise == "127.0.0.1:9"
    assert from_mapping({**BASE, "address": "127.0.0.1:9"}).advertise == "127.0.0.1:7401"
    assert refusal({**BASE, "advertise": "127.0.0.1:9"}).key == "advertise"


def test_the_placement_group_is_on_the_lowest_ids() -> None:
    """On as many nodes as a shard has replicas."""
    nodes = [{"id": n, "address": f"127.0.0.1:{n}", "http": f"127.0.0.1:{n + 10}"} for n in (5, 1, 4, 2)]

    assert placement_nodes(from_mapping({**BASE, "nodes": nodes})) == (1, 2, 4)
    assert placement_nodes(from_mapping(BASE))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([s.name for s in SETTINGS if "[]" not in s.name] + ["nodes", "namespaces", "x"]),
    json_like,
)
def test_any_document_is_taken_or_refused_typed(key: str, value: Any) -> None:
    """No parsed document makes anything but a Config or a ConfigError."""
    raw = dict(BASE)
    table, dot, name = key.rpartition(".")
    if dot:
        raw[table] = {name: value}
    else:
        raw[name] = value
    with suppress(ConfigError):
        from_mapping(raw)
