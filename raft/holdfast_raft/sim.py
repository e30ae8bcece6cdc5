"""A seeded world for whole nodes in one process: time, network, disk, loop.

Everything a driver touches outside its own code is here, under one virtual clock and random numbers from
one seed, so that the same seed gives the same run. Nodes run the real driver, groups and WAL.

- `sim_world`: time moves only from event to event; a node may be paused, as by SIGSTOP, or gone in the
  middle of an event; a WAL or file job takes a random time, by thread, and its `done` is an event.
- `sim_network`: connections that are slow, break, stall, come back.
- `sim_disk`: what was synced stays; power loss draws lots for the rest.

Not modelled yet: clocks that drift.
"""

from __future__ import annotations

from holdfast_raft.sim_disk import SimDisk, SimOpenFile
from holdfast_raft.sim_network import SimNetwork, SimTransport
from holdfast_raft.sim_world import (
    QUICK,
    MachineGone,
    SimClock,
    SimRunner,
    Span,
    World,
    usual_seconds,
)

__all__ = [
    "QUICK",
    "MachineGone",
    "SimClock",
    "SimDisk",
    "SimNetwork",
    "SimOpenFile",
    "SimRunner",
    "SimTransport",
    "Span",
    "World",
    "usual_seconds",
]
