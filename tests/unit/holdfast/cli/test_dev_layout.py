"""holdfast.cli.dev_layout: the shape of a dev cluster is fixed at its first start."""

from __future__ import annotations

import socket

import pytest
from holdfast.cli import dev_layout
from holdfast.cli.dev_layout import Shape, Wanted
from holdfast.cli.verbs import FailedError
from holdfast_chaos.cluster.layout import PEERS_ABOVE, free_ports
from holdfast_node.config import first_map, load
from holdfast_node.limits import PEER_PORT_ABOVE


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 36, 37, 256])
def test_n_shards_are_cut_at_n_minus_one_ascending_keys(shards):
    """Cuts are distinct, ascending and not empty."""
    cuts = dev_layout.even_splits(shards)

    assert len(cuts) == shards - 1
    assert list(cuts) == sorted(set(cuts))
    assert b"" not in cuts


def test_the_shape_is_kept_and_the_ports_may_move(tmp_path):
    """A later start without options goes on with what stands; only the base port may change."""
    first = dev_layout.settle(tmp_path, Wanted(nodes=3, shards=2, base_port=8400))
    dev_layout.write(tmp_path, first)

    assert dev_layout.settle(tmp_path, Wanted()) == first
    assert dev_layout.settle(tmp_path, Wanted(base_port=9400)) == first._replace(base_port=9400)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(nodes=5), "3 nodes, not 5"),
        (Wanted(shards=3), "2 shards, cut at i"),
        (Wanted(split_at=(b"m",)), "2 shards, cut at i"),
    ],
)
def test_another_shape_is_refused_and_says_what_stands(tmp_path, wanted, said):
    """Nodes and shards cannot be changed under the data."""
    dev_layout.write(tmp_path, dev_layout.settle(tmp_path, Wanted(nodes=3, shards=2)))

    with pytest.raises(FailedError) as caught:
        dev_layout.settle(tmp_path, wanted)

    assert said in caught.value.message


def test_a_folder_of_something_else_is_refused(tmp_path):
    """`holdfast dev --data ~` does not litter a home directory."""
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(FailedError, match="not empty"):
        dev_layout.settle(tmp_path, Wanted())


def test_a_damaged_shape_is_refused(tmp_path):
    """A damaged cluster.json is not taken for a first start."""
    (tmp_path / "cluster.json").write_text("{")

    with pytest.raises(FailedError, match="damaged"):
        dev_layout.settle(tmp_path, Wanted())


def test_the_server_accepts_every_configuration_written(tmp_path):
    """The node reads what dev writes, with the shards and addresses meant; also cuts that are no text."""
    shape = Shape("c", 3, (b'a"\\', b"m\x7f", b"\xff\x00"), 8400, made=False)
    folder = tmp_path / 'a "quoted\x7f" \U0001f512 folder'
    folder.mkdir()
    dev_layout.write(folder, shape)

    configs = [load(dev_layout.node_home(folder, n) / "config.toml") for n in shape.node_ids()]

    assert [config.address for config in configs] == [shape.address(n) for n in shape.node_ids()]
    assert [config.http_address for config in configs] == [shape.http(n) for n in shape.node_ids()]
    for config in configs:
        assert tuple(s.range.start for s in first_map(config).shards) == (b"", *shape.splits)


def test_ports_in_use_are_named_with_what_they_were_for():
    """A person sees which port, and whose it was to be."""
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port)):
        found = dev_layout.ports_in_use(Shape("c", 1, (), port, made=False))

    assert f"127.0.0.1:{port} (gRPC of node 1)" in found

    with socket.create_server(("127.0.0.1", port + dev_layout.PEER_OFFSET)):
        found = dev_layout.ports_in_use(Shape("c", 1, (), port, made=False))

    assert found == [f"127.0.0.1:{port + dev_layout.PEER_OFFSET} (peers of node 1)"]


def test_everybody_counts_the_peer_port_alike():
    """The command line and the harness cannot ask the node, so each has the rule written down."""
    assert dev_layout.PEER_OFFSET == PEERS_ABOVE == PEER_PORT_ABOVE


def test_a_folder_serves_one_supervisor_at_a_time(tmp_path):
    """A second `holdfast dev` on the same data is refused; after the first ends it is not."""
    with (
        dev_layout.locked(tmp_path),
        pytest.raises(FailedError, match="in use by another"),
        dev_layout.locked(tmp_path),
    ):
        pass
    with dev_layout.locked(tmp_path):
        pass
