"""A gateway before many devices: `python -m tests.bench.gateway LOAD`, LOAD being `load.Load` as JSON.

Requests come open loop (open_loop.py says when) and travel together: what came within PACK_S leaves as one
frame to the leader (linearizable gets, puts) and one to a replica in turn (session gets, with the session's
token). Encoded with the SDK's words and sent without its calls, as the SDK's futures would cost more than
the cluster does and the row would measure them. One shard only.

Same words on stdin and stdout as generator.py. Latency counts from when a request was due.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from array import array
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop
from holdfast import Level, wire
from holdfast.errors import Reason
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.token import Token

from tests.bench import percentiles
from tests.bench.closed_loop import Tally
from tests.bench.frame_stream import FrameStream
from tests.bench.generator import measured, say, settle, told_to_go
from tests.bench.load import Load
from tests.bench.open_loop import BURST_S, OUTSTANDING_MAX, arrivals, due_at
from tests.bench.traffic import PLAN, drawn

PACK_S = 0.003
"""What a gateway may keep a request for company; part of its latency here."""
OPERATIONS_MAX = 256
"""Of one frame."""


class Gateway:
    """One session over one stream to each replica."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._keys, self._kinds = drawn(load)
        self._encoded = {
            "lget": wire.get(Level.LINEARIZABLE),
            "sget": wire.get(Level.SESSION),
            "put": wire.plain_put(b"v" * load.value_bytes),
        }
        self._timeout_ms = int(load.timeout_s * 1000)
        self._session = os.urandom(16)
        self._due = array("d", [0.0])  # by sequence; 0: answered
        self._oldest = 1  # sequence that is not answered
        self._token = Token()
        self.tally = Tally()
        self.outstanding = 0
        self.idle = asyncio.Event()

    async def begin(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Opens the streams; what carries them."""
        address = self._load.endpoints.split(",")[0]
        stream = FrameStream(address, self._take)
        welcome = await stream.begin(self._session, "gateway")
        (shard,) = welcome.map.shards
        self._token = Token(welcome.cluster_id)
        by_node = {welcome.node: stream}
        for replica in shard.replicas:
            if replica.node not in by_node:
                by_node[replica.node] = FrameStream(replica.address, self._take)
                await by_node[replica.node].begin(self._session, "gateway")
        self._leader = by_node[shard.leader]
        self._streams = list(by_node.values())
        self._turn: Iterator[FrameStream] = cycle(self._streams)
        return [tasks.create_task(work()) for each in self._streams for work in (each.write, each.read)]

    async def close(self) -> None:
        for stream in self._streams:
            await stream.close()

    async def ask(self, rate: float, seconds: float) -> Tally:
        """`rate` requests a second for some seconds, then waits for the answers."""
        self.tally = tally = Tally()
        async for numbers, began in arrivals(rate, seconds, tally, to_the_next_pack):
            room = OUTSTANDING_MAX - self.outstanding
            tally.dropped += max(0, len(numbers) - room)
            self._send(numbers[:room], began, rate)
        while self.outstanding:
            self.idle.clear()
            await self.idle.wait()
        return tally

    def _send(self, numbers: range, began: float, rate: float) -> None:
        """Frames of these requests."""
        not_after = wire.not_after(int(time.time() * 1000) + self._timeout_ms)
        ours: list[bytes] = []
        spread: list[bytes] = []
        keys, kinds, encoded, due = self._keys, self._kinds, self._encoded, self._due
        sequence = len(due)
        for number in numbers:
            at = number % PLAN
            kind = kinds[at]
            operation = wire.operation(sequence, keys[at], not_after if kind == "put" else b"", encoded[kind])
            (spread if kind == "sget" else ours).append(operation)
            due.append(began + due_at(number, rate))
            sequence += 1
        self.outstanding += len(numbers)
        self._send_to(self._leader, ours, b"")
        if spread:
            self._send_to(next(self._turn), spread, wire.token_bytes(self._token))

    def _send_to(self, stream: FrameStream, operations: list[bytes], token: bytes) -> None:
        for first in range(0, len(operations), OPERATIONS_MAX):
            part = operations[first : first + OPERATIONS_MAX]
            stream.send(wire.frame(DEFAULT_NAMESPACE, part, token, self._oldest, self._timeout_ms))

    def _take(self, answers: Any, now: float) -> None:
        due, taken = self._due, self.tally.samples.append
        for result in answers.results:
            sequence = result.sequence
            if result.HasField("error"):
                self.tally.reasons[Reason(result.error.reason).name] += 1
            else:
                taken(now - due[sequence])
            due[sequence] = 0.0
        if answers.HasField("token"):
            self._token.raise_to(wire.token_entry(answers.token))
        self.outstanding -= len(answers.results)
        while self._oldest < len(due) and not due[self._oldest]:
            self._oldest += 1
        if not self.outstanding:
            self.idle.set()


def to_the_next_pack(elapsed: float) -> float:
    """To the end of this PACK_S and a little more: a timer that came before it would find nothing."""
    return PACK_S - elapsed % PACK_S + BURST_S / 10


async def run(load: Load) -> None:
    gateway = Gateway(load)
    async with asyncio.TaskGroup() as tasks:
        working = await gateway.begin(tasks)
        if load.warmup:
            await gateway.ask(load.rate, load.warmup)
        settle()
        say({"event": "warm"})
        await told_to_go()
        began = time.perf_counter()
        tally = await gateway.ask(load.rate, load.seconds)
        say(measured(tally, time.perf_counter() - began, 1, {}))
        if load.samples:
            percentiles.write(tally.samples, Path(load.samples))
        say({"event": "written"})
        for task in working:
            task.cancel()
        await gateway.close()


if __name__ == "__main__":
    uvloop.run(run(Load.parsed(sys.argv[1])))
