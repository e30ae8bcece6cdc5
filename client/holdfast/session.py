"""A session: identity, sequences, token, and every operation from first attempt to final outcome.

Invariants: an operation is encoded once and every attempt sends those bytes under the same (session,
sequence). `answered_below` never passes a write whose outcome the caller has not been told. An outcome
is *refused* only if every attempt was; one attempt in doubt makes it *unknown*. A forked process has no part
in it. Every call ends by its deadline: one timer sweeps, operations carry none.

A shard may split, merge or move under an operation: the group that ended says who goes on, and the same
bytes go there within the same turn of the loop.

Does not know what the operations mean (`client.py`) nor how frames travel (`stream.py`).
Source: design protocols, sections 1 and 4.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final

from holdfast import forks, retry, wire
from holdfast.channels import Channels, describe
from holdfast.clocks import GroupClocks
from holdfast.errors import HoldfastError, Reason, error
from holdfast.links import Links
from holdfast.router import Router
from holdfast.shardmap import Shard, ShardMap
from holdfast.stream import SESSION, WRITE, AskedElsewhere, Call, NodeStream, connection_lost
from holdfast.token import BadTokenError, Token
from holdfast.types import Level, Outcome, Served
from holdfast.waiting import WaitingRoom

SWEEP_S_MIN: Final = 0.01  # deadlines are kept to this
DIAL_S: Final = 0.25  # between looks for replicas without a stream
STAGGER_S: Final = 0.25  # between endpoints when connecting
GET_MAP_S: Final = 1.0
DISCOVER_S: Final = 0.05  # between questions for a map that holds the groups that answer
LINEARIZABLE: Final = int(Level.LINEARIZABLE)

# A leader that says this may have been cut off or deposed: another replica may lead by now.
_NO_LONGER_LEADS: Final = frozenset(
    {Reason.NO_QUORUM, Reason.LEADERSHIP_LOST, Reason.STOPPED, Reason.DISK_FULL}
)


class Session:
    """One client's conversation with a cluster. Make it on the loop it will live on."""

    def __init__(self, name: str = "", token: Token | None = None) -> None:
        forks.use()
        self.birth = forks.Birth()
        self.id = os.urandom(16)
        self.token = token or Token()
        self.token_full = False  # see token.py: SESSION reads are then read LINEARIZABLE
        self.router = Router(int.from_bytes(self.id[:4]))
        self.channels = Channels()
        self.closed = False
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._writes: dict[int, Call] = {}
        self._reads: dict[int, Call] = {}
        self._clocks = GroupClocks()
        self._tasks: set[asyncio.Task[None]] = set()
        self.links = Links(self.router, self.channels, self.spawn, self._make_stream)
        self._waiting = WaitingRoom(self._loop, self._route_all)
        self._budget = retry.RetryBudget()
        self._random = random.Random(self.id)
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = float("inf")
        self._dial_at = 0.0
        self._discover_at = 0.0
        self._refreshing = False
        self._not_after = (0, b"")
        self._first = self._loop.create_future()  # the first Welcome
        self._trouble = ""  # the last connection failure, for messages

    # ---- life ----

    async def connect(self, endpoints: Sequence[str], timeout_s: float) -> None:
        """Returns once a node has welcomed us. Raises HoldfastError (refused) when none does in time."""
        self.links.endpoints = endpoints
        deadline = self._loop.time() + timeout_s
        at = 0
        while not self._first.done():
            left = deadline - self._loop.time()
            if left <= 0:
                where = ", ".join(endpoints)
                why = f": {self._trouble}" if self._trouble else ""
                raise error(Reason.DEADLINE, f"no node of {where} answered within {timeout_s:g} s{why}")
            self.links.open(endpoints[at % len(endpoints)])
            at += 1
            await asyncio.wait([self._first], timeout=min(left, STAGGER_S))
        self._first.result()

    def check_serves(self) -> None:
        """Raises HoldfastError (refused) where no call can be made."""
        if self.closed:
            raise error(Reason.STOPPED, "the client is closed")
        self.birth.check()

    async def close(self) -> None:
        """Ends all streams. Calls under way end as refused, or unknown when they were sent."""
        self.closed = True
        if self.birth.is_inherited:
            return  # it is all the parent's, and goes on
        if self._sweep is not None:
            self._sweep.cancel()
        self.links.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for call in [*self._writes.values(), *self._reads.values()]:
            self._finish(call, error(Reason.STOPPED, "the client was closed"))
        await self.channels.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` until it ends or the session closes."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- submitting ----

    def submit(
        self,
        namespace: str,
        where: bytes,
        key: bytes,
        kind: bytes,
        level: int,
        timeout_s: float,
        *,
        is_place: bool = False,
    ) -> Call:
        """Starts an operation; await the result. `where`: the key it is routed by, at each attempt by its
        place in the map of then; or (is_place) the place itself.
        """
        if self.closed or self.birth.at != forks.count:
            self.check_serves()
        now = self._loop.time()
        if self.token_full and level == SESSION:
            level, kind = Level.LINEARIZABLE, wire.as_linearizable(kind)
        self._sequence = sequence = self._sequence + 1
        home = self._reads if level else self._writes
        deadline = now + timeout_s
        call = Call(self._loop, sequence, namespace, where, key, kind, level, now, deadline, home, is_place)
        home[sequence] = call
        if deadline < self._sweep_at:
            self._arm_sweep(deadline)
        if not (self._waiting.fronts and level == WRITE and self._waiting.takes(call)):
            self._route(call, now)
        return call

    def _route(self, call: Call, now: float) -> None:
        """Gives the call to the stream of the node it belongs to."""
        shard = (self.router.at if call.is_place else self.router.locate)(call.namespace, call.where)
        if shard is None:
            message = f"the cluster has no namespace {call.namespace!r}"
            unknown = error(Reason.UNKNOWN_NAMESPACE, message, field="namespace")
            self._judge(call, unknown, retry.Failure(unknown.reason, unknown.outcome))
            return
        if call.level > LINEARIZABLE:
            node = self.router.reader_of(shard, now, call.tried)
            if now >= self._dial_at:
                self._dial_at = now + DIAL_S
                self.links.dial(self.router.unconnected(self.router.map.shards, now))
        else:
            node = self.router.leader_of(shard, now, call.tried)
        call.node = node
        call.group = shard.group
        stream = self.links.by_node.get(node)
        if stream is None:
            stream = self.links.open(shard.address_of(node) or shard.replicas[0].address, node)
        if not stream.ready:
            stream.backlog.append(call)
            return
        if not call.encoded:
            self._encode(call, shard.group)
        stream.push(call, now)

    def _encode(self, call: Call, group: int) -> None:
        """Fixes the operation's bytes, and with them until when a write may take effect."""
        if call.level:
            tail = b""
        else:
            call.stamped = group
            at = self._clocks.stamp_at(group, 1000 * call.deadline)
            if at is None:  # nobody has told a clock: all are steered to the wall's
                at = 1000 * (time.time() + call.deadline - self._loop.time())
            stamp = int(at)
            known, tail = self._not_after
            if known != stamp:
                tail = wire.not_after(stamp)
                self._not_after = (stamp, tail)
        call.encoded = wire.operation(call.sequence, call.key, tail, call.kind)

    # ---- streams ----

    def _make_stream(self, address: str) -> NodeStream:
        return NodeStream(address, self.channels.open_stream, wire.hello(self.id, self._name), self)

    def welcomed(self, stream: NodeStream, welcome: Any) -> None:
        """Owner: learns map, clocks and cluster; sends on what waited."""
        try:
            self._check_cluster(welcome.cluster_id)
        except HoldfastError as wrong:
            if not self._first.done():
                self._first.set_exception(wrong)
                self._first.exception()  # connect() may have given up already
            raise
        self.links.welcomed(stream)
        if welcome.map.shards:
            self._changed(self.router.learn_map(wire.shard_map(welcome.map), self._loop.time()))
        now_ms = 1000 * self._loop.time()
        for stamp in welcome.stamps:
            self._clocks.learn(stamp.group, stamp.stamp_ms, now_ms)
        if not self._first.done() and self.router.map.shards:
            self._first.set_result(None)
        waiting, stream.backlog = stream.backlog, []
        self._route_all(waiting)

    def _check_cluster(self, cluster_id: str) -> None:
        known = self.token.cluster_id
        if known and known != cluster_id:
            message = f"the session's token is of cluster {known!r}, this node is of {cluster_id!r}"
            raise error(Reason.BAD_TOKEN, message)
        self.token.cluster_id = cluster_id

    def leaving(self, stream: NodeStream, unsent: list[Call]) -> None:
        """Owner: the node shuts down; what it was not sent goes elsewhere, untouched."""
        self.links.forget(stream)
        self._route_all(unsent)

    def lost(
        self, stream: NodeStream, why: str, sent: list[Call | AskedElsewhere], unsent: list[Call]
    ) -> None:
        """Owner: the stream is over; its calls go elsewhere."""
        self._trouble = f"{stream.address}: {why}"
        served = self.links.forget(stream)
        if self.closed:
            return
        for call in sent:
            self.failed(call, stream, connection_lost(why, sent=True, is_write=call.level == WRITE))
        for call in unsent:
            self.failed(call, stream, connection_lost(why, sent=False, is_write=call.level == WRITE))
        self._waiting.settle()
        if served or not self.links.ready():
            self.refresh_map()  # the node may have left for good

    # ---- answers ----

    def learn(self, stream: NodeStream, answers: Any) -> Served:
        """Owner: raises the token, sets the group's clock, takes leader hints."""
        entry = answers.token
        group = entry.group
        if group:
            try:
                if not self.token.raise_to(wire.token_entry(entry)):
                    self.token_full = True
            except BadTokenError:
                self.token_full = True  # a server's defect: read stronger, never weaker
            if answers.stamp_ms:
                self._clocks.learn(group, answers.stamp_ms, 1000 * self._loop.time())
            if self.router.map.group(group) is None:  # a node answers for whoever serves the key there now
                self._discovered(stream)
            self._budget.succeeded(len(answers.results))
            if stream.ready:  # not from a node that said goodbye: it still names itself leader
                self.router.answered(stream.node)
                if answers.leader:
                    self.router.learn_leader(group, answers.leader, answers.node)
        age = answers.age_ms if answers.HasField("age_ms") else None
        level = answers.level
        return Served(_LEVELS[level], answers.node or stream.node, answers.applied_index, age)

    def silent(self, stream: NodeStream, reads: list[Call]) -> list[Call]:
        """Owner: the node does not answer for now; what another replica can answer goes there."""
        self.router.silent(stream.node)
        going = []
        for call in reads:
            shard = (self.router.at if call.is_place else self.router.locate)(call.namespace, call.where)
            may_go = shard is not None and self.router.may_go_elsewhere(shard, stream.node, call.tried)
            if may_go and not call.done() and self._budget.spend():  # or it would double an overload
                call.tried |= 1 << stream.node
                self._waiting.put(call, 0.0)
                going.append(call)
        return going

    def heard(self, stream: NodeStream) -> None:
        """Owner: it does again."""
        self.router.heard(stream.node)

    def failed(self, call: Call | AskedElsewhere, stream: NodeStream, failure: HoldfastError) -> None:
        """Owner: an attempt failed; decides what comes next."""
        if call.done() or isinstance(call, AskedElsewhere):
            call.home.pop(call.sequence, None)
            return
        now = self._loop.time()
        call.frame = None
        call.tried |= 1 << stream.node
        if failure.shards and failure.reason is not Reason.BUSY:  # BUSY: a merge that may still be aborted
            self.learn_shards(failure.shards)
        place = call.where if call.is_place else self.map.units_of(call.namespace).placed(call.where)
        shard = self.router.at(call.namespace, place)
        hinted = behind = False
        if shard is not None and shard.group != call.group:
            # What was said is about a group of before: it counts for nothing at the one that goes on.
            call.tried = 0
            hinted = failure.reason in {Reason.WRONG_SHARD, Reason.NOT_LEADER}
        elif shard is not None:
            if failure.reason is Reason.TOO_LATE and self._stamp_anew(call):
                return
            if call.level > LINEARIZABLE:
                self.router.refused_read(shard, stream.node, now)
            hinted = self._mind(failure, shard, stream.node, now)
            behind = any(told.group < shard.group for told in failure.shards if place in told.range)
        facts = retry.Failure(
            failure.reason,
            failure.outcome,
            failure.retry_after_ms,
            hinted=hinted,
            untried=shard is not None and self.router.untried(shard, now, call.tried),
            young=shard is not None and self.router.is_young(shard, now),
            # It names the targets when it is no overload but a merge that is not decided yet.
            merging=failure.reason is Reason.BUSY and bool(failure.shards),
            behind=behind,
        )
        self._judge(call, failure, facts)

    def _mind(self, failure: HoldfastError, shard: Shard, node: int, now: float) -> bool:
        """What a failure says about who leads. True: another node was named that is worth asking."""
        if failure.reason is Reason.NOT_LEADER:
            return self.router.not_leader(shard, node, failure.leader, now)
        if failure.reason in _NO_LONGER_LEADS:
            self.router.forget_leader(shard.group, node)
        elif failure.reason is Reason.CROSS_SHARD:
            self.refresh_map()  # whoever plans anew does it by the map
        elif failure.reason is Reason.WRONG_SHARD:
            self.router.forget_leader(shard.group, node)  # it serves the group no more, or not yet
        return False

    def _stamp_anew(self, call: Call) -> bool:
        """Counts not_after by the clock of the group that serves now: a merge may have moved it on.

        Only while no attempt is in doubt: then the bytes of before can have had no effect.
        """
        if call.doubt or call.stamped == call.group or call.deadline <= self._loop.time():
            return False
        call.encoded = b""
        self._waiting.put(call, 0.0)
        return True

    def _judge(self, call: Call, failure: HoldfastError, facts: retry.Failure) -> None:
        now = self._loop.time()
        is_write = call.level == WRITE
        call.attempts += 1
        call.redirects = call.redirects + 1 if facts.hinted else 0
        call.last = failure
        if is_write and failure.outcome is Outcome.UNKNOWN:
            call.doubt = True
        decision = retry.decide(
            facts._replace(is_write=is_write, redirects=call.redirects),
            attempt=call.attempts,
            elapsed_ms=1000 * (now - call.started),
            remaining_ms=1000 * (call.deadline - now),
            jitter=self._random.random(),
            budget=self._budget,
        )
        if isinstance(decision, retry.GiveUp):
            self._finish(call, failure)
            return
        if isinstance(decision, retry.RefreshMap) and not (facts.young and failure.shards):
            self.refresh_map()  # (of a young group the session knows more than who refused)
        if not facts.untried and not isinstance(decision, retry.Again):
            call.tried = 0  # every replica was asked: begin again
        # Never at once from here: answers of one response that fail together leave together.
        self._waiting.put(call, decision.after_ms / 1000, hinted=facts.hinted)

    def settled(self) -> None:
        """Owner: what failed and need not wait is sent on within the same turn."""
        self._waiting.settle()

    def _route_all(self, calls: Iterable[Call]) -> None:
        now = self._loop.time()
        for call in calls:
            if not call.done() and not self.closed:
                self._route(call, now)

    # ---- ends ----

    def _finish(self, call: Call, failure: HoldfastError) -> None:
        """Tells the caller that it failed for good."""
        call.home.pop(call.sequence, None)
        if call.done():
            return
        if call.level == WRITE:
            in_doubt = call.doubt or call.frame is not None
            if failure.outcome is None:  # PREVIOUS_NOT_KEPT: it did happen
                in_doubt = False
            outcome = Outcome.UNKNOWN if in_doubt else failure.outcome
        else:
            outcome = Outcome.REFUSED  # a read has no effect to be unsure of
        call.set_exception(failure.under(outcome))

    def _arm_sweep(self, deadline: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = max(deadline, self._loop.time() + SWEEP_S_MIN)
        self._sweep = self._loop.call_at(self._sweep_at, self._sweep_deadlines)

    def _sweep_deadlines(self) -> None:
        """Ends calls past their deadline, drops cancelled ones, and comes back for the earliest left."""
        self._sweep, self._sweep_at = None, float("inf")
        now = self._loop.time()
        earliest = float("inf")
        for home in (self._writes, self._reads):
            for call in list(home.values()):
                if call.done():
                    home.pop(call.sequence, None)
                elif call.deadline <= now:
                    self._finish(call, self._deadline_passed(call))
                elif call.deadline < earliest:
                    earliest = call.deadline
        if earliest < float("inf"):
            self._arm_sweep(earliest)

    def _deadline_passed(self, call: Call) -> HoldfastError:
        after = f"no answer within {call.deadline - call.started:g} s"
        if call.frame is not None:
            return error(Reason.DEADLINE, f"{after} (sent to node {call.node})")
        why = f" (last: {call.last})" if call.last else f" (last: {self._trouble})" if self._trouble else ""
        return error(Reason.DEADLINE, f"{after}{why}")

    # ---- what streams and watches ask ----

    def frame_facts(self, with_token: bool) -> tuple[bytes, int]:
        """Owner: what a frame carries beside its operations."""
        token = wire.token_bytes(self.token) if with_token else b""
        return token, next(iter(self._writes), self._sequence + 1)

    def refresh_map(self, address: str = "") -> None:
        """Asks a node for the map (any, or a certain one), in the background; one request at a time."""
        if not self._refreshing and not self.closed:
            self._refreshing = True
            self.spawn(self._refresh(address))

    def _discovered(self, stream: NodeStream) -> None:
        """The node answered for a group that the map here does not hold: it knows a later one."""
        now = self._loop.time()
        if now >= self._discover_at:
            self._discover_at = now + DISCOVER_S
            self.refresh_map(stream.address)

    async def _refresh(self, address: str) -> None:
        try:
            ready = self.links.ready()
            if not ready:
                self.links.fall_back()  # whoever welcomes us brings the map
                return
            whom = address or self._random.choice(ready).address
            _, newer = await self.channels.get_map(whom, GET_MAP_S)
            self._changed(self.router.learn_map(newer, self._loop.time()))
        except Exception as exc:  # noqa: BLE001 - the map stays as it is; whoever needs it asks again
            self._trouble = f"map: {describe(exc)}"
        finally:
            self._refreshing = False

    def learn_shards(self, shards: Iterable[Shard]) -> None:
        """Takes what an answer told of the map."""
        self._changed(self.router.learn_shards(shards, self._loop.time()))

    def _changed(self, fresh: tuple[Shard, ...]) -> None:
        """Groups have replaced others: their nodes are dialled before anything is sent there."""
        if fresh:
            self.links.dial(self.router.unconnected(fresh, self._loop.time()))
            living = {shard.group for shard in self.router.map.shards}
            self._clocks.replaced([shard.group for shard in fresh], living)
        self.links.see_off()

    def note_trouble(self, what: str) -> None:
        """Remembers a connection failure, for the message of a later deadline."""
        self._trouble = what

    @property
    def map(self) -> ShardMap:
        """The map as known here."""
        return self.router.map

    def __repr__(self) -> str:
        return (
            f"<Session {self.id.hex()[:8]}, {len(self._writes)} writes, {len(self._reads)} reads under way,"
            f" {self.links!r}>"
        )


_LEVELS = {0: Level.LINEARIZABLE} | {int(level): level for level in Level}
