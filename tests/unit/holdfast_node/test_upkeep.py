"""What a leader proposes by itself."""

from __future__ import annotations

import pytest
from holdfast.types import Level
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.commands import decode_entry, encode_batch, encode_touch
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.seal import Seal, Target
from holdfast_node.stamp import SLEW_MAX
from holdfast_raft.errors import Busy

from tests.unit.holdfast_node.scripted import WALL_MS, Replica1, get, put


def kinds(replica: Replica1) -> list[int]:
    """Kinds of the entries proposed and not committed."""
    return [decode_entry(data).kind for data, *_ in replica.group.proposed]


def small(*, leading: bool = True) -> Replica1:
    """A shard with a budget of a few keys, its policy applied."""
    policy = Policy(budget_bytes=1000)
    replica = Replica1(leading=leading, policy=policy)
    if leading:
        replica.turn()
        replica.group.committed()
    else:
        replica.group.follow(commands.encode_policy(WALL_MS, policy))
    return replica


def test_nothing_is_stamped_before_a_majority_of_clocks_is_known() -> None:
    """A first entry behind the step that follows would expire what it wrote; so entries wait for walls."""
    replica = Replica1()
    replica.driver.offsets = {}
    replica.write(put(b"a"))
    replica.turn()
    assert replica.group.proposed == []
    replica.driver.offsets = {3: 250}

    replica.turn(0.05)

    assert decode_entry(replica.group.proposed[0][0]).stamp_ms == replica.clock.wall_ms()


def test_a_leader_that_learns_no_clocks_goes_on_by_its_own() -> None:
    """After a bounded wait the leader serves: it leads, so a majority hears it."""
    replica = Replica1()
    replica.driver.offsets = {}
    replica.write(put(b"a"))
    for _ in range(30):
        replica.turn(0.02)

    assert abs(decode_entry(replica.group.proposed[0][0]).stamp_ms - replica.clock.wall_ms()) < 200


def test_each_leadership_learns_the_clocks_anew() -> None:
    """What was known in an earlier leadership may be hours old."""
    replica = Replica1()
    replica.put(b"a")
    replica.group.depose()
    replica.driver.offsets = {}
    replica.group.is_leader, replica.group.leader = True, 1
    replica.shard.role_changed(True)
    replica.write(put(b"b"))

    replica.turn()

    assert replica.group.proposed == []


def test_after_the_cluster_was_down_the_first_stamp_is_the_present() -> None:
    """A restored state's stamp is old; a majority of walls brings the clock forward before any write."""
    replica = Replica1(leading=False)
    replica.group.follow(encode_batch(WALL_MS - 3_600_000, []))
    replica.group.is_leader, replica.group.leader = True, 1
    replica.shard.role_changed(True)
    replica.write(put(b"a"))

    replica.turn()

    assert decode_entry(replica.group.proposed[0][0]).stamp_ms >= WALL_MS


def test_a_key_is_expired_by_an_entry_when_its_time_comes() -> None:
    """An expire entry is proposed within 100 ms of the deadline, never early."""
    replica = Replica1()
    replica.put(b"a", ttl_ms=1000)
    replica.turn(0.0)
    replica.turn(0.98)
    assert kinds(replica) == []
    for _ in range(10):
        if not kinds(replica):
            replica.turn(0.01)

    assert kinds(replica) == [commands.EXPIRE]
    replica.group.committed()
    assert replica.shard.state.key_count == 0


def test_a_nearer_deadline_brings_the_turn_forward() -> None:
    """A later put with a shorter life is not held up by the longer one's timer."""
    replica = Replica1()
    replica.put(b"long", ttl_ms=60_000)
    replica.turn()
    replica.driver.marked = False
    replica.put(b"short", ttl_ms=100)
    assert replica.driver.marked
    replica.turn()
    replica.turn(0.12)

    assert kinds(replica) == [commands.EXPIRE]


def test_one_expire_entry_is_under_way_at_a_time() -> None:
    """What is still due when it is applied goes into the next: a mass expiry is many entries."""
    replica = Replica1()
    operations = [put(b"key-%d" % i, sequence=i + 1, ttl_ms=50) for i in range(limits.EXPIRE_KEYS_MAX + 5)]
    replica.write(*operations)
    replica.turn()
    replica.group.committed()
    replica.turn(0.2)
    replica.turn(0.2)
    assert kinds(replica) == [commands.EXPIRE]
    replica.group.committed()
    replica.turn(0.05)
    assert kinds(replica) == [commands.EXPIRE]

    replica.group.committed()

    assert replica.shard.state.key_count == 0


def test_an_expire_entry_that_failed_is_tried_again() -> None:
    """A full window delays expiry; it does not end it."""
    replica = Replica1()
    replica.put(b"a", ttl_ms=50)
    replica.group.refusing = Busy("the window", 10)
    replica.turn(0.1)
    replica.group.refusing = None

    replica.turn(0.11)

    assert kinds(replica) == [commands.EXPIRE]


def test_a_leader_whose_wall_clock_jumps_steps_no_stamp() -> None:
    """The others' clocks are what they were: one bad clock of three is no majority, though it is ours."""
    replica = Replica1()
    replica.put(b"a")
    replica.clock.wall_offset_ms = 3_600_000
    for _ in range(30):
        replica.turn(0.1)

    assert abs(replica.shard.stamp_ms() - (WALL_MS + 3000)) <= 3000 * SLEW_MAX


def test_a_leaders_clock_is_not_held_back_by_its_own_entries() -> None:
    """Entries are applied some time after they were stamped; that time is not lost each time."""
    replica = Replica1()
    for i in range(40):
        replica.write(put(b"k%d" % i, stamp_ms=replica.stamp_ms()))
        replica.turn()
        replica.clock.now += 0.05
        replica.group.committed()

    assert abs(replica.shard.stamp_ms() - replica.clock.wall_ms()) <= 1


def test_a_follower_proposes_nothing() -> None:
    """Only the leader's clock expires keys."""
    leader, follower = Replica1(), Replica1(leading=False)
    leader.put(b"a", ttl_ms=50)
    follower.group.follow(leader.group.log[0])
    follower.turn(1.0)

    assert follower.group.proposed == []


def test_a_follower_takes_its_clock_from_the_entries() -> None:
    """A follower tells the stamp of the last entry plus the time since, by the slowest a leader's may run."""
    follower = Replica1(leading=False)
    follower.group.follow(encode_batch(WALL_MS + 5, []))
    follower.clock.now += 2.0

    assert follower.shard.stamp_ms() == WALL_MS + 1985


def test_a_replica_behind_the_present_tells_its_wall_clock() -> None:
    """A clock that the next leader will step is not what clients should count from; small lags are left."""
    follower = Replica1(leading=False)
    assert follower.shard.stamp_ms() == WALL_MS
    follower.group.follow(encode_batch(WALL_MS - 3_600_000, []))
    assert follower.shard.stamp_ms() == WALL_MS

    follower.group.follow(encode_batch(WALL_MS - 900, []))

    assert follower.shard.stamp_ms() == WALL_MS - 900


def test_a_state_over_its_budget_is_brought_back_by_evict_entries() -> None:
    """Lowering a budget is worked off by the leader, one evict entry at a time."""
    replica = Replica1()
    for i in range(50):
        replica.put(b"key-%d" % i)
    policy = Policy(budget_bytes=1000)
    replica.group.follow(commands.encode_policy(replica.shard.stamp_ms(), policy))
    replica.shard._upkeep._policy = policy
    assert replica.driver.marked
    replica.turn()
    replica.turn()
    assert kinds(replica) == [commands.EVICT]

    replica.group.committed()

    assert replica.shard.state.byte_count <= 1000


def fill(replica: Replica1) -> None:
    for i in range(13):
        replica.put(b"key-%02d" % i)


def turns_asked_for(replica: Replica1) -> int:
    """Turns that follow without time passing; ten stand for ever."""
    turns = 0
    while turns < 10:
        replica.driver.run_timers()
        if not replica.driver.marked:
            break
        turns += 1
        replica.turn()
    return turns


def read(replica: Replica1, *keys: bytes) -> None:
    replica.shard.read(
        Level.ANY, 0, False, [get(key) for key in keys], None, replica.clock.now + 5, lambda _: None
    )


def test_samples_of_reads_are_proposed_deduplicated_and_not_too_often() -> None:
    """Near the budget the keys read enter the log, each once, at most once an interval."""
    replica = small()
    fill(replica)
    read(replica, b"key-01", b"key-02", b"key-01")
    replica.turn()
    assert kinds(replica) == [commands.TOUCH_SAMPLES]
    assert list(decode_entry(replica.group.proposed[0][0]).keys) == [b"key-01", b"key-02"]
    replica.group.committed()
    read(replica, b"key-03")
    replica.turn(0.05)
    assert kinds(replica) == []

    replica.turn(limits.TOUCH_INTERVAL_MS / 1000)

    assert kinds(replica) == [commands.TOUCH_SAMPLES]


@pytest.mark.parametrize("why", ["no entry can be proposed", "one is under way"])
def test_samples_that_are_due_but_cannot_be_proposed_ask_for_no_turn_in_the_past(why: str) -> None:
    """Such a turn comes at once and asks for the next: through a hand-over the loop would never pause."""
    replica = small()
    fill(replica)
    if why == "one is under way":
        read(replica, b"key-01")
        replica.turn()
    else:
        replica.group.window = 0
    read(replica, b"key-02")
    replica.turn(limits.TOUCH_INTERVAL_MS / 1000)
    before = len(replica.group.proposed)

    assert turns_asked_for(replica) == 0
    replica.group.window = 1000
    replica.group.committed()
    replica.turn()

    assert before == (why == "one is under way")
    assert list(decode_entry(replica.group.proposed[-1][0]).keys) == [b"key-02"]


def test_samples_are_bounded() -> None:
    """An interval's samples hold at most TOUCH_KEYS_MAX keys."""
    replica = small()
    fill(replica)
    read(replica, *(b"absent-%d" % i for i in range(limits.TOUCH_KEYS_MAX + 10)))
    replica.turn()

    assert len(decode_entry(replica.group.proposed[0][0]).keys) == limits.TOUCH_KEYS_MAX


def test_a_namespace_that_never_evicts_samples_nothing() -> None:
    """Recency is of no use without eviction."""
    replica = Replica1(policy=Policy(budget_bytes=1000, eviction=Eviction.NOEVICT))
    replica.turn()
    replica.group.committed()
    fill(replica)
    read(replica, b"key-01")
    replica.turn(0.5)

    assert kinds(replica) == []


def test_a_follower_sends_its_samples_to_the_leader() -> None:
    """Reads that followers serve count for recency too; the leader proposes them."""
    leader, follower = small(), small(leading=False)
    fill(leader)
    for data in leader.group.log[1:]:
        follower.group.follow(data)
    read(follower, b"key-05")
    follower.turn()
    [(node, data)] = follower.group.told
    assert node == 2

    leader.shard.received(3, data)
    leader.turn()

    assert list(decode_entry(leader.group.proposed[0][0]).keys) == [b"key-05"]


def test_samples_that_cannot_be_read_are_dropped() -> None:
    """A payload of another kind, or none at all, harms nobody."""
    replica = small()
    fill(replica)
    for data in (b"", b"\xff" * 30, encode_batch(1, [])):
        replica.shard.received(2, data)
    follower = Replica1(leading=False)
    follower.shard.received(2, encode_touch(0, [b"a"]))
    far = Replica1()
    far.shard.received(2, encode_touch(0, [b"a"]))
    for each in (replica, follower, far):
        each.turn()

    assert kinds(replica) == kinds(far) == []
    assert follower.group.told == []


def test_a_far_deadline_leaves_no_timers_behind() -> None:
    """A leader that idles until a key expires waits for one turn, not for one more each second."""
    replica = Replica1()
    replica.turn()
    replica.group.committed()
    replica.put(b"k", b"v", ttl_ms=30 * 24 * 3600 * 1000)
    replica.turn()
    before = len(replica.driver.timers)

    for _ in range(600):
        replica.turn(1.0)
        replica.group.committed()

    assert len(replica.driver.timers) < before + 10


def test_an_idle_leader_asks_for_few_turns() -> None:
    """Beyond a look at the clocks each second an idle shard costs nothing."""
    replica = Replica1()
    turns = 0
    for _ in range(1000):
        replica.clock.now += 0.01
        replica.driver.marked = False
        replica.driver.run_timers()
        if replica.driver.marked:
            turns += 1
            replica.turn()

    assert turns <= 11


# ---- sealed, and told what to want ---------------------------------------------------------------------


def merging() -> bytes:
    return commands.encode_seal(WALL_MS, Seal(7, False, (Target(10, b"", b"", (1, 2, 3)),)))


def test_a_sealed_shard_proposes_nothing_of_its_own() -> None:
    """Its state is frozen: no expiry, no eviction, no policy changes it any more."""
    replica = small()
    for i in range(12):
        replica.write(put(b"k%d" % i, b"x" * 40, ttl_ms=1000, stamp_ms=replica.stamp_ms()))
    replica.turn()
    replica.group.committed(1)
    replica.group.proposed.clear()
    replica.group.follow(merging())
    replica.shard.want_policy(Policy(budget_bytes=2000))

    for _ in range(20):
        replica.turn(0.25)

    assert kinds(replica) == []


def test_keys_that_fell_due_under_a_seal_expire_soon_after_it_is_lifted() -> None:
    """The promised 100 ms count from the moment at which the shard goes on."""
    replica = small()
    replica.put(b"a", ttl_ms=500)
    replica.group.follow(merging())
    replica.turn()
    replica.turn(0.6)
    replica.driver.marked = False

    replica.group.follow(commands.encode_unseal(WALL_MS, 7))

    assert replica.driver.marked, "a turn is asked for"
    replica.turn()
    assert commands.EXPIRE in kinds(replica)


def test_a_policy_that_is_not_known_is_not_asked_for() -> None:
    """None: as the state has it, whatever that is."""
    replica = small()
    replica.shard.want_policy(None)
    replica.turn(0.1)

    assert kinds(replica) == []
    assert replica.shard.state.policy == Policy(budget_bytes=1000)


def test_a_policy_may_be_wanted_later() -> None:
    """News of the namespace came; only a change asks for a turn."""
    replica = small()
    replica.turn()
    replica.driver.timers.clear()
    replica.shard.want_policy(Policy(budget_bytes=1000))
    assert replica.driver.timers == []

    replica.shard.want_policy(Policy(budget_bytes=2000, eviction=Eviction.NOEVICT))
    replica.turn()
    replica.group.committed()

    assert replica.shard.state.policy == Policy(budget_bytes=2000, eviction=Eviction.NOEVICT)
