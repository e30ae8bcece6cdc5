"""One replica of the placement group: PlacementState as a state machine that holdfast_raft replicates.

Invariant: the state changes only by applied commands; who leads proposes the cluster's first map while
there is none.
Not here: what commands do (state.py), what is done about plans (conductor.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.errors import RaftError
from holdfast_raft.machine import Builder, CorruptImage, Image, UnknownEntry
from holdfast_raft.proposals import Applied

from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.placement import commands
from holdfast_node.placement.cluster import Refusal
from holdfast_node.placement.commands import Bootstrap, Command
from holdfast_node.placement.image import Builder as StateBuilder
from holdfast_node.placement.plan import Phase, Plan
from holdfast_node.placement.state import PlacementState

logger = logging.getLogger(__name__)

PROPOSAL_WITHIN = 2.0

Done = Callable[[Any], None]
"""Called once with the command's result, or a RaftError."""


class Group(Protocol):
    """What it needs of holdfast_raft.group.Group."""

    @property
    def is_leader(self) -> bool: ...
    @property
    def leader(self) -> int | None: ...
    def propose(
        self, data: bytes, context: object, deadline: float, done: Callable[[Applied | RaftError], None]
    ) -> None: ...


class PlacementReplica:
    """See the module docstring. A holdfast_raft.machine.StateMachine."""

    def __init__(self, bootstrap: Bootstrap | None) -> None:
        """bootstrap: what to propose while there is no map; None: another node does."""
        self.state = PlacementState()
        self._bootstrap = bootstrap
        self._bootstrapping = False

    def bind(self, group: Group, clock: Clock) -> None:
        """Names the group once it exists, in the same synchronous call that made it."""
        self.group = group
        self._clock = clock

    @property
    def leads(self) -> bool:
        """Whether this replica leads, with a map."""
        return self.group.is_leader and self.state.epoch > 0

    def propose(self, command: Command, done: Done) -> None:
        """Proposes a command; see Done."""

        def outcome(what: Applied | RaftError) -> None:
            done(what if isinstance(what, RaftError) else what.result)

        deadline = self._clock.monotonic() + PROPOSAL_WITHIN
        self.group.propose(commands.encode(command), None, deadline, outcome)

    def advance(self, plan: Plan, phase: Phase, when_ms: int, why: str, done: Done) -> None:
        """A plan enters a phase."""
        self.propose(commands.Advance(plan.id, plan.phase, phase, when_ms, why), done)

    # ---- StateMachine ----------------------------------------------------------------------------------

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:  # noqa: ARG002 - the contract's
        try:
            return self.state.apply_entry(data)
        except UnknownEntryError as problem:
            raise UnknownEntry(str(problem)) from problem

    def freeze(self) -> Image:
        return self.state.freeze()

    def builder(self) -> Builder:
        return _Restore()

    def install(self, builder: Builder) -> None:
        assert isinstance(builder, _Restore), "install takes what builder() gave"
        self.state = PlacementState.restored(builder.inner)

    def role_changed(self, leading: bool) -> None:  # noqa: ARG002 - the contract's
        self._bootstrapping = False

    def received(self, sender: int, data: bytes) -> None: ...

    def turn(self) -> None:
        if self.state.epoch or self._bootstrapping or self._bootstrap is None or not self.group.is_leader:
            return
        self._bootstrapping = True
        self.propose(self._bootstrap, self._bootstrapped)

    def _bootstrapped(self, result: object) -> None:
        """A first map that is refused would be refused again: it is not proposed once more by this leader."""
        if isinstance(result, Refusal):
            logger.error("the cluster's first map is refused: %s", result.message)
        else:
            self._bootstrapping = False

    def close(self) -> None: ...


class _Restore:
    """A state being restored, in raft's words. holdfast_raft.machine.Builder."""

    def __init__(self) -> None:
        self.inner = StateBuilder()

    def feed(self, chunk: bytes) -> None:
        try:
            self.inner.feed(chunk)
        except ValueError as problem:
            raise CorruptImage(str(problem)) from problem

    def finish(self) -> None:
        try:
            self.inner.finish()
        except ValueError as problem:
            raise CorruptImage(str(problem)) from problem
