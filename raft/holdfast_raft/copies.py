"""A node's part in copying groups: the copies it makes, and those it feeds.

Knows which copies there are and how one begins, ends or is born; `copying` is one of them, `copy_serving`
answers others'. The driver hands in messages, syncs and turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast_raft import copy_serving, copying
from holdfast_raft.copy_serving import CopyServing
from holdfast_raft.copying import Copy, Place
from holdfast_raft.group import Group
from holdfast_raft.machine import StateMachine
from holdfast_raft.messages import Addressed, CopyChunk, CopyEntries, CopyPull, CopyRefused
from holdfast_raft.replicas import GroupIdUsedError, Replicas
from holdfast_raft.wal import Born, Wal

CopyMessage = CopyPull | CopyChunk | CopyEntries | CopyRefused


class Node(copying.Node, copy_serving.Node, Protocol):
    """What copies need of their node; the driver."""


class Copies:
    """See the module docstring. table: the copies under way, by the group each is to become."""

    def __init__(self, node: Node, wal: Wal, replicas: Replicas) -> None:
        self.table: dict[int, Copy] = {}
        self._node = node
        self._wal = wal
        self._replicas = replicas
        self._serving = CopyServing(replicas.groups, node)

    def start(
        self,
        group: int,
        source: int,
        machine: StateMachine,
        from_nodes: tuple[int, ...],
        bytes_per_s: int,
        stands_at: Callable[[int, int], Place] | None,
        applied: Callable[[int, int], None] | None,
    ) -> Copy:
        facts = self._wal.facts(group)
        if facts is not None and facts.copying is None:
            raise GroupIdUsedError(f"group {group} was here before")
        assert group not in self.table, f"a copy as group {group} is under way"
        copy = self.table[group] = Copy(
            group,
            source,
            machine,
            from_nodes,
            bytes_per_s,
            self._node,
            self._wal,
            stands_at or (lambda index, term: (index, term)),
            applied or (lambda _index, _term: None),
        )
        return copy

    def drop(self, group: int) -> None:
        """Ends a copy, also one that an earlier process left. Raises ValueError for what is no copy."""
        if self._replicas.is_retired(group):
            return
        facts = self._wal.facts(group)
        if facts is None or facts.copying is None:
            raise ValueError(f"there is no copy as group {group}")
        copy = self.table.pop(group, None)
        if copy is not None:
            copy.end()
            copy.machine.close()
        self._replicas.retire(group)

    def left(self) -> dict[int, int]:
        """Copies that an earlier process left, with their sources: to be started anew, or dropped."""
        return {
            group: facts.copying
            for group, facts in self._wal.groups()
            if facts.copying is not None and group not in self.table
        }

    def birth(
        self, group: int, members: tuple[int, ...], machine: StateMachine | None, about: bytes
    ) -> Group:
        copy = self.table[group]
        assert copy.journal is not None, "a copy is born with a state"
        assert self._node.me in members, f"node {self._node.me} is no member of group {group}"
        born = Born(group, members, copy.index, copy.term, copy.snapshot_crc, about)
        lsn = self._wal.born(born)
        del self.table[group]
        copy.end()
        copy.journal.be_born(born.first_term, born.first_vote)
        return self._replicas.begin(born, copy.journal, machine or copy.machine, lsn)

    # ---- what the driver calls -----------------------------------------------------------------------

    def take(self, peer: int, message: Addressed, body: CopyMessage) -> None:
        if isinstance(body, CopyPull):
            self._serving.take(peer, message.group, body)
            return
        copy = self.table.get(body.copy)
        if copy is not None and copy.source == message.group:
            copy.take(peer, body)

    def turn(self) -> None:
        self._serving.turn()
        for copy in list(self.table.values()):
            copy.turn()

    def synced(self, durable_lsn: int) -> None:
        for copy in self.table.values():
            copy.synced(durable_lsn)

    def sweep(self) -> None:
        self._serving.sweep()

    def disconnected(self, peer: int) -> None:
        self._serving.disconnected(peer)
        for copy in list(self.table.values()):
            copy.disconnected(peer)

    def close(self) -> None:
        self._serving.close()
        for copy in self.table.values():
            copy.end()
