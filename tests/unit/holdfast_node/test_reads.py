"""The four read levels."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.token import Token, TokenEntry
from holdfast.types import Level, Outcome
from holdfast_node.cache.commands import decode_operation
from holdfast_node.cache.op import Op
from holdfast_node.cache.policy import Policy
from holdfast_node.reads import ReadAnswer
from holdfast_raft.errors import DeadlinePassed, NotLeader

from tests.unit.holdfast_node.scripted import ENTRY, Replica1, get, put, scan


def read(
    replica: Replica1,
    level: Level,
    *ops: Op,
    bound_ms: int = 0,
    or_linearizable: bool = False,
    token: Token | None = None,
    timeout: float = 4.0,
    after: Any = None,
) -> list[Any]:
    """Asks; what `done` is told comes into the list."""
    told: list[Any] = []
    replica.shard.read(
        level, bound_ms, or_linearizable, list(ops), token, replica.clock.now + timeout, told.append, after
    )
    return told


def follower(*keys: bytes) -> Replica1:
    """A follower that has applied a put of each key."""
    leader, replica = Replica1(), Replica1(leading=False)
    for key in keys:
        leader.put(key)
    for data in leader.group.log:
        replica.group.follow(data)
    return replica


def error_of(told: list[Any]) -> HoldfastError:
    [outcome] = told
    assert isinstance(outcome, HoldfastError)
    assert outcome.outcome is Outcome.REFUSED
    return outcome


def answer_of(told: list[Any]) -> ReadAnswer:
    [outcome] = told
    assert isinstance(outcome, ReadAnswer)
    return outcome


def token_at(index: int, group: int = 7) -> Token:
    return Token("c", [TokenEntry(b"default\0", b"default\1", group, index)])


# ---- LINEARIZABLE ----------------------------------------------------------------------------------


def test_a_linearizable_read_waits_for_the_round_that_begins_after_it() -> None:
    """Nothing is read before a majority has confirmed the leadership after the read came."""
    replica = Replica1()
    replica.put(b"a", b"x")
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    assert told == []

    replica.group.confirm()

    answer = answer_of(told)
    assert answer.results[0].value == b"x"  # type: ignore[union-attr]
    assert (answer.level, answer.applied_index, answer.age_ms) == (Level.LINEARIZABLE, 1, 0)


def test_all_reads_of_a_turn_share_a_round() -> None:
    """One barrier serves every linearizable read that came since the last turn."""
    replica = Replica1()
    told = [read(replica, Level.LINEARIZABLE, get(b"a")) for _ in range(5)]
    replica.turn()
    replica.turn()
    assert len(replica.group.barriers) == 1

    replica.group.confirm()

    assert all(answer_of(each) for each in told)


def test_a_read_never_joins_a_round_that_has_started() -> None:
    """A read that comes after a barrier was asked for gets the next one."""
    replica = Replica1()
    first = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    second = read(replica, Level.LINEARIZABLE, get(b"a"))

    replica.group.confirm()
    assert answer_of(first)
    assert second == []

    replica.turn()
    replica.group.confirm()

    assert answer_of(second)


def test_a_follower_reads_once_it_has_applied_the_barrier() -> None:
    """A follower asks for the leader's barrier and waits until its own state has reached it."""
    leader, replica = Replica1(), follower(b"a")
    leader.put(b"a")
    leader.put(b"a", b"newer")
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    replica.group.confirm(index=2)
    assert told == []

    replica.group.follow(leader.group.log[1])

    assert answer_of(told).results[0].value == b"newer"  # type: ignore[union-attr]


def test_a_round_that_fails_refuses_its_reads_with_the_leader() -> None:
    """A barrier that another leader ended says who leads."""
    replica = Replica1()
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()

    replica.group.depose(leader=2)

    assert error_of(told).reason is Reason.NOT_LEADER
    assert error_of(told).leader == "127.0.0.1:7401"


def test_a_replica_cut_off_refuses_at_once_and_then_says_no_quorum() -> None:
    """Without a proven leader linearizable reads and writes do not wait for their deadline."""
    replica = Replica1(leading=False)
    replica.group.quorum, replica.group.leader = False, None
    assert error_of(read(replica, Level.LINEARIZABLE, get(b"a"))).reason is Reason.NOT_LEADER
    replica.turn(1.5)

    assert error_of(read(replica, Level.LINEARIZABLE, get(b"a"))).reason is Reason.NO_QUORUM
    assert replica.write(put(b"a"))[0][0].reason is Reason.NO_QUORUM


def test_the_circuit_closes_when_a_majority_answers_again() -> None:
    """Once the contact is back, the replica serves and begins to count anew."""
    replica = Replica1(leading=False)
    replica.group.quorum, replica.group.leader = False, None
    read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn(1.5)
    replica.group.quorum, replica.group.leader = True, 2
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    replica.group.confirm()
    assert answer_of(told)
    replica.group.quorum, replica.group.leader = False, None

    assert error_of(read(replica, Level.LINEARIZABLE, get(b"a"))).reason is Reason.NOT_LEADER


def test_a_read_ends_at_its_deadline_and_is_answered_once() -> None:
    """A read that cannot be confirmed in its time is refused DEADLINE; the late round says nothing."""
    replica = Replica1()
    told = read(replica, Level.LINEARIZABLE, get(b"a"), timeout=1.0)
    replica.turn()
    replica.turn(1.0)
    assert error_of(told).reason is Reason.DEADLINE

    replica.group.confirm()

    assert len(told) == 1


def test_a_read_that_was_late_hears_nothing_of_a_round_that_fails() -> None:
    """The deadline's refusal is the one answer, also when the leadership ends after it."""
    replica = Replica1()
    told = read(replica, Level.LINEARIZABLE, get(b"a"), timeout=1.0)
    replica.turn()
    replica.turn(1.0)

    replica.group.depose()

    assert error_of(told).reason is Reason.DEADLINE


def test_a_look_that_finds_a_quorum_closes_the_circuit() -> None:
    """A contact that came back between two losses begins the count anew."""
    replica = Replica1(leading=False)
    replica.group.quorum, replica.group.leader = False, None
    read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn(1.5)
    replica.group.quorum = True
    replica.write(put(b"a"))
    replica.group.quorum = False

    assert error_of(read(replica, Level.LINEARIZABLE, get(b"a"))).reason is Reason.NOT_LEADER


# ---- SESSION ---------------------------------------------------------------------------------------


def test_a_session_read_is_served_where_the_token_is_reached() -> None:
    """A replica that has applied what the session has seen answers at once, whoever leads."""
    replica = follower(b"a", b"b")
    replica.group.quorum, replica.group.leader = False, None

    answer = answer_of(read(replica, Level.SESSION, get(b"a"), token=token_at(2)))

    assert (answer.level, answer.applied_index) == (Level.SESSION, 2)


def test_a_session_read_waits_for_its_token() -> None:
    """A replica behind the token answers when it has caught up, not before."""
    leader, replica = Replica1(), follower(b"a")
    leader.put(b"a")
    leader.put(b"a", b"mine")
    told = read(replica, Level.SESSION, get(b"a"), token=token_at(2))
    assert told == []

    replica.group.follow(leader.group.log[1])

    assert answer_of(told).results[0].value == b"mine"  # type: ignore[union-attr]


@pytest.mark.parametrize(("timeout", "patience"), [(0.4, 0.1), (4.0, 0.2)])
def test_a_session_read_that_waits_too_long_is_lagging_with_time_left(
    timeout: float, patience: float
) -> None:
    """LAGGING says what is applied, and comes early enough to ask another replica."""
    replica = follower(b"a")
    told = read(replica, Level.SESSION, get(b"a"), token=token_at(9), timeout=timeout)
    [(index, deadline, done)] = replica.group.waits
    assert index == 9
    assert deadline == pytest.approx(replica.clock.now + patience)

    done(DeadlinePassed())

    assert error_of(told).reason is Reason.LAGGING
    assert error_of(told).applied_index == 1


def test_a_token_of_an_earlier_group_is_satisfied() -> None:
    """Group ids only grow along a key's life: what an earlier group said lies behind this one."""
    assert answer_of(read(follower(b"a"), Level.SESSION, get(b"a"), token=token_at(10**6, group=6)))


def test_a_key_that_a_later_group_has_served_is_never_served() -> None:
    """A token that names a greater group id is WRONG_SHARD for its keys, and only for them."""
    token = Token("c", [TokenEntry(b"default\0m", b"default\1", 8, 1)])

    answer = answer_of(read(follower(b"a"), Level.SESSION, get(b"a"), get(b"z"), token=token))

    assert answer.results[0].revision == 1  # type: ignore[union-attr]
    assert isinstance(answer.results[1], HoldfastError)
    assert answer.results[1].reason is Reason.WRONG_SHARD


def test_a_session_that_has_seen_nothing_reads_at_once() -> None:
    """An absent token asks for nothing."""
    assert answer_of(read(follower(b"a"), Level.SESSION, get(b"a")))


# ---- BOUNDED ---------------------------------------------------------------------------------------


def test_a_bounded_answer_tells_the_age_it_was_judged_by() -> None:
    """While it is served a millisecond may pass, and the answer would contradict its bound."""
    replica = follower(b"a")
    ages = iter(range(40, 50))
    replica.group.staleness_ms = lambda: next(ages)  # type: ignore[method-assign]

    assert answer_of(read(replica, Level.BOUNDED, get(b"a"), bound_ms=40)).age_ms == 40


def test_a_bounded_read_is_served_within_its_proven_age() -> None:
    """The age is the group's upper bound, and the answer says it."""
    replica = follower(b"a")
    replica.group.age_ms = 40

    answer = answer_of(read(replica, Level.BOUNDED, get(b"a"), bound_ms=40))

    assert (answer.level, answer.age_ms) == (Level.BOUNDED, 40)


@pytest.mark.parametrize("age_ms", [41, None])
def test_a_bound_that_cannot_be_proven_is_refused(age_ms: int | None) -> None:
    """Too old, or of unknown age: refused LAGGING with what is applied."""
    replica = follower(b"a")
    replica.group.age_ms = age_ms

    why = error_of(read(replica, Level.BOUNDED, get(b"a"), bound_ms=40))

    assert (why.reason, why.applied_index) == (Reason.LAGGING, 1)


def test_a_bound_that_cannot_be_proven_falls_back_when_asked_to() -> None:
    """With or_linearizable the read is served LINEARIZABLE and says so."""
    replica = follower(b"a")
    replica.group.age_ms = None
    told = read(replica, Level.BOUNDED, get(b"a"), bound_ms=40, or_linearizable=True)
    replica.turn()
    replica.group.confirm()

    assert answer_of(told).level is Level.LINEARIZABLE


def test_a_leader_proves_a_bound_by_a_round() -> None:
    """The leader can always be as fresh as asked for."""
    replica = Replica1()
    replica.group.age_ms = 60
    told = read(replica, Level.BOUNDED, get(b"a"), bound_ms=1)
    replica.turn()
    replica.group.confirm()

    assert answer_of(told).level is Level.LINEARIZABLE


def test_a_bound_is_proven_again_after_waiting_for_a_write() -> None:
    """A bounded read behind a write of unknown outcome is refused if the state grew too old meanwhile."""
    replica = Replica1()
    replica.put(b"k", b"old")
    data = [put(b"k", b"new", sequence=2, stamp_ms=replica.stamp_ms()).SerializeToString()]
    ops = [decode_operation(item) for item in data]
    handle = replica.shard.write(b"", 0, data, ops, replica.clock.now + 5, lambda *_: None)
    replica.turn()
    replica.group.age_ms = 10
    told = read(replica, Level.BOUNDED, get(b"k"), bound_ms=100, after=handle)
    assert told == []
    replica.clock.now += 3.0
    replica.group.age_ms, replica.group.quorum = 3010, False

    replica.group.depose(None)

    assert error_of(told).reason is Reason.LAGGING


def test_without_a_quorum_an_unprovable_bound_says_so() -> None:
    """A replica cut off for long names the reason that also stops writes."""
    replica = follower(b"a")
    replica.group.age_ms, replica.group.quorum, replica.group.leader = None, False, None
    assert error_of(read(replica, Level.BOUNDED, get(b"a"), bound_ms=40)).reason is Reason.LAGGING
    replica.turn(1.5)

    assert error_of(read(replica, Level.BOUNDED, get(b"a"), bound_ms=40)).reason is Reason.NO_QUORUM


# ---- ANY -------------------------------------------------------------------------------------------


def test_any_is_served_without_a_quorum_and_says_its_age() -> None:
    """ANY goes on alone; the age is stated when known."""
    replica = follower(b"a")
    replica.group.quorum, replica.group.leader, replica.group.age_ms = False, None, None

    answer = answer_of(read(replica, Level.ANY, get(b"a")))

    assert answer.age_ms is None
    assert answer.results[0].revision == 1  # type: ignore[union-attr]


def test_a_stopped_replica_serves_nothing() -> None:
    """A replica that cannot go on refuses every level."""
    replica = follower(b"a")
    replica.group.stopped = "the disk failed"

    assert error_of(read(replica, Level.ANY, get(b"a"))).reason is Reason.STOPPED


# ---- within a frame, ranges, recency ---------------------------------------------------------------------


def after_write(replica: Replica1) -> tuple[Any, list[Any]]:
    told: list[Any] = []
    operation = put(b"a", b"mine")
    data = operation.SerializeToString()
    handle = replica.shard.write(
        b"", 0, [data], [decode_operation(data)], replica.clock.now + 5, lambda *o: told.append(o)
    )
    return handle, told


@pytest.mark.parametrize("level", [Level.LINEARIZABLE, Level.SESSION, Level.ANY])
def test_a_read_sees_the_writes_before_it_in_its_frame(level: Level) -> None:
    """It waits until they have settled, at every level."""
    replica = Replica1()
    handle, _ = after_write(replica)
    told = read(replica, level, get(b"a"), after=handle)
    replica.turn()
    replica.group.confirm()
    assert told == []

    replica.group.committed()

    assert answer_of(told).results[0].value == b"mine"  # type: ignore[union-attr]


def test_a_read_after_a_write_that_failed_is_served_all_the_same() -> None:
    """A refused write holds nobody back."""
    replica = Replica1(leading=False)
    handle, told = after_write(replica)
    assert told[0][0].reason is Reason.NOT_LEADER

    assert answer_of(read(replica, Level.ANY, get(b"a"), after=handle)).results[0].value is None  # type: ignore[union-attr]


def test_a_scan_goes_on_in_the_next_shard() -> None:
    """A page that ends with the shard, while its range does not, continues at the shard's end."""
    replica = Replica1(entry=ENTRY._replace(range=KeyRange(b"", b"m")))
    replica.put(b"a")
    beyond = answer_of(read(replica, Level.ANY, scan(range={"start": b"a", "end": b"z"})))
    inside = answer_of(read(replica, Level.ANY, scan(range={"start": b"a", "end": b"m"})))
    cut = answer_of(read(replica, Level.ANY, scan(limit=1)))

    assert beyond.results[0].page.next == b"m"  # type: ignore[union-attr]
    assert inside.results[0].page.next == b""  # type: ignore[union-attr]
    assert cut.results[0].page.next == b"m"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("level", "hidden"), [(Level.ANY, True), (Level.BOUNDED, True), (Level.SESSION, False)]
)
def test_strict_ttl_hides_by_the_local_clock_only_at_bounded_and_any(level: Level, hidden: bool) -> None:
    """Without a leader nothing expires; a strict namespace hides what is due, where order is not promised."""
    replica = Replica1(strict_ttl=True)
    replica.put(b"a", ttl_ms=1000)
    replica.group.is_leader, replica.group.leader = False, None
    replica.clock.now += 2.0

    answer = answer_of(read(replica, level, get(b"a"), bound_ms=1000))

    assert (answer.results[0].value is None) is hidden  # type: ignore[union-attr]


def test_without_strict_ttl_only_the_log_expires() -> None:
    """A due key is served until its expiry is applied."""
    replica = Replica1()
    replica.put(b"a", ttl_ms=1000)
    replica.clock.now += 2.0

    assert answer_of(read(replica, Level.ANY, get(b"a"))).results[0].value == b"v"  # type: ignore[union-attr]


def test_reads_are_sampled_only_near_the_budget() -> None:
    """Recency is collected where eviction is near, and nowhere else."""
    far, near = Replica1(), Replica1(policy=Policy(budget_bytes=300))
    for replica in (far, near):
        replica.turn()
        replica.group.committed()
        for key in (b"a", b"b", b"c", b"d"):
            replica.put(key)
        read(replica, Level.ANY, get(b"b"))
        replica.turn(0.2)

    assert far.group.proposed == []
    assert len(near.group.proposed) == 1


def test_a_callback_that_fails_harms_no_other_read(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in one caller's `done` is logged; the others of its round are answered."""
    replica = Replica1()

    def broken(_: object) -> None:
        raise RuntimeError("a caller's defect")

    replica.shard.read(Level.LINEARIZABLE, 0, False, [get(b"a")], None, replica.clock.now + 5, broken)
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()

    replica.group.confirm()

    assert answer_of(told)
    assert "a caller's defect" in caplog.text


def test_a_follower_without_a_way_to_its_leader_refuses() -> None:
    """A barrier that cannot be asked for ends at once."""
    replica = follower(b"a")
    told = read(replica, Level.LINEARIZABLE, get(b"a"))
    replica.turn()
    [(_, done)] = replica.group.barriers

    done(NotLeader(None))

    assert error_of(told).reason is Reason.NOT_LEADER
