"""The shard: entries into state, and what the group tells it."""

from __future__ import annotations

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.types import Level
from holdfast_node.cache.policy import Policy
from holdfast_node.watch_hub import WatchSlice
from holdfast_raft.machine import CorruptImage, UnknownEntry

from tests.unit.holdfast_node.scripted import Replica1, get, put


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
