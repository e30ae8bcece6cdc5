"""More puts than a node can take, from one process: `python -m tests.bench.flood ASKED`, ASKED as JSON.

The SDK refuses by itself what would wait too long, and costs as much for a refusal as for a put; on cores
that it shares with the nodes it would be the bottleneck. So this asks as many clients would together: frames
of full size, encoded with the SDK's own words, on several streams, at their time, whether or not the ones
before were answered. What HTTP/2 does not take off our hands any more is counted as unsent.

Same words on stdin and stdout as generator.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import uvloop
from holdfast import wire
from holdfast.errors import Reason
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.stream import FRAME_OPERATIONS_MAX

from tests.bench import percentiles
from tests.bench.frame_stream import FrameStream
from tests.bench.generator import say, settle, told_to_go
from tests.bench.load import KEYS, STRIDE, VALUE_BYTES

STREAMS = 16
CLOSED_FRAMES = 4
"""In flight over all streams, when no rate is asked for: enough that the node never waits for us."""
UNSENT_FRAMES_MAX = 2
"""That wait for HTTP/2 in one stream; more are not made: the SDK too refuses what would wait long."""
DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """rate: puts a second, open loop; 0: as many as are answered. address: of the leader's node."""

    address: str
    rate: float
    seconds: float
    timeout_ms: int

    def text(self) -> str:
        return json.dumps(asdict(self))


class Answered:
    """What came back. A group of results counts with the time of its frame."""

    def __init__(self) -> None:
        self.good = 0
        self.reasons: Counter[str] = Counter()
        self.took: array[float] = array("d")
        self.refused_after: array[float] = array("d")


class Stream:
    """One client's stream: its frames, and what they were answered."""

    def __init__(self, asked: Asked, answered: Answered) -> None:
        self.frames = FrameStream(asked.address, self._take)
        self._asked = asked
        self._answered = answered
        self._due: list[float] = []  # of each frame
        self._left: list[int] = []  # of each frame: what is not answered yet
        self._oldest = 0  # frame that is not answered
        self._kind = wire.plain_put(b"v" * VALUE_BYTES)
        self._place = random.randrange(KEYS)
        self.in_flight = 0
        self.unsent = 0
        self.finished = asyncio.Event()

    def ask(self, due: float) -> None:
        """One frame."""
        if self.frames.unsent_frames >= UNSENT_FRAMES_MAX:
            self.unsent += FRAME_OPERATIONS_MAX
            return
        first = len(self._due) * FRAME_OPERATIONS_MAX + 1
        self._due.append(due)
        self._left.append(FRAME_OPERATIONS_MAX)
        not_after = wire.not_after(int(time.time() * 1000) + self._asked.timeout_ms)
        parts = []
        for sequence in range(first, first + FRAME_OPERATIONS_MAX):
            self._place = (self._place + STRIDE) % KEYS
            parts.append(wire.operation(sequence, b"device/%012d" % self._place, not_after, self._kind))
        answered_below = self._oldest * FRAME_OPERATIONS_MAX + 1
        self.frames.send(wire.frame(DEFAULT_NAMESPACE, parts, b"", answered_below, self._asked.timeout_ms))
        self.in_flight += FRAME_OPERATIONS_MAX

    def _take(self, answers: Any, now: float) -> None:
        answered, results = self._answered, answers.results
        frame = (results[0].sequence - 1) // FRAME_OPERATIONS_MAX
        after = now - self._due[frame]
        self._left[frame] -= len(results)
        failed = [result.error.reason for result in results if result.HasField("error")]
        answered.good += len(results) - len(failed)
        answered.reasons.update(Reason(reason).name for reason in failed)
        (answered.refused_after if failed else answered.took).append(after)
        self.in_flight -= len(results)
        while self._oldest < len(self._left) and not self._left[self._oldest]:
            self._oldest += 1
        self.finished.set()


async def run(asked: Asked) -> None:
    answered = Answered()
    async with asyncio.TaskGroup() as tasks:
        streams = [Stream(asked, answered) for _ in range(STREAMS)]
        working = []
        for stream in streams:
            assert (await stream.frames.begin(os.urandom(16), "flood")).node
            working += [tasks.create_task(stream.frames.write()), tasks.create_task(stream.frames.read())]
        settle()
        say({"event": "warm"})
        await told_to_go()
        began = time.perf_counter()
        await (open_loop(streams, asked) if asked.rate else closed_loop(streams, asked))
        seconds = time.perf_counter() - began
        good = answered.good
        say(
            {
                "event": "measured",
                "good": good,
                "seconds": seconds,
                "unsent": sum(stream.unsent for stream in streams),
                "unanswered": sum(stream.in_flight for stream in streams),
                "reasons": dict(answered.reasons),
                "took_ms": percentiles.summary_ms(sorted(answered.took)),
                "refused_ms": percentiles.summary_ms(sorted(answered.refused_after)),
            }
        )
        for task in working:
            task.cancel()
        for stream in streams:
            await stream.frames.close()


async def open_loop(streams: list[Stream], asked: Asked) -> None:
    """Frames at their time, to one stream after the other."""
    clock = time.perf_counter
    began, asked_for = clock(), 0
    while (elapsed := clock() - began) < asked.seconds:
        due = int(elapsed * asked.rate / FRAME_OPERATIONS_MAX)
        for number in range(asked_for, due):
            streams[number % len(streams)].ask(began + number * FRAME_OPERATIONS_MAX / asked.rate)
        asked_for = max(asked_for, due)
        await asyncio.sleep(0.002)


async def closed_loop(streams: list[Stream], asked: Asked) -> None:
    """A frame when the one before was answered, CLOSED_FRAMES at a time."""
    clock = time.perf_counter
    end = clock() + asked.seconds

    async def one(stream: Stream) -> None:
        while clock() < end:
            stream.ask(clock())
            while stream.in_flight:
                stream.finished.clear()
                await stream.finished.wait()

    await asyncio.gather(*(one(stream) for stream in streams[:CLOSED_FRAMES]))


if __name__ == "__main__":
    uvloop.run(run(Asked(**json.loads(sys.argv[1]))))
