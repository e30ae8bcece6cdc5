"""Carries plans out, on whichever node leads the placement group.

Gathers what nodes report, asks reshape.py what to do, and does it: entries into the placement group, orders
to nodes. It keeps nothing that the next leader would need: facts are asked for again, orders are said again.

Invariants:
- It acts only while its replica leads the placement group with everything of earlier terms applied, and
  only on what is applied there: behind the group's Seal it does nothing any more.
- A replica is retired only when neither the map nor an open plan names its group, and the group's id was
  given out before.
- What an older leader orders late is harmless: ids are never given twice, so what nothing needs once, nothing
  ever needs again, also behind a Seal (docs/decisions/0006-reshape.md); news are told apart by their epoch.
- Silence counts from the moment this leader began to listen; what was heard a moment before, still counts.

Callback style on the node's loop thread: no asyncio, so the simulator runs the same code.
Not here: which plans are good (planner.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from holdfast.keys import KeyRange
from holdfast.shardmap import ShardMap
from holdfast_raft.clock import Clock
from holdfast_raft.errors import RaftError

from holdfast_node import talk
from holdfast_node.cache.seal import Target
from holdfast_node.placement import reshape
from holdfast_node.placement.cluster import Refusal
from holdfast_node.placement.commands import CancelPlan, Command, JoinNode, StartPlan
from holdfast_node.placement.loads import Loads, NodeLoad, ShardLoad
from holdfast_node.placement.plan import Kind, Phase, Plan
from holdfast_node.placement.planner import propose
from holdfast_node.placement.replica import PlacementReplica
from holdfast_node.placement.reshape import CopyFacts, Facts, ReplicaFacts
from holdfast_node.talk import MapNews, NamespaceNews, NodeNews, Order, Report

logger = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between looks while a plan is open; a report that changes something is looked at at once."""
IDLE_TICK = 0.5
ORDER_AGAIN = 0.2
"""Seconds after which an order that shows no effect is said again."""
MERGE_SEALED_MAX = 2.0
"""Seconds that the clients of a merge's sealed source wait for the other before it is taken back."""
NEWS_AGAIN = 1.0
POLICIES_EVERY = 1.0
POLICIES_SHARE = 20
"""Of a thousand shards a round takes most of a second: policies get a twentieth of the loop at most."""
SILENT_AFTER = 2.0
"""Seconds without a report after which a node counts as down: four reports missed."""


class Heard(NamedTuple):
    """A node's last report. at: monotonic seconds."""

    report: Report
    at: float


class Conductor:
    """See the module docstring."""

    def __init__(
        self,
        replica: PlacementReplica,
        clock: Clock,
        *,
        call_later: Callable[[float, Callable[[], None]], None],
        tell: Callable[[int, talk.Word], None],
        heard: Mapping[int, Heard] = MappingProxyType({}),
    ) -> None:
        """Does nothing yet.

        Args:
            replica: of the placement group, here.
            clock: monotonic seconds and wall time.
            call_later: the driver's timer.
            tell: says a word to a node, this one included.
            heard: what the conductor of the group that this one goes on from had heard.
        """
        self.replica = replica
        self._clock = clock
        self._call_later = call_later
        self._tell = tell
        self.heard = dict(heard)
        self._has_stopped = False
        self.led_since: float | None = None
        self.progress: dict[int, str] = {}
        """What each open plan waits for, for a person."""
        self._ordered: dict[tuple[int, type[Order], Order], float] = {}
        self._news_told: dict[int, tuple[int, float]] = {}
        self._advancing: set[int] = set()
        self._merge_sealed_since: dict[int, float] = {}
        self._introducing: set[int] = set()
        self._known_since: dict[int, float] = {}
        self._policies_at = 0.0
        self._starting = 0

    def start(self) -> None:
        """Begins to look."""
        self._again()

    def stop(self) -> None:
        """Looks no more: its replica is gone, or another goes on."""
        self._has_stopped = True

    # ---- what comes in ---------------------------------------------------------------------------------

    def take_report(self, node: int, report: Report) -> None:
        """A node's report; a change in it is looked at at once."""
        before = self.heard.get(node)
        self.heard[node] = Heard(report, self._clock.monotonic())
        if self.leads and (before is None or _shape(before.report) != _shape(report)):
            self.look()

    @property
    def leads(self) -> bool:
        """Whether this node's word counts."""
        return not self._has_stopped and self.replica.leads

    def _again(self) -> None:
        if self._has_stopped:
            return
        plans_open = self.leads and bool(self.replica.state.plans)
        # First: a defect ends one look, not all of them.
        self._call_later(TICK if plans_open else IDLE_TICK, self._again)
        self.look()

    # ---- a look ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Does what is to be done now."""
        now = self._clock.monotonic()
        if not self.leads:
            self.led_since = None
            self._ordered.clear()
            self._advancing.clear()
            self._introducing.clear()
            self._merge_sealed_since.clear()
            self.progress.clear()
            return
        if self.led_since is None:
            self.led_since = now
        state = self.replica.state
        self.heard = {node: heard for node, heard in self.heard.items() if node in state.nodes}
        facts = self.facts(now)
        for plan in list(state.plans.values()):
            if plan.is_open:
                self._carry_out(plan, facts, now)
        for node, order in [*self._leftovers(), *self._missing()]:
            self._order(node, order, now)
        self._introduce()
        self._spread_news(now)
        self._ordered = {key: at for key, at in self._ordered.items() if now - at < 10 * ORDER_AGAIN}
        if now >= self._policies_at:
            self._plan_ahead(now)
            took = self._clock.monotonic() - now
            self._policies_at = now + max(POLICIES_EVERY, POLICIES_SHARE * took)

    def _carry_out(self, plan: Plan, facts: Facts, now: float) -> None:
        following = reshape.advance(plan, facts)
        self.progress[plan.id] = following.progress
        for step in following.steps:
            if isinstance(step, reshape.Advance):
                self._advance(plan, step.phase)
                return
            self._order(step.node, self._as_order(plan, step), now)
        self._mind_the_wait(plan, facts, now)

    def _advance(self, plan: Plan, phase: Phase, why: str = "") -> None:
        if plan.id in self._advancing:
            return
        self._advancing.add(plan.id)
        logger.info("plan %d: %s -> %s", plan.id, plan.phase.name, phase.name)

        def done(result: object) -> None:
            self._advancing.discard(plan.id)
            if isinstance(result, RaftError):  # perhaps answered in this very call: the next look tries again
                return
            if phase in (Phase.DONE, Phase.CANCELLED):
                self.progress.pop(plan.id, None)
                self._merge_sealed_since.pop(plan.id, None)
            if self.leads:
                self.look()

        self.replica.advance(plan, phase, self._clock.wall_ms(), why, done)

    def _mind_the_wait(self, plan: Plan, facts: Facts, now: float) -> None:
        """A merge whose second source cannot be sealed gives the first one's clients back."""
        if plan.kind is not Kind.MERGE or plan.phase is not Phase.SEAL:
            return
        first = plan.sources[0]
        if not any(
            known.sealed == plan.id for (group, _), known in facts.replicas.items() if group == first.group
        ):
            return
        since = self._merge_sealed_since.setdefault(plan.id, now)
        if now - since > MERGE_SEALED_MAX:
            self._advance(plan, Phase.CANCELLING, "the second source could not be sealed in time")

    def _as_order(self, plan: Plan, step: reshape.Step) -> Order:
        if isinstance(step, reshape.AskSeal):
            targets = _led_from(plan, step.node)
            return talk.SealOrder(plan.id, step.group, step.decides, targets, step.others)
        if isinstance(step, reshape.AskAbort):
            return talk.AbortOrder(plan.id, step.group)
        if isinstance(step, reshape.AskUnseal):
            return talk.UnsealOrder(plan.id, step.group)
        if isinstance(step, reshape.AskCopy):
            state = self.replica.state
            return talk.CopyOrder(
                plan.id, plan.namespace, step.target, step.source, step.from_nodes,
                state.planning.copy_bytes_per_s, state.hashed_by(plan.namespace),
            )  # fmt: skip
        assert isinstance(step, reshape.AskSnapshot), f"{step} is no order"
        return talk.SnapshotOrder(step.group)

    def _order(self, node: int, order: Order, now: float) -> None:
        """Says an order, unless it was said a moment ago."""
        key = node, type(order), order  # orders of two kinds may be equal as tuples
        if now - self._ordered.get(key, float("-inf")) >= ORDER_AGAIN:
            self._ordered[key] = now
            self._tell(node, order)

    def _introduce(self) -> None:
        """Nodes that were there from the beginning say who they are by their first report."""
        for number, heard in self.heard.items():
            node = self.replica.state.nodes.get(number)
            if node is None or node.incarnation or number in self._introducing:
                continue
            self._introducing.add(number)
            command = JoinNode(node.address, heard.report.incarnation, number, node.http, node.zone)
            self.replica.propose(command, partial(self._introduced, number))

    def _introduced(self, node: int, result: object) -> None:
        """What was refused is not asked again by this leader, or it would fill the log with refusals."""
        if isinstance(result, RaftError):
            self._introducing.discard(node)

    # ---- policies --------------------------------------------------------------------------------------

    def _plan_ahead(self, now: float) -> None:
        """Does what the policies wish, unless their last wishes are still on their way into the log."""
        if self._starting:
            return
        when_ms, loads = self._clock.wall_ms(), self.loads()
        proposals = propose(self.replica.state, loads, when_ms)
        commands: list[Command] = [CancelPlan(plan, why, when_ms) for plan, why in proposals.cancels]
        for wish in proposals.wishes:
            if wish.shape is not None:
                commands.append(StartPlan(wish.shape, wish.why, when_ms))
                continue
            leader = loads.shards[wish.transfer_group].leader
            self._order(leader, talk.TransferOrder(wish.transfer_group, wish.transfer_to), now)
        for command in commands:
            self._starting += 1
            self.replica.propose(command, self._started)

    def _started(self, result: object) -> None:
        self._starting -= 1
        if isinstance(result, Refusal):
            logger.info("a policy's wish was refused: %s", result.message)
        if self.leads and not isinstance(result, RaftError):
            self.look()

    # ---- what is known ---------------------------------------------------------------------------------

    def facts(self, now: float) -> Facts:
        """All reports, as reshape.py wants them."""
        replicas: dict[tuple[int, int], ReplicaFacts] = {}
        copies: dict[tuple[int, int], CopyFacts] = {}
        for node, heard in self.heard.items():
            ago = int((now - heard.at) * 1000)
            for r in heard.report.replicas:
                replicas[r.group, node] = ReplicaFacts(
                    r.leads, r.applied, r.sealed, r.seal_index, r.seal_term, r.floor, r.stands,
                    r.staleness_ms, ago,
                )  # fmt: skip
            for c in heard.report.copies:
                copies[c.target, node] = CopyFacts(c.durable, c.behind_bytes, ago, c.problem, c.begun)
        return Facts(replicas, copies, self.replica.state.superseded())

    def _leftovers(self) -> Iterator[tuple[int, Order]]:
        """Replicas and copies that nothing needs: of done plans, of nodes that were away."""
        state = self.replica.state
        needed = {shard.group for shard in state.shards.values()} | {state.placement.group}
        copied: set[int] = set()
        for plan in state.plans.values():
            needed.update(source.group for source in plan.sources)
            needed.update(target.group for target in plan.targets)
            copied.update(target.group for target in plan.targets)
        for node, heard in self.heard.items():
            for replica in heard.report.replicas:
                if replica.group not in needed and replica.group < state.next_group:
                    yield node, talk.RetireOrder(replica.group)
            for copy in heard.report.copies:
                if copy.target not in copied and copy.target < state.next_group:
                    yield node, talk.DropCopyOrder(copy.target)

    def _missing(self) -> Iterator[tuple[int, Order]]:
        """Replicas of shards that began empty, on nodes that have not made them yet.

        A node that lost its replicas is another node (identity.py), so whoever reports without the replica
        never had it.
        """
        held = {node: {r.group for r in heard.report.replicas} for node, heard in self.heard.items()}
        for row in self.replica.state.shards.values():
            if row.plan:
                continue
            for node in row.replicas:
                if node in held and row.group not in held[node]:
                    target = Target(row.group, row.start, row.end, row.replicas)
                    units = self.replica.state.hashed_by(row.namespace)
                    yield node, talk.CreateOrder(row.namespace, target, units)

    def loads(self) -> Loads:
        """All reports, as the planners want them."""
        now, state = self._clock.monotonic(), self.replica.state
        shards: dict[int, ShardLoad] = {}
        held: dict[int, int] = {}
        for node, heard in self._by_age():
            for r in heard.report.replicas:
                if r.leads and r.group == state.placement.group:
                    shards[r.group] = ShardLoad(node, has_quorum=r.has_quorum)
                elif r.leads and r.group in state.shards:
                    row = state.shards[r.group]
                    units = state.namespaces[row.namespace].units
                    keys = KeyRange(row.start, row.end)
                    shards[r.group] = ShardLoad(
                        node, r.keys, r.size_bytes, r.operations_per_s,
                        (r.middle and units.align(r.middle, keys)) or b"",
                        (r.middle_by_load and units.align(r.middle_by_load, keys)) or b"",
                        (r.hot_key and units.key_at(r.hot_key)) or None, r.has_quorum,
                    )  # fmt: skip
        for group, row in state.shards.items():
            for node in row.replicas:
                held[node] = held.get(node, 0) + (shards[group].bytes if group in shards else 0)
        nodes = {
            number: NodeLoad(
                int((now - heard.at) * 1000),
                self._down_ms(number, now),
                heard.report.busy_percent,
                held.get(number, 0),
                heard.report.disk_full,
            )
            for number, heard in self.heard.items()
        }
        for number in state.members():
            if number not in nodes:
                nodes[number] = NodeLoad(0, self._down_ms(number, now), 0, held.get(number, 0))
        return Loads(nodes, shards)

    def _by_age(self) -> list[tuple[int, Heard]]:
        """The nodes' reports, the freshest last: what it says of who leads holds."""
        return sorted(self.heard.items(), key=lambda item: item[1].at)

    def _down_ms(self, node: int, now: float) -> int | None:
        """How long a node has been silent for longer than a report may take; None: not known yet."""
        if self.led_since is None:
            return None
        heard = self.heard.get(node)
        if heard is not None and now - heard.at <= SILENT_AFTER:
            return 0
        known_since = self._known_since.setdefault(node, now)
        silent = now - max(self.led_since, heard.at if heard is not None else known_since)
        return int(silent * 1000) if silent > SILENT_AFTER else None

    # ---- the map ---------------------------------------------------------------------------------------

    def news(self) -> MapNews:
        """What every node should know."""
        state = self.replica.state
        nodes = tuple(
            NodeNews(node.id, node.address, node.http, node.zone) for node in state.members().values()
        )
        spaces = tuple(
            NamespaceNews(space.name, space.budget_bytes, int(space.eviction), space.strict_ttl)
            for space in state.namespaces.values()
        )
        placement = state.placement
        return MapNews(self.map(), nodes, placement.replicas, spaces, placement.group)

    def map(self) -> ShardMap:
        """The map with the leaders that reports name."""
        leaders = {
            replica.group: node
            for node, heard in self._by_age()
            for replica in heard.report.replicas
            if replica.leads
        }
        shards = self.replica.state.shard_map()
        return ShardMap(
            shards.epoch, (shard._replace(leader=leaders.get(shard.group, 0)) for shard in shards.shards)
        )

    def _spread_news(self, now: float) -> None:
        """To nodes that go by an older map: at once, and again after a while.

        Also to those that are silent: they may go by news of long ago, and report where the placement
        group was before it moved, once or several times.
        """
        state, since = self.replica.state, self.led_since
        assert since is not None, "it leads"
        news: MapNews | None = None
        for node in state.members():
            heard = self.heard.get(node)
            is_behind = heard is not None and heard.report.epoch < state.epoch
            if not (is_behind or now - max(since, heard.at if heard is not None else since) > NEWS_AGAIN):
                continue
            epoch, at = self._news_told.get(node, (0, 0.0))
            if epoch == state.epoch and now - at < NEWS_AGAIN:
                continue
            self._news_told[node] = (state.epoch, now)
            news = news or self.news()
            self._tell(node, news)


def _led_from(plan: Plan, leader: int) -> tuple[Target, ...]:
    """The plan's targets, each with the source's leader first: it has everything and is warm."""
    return tuple(
        target._replace(replicas=(leader, *(n for n in target.replicas if n != leader)))
        if leader in target.replicas
        else target
        for target in plan.targets
    )


def _shape(report: Report) -> tuple[object, ...]:
    """What of a report may change what is to be done; figures alone do not."""
    return (
        report.epoch,
        tuple((r.group, r.leads, r.sealed, r.floor, r.stands) for r in report.replicas),
        tuple((c.target, c.durable, c.problem, c.begun) for c in report.copies),
    )
