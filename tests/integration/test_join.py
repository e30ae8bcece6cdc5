"""Nodes that join a running cluster: who they become, and what becomes of them without their disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from holdfast.v1 import placement_pb2 as pb
from holdfast.v1 import placement_pb2_grpc
from holdfast_chaos.cluster.layout import free_ports

from tests.integration.placement_calls import Placement
from tests.integration.process_cluster import ProcessCluster, eventually, running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    with running(tmp_path) as found:
        yield found


def known(placement: Placement) -> dict[int, tuple[str, int]]:
    """Address and incarnation by id, of nodes that were not given up."""
    nodes = placement.patiently("ListNodes", pb.ListNodesRequest()).nodes
    return {node.id: (node.address, node.incarnation) for node in nodes}


def test_a_joined_node_is_who_it_was_when_it_starts_again(cluster: ProcessCluster) -> None:
    """Its data directory says who it is: nobody is asked, and it needs nobody to be there."""
    placement = Placement(cluster)
    joined = cluster.join()
    placement.hear_of(joined.number)
    before = known(placement)
    joined.kill()
    cluster.nodes[1].kill()  # the one it joined through
    joined.start()
    eventually(joined.is_ready, "the node serves again")
    placement.hear_of(joined.number)

    assert known(placement)[joined.number] == before[joined.number]
    placement.close()


def test_a_node_is_known_by_what_it_advertises(cluster: ProcessCluster) -> None:
    """Not by where it listens: in lists, and for the others, who reach it there."""
    placement = Placement(cluster)
    joined = cluster.join(listens_on="localhost")
    placement.hear_of(joined.number)

    assert known(placement)[joined.number][0] == joined.address
    assert joined.address.startswith("127.0.0.1:")
    with grpc.insecure_channel(joined.address) as channel:
        by_itself = (
            placement_pb2_grpc.PlacementStub(channel).ListNodes(pb.ListNodesRequest(), timeout=5).nodes
        )
    assert {node.id: node.address for node in by_itself}[joined.number] == joined.address
    placement.close()


def test_a_node_without_its_disk_is_another_node(cluster: ProcessCluster) -> None:
    """It gets a new id, its old one is given up, and its replicas are made again elsewhere."""
    placement = Placement(cluster)
    joined = cluster.join()
    placement.hear_of(joined.number)
    placement.pause()
    (shard,) = placement.shards()
    first = shard.replicas[0].node
    request = pb.MoveShardRequest(group=shard.group, from_node=first, to_node=joined.number)
    placement.finish(placement.patiently("MoveShard", request).plan.id)
    joined.kill()
    shutil.rmtree(joined.config.parent / "data")
    joined.start()
    eventually(joined.is_ready, "the node serves again")
    placement.hear_of(joined.number + 1)
    limits = pb.Planning(replace_after_ms=1000)
    placement.patiently("SetPlanning", pb.SetPlanningRequest(resume=[5], limits=limits))

    def healed() -> bool:
        (now,) = placement.shards()
        return joined.number not in {replica.node for replica in now.replicas}

    eventually(healed, "the lost replica is replaced")
    assert known(placement)[joined.number + 1][0] == joined.address
    placement.close()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--address", "127.0.0.1:1"), "http_address"),
        (("--http-address", "127.0.0.1:1"), "address: is required"),
        (("--address", "10.0.0.1:7400", "--http-address", "127.0.0.1:1"), "loopback"),
    ],
)
def test_what_cannot_join_says_why(
    cluster: ProcessCluster, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    """One line that names what is wrong; exit status 1, and no data directory is left behind."""
    place = tmp_path / "new"
    command = [sys.executable, "-m", "holdfast_node", "--join", cluster.nodes[1].address, *flags]
    ended = subprocess.run(
        [*command, "--data-dir", str(place)], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert says in ended.stderr
    assert not place.exists()


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Nobody answers at the address: the node says so and ends."""
    nobody, own, http = free_ports(3)
    command = [sys.executable, "-m", "holdfast_node", "--join", f"127.0.0.1:{nobody}"]
    command += ["--address", f"127.0.0.1:{own}", "--http-address", f"127.0.0.1:{http}"]
    ended = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "new")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 1
    assert f"127.0.0.1:{nobody}" in ended.stderr
