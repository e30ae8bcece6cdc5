"""One replica of the placement group: PlacementState as a state machine that holdfast_raft replicates.

Invariants: the state changes only by applied commands; who leads proposes the cluster's first map while
there is none; once its Seal is applied it leads no more, whoever the group's leader is.
Not here: what commands do (state.py), what is done about plans (conductor.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.clock import Clock
from holdfast_raft.errors import RaftError, Superseded
from holdfast_raft.machine import Builder, Image, UnknownEntry
from holdfast_raft.proposals import Applied, ProposalDone

from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.cache.seal import Unseal, Verdict
from holdfast_node.placement import commands
from holdfast_node.placement.cluster import Refusal
from holdfast_node.placement.commands import Bootstrap, Command
from holdfast_node.placement.plan import Phase, Plan
from holdfast_node.placement.state import PlacementState
from holdfast_node.restore import Restore

logger = logging.getLogger(__name__)

PROPOSAL_WITHIN = 2.0

Done = Callable[[Any], None]
"""Called once with the result, or a RaftError."""


class Group(Protocol):
    """What it needs of holdfast_raft.group.Group."""

    @property
    def is_leader(self) -> bool: ...
    @property
    def leader(self) -> int | None: ...
    @property
    def applied_index(self) -> int: ...
    def has_quorum(self) -> bool: ...
    def staleness_ms(self) -> int | None: ...
    def propose(
        self, data: bytes, context: object, deadline: float, done: Callable[[Applied | RaftError], None]
    ) -> None: ...
    def barrier(self, deadline: float, done: Callable[[int | RaftError], None]) -> None: ...


class PlacementReplica:
    """See the module docstring. A holdfast_raft.machine.StateMachine."""

    def __init__(
        self,
        entry: MapEntry,
        bootstrap: Bootstrap | None,
        clock: Clock,
        *,
        state: PlacementState | None = None,
        sealing: Callable[[PlacementReplica], None] = lambda _: None,
    ) -> None:
        """Makes a replica without a group; `bind` names it.

        Args:
            entry: its group and nodes, as a map would have them.
            bootstrap: what to propose while there is no map; None: another node does.
            clock: monotonic seconds.
            state: what it begins with, of the group it came from; None: nothing.
            sealing: told when a Seal was applied, or found in a snapshot.
        """
        self.entry = entry
        self.state = state or PlacementState()
        self._bootstrap = bootstrap
        self._bootstrapping = False
        self._clock = clock
        self._sealing = sealing
        self._told_sealed = False

    def __repr__(self) -> str:
        return f"<PlacementReplica {self.entry.group}: {self.state!r}>"

    def bind(self, group: Group, driver: object) -> None:  # noqa: ARG002 - a shard needs it
        """Names the group once it exists, in the same synchronous call that made it."""
        self.group = group
        self._look_at_seal()

    @property
    def is_leader(self) -> bool:
        return self.group.is_leader

    @property
    def leads(self) -> bool:
        """Whether this replica leads, with a map, and its group is the placement group still."""
        return self.group.is_leader and self.state.epoch > 0 and self.state.sealed is None

    def barrier(self, within_s: float, done: Done) -> None:
        """done(index) once a majority has confirmed since that this replica leads, done(RaftError) if not."""
        self.group.barrier(self._clock.monotonic() + within_s, done)

    def propose(self, command: Command, done: Done) -> None:
        """Proposes a command; see Done."""

        def outcome(what: Applied | RaftError) -> None:
            done(what if isinstance(what, RaftError) else what.result)

        deadline = self._clock.monotonic() + PROPOSAL_WITHIN
        self.group.propose(commands.encode(command), None, deadline, outcome)

    def propose_verdict(self, verdict: Verdict, deadline: float, done: ProposalDone) -> None:
        """Proposes to end the group for a plan, or to forbid one; see holdfast_raft.group.Group.propose."""
        if isinstance(verdict, Unseal):  # of merges only
            done(Superseded("the placement group is never merged"))
            return
        self.group.propose(commands.encode(verdict), None, deadline, done)

    def advance(self, plan: Plan, phase: Phase, when_ms: int, why: str, done: Done) -> None:
        """A plan enters a phase."""
        self.propose(commands.Advance(plan.id, plan.phase, phase, when_ms, why), done)

    # ---- StateMachine ----------------------------------------------------------------------------------

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:  # noqa: ARG002 - the contract's
        try:
            result = self.state.apply_entry(data, (index, term))
        except UnknownEntryError as problem:
            raise UnknownEntry(str(problem)) from problem
        self._look_at_seal()
        return result

    def _look_at_seal(self) -> None:
        if self.state.sealed is not None and not self._told_sealed:
            self._told_sealed = True
            self._sealing(self)

    def freeze(self) -> Image:
        return self.state.freeze()

    def builder(self) -> Builder:
        return Restore(self.state.builder())

    def install(self, builder: Builder) -> None:
        assert isinstance(builder, Restore), "install takes what builder() gave"
        self.state = PlacementState.restored(builder.inner)
        self._look_at_seal()

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
