"""holdfast.cli.cluster: what is wrong in sentences, and whether replicas agree."""

from __future__ import annotations

from holdfast.cli.cluster import compare, complaints
from holdfast.cli.placement import NodeFacts, ReplicaFacts
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving

SHARD = Shard("default", KeyRange(b"", b""), 2, 1, tuple(Replica(n, f"h:{n}") for n in (1, 2, 3)), 1)


def node(number, state="up", offset=0):
    return NodeFacts(number, f"h:{number}", f"h:1{number}", "", state, 100 + number, "0.1.0", offset)


def replica(number, role="follower", applied=10, digest="aa", *, quorum=True, stopped=""):
    return ReplicaFacts(
        number, SHARD, role, 3, 10, applied, 10, 10, 0, quorum, digest, 5, 4, 400, stopped
    )  # fmt: skip


HEALTHY = [replica(1, "leader"), replica(2), replica(3)]
NODES = [node(1), node(2), node(3)]


def test_a_healthy_cluster_gives_no_complaint():
    """Nothing wrong, nothing said."""
    assert list(complaints([SHARD], NODES, HEALTHY)) == []


def test_each_thing_wrong_is_one_sentence():
    """A node down, a clock off, no leader, no quorum, a stopped and a lagging replica are told apart."""
    down = list(complaints([SHARD], [node(1), node(2, "down"), node(3, offset=-900)], HEALTHY))
    headless = list(complaints([SHARD], NODES, [replica(2), replica(3)]))
    alone = list(
        complaints([SHARD], NODES, [replica(1, "leader", quorum=False), replica(2, stopped="damage")])
    )
    behind = list(complaints([SHARD], NODES, [replica(1, "leader"), replica(2, applied=-20_000)]))

    assert [text.split()[0:4] for text in down] == [
        ["node", "2", "(h:2)", "is"],
        ["the", "clock", "of", "node"],
    ]
    assert "has no leader" in headless[0]
    assert "no proven quorum" in alone[0]
    assert "has stopped: damage" in alone[1]
    assert "20010 entries behind" in behind[0]


def test_digests_are_compared_at_equal_index_only():
    """Replicas at different indexes say nothing about each other; a later look may."""
    early = [replica(1, digest="aa"), replica(2, applied=9, digest="bb"), replica(3, digest="aa")]

    assert compare(SHARD, early).state == "unknown"
    assert compare(SHARD, [*early, replica(2, digest="aa")]).state == "equal"


def test_one_different_digest_is_enough():
    """Two replicas that differ at one index are different whatever the third says."""
    verdict = compare(SHARD, [replica(1, digest="aa"), replica(2, digest="bb")])

    assert (verdict.state, verdict.digests) == ("different", {1: "aa", 2: "bb"})


def test_a_shard_without_digests_is_unknown():
    """No answer is not agreement."""
    assert compare(SHARD, [replica(1, digest="")]).state == "unknown"


def test_health_of_a_cluster_that_does_not_answer_is_exit_code_1():
    """No endpoint answers: a sentence, exit code 1."""
    with serving(ScriptedPlacement([], [], [])) as address:
        pass

    result = Console().run("cluster", "health", "--endpoints", address)

    assert (result.exit_code, "no endpoint answers" in result.stderr) == (1, True)
