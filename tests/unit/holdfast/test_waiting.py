"""Who waits for another attempt, and behind whom."""

import asyncio

from holdfast.stream import WRITE, Call
from holdfast.types import Level
from holdfast.waiting import WaitingRoom


class Room:
    """A waiting room whose departures are noted."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.left: list[list[int]] = []
        self.room = WaitingRoom(self.loop, lambda calls: self.left.append([c.sequence for c in calls]))

    def call(self, sequence: int, key: bytes = b"k", level: int = WRITE) -> Call:
        return Call(self.loop, sequence, "default", key, key, b"", level, 0.0, 5.0, {})


def inside(act) -> list[list[int]]:
    async def run():
        room = Room()
        await act(room)
        return room.left

    return asyncio.run(run())


def test_those_who_need_not_wait_leave_when_all_answers_are_read():
    """Whoever goes on at once leaves within the same call, in the order of the sequences."""

    async def act(it):
        for sequence in (3, 1, 2):
            it.room.put(it.call(sequence, b"k%d" % sequence), 0.0)
        it.room.settle()
        assert it.left == [[1, 2, 3]]

    assert inside(act) == [[1, 2, 3]]


def test_those_due_within_a_slot_leave_together():
    """Retries due at about the same time share a frame."""

    async def act(it):
        due = (int(it.loop.time() / 0.005) + 4) * 0.005 - it.loop.time()
        it.room.put(it.call(2, b"b"), due + 0.003)
        it.room.put(it.call(1, b"a"), due + 0.001)
        await asyncio.sleep(0.05)

    assert inside(act) == [[1, 2]]


def test_a_write_waits_for_the_outcome_of_an_earlier_one_of_its_key():
    """Whether it failed too or is new; once the earlier one has its outcome they go on, in order."""

    async def act(it):
        first, failed, new = it.call(1), it.call(2), it.call(3)
        it.room.put(first, 0.001)
        it.room.put(failed, 0.0)
        assert it.room.takes(new)
        await asyncio.sleep(0.02)
        assert it.left == [[1]]
        first.cancel()
        await asyncio.sleep(0)
        assert not it.room.fronts

    assert inside(act) == [[1], [2, 3]]


def test_those_that_were_sent_the_same_way_need_not_wait_for_each_other():
    """A frame that was told where its shard went leaves again as one frame."""

    async def act(it):
        for sequence in (1, 2):
            it.room.put(it.call(sequence), 0.0, hinted=True)
        it.room.settle()

    assert inside(act) == [[1, 2]]


def test_reads_and_other_keys_wait_for_nobody():
    """Only the order of writes of one key is kept."""

    async def act(it):
        it.room.put(it.call(1), 0.0)
        it.room.put(it.call(2, level=Level.LINEARIZABLE), 0.0)
        it.room.put(it.call(3, b"other"), 0.0)
        assert not it.room.takes(it.call(4, b"third"))
        it.room.settle()

    assert inside(act) == [[1, 2, 3]]
