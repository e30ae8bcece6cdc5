"""A copy of another group's state and log, made by a node that has no replica of it (a move, protocols.md 7).

The copy asks any of the nodes that have one: first for a snapshot, then for the committed entries that
follow, which it applies at once and writes to its own log under the id of the group that it is to become.
When its owner finds the entry that ends the source, it is born there (`Copies.birth`) and is a replica.

Invariants:
- One question is under way at a time; an answer counts only from the node that was asked, and only where
  it fits. Whoever refuses, disconnects or is silent is followed by the next node.
- On disk the order is: COPYING record, snapshot, BASE record, entries, BORN record. What stands between
  the first and the last is nobody's: after a restart the copy begins anew.
- It never gives up by itself. `failed`: an entry could not be applied; it waits to be dropped.

Its own log stays short as a group's does: it takes snapshots of what it has applied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.engine import REGULAR
from holdfast_raft.journal import Journal
from holdfast_raft.machine import Builder, CorruptImage, StateMachine
from holdfast_raft.messages import CopyChunk, CopyEntries, CopyPull, CopyRefused, GroupMessage
from holdfast_raft.replication import LogLimits
from holdfast_raft.snapshot_stream import FileThread, SnapshotTaking, Writing
from holdfast_raft.snapshots import SnapshotStore, SnapshotWriter
from holdfast_raft.wal import RecoveredGroup, Wal

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 1.0
"""Without an answer: the next node is asked."""
PAUSE_SECONDS = 0.1
"""After a refusal, so that nodes that all refuse are not asked as fast as the network carries it."""
PULL_BYTES_MAX = 1024 * 1024
PULL_BYTES_MIN = 4096
PULL_SECONDS = 0.25
"""What is asked for at once is paid for within this time, as far as the bounds allow."""
BURST_SECONDS = 0.05
"""Time of silence that a copy may catch up with above its rate."""
UNSYNCED_LOOK = 4 * 1024 * 1024
"""Bytes of followed entries that are counted as not on disk; beyond it, it is too far behind anyhow."""

Place = tuple[int, int]
"""Index and term."""


class Node(Protocol):
    """What a copy needs of its node; the driver."""

    me: int
    clock: Clock
    store: SnapshotStore
    files: FileThread
    log_limits: LogLimits

    def send(self, peer: int, group: int, term: int, body: GroupMessage, lsn: int, bulk: bool) -> bool: ...
    def is_connected(self, peer: int) -> bool: ...
    def entries_fit(self, size_bytes: int) -> bool: ...
    def call_later(self, delay: float, act: Callable[[], None]) -> None: ...
    def when_durable(self, lsn: int, act: Callable[[], None]) -> None: ...
    def wake_soon(self) -> None: ...


class _Receiving:
    """A snapshot on its way in: into a file and a builder."""

    def __init__(self, first: CopyChunk, writer: SnapshotWriter, builder: Builder, files: FileThread) -> None:
        self.place = (first.index, first.snapshot_term)
        self.crc = first.crc
        self.next_number = 0
        self.builder = builder
        self.writer = writer
        self.writing = Writing(writer, files)

    def expects(self, chunk: CopyChunk) -> bool:
        """Whether it is the next piece of this very snapshot."""
        came = (chunk.index, chunk.snapshot_term), chunk.crc, chunk.number
        return came == (self.place, self.crc, self.next_number)

    def take(self, chunk: CopyChunk, written: Callable[[], None]) -> None:
        """Raises CorruptImage."""
        if self.writing.failed is not None:
            raise CorruptImage(f"the snapshot could not be written: {self.writing.failed}")
        self.builder.feed(chunk.data)
        self.writing.add(chunk.data, written)
        self.next_number += 1


class Copy:
    """See the module docstring. Made by `Driver.start_copy`.

    Attributes:
        index, term: of the last entry applied; 0: there is no state yet.
        commit_index: the source's, as last heard; heard_at: when, on our monotonic clock (-inf: never), from
            a node that follows the source's leader.
        bytes_copied: received so far.
        problem: why it does not get on at the moment; empty: it does.
        failed: it never will; see the module docstring.
        ended: dropped, or born.
    """

    def __init__(
        self,
        group: int,
        source: int,
        machine: StateMachine,
        from_nodes: tuple[int, ...],
        bytes_per_s: int,
        node: Node,
        wal: Wal,
        stands_at: Callable[[int, int], Place],
        applied: Callable[[int, int], None],
    ) -> None:
        """Writes the record that it begins; asks nobody yet."""
        assert bytes_per_s > 0, "a copy needs some rate"
        self.group = group
        self.source = source
        self.machine = machine
        self.from_nodes = tuple(peer for peer in from_nodes if peer != node.me)
        self.index = self.term = 0
        self.commit_index = 0
        self.heard_at = float("-inf")
        self.bytes_copied = 0
        self.problem = ""
        self.failed = self.ended = False
        self.snapshot_crc = 0
        self.journal: Journal | None = None
        self._bytes_per_s = bytes_per_s
        self._node = node
        self._wal = wal
        self._stands_at = stands_at
        self._applied = applied
        self._behind_bytes = 0
        self._turn_of = 0  # whose turn it is among from_nodes
        self._asked: int | None = None  # who has a question of ours
        self._question = 0  # counts them
        self._paid_until = float("-inf")  # when what was received is paid for at bytes_per_s
        self._receiving: _Receiving | None = None
        self._stored = True  # no snapshot is in its last sync
        self._base_is_durable = False
        self._taking: SnapshotTaking | None = None
        self._since_snapshot = 0
        self._standing_index = 0  # of the latest snapshot the log goes by
        self._must_begin = False  # the machine's state is another than the log's: a snapshot must come
        lsn = wal.copying(group, source)
        node.when_durable(lsn, self._clear)
        node.wake_soon()

    def __repr__(self) -> str:
        state = "ended" if self.ended else self.problem or "copying"
        return (
            f"<Copy of group {self.source} as {self.group} at {self.index} of {self.commit_index}: {state}>"
        )

    # ---- facts ---------------------------------------------------------------------------------------

    @property
    def durable_index(self) -> int:
        """Up to where state and log are on disk; 0: nothing is."""
        return self.journal.durable_index if self.journal is not None and self._base_is_durable else 0

    def behind_bytes(self) -> int:
        """About what is missing up to `commit_index`, as the source told at `heard_at`; what is followed and
        not on disk yet is missing too.
        """
        unsynced = 0
        if self.journal is not None and self.journal.has_unsynced:
            first = max(self.journal.durable_index, self.journal.base_index) + 1
            unsynced = sum(
                len(entry[0]) for entry in self.journal.from_index(first, UNSYNCED_LOOK, self.index)
            )
        return self._behind_bytes + unsynced

    # ---- what the driver calls -----------------------------------------------------------------------

    def take(self, sender: int, body: CopyChunk | CopyEntries | CopyRefused) -> None:
        """An answer."""
        if self.ended or self.failed or sender != self._asked:
            return  # of somebody given up
        self._asked = None
        if isinstance(body, CopyRefused):
            self._go_elsewhere(f"node {sender} refuses: {body.why}")
        elif isinstance(body, CopyChunk):
            self._hear(body.commit_index, body.behind_bytes, len(body.data))
            self._take_chunk(sender, body)
        else:
            size = sum(len(data) for _, data in body.entries)
            if body.has_leader or body.entries:
                self._hear(body.commit_index, body.behind_bytes, size)
            self._take_entries(sender, body, size)

    def disconnected(self, peer: int) -> None:
        if self._asked == peer:
            self._asked = None
            self._go_elsewhere(f"node {peer} is gone")

    def synced(self, durable_lsn: int) -> None:
        if self.journal is not None:
            self.journal.synced(durable_lsn)

    def want_snapshot(self) -> None:
        """The WAL asks for one: what this copy has followed keeps its oldest segment alive."""
        busy = self.journal is None or self._taking is not None or self._receiving is not None
        over = self.ended or self.failed or self._must_begin
        if not busy and not over and self.index > self._standing_index:
            self._take_snapshot()

    def turn(self) -> None:
        """One small step of a snapshot being taken."""
        if self._taking is not None:
            self._taking.step()
            if self._taking is not None and self._taking.wants_turn:
                self._node.wake_soon()

    def end(self) -> None:
        """Follows no more; what is being written is given up."""
        self.ended = True
        self._asked = None
        self._abort_receiving()
        self._cancel_taking()

    # ---- asking --------------------------------------------------------------------------------------

    def _clear(self) -> None:
        """The COPYING record is durable: what an earlier copy left may go, then it begins."""
        if not self.ended:
            self._node.files(lambda: self._node.store.remove_group(self.group), self._cleared)

    def _cleared(self, error: BaseException | None) -> None:
        if error is None:
            self._ask()
        else:
            self.problem = f"old files cannot be removed: {error}"
            self._node.call_later(SILENCE_SECONDS, self._clear)

    def _ask(self) -> None:
        """Asks the node whose turn it is for what comes next."""
        if self.ended or self.failed or self._asked is not None or not self._stored:
            return
        peers = [peer for peer in self._in_turn() if self._node.is_connected(peer)]
        receiving = self._receiving
        if receiving is None:
            size = max(PULL_BYTES_MIN, min(PULL_BYTES_MAX, int(self._bytes_per_s * PULL_SECONDS)))
            pull = CopyPull(self.group, *self._place(), 0, 0, size)
        else:
            pull = CopyPull(self.group, *receiving.place, receiving.next_number, receiving.crc, 0)
        if not peers or not self._node.send(peers[0], self.source, 0, pull, 0, False):
            self.problem = "none of the nodes that have the source is connected"
            self._node.call_later(PAUSE_SECONDS, self._ask)
            return
        self._turn_of = self.from_nodes.index(peers[0])
        self._asked = peers[0]
        self._question += 1
        question = self._question
        self._node.call_later(SILENCE_SECONDS, lambda: self._give_up_on(question))
        self._node.wake_soon()

    def _place(self) -> Place:
        """Behind which it can go on."""
        return (0, 0) if self._must_begin else (self.index, self.term)

    def _in_turn(self) -> tuple[int, ...]:
        return (*self.from_nodes[self._turn_of :], *self.from_nodes[: self._turn_of])

    def _give_up_on(self, question: int) -> None:
        if question == self._question and self._asked is not None:
            peer, self._asked = self._asked, None
            self._go_elsewhere(f"node {peer} does not answer")

    def _go_elsewhere(self, why: str) -> None:
        self.problem = why
        self._turn_of = (self._turn_of + 1) % max(1, len(self.from_nodes))
        self._node.call_later(PAUSE_SECONDS, self._ask)

    def _hear(self, commit_index: int, behind_bytes: int, size: int) -> None:
        now = self._node.clock.monotonic()
        self.problem = ""
        self.commit_index = max(self.commit_index, commit_index)
        self.heard_at = now
        self._behind_bytes = behind_bytes
        self.bytes_copied += size
        self._paid_until = max(self._paid_until, now - BURST_SECONDS) + size / self._bytes_per_s

    def _ask_when_paid(self) -> None:
        """Asks for more, no sooner than the rate allows."""
        pause = self._paid_until - self._node.clock.monotonic()
        if pause > 0:
            self._node.call_later(pause, self._ask)
        else:
            self._ask()

    # ---- the snapshot --------------------------------------------------------------------------------

    def _take_chunk(self, sender: int, chunk: CopyChunk) -> None:
        receiving = self._receiving
        if chunk.number == 0 and chunk.index > self.index:
            self._abort_receiving()
            self._cancel_taking()  # it would be of the state that goes
            writer = self._node.store.begin(self.group, chunk.index, chunk.snapshot_term)
            receiving = self._receiving = _Receiving(chunk, writer, self.machine.builder(), self._node.files)
        if receiving is None or not receiving.expects(chunk):
            self._abort_receiving()
            self._go_elsewhere(f"node {sender} sent what does not fit")
            return
        try:
            receiving.take(chunk, (lambda: None) if chunk.last else lambda: self._written(receiving))
            if chunk.last:
                self._store(receiving)
        except CorruptImage as error:
            logger.warning("group %d: copied snapshot of node %d refused: %s", self.group, sender, error)
            self._abort_receiving()
            self._go_elsewhere(f"the snapshot of node {sender} is refused: {error}")

    def _written(self, receiving: _Receiving) -> None:
        if self._receiving is receiving:
            self._ask_when_paid()

    def _store(self, receiving: _Receiving) -> None:
        """All chunks are there: the state takes its place, then the file is made durable."""
        receiving.builder.finish()
        self.machine.install(receiving.builder)
        self._must_begin = True  # until the log stands there too
        place = self._stands_at(*receiving.place)
        assert self.index < place[0] <= receiving.place[0], f"a state of {receiving.place} stands at {place}"
        receiving.writer.stands_at(*place)
        self._stored = False
        receiving.writing.finish(lambda error: self._is_stored(receiving, place, error))

    def _is_stored(self, receiving: _Receiving, place: Place, error: BaseException | None) -> None:
        if self._receiving is not receiving:
            return  # it was given up in its last sync
        self._receiving, self._stored = None, True
        if error is not None:
            logger.error("group %d: copied snapshot could not be stored: %s", self.group, error)
            self._go_elsewhere(f"the snapshot could not be stored: {error}")
            return
        if self.journal is None:
            lsn = self._wal.base(self.group, *place, keep_suffix=False)
            self.journal = Journal(self._wal, RecoveredGroup(self.group, base=place))
        else:
            lsn = self.journal.snapshot_stands(*place)
        self.index, self.term = place
        self._must_begin = False
        self._stands(self.index, lsn, receiving.writer.crc)
        self._applied(*place)
        self._ask_when_paid()

    def _stands(self, index: int, lsn: int, crc: int) -> None:
        """A snapshot is durable, and the log goes by it from `lsn` on: older ones may go then."""
        self.snapshot_crc = crc
        self._since_snapshot = 0
        self._standing_index = index
        self._node.when_durable(lsn, lambda: self._base_stands(index))
        self._node.wake_soon()

    def _base_stands(self, index: int) -> None:
        self._base_is_durable = True
        self._node.files(lambda: self._node.store.remove_older(self.group, index), _logged)

    def _abort_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.writing.abort()
            self._receiving, self._stored = None, True

    # ---- the entries ---------------------------------------------------------------------------------

    def _take_entries(self, sender: int, body: CopyEntries, size: int) -> None:
        place = (body.prev_index, body.prev_term)
        if place != self._place() or (body.entries and place == (0, 0)):
            self._go_elsewhere(f"node {sender} sent what does not fit")
        elif not body.entries and not body.has_leader:
            self._go_elsewhere(f"node {sender} knows of no leader")
        elif body.entries and not self._node.entries_fit(size + 64 * len(body.entries)):
            self.problem = "the disk is full"
            self._node.call_later(SILENCE_SECONDS, self._ask)
        else:
            for term, command in body.entries:
                if not self._follow(term, command):
                    return
            self._since_snapshot += size
            if self._since_snapshot >= self._node.log_limits.snapshot_after_bytes:
                self.want_snapshot()
            self._ask_when_paid()

    def _follow(self, term: int, command: bytes) -> bool:
        """Takes the next entry; whether to go on with the one after it."""
        assert self.journal is not None
        index = self.index + 1
        self.journal.add(command, index, term)
        self.index, self.term = index, term  # before it is applied: that may be the moment of birth
        try:
            if command[:1] == REGULAR:
                self.machine.apply(index, term, command[1:], None)
            if not self.ended:
                self._applied(index, term)
        except Exception as error:
            logger.exception(
                "group %d: entry %d of group %d cannot be applied", self.group, index, self.source
            )
            self.failed = True
            self.problem = f"entry {index} of term {term} cannot be applied: {error}"
            self._cancel_taking()
        return not (self.ended or self.failed)

    # ---- own snapshots -------------------------------------------------------------------------------

    def _take_snapshot(self) -> None:
        writer = self._node.store.begin(self.group, self.index, self.term)
        taking = self._taking = SnapshotTaking(
            self.machine.freeze(), self.index, self.term, writer, self._node.files,
            lambda error: self._taken(taking, writer, error), self._node.wake_soon,
        )  # fmt: skip
        self._node.wake_soon()

    def _taken(self, taking: SnapshotTaking, writer: SnapshotWriter, error: BaseException | None) -> None:
        if self._taking is not taking:
            return  # cancelled in its last sync: the file may stand, it is not what the log goes by
        self._taking = None
        if error is not None:
            logger.error("group %d: snapshot at %d could not be written: %s", self.group, taking.index, error)
            return
        assert self.journal is not None
        lsn = self.journal.snapshot_stands(taking.index, taking.term)
        self.journal.forget_below(taking.index)
        self._stands(taking.index, lsn, writer.crc)

    def _cancel_taking(self) -> None:
        if self._taking is not None:
            taking, self._taking = self._taking, None
            taking.cancel()


def _logged(error: BaseException | None) -> None:
    if error is not None:
        logger.error("old snapshots of a copy could not be removed: %s", error)
