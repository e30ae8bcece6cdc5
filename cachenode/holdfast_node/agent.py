"""A node's side of placement: tells what it holds, does what it is ordered.

Reports go to every replica of the placement group: whoever leads it next knows already. Orders are
idempotent and checked against what is here; one that does not fit is left undone, and the next report
shows why.

Invariant: nothing here decides; an order that would lose something is refused by who owns the fact (the
shard's log judges Seals, hosting.py keeps what is needed).

Callback style on the node's loop thread: no asyncio, so the simulator runs the same code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from holdfast_raft.clock import Clock
from holdfast_raft.driver import Driver

from holdfast_node import talk
from holdfast_node.cache.seal import Abort, Seal, Unseal, Verdict
from holdfast_node.hosted import Hosted
from holdfast_node.hosting import Hosting
from holdfast_node.shard import Shard
from holdfast_node.talk import CopyReport, MapNews, Order, ReplicaReport, Report

logger = logging.getLogger(__name__)

REPORT_EVERY = 0.5
REPORT_SOON = 0.002
"""Seconds after a change: several that come together make one report."""
REPORT_REST = 10
"""How many times as long as a report took nothing is reported: of a thousand replicas it takes some 20 ms."""
PROVEN_SOON = 0.06
"""Seconds after which a new leader has a majority's answer to its first heartbeat, or is in trouble."""
PROPOSAL_WITHIN = 2.0
HEARD_WITHIN = 1.0
STALENESS_MS_MAX = 24 * 3600 * 1000
"""What is older is only old; the field of the report is bounded."""


class Figures(Protocol):
    """What the node knows of its load."""

    def busy_percent(self) -> int: ...
    def shard_load(self, shard: Shard) -> dict[str, Any]:
        """operations_per_s, middle, middle_by_load, hot_key of a shard that is led here."""
        ...


class Agent:
    """See the module docstring. Made once the driver and the hosting stand; `start` begins to report."""

    def __init__(
        self,
        node: int,
        incarnation: int,
        driver: Driver,
        hosting: Hosting,
        clock: Clock,
        *,
        figures: Figures,
        placement: Callable[[], Iterable[int]],
        epoch: Callable[[], int],
        take_news: Callable[[MapNews], None],
    ) -> None:
        """Says nothing yet.

        Args:
            node: this node, which was made with `incarnation`.
            incarnation: see node.
            driver: its driver.
            hosting: its replicas.
            clock: monotonic seconds.
            figures: the node's load.
            placement: nodes with a replica of the placement group, as far as known.
            epoch: of the map that is known here.
            take_news: told of a map.
        """
        self._node = node
        self._incarnation = incarnation
        self._driver = driver
        self._hosting = hosting
        self._clock = clock
        self._figures = figures
        self._placement = placement
        self._epoch = epoch
        self._take_news = take_news
        self._soon = False
        self._rest = 0.0
        self._proposing: set[tuple[int, type[Order]]] = set()
        self.take_report: Callable[[int, Report], None] | None = None
        """Where reports go that reach this node, also its own: the conductor, if it has one."""

    def start(self) -> None:
        """Begins to report and to listen."""
        self._driver.on_told = self._told
        self._driver.on_leadership = self._leadership_changed
        self._again()

    # ---- reports ---------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something that a report tells has changed: it is told soon."""
        if not self._soon:
            self._soon = True
            self._driver.call_later(max(REPORT_SOON, self._rest), self._report_change)

    def _leadership_changed(self, leads: bool) -> None:
        """A replica here began to lead, or does no more."""
        self.changed()
        if leads:  # it has no proof of a majority yet, without which nobody makes plans for it
            self._driver.call_later(PROVEN_SOON, self.changed)

    def _report_change(self) -> None:
        self._soon = False
        self._report()

    def _again(self) -> None:
        self._driver.call_later(REPORT_EVERY, self._again)  # first: a defect must not end all reports
        self._report()

    def _report(self) -> None:
        began = self._clock.monotonic()
        self._tell(self._made())
        self._rest = REPORT_REST * (self._clock.monotonic() - began)

    def _tell(self, report: Report) -> None:
        words: bytes | None = None
        for node in self._placement():
            if node == self._node:
                if self.take_report is not None:
                    self.take_report(node, report)
                continue
            words = talk.write(report) if words is None else words
            self._driver.tell(node, words)

    def _made(self) -> Report:
        return Report(
            self._incarnation,
            self._epoch(),
            tuple(map(self._replica, self._hosting.replicas.values())),
            tuple(self._copies()),
            self._figures.busy_percent(),
            self._driver.disk_is_full(),
        )

    def _replica(self, replica: Hosted) -> ReplicaReport:
        group, state = replica.group, replica.state
        sealed = state.sealed
        age_ms = group.staleness_ms()
        leads = group.is_leader
        report = ReplicaReport(
            group=replica.entry.group,
            leads=leads,
            applied=group.applied_index,
            sealed=sealed.plan if sealed is not None else 0,
            seal_index=sealed.index if sealed is not None else 0,
            seal_term=sealed.term if sealed is not None else 0,
            floor=state.floor,
            stands=self._hosting.stands(replica.entry.group),
            staleness_ms=-1 if age_ms is None else min(age_ms, STALENESS_MS_MAX),
            has_quorum=group.has_quorum(),
        )
        if not leads or not isinstance(replica, Shard):
            return report
        held = replica.state
        return report._replace(
            keys=held.key_count, size_bytes=held.byte_count, **self._figures.shard_load(replica)
        )

    def _copies(self) -> Iterable[CopyReport]:
        now = self._clock.monotonic()
        for group, copy in self._hosting.copies.items():
            # What the source's commit index was long ago says nothing of how far behind this is.
            fresh = now - copy.heard_at <= HEARD_WITHIN
            durable = fresh and copy.durable_index > 0
            yield CopyReport(group, durable, copy.behind_bytes(), copy.bytes_copied, copy.problem)
        for group in self._driver.unfinished_copies():
            if group not in self._hosting.copies:
                yield CopyReport(group, begun=False)

    # ---- what others say -------------------------------------------------------------------------------

    def _told(self, sender: int, data: bytes) -> None:
        try:
            word = talk.read(data)
        except talk.Unreadable as problem:
            logger.warning("node %d: %s", sender, problem)
            return
        if isinstance(word, Report):
            if self.take_report is not None:
                self.take_report(sender, word)
        elif isinstance(word, MapNews):
            self._take_news(word)
        else:
            self.obey(word)

    def obey(self, order: Order) -> None:
        """Does what the placement leader asks, as far as it fits what is here."""
        hosting = self._hosting
        if isinstance(order, talk.SealOrder | talk.AbortOrder | talk.UnsealOrder):
            self._propose(order)
        elif isinstance(order, talk.CopyOrder):
            hosting.copy(order)
        elif isinstance(order, talk.SnapshotOrder):
            hosting.snapshot(order.group)
        elif isinstance(order, talk.RetireOrder):
            why_not = hosting.retire(order.group)
            if why_not:
                logger.info("group %d is not retired: %s", order.group, why_not)
        elif isinstance(order, talk.DropCopyOrder):
            hosting.drop_copy(order.group)
        elif isinstance(order, talk.TransferOrder):
            self._transfer(order)
        else:
            hosting.create_empty(order)

    def _propose(self, order: talk.SealOrder | talk.AbortOrder | talk.UnsealOrder) -> None:
        replica = self._hosting.replicas.get(order.group)
        name = order.group, type(order)
        if replica is None or not replica.is_leader or name in self._proposing:
            return
        if replica.state.floor >= order.plan:
            return
        if isinstance(order, talk.SealOrder):
            if replica.state.sealed is not None:
                return
            verdict: Verdict = Seal(order.plan, order.decides, order.targets, order.others)
        elif isinstance(order, talk.AbortOrder):
            verdict = Abort(order.plan)
        else:
            verdict = Unseal(order.plan)

        def done(_: object) -> None:
            self._proposing.discard(name)
            self.changed()

        self._proposing.add(name)
        replica.propose_verdict(verdict, self._clock.monotonic() + PROPOSAL_WITHIN, done)

    def _transfer(self, order: talk.TransferOrder) -> None:
        group = self._driver.groups.get(order.group)
        if group is not None and group.is_leader:
            group.transfer(order.to_node, self._clock.monotonic() + PROPOSAL_WITHIN, lambda _: self.changed())
