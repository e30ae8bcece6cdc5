"""Where nodes live, and that a node understands what it is told."""

from __future__ import annotations

import socket
from pathlib import Path

from holdfast_chaos.cluster.layout import (
    FIRST_PORT,
    PEERS_ABOVE,
    PORTS,
    born_with,
    free_ports,
    joining,
    places,
)
from holdfast_node.config import load

SETTINGS = "[wal]\nsegment_bytes = 8388608\ntotal_bytes_max = 33554432\n"


def test_ports_are_told_apart():
    """No two things on one port."""
    assert len(set(free_ports(12))) == 12


def test_a_port_comes_with_the_one_above_it():
    """Neither is in use, and both are below those that kernels hand out to clients."""
    last = free_ports(1)[0]
    following = FIRST_PORT + (last + 1 - FIRST_PORT) % PORTS
    with socket.create_server(("127.0.0.1", following + PEERS_ABOVE)):
        found = free_ports(20)

    assert following not in found
    assert all(FIRST_PORT <= port < FIRST_PORT + PORTS <= 32_768 - PEERS_ABOVE for port in found)


def test_a_node_listens_behind_its_gate(tmp_path: Path) -> None:
    """It is known to others by the gate's address and listens at its own."""
    everyone = places(tmp_path, 3)
    file = tmp_path / "config.toml"
    file.write_text(born_with(everyone[1], everyone, ("k5",), SETTINGS))
    config = load(file)

    assert config.address == everyone[1].address
    assert [entry.address for entry in config.nodes] == [place.known_as for place in everyone]
    assert next(entry.address for entry in config.nodes if entry.id == 2) == everyone[1].known_as
    assert config.namespaces[0].splits == (b"k5",)
    assert config.wal_segment_bytes == 8 << 20


def test_a_node_that_joins_asks_through_a_gate(tmp_path: Path) -> None:
    """And is known by its own, behind which it listens."""
    first, second = places(tmp_path, 2)
    file = tmp_path / "config.toml"
    file.write_text(joining(second, first, SETTINGS))
    config = load(file)

    assert (config.join, config.advertise) == (first.known_as, second.known_as)
    assert config.address == second.address
