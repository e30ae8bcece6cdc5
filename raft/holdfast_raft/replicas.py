"""One node's replicas: how they come to be, are opened again, and end.

Invariants:
- A replica exists only by its Born record; nothing is said for it before that is durable.
- A group's id is used once here: what was born, copied or retired is never created again.
- A retired group's files go after its tombstone is durable, and whoever still speaks to it is told that
  it is gone.

Does not know why replicas come and go: that is the owner's plan. Source: protocols.md 6, 7.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from holdfast_raft import group as group_module
from holdfast_raft import replication
from holdfast_raft.engine import REGULAR
from holdfast_raft.group import Group
from holdfast_raft.journal import Journal
from holdfast_raft.machine import CorruptImage, StateMachine
from holdfast_raft.messages import Addressed, Confirm, ConfirmReply, Gone, GroupMessage, Here
from holdfast_raft.replication import Replication, is_sources
from holdfast_raft.snapshots import SnapshotInfo
from holdfast_raft.wal import Born, RecoveredGroup, Wal

logger = logging.getLogger(__name__)

GONE_EVERY = 1.0
"""Seconds between two answers to one peer about one retired group."""


class GroupIdUsedError(ValueError):
    """The group was here before; its id is never used again."""


class Node(group_module.Surroundings, replication.Node, Protocol):
    """What replicas need of their node; the driver."""

    def wake_soon(self) -> None: ...
    def send(self, peer: int, group: int, term: int, body: GroupMessage, lsn: int, bulk: bool) -> bool: ...
    def is_connected(self, peer: int) -> bool: ...
    def mark(self, group: Group) -> None: ...


class Replicas:
    """See the module docstring. groups: those that are open, by id."""

    def __init__(self, node: Node, wal: Wal) -> None:
        self.groups: dict[int, Group] = {}
        self._node = node
        self._wal = wal
        self._tombstone_lsns: dict[int, int] = {}  # of groups that this process retired
        self._told_gone: dict[tuple[int, int], float] = {}  # (peer, group) -> when
        self._replayed: set[int] = set()  # their machines stand at the base of their birth already
        self._is_tidy = False

    # ---- coming to be --------------------------------------------------------------------------------

    def known(self) -> list[int]:
        """Groups born here and not retired, open or not."""
        return sorted(
            group for group, facts in self._wal.groups() if facts.born is not None and not facts.retired
        )

    def create(
        self,
        group: int,
        members: tuple[int, ...],
        machine: StateMachine,
        base: tuple[int, int],
        about: bytes,
    ) -> Group:
        self.check_unused(group)
        born = Born(group, members, *base, snapshot_crc=0, about=about)
        lsn = self._wal.born(born)
        journal = Journal(self._wal, RecoveredGroup(group, born, born.first_term, born.first_vote, base))
        return self.begin(born, journal, machine, lsn)

    def check_unused(self, group: int) -> None:
        """Raises GroupIdUsedError if there is any trace of the group."""
        if self._wal.facts(group) is not None:
            raise GroupIdUsedError(f"group {group} was here before")

    def begin(self, born: Born, journal: Journal, machine: StateMachine, lsn: int) -> Group:
        """A replica that was born just now, by the record `lsn`; `machine` stands at its base."""
        journal.hard_state_lsn = journal.appended_lsn = lsn  # nothing is said before it is born
        opened = self._add(born, journal, machine, born.base_index)
        if born.goes_on:  # whoever was born earlier waits for it
            for peer in opened.others():
                self._node.send(peer, opened.id, opened.term, Here(), lsn, False)
            if born.first_vote == self._node.me:
                opened.lead_when_durable(lsn)
        return opened

    def _add(self, born: Born, journal: Journal, machine: StateMachine, stands_at: int) -> Group:
        node = self._node
        opened = Group(born, journal, machine, node, lambda owner: Replication(owner, node), stands_at)
        self.groups[opened.id] = opened
        node.mark(opened)
        return opened

    # ---- opening -------------------------------------------------------------------------------------

    def open(self, group: int, machine: StateMachine, committed: int) -> Group:
        found = self._wal.recovered[group]
        born = found.born
        assert born is not None, f"group {group} has no Born record"
        assert group not in self.groups, f"group {group} is open"
        assert not self.is_retired(group), f"group {group} is retired"
        info = self._node.store.latest(group)
        stands_at = found.base[0]
        if group in self._replayed:
            self._replayed.discard(group)
            stands_at = born.base_index
        elif info is not None:
            self._restore(info, machine)
            self._align(found, info.index, info.term)
            stands_at = info.index
        elif found.base != (born.base_index, born.base_term) or born.snapshot_crc:
            raise CorruptImage(f"the snapshot of group {group} at index {found.base[0]} is missing")
        journal = Journal(self._wal, found)
        found.entries = []  # the journal's now: what was recovered must not live twice
        opened = self._add(born, journal, machine, stands_at)
        # That it was born proves what it was born from: it stood there once, so a majority had it.
        opened.engine.know_committed(max(committed, born.base_index))
        return opened

    def replay(self, group: int, machine: StateMachine) -> bool:
        found = self._wal.recovered[group]
        born, info = found.born, self._node.store.latest(group)
        assert born is not None, f"group {group} has no Born record"
        if info is None or not is_sources(info, born):
            return False
        self._restore(info, machine)
        self._align(found, info.index, info.term)
        for command, index, term in found.entries:
            if index > born.base_index:
                break
            if command[:1] == REGULAR:
                machine.apply(index, term, command[1:], None)
        self._replayed.add(group)
        return True

    def _restore(self, info: SnapshotInfo, machine: StateMachine) -> None:
        reader = self._node.store.open(info)
        builder = machine.builder()
        try:
            for chunk in reader.chunks():
                builder.feed(chunk)
        finally:
            reader.close()
        builder.finish()
        machine.install(builder)

    def _align(self, found: RecoveredGroup, index: int, term: int) -> None:
        """D4: the log continues the snapshot if it holds its (index, term), else it starts there."""
        base_index, _ = found.base
        if index < base_index:
            raise CorruptImage(
                f"group {found.group}: the log begins at {base_index}, the latest snapshot stands at {index}"
            )
        if index == base_index:
            return
        held = {entry[1]: entry[2] for entry in found.entries}
        keeps = held.get(index) == term
        self._wal.base(found.group, index, term, keep_suffix=keeps)
        found.entries = [entry for entry in found.entries if entry[1] > index] if keeps else []
        found.base = (index, term)

    # ---- speaking for all ----------------------------------------------------------------------------

    def confirm(self, peer: int, message: Confirm) -> tuple[ConfirmReply, int]:
        """The answer to a peer's barrier round, and the LSN that it stands on."""
        confirmed: list[int] = []
        others: list[tuple[int, int]] = []
        lsn = 0
        for number, term in message.groups:
            group = self.groups.get(number)
            if group is not None and peer in group.others() and group.confirms(term):
                confirmed.append(number)
                lsn = max(lsn, group.journal.hard_state_lsn)
            else:
                others.append((number, 0 if group is None else group.term))
        return ConfirmReply(message.nonce, tuple(confirmed), tuple(others)), lsn

    # ---- ending --------------------------------------------------------------------------------------

    def is_retired(self, group: int) -> bool:
        facts = self._wal.facts(group)
        return facts is not None and facts.retired

    def retire(self, group: int) -> None:
        """Ends the replica for ever; again: nothing. Raises ValueError if it was never here."""
        if self.is_retired(group):
            return
        lsn = self._tombstone_lsns[group] = self._wal.retire(group)
        found = self._wal.recovered.get(group)
        if found is not None:
            found.entries = []
        opened = self.groups.pop(group, None)
        if opened is not None:
            opened.stop("retired")
        self._node.when_durable(lsn, lambda: self._remove_files(group))
        self._node.wake_soon()

    def tell_gone(self, peer: int, message: Addressed) -> None:
        """A peer speaks to a group that is not open here: if it is retired, the peer is told."""
        if isinstance(message.body, Gone) or not self.is_retired(message.group):
            return
        now = self._node.clock.monotonic()
        key = (peer, message.group)
        if now < self._told_gone.get(key, float("-inf")) + GONE_EVERY:
            return
        self._told_gone[key] = now
        lsn = self._tombstone_lsns.get(message.group, 0)
        self._node.send(peer, message.group, 0, Gone(), lsn, False)

    def tidy(self) -> None:
        """Removes, once, what an earlier process left of retired groups."""
        if not self._is_tidy:
            self._is_tidy = True
            for group in self._node.store.groups():
                if self.is_retired(group) and group not in self._tombstone_lsns:
                    self._remove_files(group)

    def _remove_files(self, group: int) -> None:
        # Behind whatever this replica had asked of the file thread.
        self._node.files(lambda: self._node.store.remove_group(group), _logged(group))


def _logged(group: int) -> Callable[[BaseException | None], None]:
    def ended(error: BaseException | None) -> None:
        if error is not None:
            logger.error("group %d: snapshots of the ended replica could not be removed: %s", group, error)

    return ended
