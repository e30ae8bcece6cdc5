"""A source's state, followed under a target's id until its Seal comes.

Not here: how entries and snapshots get here (holdfast_raft.copying), what becomes of it (hosting.py).
"""

from __future__ import annotations

from holdfast_raft.machine import Builder, Image, UnknownEntry

from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.hosted import HostedState
from holdfast_node.restore import Restore


class Following:
    """See the module docstring. A holdfast_raft.machine.StateMachine."""

    def __init__(self, state: HostedState) -> None:
        """state: an empty one of the source's kind."""
        self.state = state

    def stands_at(self, index: int, term: int) -> tuple[int, int]:
        """Where a state that came as a snapshot of (index, term) stands: a sealed one changes no more."""
        sealed = self.state.sealed
        return (index, term) if sealed is None else (sealed.index, sealed.term)

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:  # noqa: ARG002 - the contract's
        try:
            return self.state.apply_entry(data, (index, term))
        except UnknownEntryError as problem:
            raise UnknownEntry(str(problem)) from problem

    def freeze(self) -> Image:
        return self.state.freeze()

    def builder(self) -> Builder:
        return Restore(self.state.builder())

    def install(self, builder: Builder) -> None:
        assert isinstance(builder, Restore), "install takes what builder() gave"
        self.state = self.state.restored(builder.inner)

    def role_changed(self, leading: bool) -> None: ...
    def received(self, sender: int, data: bytes) -> None: ...
    def turn(self) -> None: ...
    def close(self) -> None: ...
