"""Where nodes live, and that a node understands what it is told."""

from __future__ import annotations

from pathlib import Path

from holdfast_chaos.cluster.layout import PEER_PORT_ABOVE, born_with, free_ports, joining, places
from holdfast_node.config import load

SETTINGS = "[wal]\nsegment_bytes = 8388608\ntotal_bytes_max = 33554432\n"


def test_ports_are_told_apart():
    """No two things on one port."""
    ports = free_ports(12)
    assert len(set(ports)) == 12
    assert max(ports) + PEER_PORT_ABOVE < 32_768


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
