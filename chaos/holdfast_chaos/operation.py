"""Operations: the two ends of what a client asked, put together.

Invariants: a process has one operation in flight; a reply belongs to the operation that its process has in
flight and names the same `f` and key; a process that was told `info` is retired, since what it asked may
still happen while it would ask the next thing. An operation is a closed interval: two that meet in one ns
are concurrent. One whose outcome is not known is open for ever.

Source: design testing.md, HISTORY; porcupine's model.go on closed intervals.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from holdfast_chaos.record import Event, RecordError, Type

FOREVER: Final = 2**63
"""After every time of a record."""

WRITES: Final = frozenset(
    {"put", "delete", "increment", "touch", "txn", "append", "add", "transfer", "delete_range"}
)
"""What may have an effect. Everything else is a read."""


class Operation(NamedTuple):
    """What a client asked and what it was told. reply: None: the record ends before it."""

    invoke: Event
    reply: Event | None = None

    @property
    def start_ns(self) -> int:
        """It took effect at this time or later."""
        return self.invoke.time_ns

    @property
    def end_ns(self) -> int:
        """It took effect by this time, if it did; FOREVER: it may still."""
        return FOREVER if self.reply is None or self.reply.type is Type.INFO else self.reply.time_ns

    @property
    def outcome(self) -> Type:
        """OK, FAIL or INFO."""
        return Type.INFO if self.reply is None else self.reply.type

    @property
    def f(self) -> str:
        """What was asked."""
        return self.invoke.f

    @property
    def key(self) -> str | None:
        """Of what."""
        return self.invoke.key

    @property
    def argument(self) -> Any:
        """What was given."""
        return self.invoke.value

    @property
    def result(self) -> Any:
        """What came back; None: nothing, or not known."""
        return None if self.reply is None else self.reply.value

    @property
    def revision(self) -> int | None:
        """Of the reply; None: not known."""
        return None if self.reply is None else self.reply.revision

    @property
    def error(self) -> str | None:
        """The reason in the reply."""
        return None if self.reply is None else self.reply.error

    @property
    def level(self) -> str:
        """The level it was served at; of a read that was not answered: asked at."""
        served = None if self.reply is None else self.reply.level
        return served or self.invoke.level or "LINEARIZABLE"

    @property
    def session(self) -> str:
        """Whose promises it stands under."""
        return self.invoke.session or f"process {self.invoke.process}"

    @property
    def is_write(self) -> bool:
        """Whether it may have had an effect."""
        return self.invoke.f in WRITES

    @property
    def is_ok(self) -> bool:
        """Whether it happened for sure."""
        return self.reply is not None and self.reply.type is Type.OK


def pair(events: Iterable[Event]) -> tuple[Operation, ...]:
    """Puts events together, in the order of their invokes. Raises RecordError."""
    operations: list[Operation] = []
    in_flight: dict[int, int] = {}  # process -> place in operations
    retired: set[int] = set()
    for event in events:
        if event.type is Type.NOTE:
            continue
        if event.type is Type.INVOKE:
            if event.process in retired:
                reason = f"process {event.process} was retired by an unknown outcome and asks again"
                raise RecordError(event.line, reason)
            if event.process in in_flight:
                reason = f"process {event.process} asks again while its operation is in flight"
                raise RecordError(event.line, reason)
            in_flight[event.process] = len(operations)
            operations.append(Operation(event))
            continue
        at = in_flight.pop(event.process, None)
        if at is None:
            raise RecordError(event.line, f"process {event.process} has nothing in flight")
        asked = operations[at].invoke
        if event.f != asked.f or event.key not in (None, asked.key):
            reason = (
                f"process {event.process} asked {asked.f} {asked.key}, this answers {event.f} {event.key}"
            )
            raise RecordError(event.line, reason)
        if event.type is Type.INFO:
            retired.add(event.process)
        operations[at] = Operation(asked, event)
    return tuple(operations)


def notes(events: Iterable[Event]) -> tuple[Event, ...]:
    """What was noted beside the operations."""
    return tuple(event for event in events if event.type is Type.NOTE)


def text_of(operation: Operation) -> str:
    """One operation on one line, for a person."""
    asked, reply = operation.invoke, operation.reply
    what = [asked.f, asked.key or ""]
    if asked.value is not None:
        what.append(_shown(asked.value))
    if asked.expect is not None:
        what.append(f"if {asked.expect if isinstance(asked.expect, str) else f'at {asked.expect}'}")
    if not operation.is_write:
        what.append(operation.level)
    told = "no answer"
    if reply is not None:
        told = reply.type.value
        if reply.value is not None or (operation.is_ok and not operation.is_write):
            told += f" {_shown(reply.value)}"
        told += "" if reply.revision is None else f" @{reply.revision}"
        told += f" ({reply.error})" if reply.error else ""
        told += f" from node {reply.node}" if reply.node else ""
    end = "..." if operation.end_ns == FOREVER else f"{operation.end_ns / 1e6:.3f}"
    where = f"line {asked.line}: " if asked.line else ""
    return (
        f"{where}[{asked.time_ns / 1e6:.3f}, {end}] ms  process {asked.process}  "
        f"{' '.join(part for part in what if part)} -> {told}"
    )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"
