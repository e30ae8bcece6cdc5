"""Reads across a seal: what a replica that has applied it answers, and when it looks."""

from __future__ import annotations

import pytest
from holdfast.errors import Reason
from holdfast.token import Token
from holdfast.types import Level
from holdfast_node.cache.commands import decode_operation, encode_seal, encode_unseal
from holdfast_node.cache.seal import Seal, Target

from tests.unit.holdfast_node.scripted import WALL_MS, Replica1, get, put
from tests.unit.holdfast_node.test_reads import answer_of, error_of, follower, read, token_at

SEAL = encode_seal(WALL_MS, Seal(7, True, (Target(10, b"", b"", (1, 2, 3)),)))
BELOW_ANY = (Level.LINEARIZABLE, Level.SESSION, Level.BOUNDED)


@pytest.mark.parametrize("level", BELOW_ANY)
def test_a_sealed_replica_serves_only_any(level: Level) -> None:
    """The target may have gone on: what stands here may be old at once."""
    replica = follower(b"a")
    replica.group.follow(SEAL)

    problem = error_of(read(replica, level, get(b"a"), bound_ms=60_000, token=Token()))

    assert (problem.reason, [s.group for s in problem.shards]) == (Reason.WRONG_SHARD, [10])
    assert answer_of(read(replica, Level.ANY, get(b"a"))).results[0].value == b"v"  # type: ignore[union-attr]


def test_a_read_whose_round_ends_behind_the_seal_is_not_served() -> None:
    """The seal is looked at when the value is taken, not when the read came."""
    replica = Replica1()
    replica.put(b"a")
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    replica.group.follow(SEAL)

    replica.group.confirm()

    assert error_of(told).reason is Reason.WRONG_SHARD


def test_a_read_that_waits_for_an_index_behind_the_seal_is_not_served() -> None:
    """A follower that asked the leader; the Seal is the very entry it waits for."""
    replica = follower(b"a")
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    replica.group.confirm(2)
    assert told == []

    replica.group.follow(SEAL)

    assert error_of(told).reason is Reason.WRONG_SHARD


def test_a_session_read_that_catches_up_with_the_seal_is_not_served() -> None:
    """Its token names an index that only the Seal reaches."""
    replica = follower(b"a")
    token = token_at(2)
    told = read(replica, Level.SESSION, get(b"a"), token=token)

    replica.group.follow(SEAL)

    assert error_of(told).reason is Reason.WRONG_SHARD


def test_a_read_behind_writes_that_the_seal_refused_is_not_served() -> None:
    """Its frame's write settled with the seal, in one call."""
    replica = Replica1()
    write = replica.shard.write(
        b"", 0, [put(b"a").SerializeToString()], [decode_operation(put(b"a").SerializeToString())],
        replica.clock.now + 5, lambda *_: None,
    )  # fmt: skip
    told = read(replica, Level.BOUNDED, get(b"a"), bound_ms=60_000, after=write)
    assert told == []

    replica.group.follow(SEAL)

    assert error_of(told).reason is Reason.WRONG_SHARD


def test_an_undecided_seal_answers_busy() -> None:
    """Until the merge is decided nobody may answer; released, the same read is served."""
    replica = follower(b"a")
    replica.group.follow(encode_seal(WALL_MS, Seal(7, False, (Target(10, b"", b"", (1, 2, 3)),))))
    assert error_of(read(replica, Level.SESSION, get(b"a"), token=Token())).reason is Reason.BUSY

    replica.group.follow(encode_unseal(WALL_MS, 7))

    assert answer_of(read(replica, Level.SESSION, get(b"a"), token=Token())).results
