"""holdfast.cli.shard_top: writes a second by two looks at the revisions, and the order asked for."""

from __future__ import annotations

import pytest
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving, shard


class Growing(ScriptedPlacement):
    """Two shards; revisions grow by what `grows` says from one look to the next."""

    def __init__(self, grows):
        super().__init__([shard(2, b"", b"m"), shard(3, b"m")], [], [])
        self._nodes.append(pb.Node(id=1, state=pb.Node.STATE_UP))
        self.grows = grows
        self.looks = 0

    def ListReplicas(self, request, context):  # noqa: N802 gRPC's names
        self.looks += 1
        figures = ((2, 10, 9000), (3, 90, 100))
        replicas = [
            pb.ReplicaStatus(
                shard=shard(group), role=pb.ReplicaStatus.ROLE_LEADER, keys=keys, bytes=size,
                revision=1000 + self.looks * self.grows[group],
            )
            for group, keys, size in figures
            if group in self.grows
        ]  # fmt: skip
        return pb.ListReplicasResponse(node=1, replicas=replicas)


@pytest.fixture
def top():
    def ask(grows, *words):
        with serving(service := Growing(grows)) as address:
            service._nodes[0].address = address
            return Console().json("shard", "top", "--over", "50ms", *words, "--endpoints", address)

    return ask


def test_the_busiest_comes_first(top):
    """Writes a second are the growth of the revision over the time between the looks."""
    rows = top({2: 500, 3: 50_000})

    assert [row["shard"] for row in rows] == [3, 2]
    assert 0 < rows[1]["writes_per_s"] <= 10_000
    assert rows[0]["writes_per_s"] == pytest.approx(100 * rows[1]["writes_per_s"], rel=0.02)


def test_the_order_is_as_asked_and_the_rest_is_cut(top):
    """By bytes, by keys; --limit says how many."""
    assert [row["shard"] for row in top({2: 500, 3: 50_000}, "--by", "bytes")] == [2, 3]
    assert [row["shard"] for row in top({2: 500, 3: 50_000}, "--by", "keys", "--limit", "1")] == [3]


def test_a_shard_that_nobody_tells_of_has_no_rate(top):
    """Not known is null, not zero; it comes last."""
    rows = top({2: 0})

    assert [(row["shard"], row["writes_per_s"]) for row in rows] == [(2, 0.0), (3, None)]
