"""Many watchers of one node: `python -m tests.bench.watchers ASKED`, ASKED being `Asked` as JSON.

Says `warm` when every watch has begun; counts from the first line on stdin to the second, then says
`measured` with events and delivery times. Delivery is timed from this process's own puts, whose values
carry the moment they were asked for; other puts' events are only counted.

Each watcher watches a key of its own (a device and its settings), or all watch one key (a setting of the
whole fleet). Watches share streams, as those of a gateway do; what a stream receives is parsed.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from typing import Any

import holdfast
import uvloop
from grpc import aio
from holdfast import wire
from holdfast.channels import EOF, OPTIONS
from holdfast.keys import DEFAULT_NAMESPACE, KeyRange, prefix_end

from tests.bench import percentiles
from tests.bench.generator import say, settle, told_to_go

WATCHES_A_STREAM = 1000
STAMP = struct.Struct(">4sd")
MAGIC = b"HFT1"
OWN_KEY = "device/{:012d}"
ALL_KEY = b"fleet/interval"


@dataclass(frozen=True, slots=True)
class Asked:
    """count watchers of the node at `address`; on their own keys, or all on one."""

    endpoints: str
    address: str
    count: int
    one_key: bool
    puts_a_second: float

    def text(self) -> str:
        return json.dumps(asdict(self))

    def key(self, watcher: int) -> bytes:
        return ALL_KEY if self.one_key else OWN_KEY.format(watcher).encode()


class Seen:
    """What the watchers have received."""

    def __init__(self) -> None:
        self.started = 0
        self.events = 0
        self.took: array[float] = array("d")
        self.cancelled: list[str] = []
        self.all_started = asyncio.Event()

    def take(self, response: Any, expected: int) -> None:
        if response.started:
            self.started += 1
            if self.started == expected:
                self.all_started.set()
        if response.HasField("cancelled"):
            self.cancelled.append(response.cancelled.message)
            self.all_started.set()
        self.events += len(response.events)
        for event in response.events:
            if event.value.startswith(MAGIC):
                self.took.append(time.monotonic() - STAMP.unpack(event.value)[1])


async def follow(channel: aio.Channel, asked: Asked, watchers: range, seen: Seen) -> None:
    """One stream and its watches, until cancelled."""
    call = channel.stream_stream(wire.WATCH)()

    async def start() -> None:
        for watcher in watchers:
            key = asked.key(watcher)
            keys = KeyRange(key, prefix_end(key))
            await call.write(
                wire.watch_start(
                    watcher + 1, DEFAULT_NAMESPACE, keys, None,
                    or_snapshot=False, with_previous=False, keys_only=False,
                )
            )  # fmt: skip

    starting = asyncio.create_task(start())
    while (data := await call.read()) is not EOF:
        for response in wire.watch_responses(data):
            seen.take(response, asked.count)
    await starting


async def put_stamped(client: holdfast.Client, asked: Asked) -> None:
    """Puts whose delivery is timed, until cancelled."""
    rng = random.Random(asked.count)
    while True:
        key = asked.key(rng.randrange(asked.count))
        await client.put(key, STAMP.pack(MAGIC, time.monotonic()))
        await asyncio.sleep(1 / asked.puts_a_second)


async def run(asked: Asked) -> None:
    seen = Seen()
    async with holdfast.connect(asked.endpoints) as client, asyncio.TaskGroup() as tasks:
        followers = []
        channels = []
        for low in range(0, asked.count, WATCHES_A_STREAM):
            channel = aio.insecure_channel(asked.address, options=OPTIONS)
            channels.append(channel)
            watchers = range(low, min(asked.count, low + WATCHES_A_STREAM))
            followers.append(tasks.create_task(follow(channel, asked, watchers, seen)))
        await seen.all_started.wait()
        settle()
        say({"event": "warm", "cancelled": seen.cancelled[:3]})
        await told_to_go()
        before = seen.events
        began = time.monotonic()
        putting = tasks.create_task(put_stamped(client, asked))
        await told_to_go()
        seconds = time.monotonic() - began
        say(
            {
                "event": "measured",
                "events": seen.events - before,
                "seconds": seconds,
                "cancelled": len(seen.cancelled),
                "why": seen.cancelled[:3],
                "delivery_ms": percentiles.summary_ms(sorted(seen.took)),
            }
        )
        for task in (putting, *followers):
            task.cancel()
        for channel in channels:
            await channel.close()


if __name__ == "__main__":
    uvloop.run(run(Asked(**json.loads(sys.argv[1]))))
