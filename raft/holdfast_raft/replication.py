"""Carries a group's log to its followers, as entries or as a snapshot, and keeps it short.

Leader: one pass over the followers a turn, each fed as its Progress allows. Follower: takes a snapshot.
Both: write a snapshot of their own state when the log has grown, then let the WAL go of what it covers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.guard import snapshot_is_obsolete
from holdfast_raft.machine import CorruptImage
from holdfast_raft.messages import Append, GroupMessage, SnapshotChunk, SnapshotReply
from holdfast_raft.progress import Phase, Progress
from holdfast_raft.snapshot_stream import FileThread, SnapshotReceiving, SnapshotSending, SnapshotTaking
from holdfast_raft.snapshots import SnapshotDamaged, SnapshotInfo, SnapshotStore
from holdfast_raft.wal import Born

if TYPE_CHECKING:
    from holdfast_raft.group import Group

logger = logging.getLogger(__name__)

APPEND_BYTES_MAX = 1024 * 1024
APPEND_ENTRIES_MAX = 256
BULK_BYTES_MIN = 64 * 1024
"""Appends of this size and more take the bulk lane, so that they do not delay heartbeats."""
BULK_QUEUED_MAX = 16 * 1024 * 1024
"""Of all groups together, on the bulk lane to one peer; its transport gives the connection up at 64 MiB."""
SNAPSHOT_REST = 4
"""How many times as long as a step of a snapshot took its node does other things: nobody waits for one, and
clients wait for the loop, so it gets a fifth of it.
"""
COMMIT_DELAY = 0.002
"""Seconds after which followers hear of a commit index that no append has carried to them."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """When a group's log is cut short, and in which pieces it travels.

    Attributes:
        snapshot_after_bytes: applied bytes since the last snapshot that make a new one due.
        trailing_bytes: entries kept in memory behind a snapshot for followers that are a little late.
        append_entries: the most that one append carries.
        bulk_bytes: appends of this size and more take the bulk lane.
        copied_bytes: entries kept in memory for those who copy this group's state at the moment.
    """

    snapshot_after_bytes: int = 64 * 1024 * 1024
    trailing_bytes: int = 8 * 1024 * 1024
    append_entries: int = APPEND_ENTRIES_MAX
    bulk_bytes: int = BULK_BYTES_MIN
    copied_bytes: int = 256 * 1024 * 1024


class Node(Protocol):
    """What replication needs of its node; the driver."""

    clock: Clock
    store: SnapshotStore
    files: FileThread
    log_limits: LogLimits

    def send(self, peer: int, group: int, term: int, body: GroupMessage, lsn: int, bulk: bool) -> bool: ...
    def is_connected(self, peer: int) -> bool: ...
    def queued_bytes(self, peer: int) -> int: ...
    def mark(self, group: Group) -> None: ...
    def call_later(self, delay: float, act: Callable[[], None]) -> None: ...
    def when_durable(self, lsn: int, act: Callable[[], None]) -> None: ...


class _Standing(NamedTuple):
    """The latest durable snapshot of this replica."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    term: int


class Replication:
    """See the module docstring."""

    def __init__(self, group: Group, node: Node) -> None:
        self._group = group
        self._node = node
        self._sending: dict[int, SnapshotSending] = {}
        self._receiving: SnapshotReceiving | None = None
        self._taking: SnapshotTaking | None = None
        self._resting_until = float("-inf")
        self._standing = _Standing(
            group.journal.base_index, group.journal.term_at(group.journal.base_index) or 0
        )
        self._applied_bytes = 0
        self._commit_due = False
        self._snapshot_wanted = False
        self._standing_damaged = self.own_snapshot() is None  # it must be taken (anew), at whatever index
        self._keep_after = float("inf")

    @property
    def snapshot_index(self) -> int:
        """Where the latest durable snapshot stands (the log's start, if there is none yet)."""
        return self._standing.index

    def own_snapshot(self) -> SnapshotInfo | None:
        """The latest snapshot of this group's state; one that the replica was copied from is another's.

        Raises SnapshotDamaged, OSError.
        """
        info = self._node.store.latest(self._group.id)
        return None if info is None or is_sources(info, self._group.born) else info

    # ---- leader: feeding followers -----------------------------------------------------------------

    def send(self) -> None:
        """Sends every follower what it may have now."""
        leadership = self._group.leadership
        if leadership is None:
            return
        for peer, progress in leadership.followers.items():
            if self._node.is_connected(peer):
                self._feed(peer, progress)

    def _feed(self, peer: int, progress: Progress) -> None:
        journal = self._group.journal
        if progress.phase is Phase.SNAPSHOT:
            self._feed_snapshot(peer, progress)
            return
        while progress.may_send() and (progress.next <= journal.last_index or progress.phase is Phase.PROBE):
            if progress.next <= journal.base_index:
                self._start_snapshot(peer, progress)
                return
            if self._node.queued_bytes(peer) > BULK_QUEUED_MAX:
                return  # `tick` comes back to it
            if not self._send_append(peer, progress):
                return

    def _send_append(self, peer: int, progress: Progress) -> bool:
        group, journal = self._group, self._group.journal
        first = progress.next
        limits = self._node.log_limits
        entries = journal.from_index(first, APPEND_BYTES_MAX, limits.append_entries)
        size = sum(len(entry[0]) for entry in entries)
        last = first + len(entries) - 1
        bulk = size >= limits.bulk_bytes or progress.match < progress.bulk_until
        body = Append(
            first - 1,
            journal.term_at(first - 1) or 0,
            group.commit_index,
            tuple((entry[2], entry[0]) for entry in entries),
        )
        if not self._node.send(peer, group.id, group.term, body, 0, bulk):
            return False
        if bulk:
            progress.bulk_until = max(progress.bulk_until, last)
        progress.sent(last, size)
        progress.commit_sent = group.commit_index
        return True

    def commit_rose(self) -> None:
        """The commit index rose: followers hear of it by the next append, or soon by itself."""
        if not self._commit_due:
            self._commit_due = True
            self._node.call_later(COMMIT_DELAY, self.tell_commit_to_all)

    def tell_commit_to_all(self) -> None:
        """Tells the followers the commit index now, unless an append has already."""
        self._commit_due = False
        leadership = self._group.leadership
        if leadership is not None:
            for peer in leadership.followers:
                self.tell_commit(peer)

    def tell_commit(self, peer: int) -> None:
        """Tells a follower the commit index now, unless an append has already."""
        group = self._group
        progress = group.leadership.followers.get(peer) if group.leadership is not None else None
        if progress is None or progress.phase is not Phase.REPLICATE or progress.match < progress.bulk_until:
            return
        if progress.commit_sent >= group.commit_index or progress.next <= group.journal.base_index:
            return
        previous = progress.next - 1
        body = Append(previous, group.journal.term_at(previous) or 0, group.commit_index, ())
        if self._node.send(peer, group.id, group.term, body, 0, False):
            progress.commit_sent = group.commit_index

    def tick(self) -> None:
        """Every heartbeat, while leading: a probe whose answer never came is sent again."""
        leadership = self._group.leadership
        if leadership is None:
            return
        for peer, progress in leadership.followers.items():
            if progress.stalled():
                self._stop_sending(peer)
                progress.restart()
                self._node.mark(self._group)
            elif progress.next <= self._group.journal.last_index and progress.may_send():
                self._node.mark(self._group)

    def reconnected(self, peer: int) -> None:
        """The connection to a follower stands anew: nothing sent before is on its way."""
        self._stop_sending(peer)
        leadership = self._group.leadership
        if leadership is not None:
            leadership.followers[peer].reconnected()

    def disconnected(self, peer: int) -> None:
        self._stop_sending(peer)
        if self._receiving is not None and self._receiving.leader == peer and not self._receiving.finishing:
            self._abort_receiving()

    def stopped_leading(self) -> None:
        for peer in list(self._sending):
            self._stop_sending(peer)

    # ---- leader: sending a snapshot -------------------------------------------------------------------

    def _start_snapshot(self, peer: int, progress: Progress) -> None:
        group = self._group
        info = self.own_snapshot()
        if info is None or info.index < group.journal.base_index:
            self._snapshot_wanted = True  # none that reaches the log: take one, then it goes on
            return
        try:
            sending = SnapshotSending(self._node.store.open(info), info)
        except (SnapshotDamaged, OSError):
            logger.exception("group %d: the snapshot cannot be sent; taking a new one", group.id)
            self._standing_damaged = self._snapshot_wanted = True
            progress.back_off()
            return
        progress.needs_snapshot()
        self._stop_sending(peer)
        self._sending[peer] = sending
        self._feed_snapshot(peer, progress)

    def _feed_snapshot(self, peer: int, progress: Progress) -> None:
        sending = self._sending.get(peer)
        if sending is None:
            progress.reconnected()
            self._node.mark(self._group)
            return
        group = self._group
        try:
            chunk = sending.next_chunk(group.commit_index)
        except (SnapshotDamaged, OSError):
            logger.exception("group %d: the snapshot is damaged; taking a new one", group.id)
            self._stop_sending(peer)
            self._standing_damaged = self._snapshot_wanted = True
            progress.back_off()
            return
        if chunk is not None and self._node.send(peer, group.id, group.term, chunk, 0, True):
            self._node.mark(group)  # one chunk a turn

    def take_snapshot_reply(self, peer: int, reply: SnapshotReply) -> None:
        """A follower's answer to a chunk."""
        leadership = self._group.leadership
        sending = self._sending.get(peer)
        if leadership is None:
            return
        progress = leadership.followers[peer]
        if reply.installed:
            # Whichever leader's snapshot it was: it is committed and durable there, so this log has it too.
            self._stop_sending(peer)
            progress.snapshot_installed(reply.index)
            return
        if sending is None or reply.index != sending.info.index:
            return
        progress.heard_snapshot()
        if not sending.replied(reply):
            self._stop_sending(peer)
            progress.back_off()

    def _stop_sending(self, peer: int) -> None:
        sending = self._sending.pop(peer, None)
        if sending is not None:
            sending.close()

    # ---- follower: receiving a snapshot ---------------------------------------------------------------

    def take_chunk(self, leader: int, chunk: SnapshotChunk) -> None:
        """A leader's chunk, in a term that is ours."""
        group = self._group
        if snapshot_is_obsolete(group.journal, group.commit_index, chunk.index, chunk.snapshot_term):
            # D6: what it says is here already; the leader may go on behind it.
            self._reply(
                leader, SnapshotReply(chunk.index, chunk.number, True, False), group.journal.appended_lsn
            )
            return
        receiving = self._receiving
        if chunk.number == 0 and (receiving is None or not receiving.finishing):
            self._abort_receiving()
            receiving = self._receiving = SnapshotReceiving(
                leader, chunk, self._node.store, group.id, group.machine.builder(), self._node.files
            )
        if receiving is None or not receiving.belongs(leader, chunk):
            if receiving is None or not receiving.finishing:
                self._abort_receiving()
                self._reply(leader, SnapshotReply(chunk.index, chunk.number, False, True), 0)
            return
        try:
            receiving.take(
                chunk, lambda: self._reply(leader, SnapshotReply(chunk.index, chunk.number, False, False), 0)
            )
            if chunk.last:
                receiving.finish(lambda error: self._received(receiving, chunk, error))
        except CorruptImage as error:
            # D7: a snapshot that does not add up is never installed and never reported as one.
            logger.warning("group %d: snapshot from node %d refused: %s", group.id, leader, error)
            receiving.finishing = False
            self._abort_receiving()
            self._reply(leader, SnapshotReply(chunk.index, chunk.number, False, True), 0)
            return

    def _received(
        self, receiving: SnapshotReceiving, last: SnapshotChunk, error: BaseException | None
    ) -> None:
        """The file of a complete snapshot is durable, or could not be made so."""
        group = self._group
        if self._receiving is not receiving or group.stopped:
            return
        self._receiving = None
        obsolete = snapshot_is_obsolete(group.journal, group.commit_index, last.index, last.snapshot_term)
        if error is not None:
            logger.error("group %d: snapshot could not be stored: %s", group.id, error)
            self._reply(receiving.leader, SnapshotReply(last.index, last.number, False, True), 0)
            return
        if not obsolete:
            self._cancel_taking()
            group.machine.install(receiving.builder)
            lsn = group.engine.install(last.index, last.snapshot_term)
            self._standing = _Standing(last.index, last.snapshot_term)
            self._applied_bytes = 0
            group.installed(last.index)
        else:
            lsn = group.journal.appended_lsn
        # The leader may be another one by now, whose chunks were not taken meanwhile.
        for leader in {receiving.leader, group.leader or receiving.leader}:
            self._reply(leader, SnapshotReply(last.index, last.number, True, False), lsn)
        self._remove_older_after(lsn)

    def _abort_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.abort()
            self._receiving = None

    def _reply(self, leader: int, body: SnapshotReply, lsn: int) -> None:
        self._node.send(leader, self._group.id, self._group.term, body, lsn, False)

    # ---- both: own snapshots ---------------------------------------------------------------------------

    def applied(self, size_bytes: int) -> None:
        """Entries of that many bytes were applied."""
        self._applied_bytes += size_bytes

    def want_snapshot(self) -> None:
        """The WAL asks: this group's entries pin its oldest segment. One that is being taken will do."""
        if self._taking is None:
            self._snapshot_wanted = True
            self._node.mark(self._group)

    def replace_snapshot(self) -> None:
        """The latest one cannot be read: takes another, at whatever index."""
        self._standing_damaged = True
        self.want_snapshot()

    def keep_entries_after(self, index: int | None) -> None:
        """Somebody copies this group and needs what follows; None: nobody does."""
        self._keep_after = float("inf") if index is None else index

    def step(self) -> None:
        """One small step of a snapshot being taken; begins one when it is due."""
        if self._taking is not None:
            self._step_taking(self._taking)
        elif self._snapshot_wanted or self._applied_bytes >= self._node.log_limits.snapshot_after_bytes:
            self._take_snapshot()

    def _step_taking(self, taking: SnapshotTaking) -> None:
        began = self._node.clock.monotonic()
        if began < self._resting_until:
            return
        taking.step()
        if self._taking is not taking or not taking.wants_turn:
            return
        ended = self._node.clock.monotonic()
        rest = (ended - began) * SNAPSHOT_REST
        self._resting_until = ended + rest
        if rest:
            self._node.call_later(rest, lambda: self._node.mark(self._group))
        else:
            self._node.mark(self._group)

    def _take_snapshot(self) -> None:
        group = self._group
        index = group.applied_index
        term = group.journal.term_at(index)
        if (
            term is None
            or index < self._standing.index + (not self._standing_damaged)
            or self._receiving is not None
        ):
            self._snapshot_wanted = False
            return
        self._snapshot_wanted = False
        self._applied_bytes = 0
        writer = self._node.store.begin(group.id, index, term)
        taking = self._taking = SnapshotTaking(
            group.machine.freeze(),
            index,
            term,
            writer,
            self._node.files,
            lambda error: self._taken(taking, error),
            lambda: self._node.mark(group),
        )
        self._node.mark(group)

    def _taken(self, taking: SnapshotTaking, error: BaseException | None) -> None:
        group = self._group
        if self._taking is not taking or group.stopped:
            return  # cancelled in its last sync: the file may stand, it is not what the log goes by
        self._taking = None
        if error is not None:
            logger.error("group %d: snapshot at %d could not be written: %s", group.id, taking.index, error)
            return
        self._standing = _Standing(taking.index, taking.term)
        self._standing_damaged = False
        lsn = group.journal.snapshot_stands(taking.index, taking.term)
        self._forget_trailing()
        self._remove_older_after(lsn)
        self._node.mark(group)

    def _forget_trailing(self) -> None:
        """Keeps the entries behind the snapshot that late followers may still need, up to a bound."""
        journal = self._group.journal
        keep, size = self._standing.index, 0
        while keep > journal.base_index:
            size += len(journal[keep - journal.base_index][0])
            limits = self._node.log_limits
            if size > (limits.copied_bytes if keep > self._keep_after else limits.trailing_bytes):
                break
            keep -= 1
        journal.forget_below(keep)

    def _remove_older_after(self, lsn: int) -> None:
        """Older snapshots go only when the Base record that replaces them is durable."""
        group, store, index = self._group, self._node.store, self._standing.index
        self._node.when_durable(
            lsn, lambda: self._node.files(lambda: store.remove_older(group.id, index), _logged)
        )

    def _cancel_taking(self) -> None:
        if self._taking is not None:
            taking, self._taking = self._taking, None
            taking.cancel()

    def close(self) -> None:
        """The replica stops: nothing stays open."""
        self.stopped_leading()
        self._abort_receiving()
        self._cancel_taking()


def is_sources(info: SnapshotInfo, born: Born) -> bool:
    """Whether a replica's snapshot is still the one of the group that it was a copy of."""
    return info.index < born.base_index or (born.snapshot_crc != 0 and info.crc == born.snapshot_crc)


def _logged(error: BaseException | None) -> None:
    if error is not None:
        logger.error("old snapshots could not be removed: %s", error)
