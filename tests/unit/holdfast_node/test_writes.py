"""Writes: packed by turn, in order, bounded, every frame answered once."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.types import Outcome
from holdfast_node import limits, writes
from holdfast_node.cache.commands import decode_entry, encode_seal, encode_unseal
from holdfast_node.cache.seal import Seal, Target
from holdfast_raft.errors import Busy, DiskFull
from holdfast_raft.proposals import Applied

from tests.unit.holdfast_node.scripted import WALL_MS, Replica1, delete_range, put


def error_of(told: list[Any]) -> HoldfastError:
    """The one error a frame was told."""
    [(outcome, _)] = told
    assert isinstance(outcome, HoldfastError)
    return outcome


def proposed(replica: Replica1) -> list[list[int]]:
    """Operations in each run of each entry proposed and not yet committed."""
    return [[len(run.operations) for run in decode_entry(data).runs] for data, *_ in replica.group.proposed]


def test_a_turns_frames_are_one_entry() -> None:
    """All frames that came since the last turn share an entry, in the order they came."""
    replica = Replica1()
    for i in range(3):
        replica.write(put(b"k%d" % i), session=bytes([i]) * 16)
    replica.turn()

    assert proposed(replica) == [[1, 1, 1]]
    assert [run.session[0] for run in decode_entry(replica.group.proposed[0][0]).runs] == [0, 1, 2]


def test_a_write_asks_for_a_turn() -> None:
    """The first frame in the queue wakes the group."""
    replica = Replica1()
    replica.turn()
    replica.write(put(b"a"))

    assert replica.driver.marked


def test_entries_carry_the_operations_bytes_as_they_came() -> None:
    """What the client encoded is what the log holds."""
    replica = Replica1()
    operation = put(b"a", b"x" * 300)
    replica.write(operation)
    replica.turn()

    [run] = decode_entry(replica.group.proposed[0][0]).runs
    assert list(run.operations) == [operation.SerializeToString()]


def test_stamps_of_entries_never_decrease() -> None:
    """Each entry's stamp is the group clock's at its proposal, also when the wall jumps back."""
    replica = Replica1()
    for i in range(5):
        replica.write(put(b"k%d" % i))
        replica.turn(0.3)
        replica.clock.wall_offset_ms -= 10_000
    stamps = [decode_entry(data).stamp_ms for data, *_ in replica.group.proposed]

    assert stamps == sorted(stamps)
    assert stamps[0] >= WALL_MS


def test_a_large_frame_becomes_several_entries_and_one_answer() -> None:
    """A frame over an entry's bounds is split in order; its outcomes come together, in order."""
    replica = Replica1()
    told = replica.write(*(put(b"key-%d" % i, sequence=i + 1) for i in range(2500)))
    replica.turn()
    assert proposed(replica) == [[1000], [1000], [500]]
    replica.group.committed(2)
    assert told == []

    replica.group.committed()

    [(outcomes, index)] = told
    assert [outcome.revision for outcome in outcomes] == list(range(1, 2501))
    assert index == 3


def test_an_entry_holds_at_most_its_bytes() -> None:
    """Values that together pass the bound go into entries of their own."""
    replica = Replica1()
    for i in range(3):
        replica.write(put(b"k%d" % i, b"x" * 600_000))
    replica.turn()

    assert proposed(replica) == [[1], [1], [1]]


def test_a_range_delete_counts_for_all_the_keys_it_may_touch() -> None:
    """No entry touches more than a thousand keys, so a range delete has one of its own."""
    replica = Replica1()
    replica.write(put(b"a", sequence=1), delete_range(b"x", sequence=2), put(b"b", sequence=3))
    replica.turn()

    assert proposed(replica) == [[1], [1], [1]]


def test_frames_wait_while_the_window_is_full() -> None:
    """What comes while nothing can be proposed packs into the next entry."""
    replica = Replica1()
    replica.group.window = 1
    for i in range(4):
        replica.write(put(b"k%d" % i))
        replica.turn()
    assert proposed(replica) == [[1]]
    replica.group.committed()

    replica.turn()

    assert proposed(replica) == [[1, 1, 1]]


def test_nothing_more_is_proposed_while_an_entry_is_slow() -> None:
    """What is not proposed can still be refused without effect; once the slow entry is through it goes on."""
    replica = Replica1()
    replica.write(put(b"slow"))
    replica.turn()
    replica.clock.now += 2 * writes.PIPELINE_S
    replica.write(put(b"k"))
    replica.turn()
    assert proposed(replica) == [[1]]
    replica.driver.marked = False
    replica.group.committed()
    assert replica.driver.marked, "nobody else asks for the turn in which it goes on"

    replica.turn()

    assert proposed(replica) == [[1]]


def test_a_full_queue_is_busy_and_harms_nobody_in_it() -> None:
    """Past the queue's bound a frame is refused BUSY with a retry-after; the others go on."""
    replica = Replica1()
    replica.group.window = 0
    kept = [replica.write(put(b"k", b"x" * limits.MIB)) for _ in range(31)]
    told = replica.write(put(b"k", b"x" * limits.MIB))

    assert error_of(told).reason is Reason.BUSY
    assert error_of(told).retry_after_ms > 0
    assert error_of(told).outcome is Outcome.REFUSED
    assert kept == [[]] * 31


def test_a_queue_full_of_operations_is_busy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small operations fill the queue as bytes do, and taking them frees it."""
    monkeypatch.setattr(writes, "QUEUE_OPERATIONS_MAX", 3)
    replica = Replica1()
    replica.write(put(b"a", sequence=1), put(b"b", sequence=2))
    assert error_of(replica.write(put(b"c", sequence=3), put(b"d", sequence=4))).reason is Reason.BUSY

    replica.turn()

    assert replica.write(put(b"c", sequence=3), put(b"d", sequence=4)) == []


def test_a_frame_that_would_wait_too_long_is_busy() -> None:
    """A frame is refused when the first in the queue has waited for half of the time it has left."""
    replica = Replica1()
    replica.group.window = 0
    replica.write(put(b"first"), timeout=60)
    replica.clock.now += 10
    impatient = replica.write(put(b"k"), timeout=19)
    patient = replica.write(put(b"k"), timeout=21)

    assert error_of(impatient).reason is Reason.BUSY
    assert error_of(impatient).retry_after_ms == 1_000
    assert patient == []


def test_a_follower_refuses_and_says_who_leads() -> None:
    """NOT_LEADER carries the leader's address."""
    replica = Replica1(leading=False)
    why = error_of(replica.write(put(b"a")))

    assert why.reason is Reason.NOT_LEADER
    assert why.leader == "127.0.0.1:7401"
    assert why.outcome is Outcome.REFUSED


def test_a_leader_to_be_keeps_the_frame_until_it_leads() -> None:
    """Between its election and its first applied entry a leader queues instead of sending callers away."""
    replica = Replica1(leading=False)
    replica.group.leader = 1
    told = replica.write(put(b"a"))
    replica.turn()
    assert told == []
    replica.group.is_leader = True
    replica.shard.role_changed(True)
    replica.turn()

    replica.group.committed()

    assert told[0][0][0].revision == 1


def test_what_was_not_proposed_when_the_leadership_ends_is_refused() -> None:
    """Queued frames are refused; those under way are unknown."""
    replica = Replica1()
    replica.group.window = 1
    under_way = replica.write(put(b"a"))
    replica.turn()
    queued = replica.write(put(b"b"))

    replica.group.depose(leader=3)

    assert error_of(queued).reason is Reason.NOT_LEADER
    assert error_of(queued).leader == "127.0.0.1:7402"
    assert error_of(queued).outcome is Outcome.REFUSED
    assert error_of(under_way).reason is Reason.LEADERSHIP_LOST
    assert error_of(under_way).outcome is Outcome.UNKNOWN


def test_a_leader_to_be_that_never_led_refuses_its_queue() -> None:
    """Frames kept for a leadership that another node took are refused with the hint."""
    replica = Replica1(leading=False)
    replica.group.leader = 1
    told = replica.write(put(b"a"))
    replica.group.leader = 3

    replica.turn()

    assert error_of(told).leader == "127.0.0.1:7402"


def test_a_refusal_by_the_group_is_the_frames() -> None:
    """What the WAL or the window refuses reaches the caller as refused, with its advice."""
    replica = Replica1()
    replica.group.refusing = DiskFull("full")
    told = replica.write(put(b"a"))
    replica.turn()
    assert error_of(told).reason is Reason.DISK_FULL
    replica.group.refusing = Busy("the window", 10)
    told = replica.write(put(b"a"))

    replica.turn()

    assert error_of(told).retry_after_ms == 10
    assert error_of(told).outcome is Outcome.REFUSED


def test_a_frame_that_waited_past_its_deadline_is_refused() -> None:
    """Not proposed by its deadline: nothing happened, now or later, and it is not proposed any more."""
    replica = Replica1()
    replica.group.window = 0
    told = replica.write(put(b"a"), timeout=1.0)
    replica.turn(1.0)
    assert error_of(told).reason is Reason.DEADLINE
    assert error_of(told).outcome is Outcome.REFUSED
    replica.group.window = 1

    replica.turn()

    assert replica.group.proposed == []


def test_a_frame_under_way_at_its_deadline_is_unknown_and_answered_once() -> None:
    """Proposed and not applied by its deadline: it may have happened; the late outcome says nothing."""
    replica = Replica1()
    told = replica.write(put(b"a"), timeout=1.0)
    other = replica.write(put(b"b"), timeout=9.0)
    replica.turn()
    replica.turn(1.0)
    assert error_of(told).outcome is Outcome.UNKNOWN

    replica.group.committed()

    assert len(told) == 1
    assert other[0][0][0].revision == 2


def test_each_operation_of_a_split_frame_says_for_itself_what_happened() -> None:
    """At the deadline: applied parts have results, parts under way are unknown, the rest is refused."""
    replica = Replica1()
    replica.group.window = 2
    told = replica.write(*(put(b"key-%d" % i, sequence=i + 1) for i in range(2500)), timeout=1.0)
    replica.turn()
    replica.group.committed(1)

    replica.turn(1.0)

    [(outcomes, _)] = told
    assert outcomes[999].revision == 1000
    assert outcomes[1000].outcome is Outcome.UNKNOWN
    assert outcomes[2499].outcome is Outcome.REFUSED


def test_after_a_part_that_failed_nothing_of_its_frame_is_proposed() -> None:
    """Writes of a frame apply in its order: a later part never goes without an earlier one."""
    replica = Replica1()
    replica.group.window = 1
    told = replica.write(*(put(b"key-%d" % i, sequence=i + 1) for i in range(1500)))
    replica.turn()
    replica.group.depose()
    replica.group.is_leader, replica.group.leader = True, 1
    replica.shard.role_changed(True)

    replica.turn()

    [(outcomes, _)] = told
    assert {outcome.outcome for outcome in outcomes[:1000]} == {Outcome.UNKNOWN}
    assert {outcome.outcome for outcome in outcomes[1000:]} == {Outcome.REFUSED}
    assert replica.group.proposed == []


def test_a_refused_first_part_refuses_the_whole_frame_and_empties_the_queue() -> None:
    """When the group refuses a part at once, the rest of the frame leaves the queue refused."""
    replica = Replica1()
    replica.group.refusing = DiskFull("full")
    told = replica.write(*(put(b"key-%d" % i, sequence=i + 1) for i in range(1500)))

    replica.turn()

    [(outcomes, _)] = told
    assert {outcome.outcome for outcome in outcomes} == {Outcome.REFUSED}
    assert replica.shard.figures().queue_operations == 0
    assert replica.shard.figures().queue_bytes == 0


def test_a_part_refused_behind_one_under_way_ends_the_frame_with_it() -> None:
    """The earlier part keeps its own outcome; the rest is refused and proposes nothing, not even nothing."""
    replica = Replica1()
    replica.group.window = 1
    told = replica.write(*(put(b"key-%d" % i, sequence=i + 1) for i in range(2500)))
    replica.turn()
    replica.group.refusing, replica.group.window = DiskFull("full"), 2
    replica.turn()
    replica.group.refusing = None
    replica.turn()
    assert proposed(replica) == [[1000]]

    replica.group.committed()

    [(outcomes, _)] = told
    assert outcomes[999].revision == 1000
    assert {outcome.outcome for outcome in outcomes[1000:]} == {Outcome.REFUSED}


def test_a_callback_that_fails_harms_no_other_frame(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in one caller's `done` is logged; the others of its entry are answered."""
    replica = Replica1()
    operation = put(b"a").SerializeToString()

    def broken(*_: object) -> None:
        raise RuntimeError("a caller's defect")

    replica.shard.write(b"", 0, [operation], [_decoded(operation)], replica.clock.now + 5, broken)
    told = replica.write(put(b"b"))
    replica.turn()

    replica.group.committed()

    assert told[0][0][0].revision == 2
    assert "a caller's defect" in caplog.text


def _decoded(data: bytes) -> Any:
    from holdfast_node.cache.commands import decode_operation

    return decode_operation(data)


# ---- sealed --------------------------------------------------------------------------------------------


def seal(*, decides: bool = True) -> bytes:
    return encode_seal(WALL_MS, Seal(7, decides, (Target(10, b"", b"", (1, 2, 3)),)))


def test_a_sealed_shard_takes_no_writes() -> None:
    """Refused at once, wherever the caller asks; nothing is queued."""
    for replica in (Replica1(), Replica1(leading=False)):
        replica.group.follow(seal())

        assert error_of(replica.write(put(b"a"))).reason is Reason.WRONG_SHARD
        assert replica.shard.figures().queue_operations == 0


def test_a_large_frame_that_the_seal_cuts_in_two_says_which_part_happened() -> None:
    """The first entry was before the Seal, the rest was refused: each operation has its own outcome."""
    replica = Replica1()
    half = limits.ENTRY_BYTES_MAX // 2
    told = replica.write(*(put(b"k%d" % i, b"x" * half, sequence=i + 1) for i in range(3)))
    replica.group.window = 1
    replica.turn()
    assert told == []
    [(data, context, _, done)] = replica.group.proposed
    replica.group.proposed.clear()
    results = replica.group.follow(data, context)

    replica.group.follow(seal())
    done(Applied(1, 1, results))

    [(outcomes, _)] = told
    assert outcomes[0].revision == 1
    assert [(o.reason, o.outcome) for o in outcomes[1:]] == [(Reason.WRONG_SHARD, Outcome.REFUSED)] * 2


def test_writes_are_taken_again_after_an_unseal() -> None:
    """BUSY while the merge is undecided; then as before."""
    replica = Replica1()
    replica.group.follow(seal(decides=False))
    assert error_of(replica.write(put(b"a"))).reason is Reason.BUSY

    replica.group.follow(encode_unseal(WALL_MS, 7))

    assert replica.put(b"a").revision == 1
