"""What a group asks of the state machine it replicates.

Invariants the owner keeps:
- `apply` is total and deterministic: same entries in the same order, same state and results on every
  replica. It never raises for what an entry says; the one exception is `UnknownEntry`, which stops the
  replica because skipping an entry would let replicas differ.
- Everything runs on the node's loop thread; nothing here blocks or awaits.
- An image is frozen at one index: later applies do not change what its chunks say.
- restore(image(s)) behaves like s under every further entry.

After hashicorp/raft's FSM and raft-on-pysyncobj.md D16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class UnknownEntry(Exception):
    """The entry's kind or version is not known to this program: stop, a newer one is needed."""


class CorruptImage(Exception):
    """A snapshot's chunks do not add up; nothing was installed."""


class Image(Protocol):
    """A frozen state on its way into a snapshot."""

    def chunks(self) -> Iterator[bytes]:
        """Yields the state in pieces of at most about 256 KiB (one oversized value may exceed it).

        Each step costs at most a few ms: the caller takes one a turn.
        """
        ...

    def release(self) -> None:
        """Ends the freeze, also when not all chunks were taken. Idempotent."""
        ...


class Builder(Protocol):
    """A state being restored beside the present one."""

    def feed(self, chunk: bytes) -> None:
        """Takes the next chunk. Raises CorruptImage."""
        ...

    def finish(self) -> None:
        """Says that there are no more. Raises CorruptImage when something is missing."""
        ...


class StateMachine(Protocol):
    """The state that a group replicates."""

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        """Applies one entry and returns its result, which the proposer receives.

        `context` is what this replica's proposer attached (a decoded form of `data`), None elsewhere:
        it may save work, it must not change the outcome.
        """
        ...

    def freeze(self) -> Image:
        """Begins an image of the present state. Cheap; at most one image is alive at a time."""
        ...

    def builder(self) -> Builder:
        """Begins a restore beside the present state."""
        ...

    def install(self, builder: Builder) -> None:
        """Puts a finished builder's state in place of the present one. O(1)."""
        ...

    def role_changed(self, leading: bool) -> None:
        """Told when this replica begins to lead with everything of earlier terms applied, or stops."""
        ...

    def received(self, sender: int, data: bytes) -> None:
        """A payload another replica's owner sent with `Group.tell` (touch samples)."""
        ...

    def turn(self) -> None:
        """Once a turn of the driver, before entries are appended: time to propose what is waiting."""
        ...

    def close(self) -> None:
        """The replica has stopped for good."""
        ...
