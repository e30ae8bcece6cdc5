"""A recorder in memory and clients over the SDK's fake, for tests of what runs are made of."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

from holdfast.testing import FakeClient
from holdfast_chaos.asks import Generator
from holdfast_chaos.generator import ACCOUNTS, BALANCE, generator
from holdfast_chaos.record import Event, Header, Record
from holdfast_chaos.record_file import RecordFile, load
from holdfast_chaos.workloads.crowd import Crowd
from holdfast_chaos.workloads.process import Process
from holdfast_chaos.workloads.recorder import Recorder

SETTINGS = {"accounts": list(ACCOUNTS), "balance": BALANCE, "demands": {"operations_min": 10}}


class Desk:
    """A record being made, a fake cluster, and what it takes to make clients of it."""

    def __init__(self, folder: Path, workload: str = "register", seed: int = 1) -> None:
        self.path = folder / "record.jsonl"
        header = Header("0", seed, workload, (), 1, "again", settings=SETTINGS)
        self.file = RecordFile(self.path, header)
        self.recorder = Recorder(self.file)
        self.client = FakeClient()
        self.generator: Generator = generator(workload, random.Random(seed), 4, 8)
        self._numbers = itertools.count(100)

    async def connect(self, *_: Any, **__: Any) -> FakeClient:
        return self.client

    async def process(self, slot: int = 1, hands: int = 1) -> Process:
        process = Process(
            slot,
            "nowhere",
            self.recorder,
            self.generator,
            groups_stand=True,
            fresh_number=lambda: next(self._numbers),
            hands=hands,
            connect=self.connect,
        )
        await process.open()
        return process

    def crowd(self, rate: float = 5000) -> Crowd:
        return Crowd(
            "nowhere",
            self.recorder,
            self.generator,
            clients=4,
            hands=2,
            rate=rate,
            groups_stand=True,
            chance=random.Random(1),
            connect=self.connect,
        )

    def record(self) -> Record:
        self.file.close()
        return load(self.path)

    def events(self) -> list[Event]:
        return list(self.record().events)
