"""One pipelined Cache.Stream to one node: packs whatever was asked for since the last turn into frames.

Invariant: a call that was written to the node is in `outstanding` until its answer comes or the stream
ends; the stream ends exactly once, with `Owner.lost`, which receives every call that is left. At most as
many frames are unanswered as the node's Welcome allows; meanwhile calls wait and the next frame is bigger.

The writer wakes one loop turn after the first call was pushed, so calls of one turn share a frame. A node
that owes answers and gives no sign of life (`silence.py`) is treated like one that closed the connection.

Knows nothing of maps, retries or tokens: `session.py` does. Source: design performance, techniques 1, 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from holdfast import wire
from holdfast.channels import EOF, BytesStream, describe
from holdfast.errors import HoldfastError, Reason, error
from holdfast.silence import LOOK_S, Silence
from holdfast.types import Level, Outcome, Served

# A node takes 4096. Smaller frames keep client, leader and followers busy at the same time: with one frame
# for all of 256 callers each waits for the other in turn.
FRAME_OPERATIONS_MAX: Final = 128
SMALL_FRAMES_IN_FLIGHT: Final = 3
# Between small frames while one is under way, at most; and no longer than half of what frames take to be
# answered. A frame costs both sides, and a write's entry three nodes, as much as some fifty operations,
# whatever is in it: what comes within a few ms had better go together, where nodes are busy.
FRAME_PAUSE_S: Final = 0.005
PAUSE_SHARE: Final = 0.5
TOOK_WEIGHT: Final = 0.1  # of the newest frame in what frames take
WAIT_SHARE: Final = 0.5  # of the time that is left to a call; the other half is the node's
FRAME_BYTES_MAX: Final = 3_670_016  # 3.5 MiB: below the server's 4 MiB with token and heads
WELCOME_S: Final = 2.0  # to connect and be welcomed; a busy node may need a second
WRITE: Final = 0  # Call.level of everything that is not a read
SESSION: Final = int(Level.SESSION)

Answer = tuple[wire.Result, Served]


class Frame:
    """A frame under way. left: operations that are not answered yet; packed: when."""

    __slots__ = ("left", "packed")

    def __init__(self, left: int, packed: float) -> None:
        self.left = left
        self.packed = packed


class Call(asyncio.Future[Answer]):
    """One operation under way: the caller's future and what sending it again needs, in one object."""

    __slots__ = (
        "attempts",
        "deadline",
        "doubt",
        "encoded",
        "frame",
        "group",
        "home",
        "is_place",
        "key",
        "kind",
        "last",
        "level",
        "namespace",
        "node",
        "pushed",
        "redirects",
        "sequence",
        "stamped",
        "started",
        "tried",
        "where",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sequence: int,
        namespace: str,
        where: bytes,
        key: bytes,
        kind: bytes,
        level: int,
        started: float,
        deadline: float,
        home: dict[int, Call],
        is_place: bool = False,
    ) -> None:
        super().__init__(loop=loop)
        self.sequence = sequence
        self.namespace = namespace
        self.where = where  # the key it is routed by, or the place
        self.is_place = is_place
        self.key = key  # Operation.key: empty for scans, ranges and transactions
        self.kind = kind  # the encoded kind
        self.level = level
        self.started = started
        self.deadline = deadline
        self.home = home  # the session's table it is in until it is settled
        self.encoded = b""  # made once, at the first attempt: retries send the same bytes
        self.frame: Frame | None = None  # None: not sent
        self.attempts = 0
        self.pushed = 0.0  # when it began to wait for a frame, at its last attempt
        self.redirects = 0  # hints followed in a row
        self.tried = 0  # bit set of nodes that failed it
        self.node = 0  # asked last
        self.group = 0  # whose node that was asked as
        self.stamped = 0  # the group whose clock a write's not_after was counted by
        self.doubt = False  # some attempt may have had its effect
        self.last: HoldfastError | None = None


class AskedElsewhere:
    """Stands for a call that another node was asked meanwhile, until its answer comes here too."""

    __slots__ = ("frame", "home", "level", "sequence")

    def __init__(self, call: Call) -> None:
        self.sequence = call.sequence
        self.level = call.level
        self.frame = call.frame
        self.home: dict[int, Call] = {}

    def done(self) -> bool:
        """Nobody waits for it here."""
        return True


class Owner(Protocol):
    """Who the stream reports to; every method is called on the loop and returns at once."""

    def welcomed(self, stream: NodeStream, welcome: Any) -> None:
        """The node's first frame. Raises to turn the node away."""

    def learn(self, stream: NodeStream, answers: Any) -> Served:
        """What a group of answers tells: token, stamp, leader."""

    def failed(self, call: Call | AskedElsewhere, stream: NodeStream, failure: HoldfastError) -> None:
        """An attempt was answered with an error."""

    def silent(self, stream: NodeStream, reads: list[Call]) -> list[Call]:
        """The node owes answers and sends nothing. Returns the reads that are asked of others from now on."""

    def heard(self, stream: NodeStream) -> None:
        """A silent node sends again."""

    def settled(self) -> None:
        """All answers of a response have been handed over."""

    def leaving(self, stream: NodeStream, unsent: list[Call]) -> None:
        """The node says goodbye: nothing more may be sent there."""

    def lost(
        self, stream: NodeStream, why: str, sent: list[Call | AskedElsewhere], unsent: list[Call]
    ) -> None:
        """The stream is over."""

    def frame_facts(self, with_token: bool) -> tuple[bytes, int]:
        """Token bytes (empty when not asked for) and the answered_below mark."""


class NodeStream:
    """A stream to the node at `address`. The owner runs `run` as a task and pushes calls."""

    def __init__(
        self, address: str, open_stream: Callable[[str], BytesStream], hello: bytes, owner: Owner
    ) -> None:
        self.address = address
        self.node = 0  # known once welcomed
        self.ready = False
        self.silence = Silence()
        self.was_welcomed = False
        self.leads_nowhere = False
        """Given up for its silence: another stream by the same connection would fare no better."""
        self.backlog: list[Call] = []  # wait for the Welcome
        self.outstanding: dict[int, Call | AskedElsewhere] = {}
        self.ended = asyncio.Event()
        self._open_stream = open_stream
        self._hello = hello
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, list[Call]] = {}
        self._wake: asyncio.Future[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._packed_at = 0.0
        self._took: float | None = None  # what a frame takes to be answered, of late, seconds
        self._must_ping = False
        self._window = 1
        self._in_flight = 0
        self._is_silent = False
        self._has_let_go = False  # some that are outstanding may stand for what was asked elsewhere
        self._check: asyncio.TimerHandle | None = None
        self._rpc: BytesStream | None = None
        self._why = ""

    # ---- sending ----

    def push(self, call: Call, now: float) -> None:
        """Sends a call with the next frame. The stream must be ready and the call encoded.

        It fails BUSY when it would have to wait here for too large a part of its time: what is in vain is
        said at once, and the room is left to calls that will be answered.
        """
        queue = self._queues.get(call.namespace)
        call.pushed = now
        if not queue:
            self._queues[call.namespace] = [call]
            self._wake_up()
        else:
            waits = now - queue[0].pushed
            if waits > WAIT_SHARE * (call.deadline - now) and not call.attempts:
                self._refuse(call, len(queue), waits)
                return
            queue.append(call)
            if len(queue) == FRAME_OPERATIONS_MAX:
                self._wake_up()

    def _refuse(self, call: Call, count: int, waits: float) -> None:
        call.home.pop(call.sequence, None)
        where = f"wait to be sent to node {self.node}, the first for {waits:.2f} s"
        busy = error(
            Reason.BUSY, f"{count} operations of this client {where}", retry_after_ms=int(1000 * waits)
        )
        call.set_exception(busy)

    async def _write_frames(self, rpc: BytesStream) -> None:
        while True:
            while not self._may_write():
                self._wake = self._loop.create_future()
                await self._wake
                if self._pause is not None:
                    self._pause.cancel()
                    self._pause = None
            frame = self._pack() if self._queues else b""
            if self._must_ping:
                self._must_ping = False
                await rpc.write(wire.PING)
            if frame:
                await rpc.write(frame)

    def _may_write(self) -> bool:
        """Whether a frame should leave now: a full one while the window lasts; a smaller one if none is
        under way, or few are and the last one left a moment ago.

        So a loop whose answers come one by one still asks in frames: what comes meanwhile packs. And what is
        slow to be answered holds up the rest for a moment only.
        """
        if self._must_ping:
            return True
        if not self._queues:
            return False
        if self._in_flight == 0:
            return True
        if len(next(iter(self._queues.values()))) >= FRAME_OPERATIONS_MAX:
            return self._in_flight < self._window
        if self._in_flight >= min(SMALL_FRAMES_IN_FLIGHT, self._window):
            return False
        pause = FRAME_PAUSE_S if self._took is None else min(FRAME_PAUSE_S, PAUSE_SHARE * self._took)
        left = self._packed_at + pause - self._loop.time()
        if left > 0 and self._pause is None:
            self._pause = self._loop.call_later(left, self._wake_up)
        return left <= 0

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _pack(self) -> bytes:
        """Takes the longest-waiting namespace's calls, as many as one frame holds."""
        namespace = next(iter(self._queues))
        queue = self._queues.pop(namespace)
        parts: list[bytes] = []
        now = self._loop.time()
        frame, size, deadline, with_token = Frame(0, now), 0, 0.0, False
        outstanding = self.outstanding
        for at, call in enumerate(queue):
            if call.done():  # cancelled by its caller, or past its deadline
                continue
            if self._has_let_go and call.sequence in outstanding:  # it came back: its answer is under way
                call.frame = outstanding[call.sequence].frame
                outstanding[call.sequence] = call
                continue
            size += len(call.encoded)
            if parts and (size > FRAME_BYTES_MAX or len(parts) >= FRAME_OPERATIONS_MAX):
                self._queues[namespace] = queue[at:]
                break
            call.frame = frame
            outstanding[call.sequence] = call
            parts.append(call.encoded)
            if call.deadline > deadline:  # noqa: PLR1730 - a call of max() costs more, and this is hot
                deadline = call.deadline
            if call.level == SESSION:
                with_token = True
        if not parts:
            return b""
        frame.left = len(parts)
        if self._in_flight == 0:
            self.silence.begins(now)
        self._in_flight += 1
        self._packed_at = now
        self._arm_check(now)
        token, answered_below = self._owner.frame_facts(with_token)
        timeout_ms = max(1, int(1000 * (deadline - now)))
        return wire.frame(namespace, parts, token, answered_below, timeout_ms)

    # ---- life ----

    async def run(self) -> None:
        """Connects, serves, and ends with `Owner.lost`. Never raises but for cancellation."""
        writer: asyncio.Task[None] | None = None
        try:
            rpc = self._rpc = self._open_stream(self.address)
            self.silence.begins(self._loop.time())
            async with asyncio.timeout(WELCOME_S):
                await rpc.write(self._hello)
                first = await rpc.read()
            if first is EOF:
                self._why = self._why or "closed before the welcome"
                return
            self._welcomed(wire.StreamResponse.FromString(first).welcome)
            writer = self._loop.create_task(self._write_frames(rpc))
            writer.add_done_callback(lambda _: rpc.cancel())  # a failed write ends the reading too
            await self._read(rpc)
        except TimeoutError:
            self._why = self._why or f"no welcome within {WELCOME_S} s"
            self.leads_nowhere = True
        except asyncio.CancelledError:
            # Of the rpc (our own `abandon`), unless somebody cancels this task.
            self._why = self._why or "cancelled"
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception as exc:  # noqa: BLE001 - whatever broke it, the calls go elsewhere
            self._why = self._why or describe(exc)
        finally:
            await self._end(writer)

    def _welcomed(self, welcome: Any) -> None:
        self.node = welcome.node
        self._window = max(1, welcome.frames_in_flight_max)
        self.silence.can_ping = welcome.answers_pings
        self.silence.heard(self._loop.time(), answers=True)  # how far away it is
        self.ready = self.was_welcomed = True
        self._owner.welcomed(self, welcome)

    async def _end(self, writer: asyncio.Task[None] | None) -> None:
        self.ready = False
        for timer in (self._check, self._pause):
            if timer is not None:
                timer.cancel()
        if self._rpc is not None:
            self._rpc.cancel()
        if writer is not None:
            writer.cancel()
            await asyncio.wait([writer])
            if not writer.cancelled() and (failed := writer.exception()):
                self._why = self._why or describe(failed)
        sent = list(self.outstanding.values())
        self.outstanding.clear()
        self._owner.lost(self, self._why or "closed by the node", sent, self._take_unsent())
        self.ended.set()

    def abandon(self, why: str) -> None:
        """Ends the stream from this side; `Owner.lost` follows from its task."""
        self._why = self._why or why
        if self._rpc is not None:
            self._rpc.cancel()

    def _take_unsent(self) -> list[Call]:
        unsent = self.backlog + [call for queue in self._queues.values() for call in queue]
        self.backlog = []
        self._queues.clear()
        return unsent

    # ---- receiving ----

    async def _read(self, rpc: BytesStream) -> None:
        while (data := await rpc.read()) is not EOF:
            response = wire.StreamResponse.FromString(data)
            is_answer = not response.pong
            self.silence.heard(self._loop.time(), answers=is_answer)
            if self._is_silent and is_answer:
                self._is_silent = False
                self._owner.heard(self)
            self._settle(response)
            if response.goodbye:
                self.ready = False
                self._owner.leaving(self, self._take_unsent())

    def _settle(self, response: wire.StreamResponse) -> None:
        """Hands every answer to its caller. About a third of the SDK's time at 256 callers."""
        pop = self.outstanding.pop
        for answers in response.answers:
            served = self._owner.learn(self, answers)
            for result in answers.results:
                call = pop(result.sequence, None)
                if call is None:
                    continue
                frame = call.frame
                if frame is not None:
                    frame.left -= 1
                    if not frame.left:
                        self._frame_done(frame)
                if result.HasField("error"):
                    self._owner.failed(call, self, wire.failure(result.error, result.revision))
                else:
                    call.home.pop(call.sequence, None)
                    if not call.done():
                        call.set_result((result, served))  # type: ignore[union-attr]  # what was asked elsewhere is done
        self._owner.settled()

    def _frame_done(self, frame: Frame) -> None:
        took = self._loop.time() - frame.packed
        self._took = took if self._took is None else self._took + TOOK_WEIGHT * (took - self._took)
        self._in_flight -= 1
        if self._queues:
            self._wake_up()

    # ---- hang ----

    def _arm_check(self, now: float) -> None:
        if self._check is None:
            self.silence.watched(now)
            self._check = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._check = None
        if not self._in_flight:
            return
        look = self.silence.look(self._loop.time())
        if look.gone:
            self.leads_nowhere = True
            self.abandon(look.gone)
            return
        # A full window is not read on, so a question would wait there behind the frames.
        if look.ping and self._in_flight < self._window:
            self._must_ping = True
            self._wake_up()
        if look.let_go:
            self._let_reads_go()
        self._check = self._loop.call_later(LOOK_S, self._look)

    def _let_reads_go(self) -> None:
        """Reads that any replica may serve are asked of others; an answer that comes here too is dropped."""
        self._is_silent = self._has_let_go = True
        reads = [
            call for call in self.outstanding.values() if isinstance(call, Call) and call.level >= SESSION
        ]
        for call in self._owner.silent(self, reads):
            self.outstanding[call.sequence] = AskedElsewhere(call)
            call.frame = None

    def __repr__(self) -> str:
        state = "ready" if self.ready else self._why or "connecting"
        waiting = sum(map(len, self._queues.values())) + len(self.backlog)
        return (
            f"<NodeStream {self.address} node {self.node} {state}, {self._in_flight}/{self._window} frames,"
            f" {len(self.outstanding)} sent, {waiting} waiting>"
        )


def connection_lost(why: str, sent: bool, is_write: bool) -> HoldfastError:
    """A broken connection as an attempt's failure: unknown only for a write that was sent."""
    outcome = Outcome.UNKNOWN if sent and is_write else Outcome.REFUSED
    return error(Reason.STOPPED, f"connection lost: {why}", outcome=outcome)
