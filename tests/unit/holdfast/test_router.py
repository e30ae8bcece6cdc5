"""Which node is asked."""

from holdfast.keys import KeyRange
from holdfast.router import READER_TURN_S, SUSPECT_S_MAX, SUSPECT_S_MIN, YOUNG_S, Router
from holdfast.shardmap import Replica, Shard, ShardMap

REPLICAS = tuple(Replica(n, f"n{n}:1") for n in (1, 2, 3))


def shard(group=2, start=b"", end=b"", epoch=1, leader=0, replicas=REPLICAS) -> Shard:
    return Shard("default", KeyRange(start, end), group, epoch, replicas, leader)


def router(*shards: Shard, ready=(1, 2, 3)) -> Router:
    made = Router()
    made.learn_map(ShardMap(1, shards or (shard(),)), 0.0)
    for node in ready:
        made.welcomed(node)
    return made


def test_an_older_map_does_not_replace_a_newer_one():
    """The map's epoch only grows."""
    made = router()
    made.learn_map(ShardMap(5, [shard(group=9, epoch=5)]), 0.0)
    made.learn_map(ShardMap(4, [shard(group=8, epoch=4)]), 0.0)

    assert made.locate("default", b"k").group == 9


def test_the_entries_of_a_wrong_shard_answer_replace_what_they_cover():
    """After a split the two halves stand in the map, without asking for it."""
    made = router(shard(2, b"", b"m"), shard(3, b"m", b""))

    assert made.learn_shards([shard(7, b"", b"f", epoch=2), shard(8, b"f", b"m", epoch=2)], 0.0)
    assert [made.locate("default", key).group for key in (b"a", b"g", b"z")] == [7, 8, 3]


def test_the_leader_is_asked_once_it_is_known():
    """A leader's own word decides; a bystander's only when nothing is known."""
    made, here = router(), shard()
    made.learn_leader(2, 2, said_by=3)
    made.learn_leader(2, 1, said_by=3)
    assert made.leader_of(here, 0.0) == 2

    made.learn_leader(2, 3, said_by=3)
    assert made.leader_of(here, 0.0) == 3


def test_who_does_not_lead_is_not_asked_again_at_once():
    """NOT_LEADER with a hint moves there; without one, to another replica."""
    made, here = router(shard(leader=1)), shard(leader=1)
    assert made.not_leader(here, 1, "n3:1", 0.0)
    assert made.leader_of(here, 0.0) == 3

    assert not made.not_leader(here, 3, "", 0.0)
    assert {made.leader_of(here, 0.0, tried=1 << 3) for _ in range(6)} == {1, 2}


def test_a_hint_at_a_node_that_just_failed_is_not_followed():
    """Followers name the dead leader for a while; that is no reason to dial it."""
    made, here = router(shard(leader=1)), shard(leader=1)
    made.lost(1, 10.0)

    assert not made.not_leader(here, 2, "n1:1", 10.0)
    assert made.leader_of(here, 10.0, tried=1 << 2) == 3


def test_reads_are_spread_over_ready_replicas():
    """Each serves some time, only nodes with a stream do."""
    made = router(ready=(1, 3))

    assert sorted(made.reader_of(shard(), 2 * READER_TURN_S * n) for n in range(10)) == [1] * 5 + [3] * 5


def test_a_replica_serves_for_a_while_before_the_next_ones_turn():
    """So that reads made together travel together, however many they are."""
    made = router()

    served = [made.reader_of(shard(), READER_TURN_S * n / 1000) for n in range(4500)]

    changes = [at for at in range(1, 4500) if served[at] != served[at - 1]]
    assert 2 <= len(changes) <= 8
    assert set(served) == {1, 2, 3}


def test_a_replica_that_refuses_a_read_has_no_more_in_its_turn():
    """The rest of what it was sent is refused too, which does not take the next one's turn."""
    made = router()
    refusing = made.reader_of(shard(), 0.0)
    for _ in range(9):
        made.refused_read(shard(), refusing, 0.0)

    assert made.reader_of(shard(), 0.0) == refusing % 3 + 1


def test_only_time_and_refusals_end_a_replicas_turn():
    """Watches, retries and shards without a leader go to another replica each, the reads stay."""
    made, served = router(), set()
    for _ in range(10):
        made.next_replica(shard(), 0.0)
        served.add(made.reader_of(shard(), 0.0))
        made.leader_of(shard(), 0.0)
        served.add(made.reader_of(shard(), 0.0))
        made.reader_of(shard(), 0.0, tried=0b10)
        served.add(made.reader_of(shard(), 0.0))

    assert len(served) == 1


def test_each_watch_goes_to_another_replica():
    """It stays there, so that nothing spreads watches later."""
    made = router()

    assert sorted(made.next_replica(shard(), 0.0) for _ in range(6)) == [1, 1, 2, 2, 3, 3]

    made.lost(2, 0.0)
    assert sorted(made.next_replica(shard(), 0.0) for _ in range(6)) == [1, 1, 1, 3, 3, 3]


def test_clients_that_ask_one_replica_at_a_time_part_again():
    """Turns of one length would keep them together for good."""
    made = [Router(turn) for turn in range(30)]
    for one in made:
        one.learn_map(ShardMap(1, (shard(),)), 0.0)
        for node in (1, 2, 3):
            one.welcomed(node)
    together = [one for one in made if one.reader_of(shard(), 0.0) == made[0].reader_of(shard(), 0.0)]
    for turn in range(40):
        later = {one.reader_of(shard(), READER_TURN_S * turn / 2) for one in together}

    assert len(together) > 3
    assert later == {1, 2, 3}


def test_a_node_that_gave_no_sign_of_life_does_not_lead_on_anothers_word():
    """The others name it until they have elected anew; it leads again once it welcomes us."""
    made = router()
    here = shard()
    made.learn_leader(here.group, 1, 1)
    made.lost(1, 10.0, gave_no_sign=True)

    assert not made.not_leader(here, 2, here.address_of(1), 10.5)
    assert made.leader_of(here, 10.5) != 1

    made.welcomed(1)
    assert made.not_leader(here, 2, here.address_of(1), 10.5)
    assert made.leader_of(here, 10.5) == 1


def test_clients_begin_with_different_replicas():
    """A device that reads twice a day spreads its reads, too: over all clients."""
    begun = [Router(turn) for turn in (0, 1, 2)]
    for made in begun:
        made.learn_map(ShardMap(1, (shard(),)), 0.0)
        for node in (1, 2, 3):
            made.welcomed(node)

    assert {made.reader_of(shard(), 0.0) for made in begun} == {1, 2, 3}


def test_a_read_that_failed_goes_to_an_untried_replica():
    """Tried nodes are left out while there are others."""
    made = router()

    assert {made.reader_of(shard(), 0.0, tried=1 << 1 | 1 << 2) for _ in range(4)} == {3}
    assert not made.untried(shard(), 0.0, 0b1110)
    assert made.untried(shard(), 0.0, 0b0110)


def test_a_failed_node_is_the_last_choice_for_a_while_and_longer_each_time():
    """Suspicion passes by itself, doubles with each failure up to a bound, and ends with an answer."""
    made = router()
    made.lost(1, 0.0)
    assert made.is_suspect(1, SUSPECT_S_MIN * 0.9)
    assert not made.is_suspect(1, SUSPECT_S_MIN * 1.1)

    for _ in range(10):
        made.lost(1, 0.0)
    assert made.is_suspect(1, SUSPECT_S_MAX * 0.9)
    assert not made.is_suspect(1, SUSPECT_S_MAX * 1.1)

    made.answered(1)
    assert made.strikes(1) == 0


def test_with_every_node_suspect_somebody_is_asked_all_the_same():
    """No node is given up for good."""
    made = router()
    for node in (1, 2, 3):
        made.lost(node, 0.0)

    assert made.leader_of(shard(), 0.0) in {1, 2, 3}
    assert made.reader_of(shard(), 0.0) in {1, 2, 3}


def test_a_lost_leader_is_forgotten():
    """When the leader's stream breaks, another replica is asked who leads."""
    made, here = router(shard(leader=1)), shard(leader=1)
    made.lost(1, 0.0)

    assert made.leader_of(here, 0.0) != 1


def test_half_of_a_split_leaves_no_gap():
    """One target of two is told: its half moves, the rest stays with the source until it says more."""
    made = router()

    assert made.learn_shards([shard(7, b"", b"m")], 0.0)
    assert [made.locate("default", key).group for key in (b"a", b"z")] == [7, 2]
    assert made.learn_shards([shard(7, b"", b"m"), shard(8, b"m", b"")], 0.0)
    assert [made.locate("default", key).group for key in (b"a", b"z")] == [7, 8]
    assert not made.learn_shards([shard(7, b"", b"m"), shard(8, b"m", b"")], 0.0)


def test_a_map_that_does_not_know_a_target_does_not_undo_it():
    """Ids only grow along a key's life: what was told stands above maps of before, also of a later epoch."""
    made = router(shard(2, b"", b"m"), shard(3, b"m", b""))
    made.learn_shards([shard(9, b"", b"")], 0.0)
    made.learn_map(ShardMap(1, [shard(2, b"", b"m"), shard(3, b"m", b"")]), 0.0)
    made.learn_map(ShardMap(4, [shard(2, b"", b"m", epoch=4), shard(8, b"m", b"", epoch=4)]), 0.0)
    assert [made.locate("default", key).group for key in (b"a", b"z")] == [9, 9]

    made.learn_map(ShardMap(5, [shard(10, b"", b"m", epoch=5), shard(9, b"m", b"", epoch=5)]), 0.0)
    assert [made.locate("default", key).group for key in (b"a", b"z")] == [10, 9]


def test_an_entry_of_before_changes_nothing():
    """What a node that lags tells is older than what is known."""
    made = router(shard(7))

    assert not made.learn_shards([shard(2, b"", b"m"), shard(3, b"m", b"")], 0.0)
    assert made.locate("default", b"a").group == 7


def test_a_namespace_that_is_gone_from_the_map_is_gone():
    """Nothing holds on to the shards of a namespace that was deleted."""
    made = router(shard(2), Shard("other", KeyRange(b"", b""), 9, 1, REPLICAS, 0))
    made.learn_map(ShardMap(2, [shard(2, epoch=2)]), 0.0)

    assert made.locate("other", b"k") is None


def test_a_group_that_replaced_another_is_young_for_a_while():
    """It may not have a leader yet; groups of the first map are taken as they are."""
    made = router()
    assert not made.is_young(made.locate("default", b"k"), 0.0)

    made.learn_shards([shard(7)], 10.0)
    assert made.is_young(shard(7), 10.1)
    assert not made.is_young(shard(7), 10.0 + YOUNG_S)


def test_the_replica_named_first_is_asked_first():
    """A target whose leader nobody knows is led by the first of its replicas, as far as it is planned."""
    made = router()
    fresh = made.learn_shards([shard(7, replicas=REPLICAS[1:])], 0.0)

    assert [s.group for s in fresh] == [7]
    assert {made.leader_of(shard(7), 0.0) for _ in range(4)} == {2}


def test_what_is_known_of_groups_that_ended_is_forgotten():
    """Leaders of groups that are no longer in the map do not pile up."""
    made = router()
    for group in range(3, 60):
        made.learn_shards([shard(group)], 0.0)

    assert len(made._leaders) == len(made._young_until) == 1


def test_nobody_waits_for_a_node_that_gave_no_sign_of_life_while_others_answer():
    """A stopped process takes the connection and says nothing: what waits there misses the election."""
    made, here = router(), shard()
    made.lost(1, 0.0, gave_no_sign=True)

    assert {made.leader_of(here, 0.1, tried=1 << 2 | 1 << 3) for _ in range(6)} == {2, 3}
    assert not made.untried(here, 0.1, 1 << 2 | 1 << 3)
    assert made.untried(here, 0.1, 1 << 2)


def test_a_node_that_welcomes_us_again_is_asked_again():
    """However it failed before; and when its time is over, it is worth a try."""
    made, here = router(), shard()
    made.lost(1, 0.0, gave_no_sign=True)
    assert made.leader_of(here, SUSPECT_S_MAX, tried=1 << 2 | 1 << 3) == 1

    made.welcomed(1)
    assert made.leader_of(here, 0.1, tried=1 << 2 | 1 << 3) == 1
    assert made.untried(here, 0.1, 1 << 2 | 1 << 3)
