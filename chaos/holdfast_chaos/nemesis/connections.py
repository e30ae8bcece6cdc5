"""Networks that are bad: late, resetting, half open."""

from __future__ import annotations

import asyncio
from typing import Final

from holdfast_chaos.cluster.wires import CLIENTS
from holdfast_chaos.nemesis.stage import Stage

RESET_EVERY_S: Final = 0.3
SLOW_BYTES_PER_S: Final = 256 << 10


async def delay(stage: Stage) -> None:
    """All between nodes is late by some tens of ms, with jitter; at times slow, at times clients too."""
    wires = stage.cluster.wires
    parties = list(stage.cluster.numbers) + ([CLIENTS] if stage.chance.random() < 0.3 else [])
    shaped = [wires(a, b) for a in parties for b in parties if a != b]
    late_s = stage.chance.uniform(0.005, 0.06)
    slow = SLOW_BYTES_PER_S if stage.chance.random() < 0.3 else 0
    before = sum(wire.passed for wire in shaped)
    try:
        for wire in shaped:
            wire.change(delay_s=late_s, jitter_s=late_s / 2, bytes_per_s=slow)
        await stage.over()
        passed = sum(wire.passed for wire in shaped) - before
        if passed:
            stage.proof(f"{passed} bytes passed {late_s * 1000:.0f} ms late or later")
    finally:
        for wire in shaped:
            wire.change(delay_s=0.0, jitter_s=0.0, bytes_per_s=0)


async def reset(stage: Stage) -> None:
    """RST on connections to one node after the other, clients' too."""
    while stage.left_s > 0:
        for number in stage.some(1):
            count = stage.cluster.gates[number].reset()
            if count:
                stage.proof(f"{count} connections to node {number} were reset")
        await asyncio.sleep(min(RESET_EVERY_S, stage.left_s))


async def half_open(stage: Stage) -> None:
    """The leader's connections are gone on its side, and nobody else is told; RST at the end."""
    number = await stage.leader()
    gate = stage.cluster.gates[number]
    left = set(gate.connections)
    try:
        while not (count := gate.forget_far_ends()) and stage.left_s > 0:
            await asyncio.sleep(0.05)  # whoever lost theirs to another fault comes back
            left |= gate.connections
        if count:
            stage.proof(f"{count} connections to node {number} were left half open")
        await stage.over()
    finally:
        gate.reset(of=left.__contains__)
