"""Records written by hand, in as few words as a test can do with.

    r = Script()
    r.put(1, "a", at=(0, 10), revision=1)
    r.get(2, "a", at=(20, 30), revision=1)
    r.operations

Times are in ms. `at=(start, end)`; end None: the outcome is not known.
"""

from __future__ import annotations

from typing import Any

from holdfast_chaos.operation import Operation, pair
from holdfast_chaos.record import Event, Header, Record, Type

NS = 1_000_000
ASKED = ("key", "level", "expect", "ttl_ms", "bound_ms", "want_previous", "session")


class Script:
    """Operations in any order; processes are used once each unless they are named."""

    def __init__(self, key: str = "k") -> None:
        self.key = key
        self._made: list[tuple[Event, Event | None]] = []
        self._notes: list[Event] = []

    def op(
        self, f: str, value: Any = None, *, at: tuple[float, float | None], told: Type = Type.OK, **facts: Any
    ) -> Script:
        """Any operation. facts: of the invoke (key, level, expect, ...) and of the reply."""
        own = {name: facts.pop(name) for name in ASKED if name in facts}
        own.setdefault("key", self.key)
        process = facts.pop("process", len(self._made) + 1)
        result = facts.pop("result", None)
        served = facts.pop("served", None)
        left_ms = facts.pop("left_ms", None)
        invoke = Event(process, Type.INVOKE, f, int(at[0] * NS), value=value, **own)
        reply = None
        if at[1] is not None:
            reply = Event(
                process, told, f, int(at[1] * NS), value=result, level=served, ttl_ms=left_ms, **facts
            )
        self._made.append((invoke, reply))
        return self

    def put(
        self, value: str, *, at: tuple[float, float | None], revision: int | None = None, **facts: Any
    ) -> Script:
        return self.op("put", value, at=at, revision=revision if at[1] is not None else None, **facts)

    def get(
        self, value: str | None, *, at: tuple[float, float], revision: int | None = None, **facts: Any
    ) -> Script:
        facts.setdefault("level", "LINEARIZABLE")
        return self.op("get", at=at, result=value, revision=0 if value is None else revision, **facts)

    def delete(self, *, at: tuple[float, float | None], revision: int | None = None, **facts: Any) -> Script:
        return self.op("delete", at=at, revision=revision if at[1] is not None else None, **facts)

    def refused(self, f: str, value: Any = None, *, at: tuple[float, float], **facts: Any) -> Script:
        facts.setdefault("error", "NO_QUORUM")
        return self.op(f, value, at=at, told=Type.FAIL, **facts)

    def note(self, f: str, value: Any = None, *, at: float, **facts: Any) -> Script:
        self._notes.append(Event(0, Type.NOTE, f, int(at * NS), value=value, **facts))
        return self

    @property
    def events(self) -> tuple[Event, ...]:
        """In order of time; what meets in one ms overlaps."""
        every = [(e.time_ns, 0, e) for e, _ in self._made] + [(e.time_ns, 1, e) for e in self._notes]
        every += [(e.time_ns, 2, e) for _, e in self._made if e is not None]
        ordered = sorted(every, key=lambda entry: entry[:2])
        return tuple(event._replace(line=line) for line, (_, _, event) in enumerate(ordered, 2))

    @property
    def operations(self) -> tuple[Operation, ...]:
        return pair(self.events)

    @property
    def notes(self) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.type is Type.NOTE)

    def record(self, workload: str = "register", **header: Any) -> Record:
        """A whole record."""
        facts = {"version": "0", "seed": 1, "nemeses": (), "nodes": 3, "command": "again"} | header
        return Record(Header(workload=workload, **facts), self.events, torn=False)


def rules(judgement: Any) -> list[str]:
    """The rules that were broken, in order."""
    return [finding.rule for finding in judgement.findings]
