"""The shard: entries into state, and what the group tells it."""

from __future__ import annotations

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.types import Level, Outcome
from holdfast_node.cache.commands import encode_abort, encode_seal, encode_unseal
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.seal import Seal, Target
from holdfast_node.shard import Shard
from holdfast_node.watch_hub import WatchSlice
from holdfast_raft.errors import Busy
from holdfast_raft.machine import CorruptImage, UnknownEntry
from holdfast_raft.proposals import Applied

from tests.unit.holdfast_node.scripted import WALL_MS, Replica1, get, put


def restored(source: Replica1) -> Replica1:
    """A follower that installed the source's image."""
    image = source.shard.freeze()
    replica = Replica1(leading=False)
    builder = replica.shard.builder()
    for chunk in image.chunks():
        builder.feed(chunk)
    image.release()
    builder.finish()
    replica.shard.install(builder)
    return replica


def test_a_write_is_applied_and_answered_with_its_index() -> None:
    """A frame's outcomes come with the index of the entry that held them."""
    replica = Replica1()
    told = replica.write(put(b"a", sequence=1), put(b"b", sequence=2))
    replica.turn()
    assert told == []

    replica.group.committed()

    [(outcomes, index)] = told
    assert [outcome.revision for outcome in outcomes] == [1, 2]
    assert index == 1
    assert replica.shard.token_entry(index) == (b"default\0", b"default\1", 7, 1)


def test_replicas_that_apply_the_same_entries_have_the_same_digest() -> None:
    """The leader's decoded form changes nothing: followers that decode the bytes end equal."""
    leader, follower = Replica1(), Replica1(leading=False)
    for i in range(20):
        leader.put(b"key-%d" % (i % 7), b"value-%d" % i)
    for data in leader.group.log:
        follower.group.follow(data)

    assert leader.shard.digest() == follower.shard.digest()


def test_an_entry_of_an_unknown_kind_stops_the_replica() -> None:
    """An entry this program does not know is never skipped: the machine raises UnknownEntry."""
    with pytest.raises(UnknownEntry):
        Replica1(leading=False).shard.apply(1, 1, b"\xff" * 20, None)


def test_an_installed_image_is_the_state_it_was_taken_of() -> None:
    """A follower that installs a snapshot has the state, the stamp and the digest of its source."""
    source = Replica1()
    source.put(b"a")

    replica = restored(source)

    assert replica.shard.digest() == source.shard.digest()
    assert replica.shard.state.stamp_ms == source.shard.state.stamp_ms


def test_a_damaged_image_is_refused_in_rafts_words() -> None:
    """Chunks that do not add up raise CorruptImage, which raft knows, and install nothing."""
    builder = Replica1(leading=False).shard.builder()
    with pytest.raises(CorruptImage):
        builder.feed(b"\xff\xff")
    with pytest.raises(CorruptImage):
        Replica1(leading=False).shard.builder().finish()


def test_the_configured_policy_enters_by_an_entry() -> None:
    """Every replica begins with the same policy; a leader proposes its own, ahead of any write."""
    policy = Policy(budget_bytes=1000)
    replica = Replica1(policy=policy)
    replica.write(put(b"a"))
    replica.turn()
    assert replica.shard.state.policy != policy

    replica.group.committed(1)

    assert replica.shard.state.policy == policy
    assert replica.shard.state.key_count == 0


def test_a_watcher_sees_what_was_applied() -> None:
    """Events reach the hub in the call that applied them."""
    replica = Replica1()
    slices: list[WatchSlice] = []
    replica.shard.hub.subscribe(KeyRange(b"", b""), slices.append, point=None)
    replica.turn()

    replica.put(b"a", b"x")

    assert slices[-1].events == [b"1|a|1|x|"]
    assert slices[-1].revision == 1


def test_a_watch_goes_on_over_an_installed_image() -> None:
    """A live watcher misses nothing when the state is replaced: it goes on from the image's history."""
    source = Replica1()
    replica = Replica1(leading=False)
    slices: list[WatchSlice] = []
    source.put(b"a")
    replica.group.follow(source.group.log[0])
    replica.shard.hub.subscribe(KeyRange(b"", b""), slices.append, point=None)
    replica.turn()
    source.put(b"b")
    source.put(b"c")
    builder = replica.shard.builder()
    for chunk in source.shard.freeze().chunks():
        builder.feed(chunk)
    builder.finish()

    replica.shard.install(builder)
    replica.turn()
    replica.group.follow(source.group.log[-1])

    assert [event for piece in slices for event in piece.events] == [b"1|b|2|v|", b"1|c|3|v|"]


def test_idle_watchers_are_told_how_far_they_have_seen() -> None:
    """A watcher of other keys gets progress marks while it is idle."""
    replica = Replica1()
    slices: list[WatchSlice] = []
    replica.shard.hub.subscribe(KeyRange(b"z", b""), slices.append, point=None, now=replica.clock.now)
    replica.turn()
    size = slices[0].size_bytes
    replica.put(b"a")
    for _ in range(40):
        replica.turn(0.25)
        if len(slices) == 1 and size:
            next(iter(replica.shard.hub._all)).taken(size)
            size = 0

    assert [piece.revision for piece in slices] == [0, 1]
    assert slices[-1].events == []


def test_closing_ends_everyone_who_waits() -> None:
    """A replica that stops answers its queued writes, its reads and its watchers."""
    replica = Replica1()
    reads: list[object] = []
    slices: list[WatchSlice] = []
    replica.shard.hub.subscribe(KeyRange(b"", b""), slices.append, point=None)
    told = replica.write(put(b"a"))
    replica.shard.read(Level.LINEARIZABLE, 0, False, [get(b"a")], None, replica.clock.now + 5, reads.append)
    replica.group.is_leader, replica.group.stopped = False, "the disk failed"

    replica.shard.close()

    assert told[0][0].reason is Reason.STOPPED
    assert isinstance(reads[0], HoldfastError)
    assert reads[0].reason is Reason.STOPPED
    assert slices[-1].cancelled is not None
    assert slices[-1].cancelled.reason is Reason.STOPPED
    with pytest.raises(HoldfastError):
        replica.shard.hub.subscribe(KeyRange(b"", b""), slices.append, point=None)


def test_figures_say_what_the_replica_stands_at() -> None:
    """Status and metrics read one consistent picture."""
    replica = Replica1()
    replica.put(b"a")
    replica.shard.read(
        Level.ANY, 0, False, [get(b"a"), get(b"b")], None, replica.clock.now + 5, lambda _: None
    )
    replica.write(put(b"b"))

    figures = replica.shard.figures()

    assert (figures.hits, figures.misses, figures.revision, figures.queue_operations) == (1, 1, 1, 1)
    assert figures.stats["keys"] == 1
    assert figures.entry.leader == 1
    assert figures.status.applied_index == 1


# ---- sealed --------------------------------------------------------------------------------------------

HALVES = (Target(10, b"", b"m", (2, 1, 3)), Target(11, b"m", b"", (1, 2, 3)))


def seal(plan: int = 7, *, decides: bool = True) -> bytes:
    return encode_seal(WALL_MS, Seal(plan, decides, HALVES))


def heard(replica: Replica1) -> list[int | None]:
    """What the shard's owner is told, from now on: the plan it is sealed by."""
    told: list[int | None] = []

    def sealing(shard: Shard) -> None:
        told.append(shard.state.sealed.plan if shard.state.sealed is not None else None)

    replica.shard._sealing = sealing
    return told


def test_a_seal_ends_the_shard_and_names_the_targets() -> None:
    """Everything after it is WRONG_SHARD with the targets, also what was queued; the owner is told once."""
    replica = Replica1()
    replica.put(b"a")
    told, queued = heard(replica), replica.write(put(b"b", stamp_ms=replica.stamp_ms()))

    replica.group.follow(seal())
    replica.group.follow(seal())

    assert told == [7]
    refused = queued[0][0]
    assert (refused.reason, [s.group for s in refused.shards]) == (Reason.WRONG_SHARD, [10, 11])
    assert [s.range.end for s in refused.shards] == [b"m", b""]
    assert refused.shards[0].replicas[0].node == 2, "who should lead comes first"
    assert replica.write(put(b"c"))[0][0].reason is Reason.WRONG_SHARD
    assert replica.shard.moved is not None


def test_a_write_that_was_proposed_before_and_applied_behind_the_seal_had_no_effect() -> None:
    """It is refused, not unknown: its entry found a frozen state."""
    replica = Replica1()
    told = replica.write(put(b"b", sequence=1), put(b"c", sequence=2))
    replica.turn()
    replica.group.follow(seal())

    replica.group.committed()

    [(outcomes, _)] = told
    assert [(o.reason, o.outcome) for o in outcomes] == [(Reason.WRONG_SHARD, Outcome.REFUSED)] * 2
    assert replica.shard.state.key_count == 0


def test_a_seal_that_does_not_decide_makes_callers_wait() -> None:
    """BUSY with a time, until the other source is sealed, or this one is released."""
    replica = Replica1()
    told = heard(replica)
    replica.group.follow(seal(decides=False))
    refused = replica.write(put(b"a"))[0][0]
    assert (refused.reason, refused.retry_after_ms > 0) == (Reason.BUSY, True)

    replica.group.follow(encode_unseal(WALL_MS, 7))

    assert told == [7, None]
    assert replica.shard.moved is None
    assert replica.put(b"a").revision == 1
    replica.group.follow(seal(7))
    assert replica.shard.moved is None, "the floor keeps a late Seal of that plan out"


def test_an_abort_leaves_the_shard_as_it_is() -> None:
    """And keeps the plan's Seal out for ever."""
    replica = Replica1()
    told = heard(replica)
    replica.group.follow(encode_abort(WALL_MS, 7))
    replica.group.follow(seal(7))

    assert told == []
    assert replica.put(b"a").revision == 1


def sealed_image(plan: int) -> Replica1:
    source = Replica1()
    source.put(b"a")
    source.group.follow(seal(plan))
    return source


def installed(replica: Replica1, source: Replica1) -> None:
    builder = replica.shard.builder()
    for chunk in source.shard.freeze().chunks():
        builder.feed(chunk)
    builder.finish()
    replica.shard.install(builder)


def test_a_seal_in_a_snapshot_is_found() -> None:
    """A replica that lagged behind the Seal ends as those that applied it."""
    replica = Replica1(leading=False)
    told = heard(replica)

    installed(replica, sealed_image(7))

    assert told == [7]
    assert replica.shard.moved is not None
    assert replica.shard.moved.reason is Reason.WRONG_SHARD


def test_a_snapshot_may_skip_the_unseal_of_one_plan_and_bring_the_seal_of_another() -> None:
    """A follower stands under a merge that was taken back meanwhile; then the shard was split."""
    replica = Replica1(leading=False)
    told = heard(replica)
    replica.group.follow(seal(7, decides=False))

    installed(replica, sealed_image(8))

    assert told == [7, 8]
    assert replica.shard.moved is not None
    assert replica.shard.moved.reason is Reason.WRONG_SHARD


def test_a_snapshot_may_lift_a_seal() -> None:
    """The Unseal is in it."""
    replica, source = Replica1(leading=False), Replica1()
    told = heard(replica)
    replica.group.follow(seal(7, decides=False))
    source.put(b"a")

    installed(replica, source)

    assert told == [7, None]
    assert replica.shard.moved is None


def test_a_shard_goes_on_from_the_state_it_is_given() -> None:
    """A target's clock does not begin behind its source's."""
    source = sealed_image(7)
    part = source.shard.state.cut(b"", b"m", 7)

    replica = Replica1(leading=False, state=part)

    assert replica.shard.state.key_count == 1
    assert replica.shard.stamp_ms() >= source.shard.state.stamp_ms


def test_watchers_end_at_a_seal_that_decides() -> None:
    """With the targets, where they go on."""
    replica = Replica1()
    slices: list[WatchSlice] = []
    replica.shard.hub.subscribe(KeyRange(b"", b""), slices.append, point=None)
    replica.turn()
    replica.put(b"a")

    replica.group.follow(seal())
    replica.turn()

    assert slices[-1].cancelled is not None
    assert slices[-1].cancelled.reason is Reason.WRONG_SHARD


def test_an_entry_of_the_nodes_own_waits_for_the_groups_clock() -> None:
    """A Seal is stamped too; before a majority's clocks are known it is refused, to be said again."""
    replica = Replica1()
    replica.driver.offsets = {}
    told: list[object] = []
    replica.shard.propose(lambda stamp_ms: encode_abort(stamp_ms, 7), replica.clock.now + 1, told.append)
    assert isinstance(told[0], Busy)
    replica.driver.offsets = {2: 0, 3: 0}
    replica.turn(0.1)

    replica.shard.propose(lambda stamp_ms: encode_abort(stamp_ms, 7), replica.clock.now + 1, told.append)
    replica.group.committed()

    assert isinstance(told[1], Applied)
    assert replica.shard.state.floor == 7


def test_load_is_counted_for_reads_and_writes() -> None:
    """What placement splits by: how many, and where."""
    replica = Replica1()
    replica.write(put(b"a", sequence=1), put(b"b", sequence=2))
    replica.shard.read(Level.ANY, 0, False, [get(b"c")], None, replica.clock.now + 5, lambda _: None)

    assert replica.shard.operations == 3
    assert list(replica.shard.sampled) == [b"a", b"c"]


def test_strict_ttl_may_be_wanted_later() -> None:
    """It comes with the news of its namespace; what it hides is there for LINEARIZABLE still."""
    replica = Replica1()
    replica.put(b"a", ttl_ms=1000)
    replica.clock.now += 1.5
    answers: list[object] = []

    def any_read() -> object:
        replica.shard.read(Level.ANY, 0, False, [get(b"a")], None, replica.clock.now + 5, answers.append)
        return answers[-1].results[0].value  # type: ignore[attr-defined]

    assert any_read() == b"v"
    replica.shard.want_strict_ttl(True)
    assert any_read() is None
    replica.shard.want_strict_ttl(False)
    assert any_read() == b"v"
