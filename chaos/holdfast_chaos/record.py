"""The record of a run: what clients asked, what they were told, and what else was noted, line by line.

Line 1 is the header: the facts of the run. Every other line is one event, a JSON object with the fields of
`Event`; a field that does not apply is left out. Times are of one clock, the recorder's, in ns, and never
go back from one line to the next.

    {"record":1,"version":"0.1.0","seed":7,"workload":"register","nemeses":["kill-leader"],"nodes":3,"command":"..."}
    {"process":4,"type":"invoke","f":"put","time_ns":1200,"key":"k1","value":"v17","session":"s4"}
    {"process":4,"type":"ok","f":"put","time_ns":5100,"key":"k1","node":2,"revision":12,"applied_index":40}

The types are Jepsen's, and one more. `invoke` opens an operation of a process; `ok` (it happened), `fail`
(it did not, now or later) or `info` (not known) closes it. `note` is no operation: a fault, what a watcher
received, a replica's digest.

Rules for what comes later: a reader ignores fields it does not know, in the header and in events, and notes
whose `f` it does not know. A type it does not know, or another number in `record`, changes what the lines
mean, so it refuses the file. A last line without its newline is what a killed recorder leaves: an invoke is
flushed before it is sent, so a torn one was never sent, and a torn reply leaves its operation open. It is
dropped, and `torn` says so.

Pairing events into operations is `operation.py`; files are `record_file.py`.
Source: design testing.md, HISTORY; Jepsen's histories; resources/errors.edn of Maelstrom.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
"""The number in `record`; another one means other rules."""


class Type(StrEnum):
    """What a line says of its operation."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"
    NOTE = "note"


class RecordError(ValueError):
    """The lines are no record. The message begins with the line at fault."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Header(NamedTuple):
    """The facts of a run.

    Attributes:
        version: of the program under test.
        seed: that makes the same operations and the same faults again.
        workload: which operations; the checkers go by it.
        nemeses: which faults; empty: none.
        nodes: of the cluster.
        command: the command line that replays the run.
        namespace: of every key.
        settings: further facts, by name: bounds that checkers go by, and what a person may want to know.
    """

    version: str
    seed: int
    workload: str
    nemeses: tuple[str, ...]
    nodes: int
    command: str
    namespace: str = "default"
    settings: Mapping[str, Any] = {}


class Event(NamedTuple):
    """One line.

    Attributes:
        process: one client that has one operation in flight at most; 0: the harness itself.
        type: see the module.
        f: which operation, or which note.
        time_ns: by the recorder's clock.
        key: the key, or the object (a list, a unit of keys) that is judged as one.
        value: invoke: the argument; ok: the result; note: what is noted.
        level: invoke: how fresh a read must be; ok: the level it was served at.
        bound_ms: invoke of a BOUNDED read.
        or_linearizable: invoke of one that may be served LINEARIZABLE instead.
        expect: invoke of a write with a condition: the key's revision, "absent" or "present".
        ttl_ms: invoke: time to live; ok: what remains of it.
        want_previous: invoke: the result is the value before.
        node, group, applied_index, age_ms: who answered, from which state, how old it may be.
        revision: ok: that the write made (0: nothing changed), or of the key that was read (0: it does not
            exist); fail with CONDITION_FAILED: the key's present one.
        error: fail, info: the reason. ok: PREVIOUS_NOT_KEPT, the write happened and its result is lost.
        session: whose promises an operation stands under; absent: those of its process.
        line: where it stands in the file; not stored.
    """

    process: int
    type: Type
    f: str
    time_ns: int
    key: str | None = None
    value: Any = None
    level: str | None = None
    bound_ms: int | None = None
    or_linearizable: bool | None = None
    expect: int | str | None = None
    ttl_ms: int | None = None
    want_previous: bool | None = None
    node: int | None = None
    group: int | None = None
    revision: int | None = None
    applied_index: int | None = None
    age_ms: int | None = None
    error: str | None = None
    session: str | None = None
    line: int = 0


class Record(NamedTuple):
    """A whole record. torn: the last line broke off and was dropped."""

    header: Header
    events: tuple[Event, ...]
    torn: bool


_TEXT, _NUMBER = (str,), (int,)
_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "process": _NUMBER,
    "type": _TEXT,
    "f": _TEXT,
    "time_ns": _NUMBER,
    "key": _TEXT,
    "value": (object,),
    "level": _TEXT,
    "bound_ms": _NUMBER,
    "or_linearizable": (bool,),
    "expect": (int, str),
    "ttl_ms": _NUMBER,
    "want_previous": (bool,),
    "node": _NUMBER,
    "group": _NUMBER,
    "revision": _NUMBER,
    "applied_index": _NUMBER,
    "age_ms": _NUMBER,
    "error": _TEXT,
    "session": _TEXT,
}
_HEADER: Final[dict[str, tuple[type, ...]]] = {
    "version": _TEXT,
    "seed": _NUMBER,
    "workload": _TEXT,
    "nemeses": (list,),
    "nodes": _NUMBER,
    "command": _TEXT,
}
_OPTIONAL: Final[dict[str, tuple[type, ...]]] = {"namespace": _TEXT, "settings": (dict,)}
_ALWAYS: Final = ("process", "type", "f", "time_ns")
_TYPES: Final = frozenset(Type)
_LEVELS: Final = frozenset({"LINEARIZABLE", "SESSION", "BOUNDED", "ANY"})

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""`json.dumps` makes one for each line when it is told how."""

assert tuple(_FIELDS) == Event._fields[:-1], "every field is checked, and stored in this order"


def encode_header(header: Header) -> str:
    """The first line, without its newline."""
    fields = {"record": FORMAT, **header._asdict(), "nemeses": list(header.nemeses)}
    return json.dumps({**fields, "settings": dict(header.settings)}, ensure_ascii=False)


def encode_event(event: Event) -> str:
    """One line, without its newline."""
    fields = {name: value for name, value in zip(_FIELDS, event, strict=False) if value is not None}
    return _ENCODER.encode(fields)


def read(lines: Iterable[str]) -> Record:
    """Takes a record apart, line by line. Raises RecordError."""
    header: Header | None = None
    events: list[Event] = []
    last_ns, torn = 0, False
    for number, line in enumerate(lines, 1):
        if torn:
            raise RecordError(number - 1, "it has no newline and is not the last")
        if not line.endswith("\n"):
            torn = True
            continue
        fields = _object(number, line)
        if header is None:
            header = _header(number, fields)
            continue
        event = _event(number, fields)
        if event.time_ns < last_ns:
            raise RecordError(number, f"time goes back, from {last_ns} to {event.time_ns}")
        last_ns = event.time_ns
        events.append(event)
    if header is None:
        raise RecordError(1, "there is no header")
    return Record(header, tuple(events), torn)


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as problem:
        raise RecordError(number, f"no JSON: {problem}") from None
    if not isinstance(fields, dict):
        raise RecordError(number, "no JSON object")
    return fields


def _header(number: int, fields: dict[str, Any]) -> Header:
    if fields.get("record") != FORMAT:
        reason = f"a record of format {fields.get('record')!r}, this reads {FORMAT}"
        raise RecordError(number, reason)
    for name in _HEADER:
        if name not in fields:
            raise RecordError(number, f"the header has no {name!r}")
    known = {name: fields[name] for name in (*_HEADER, *_OPTIONAL) if name in fields}
    _check_types(number, known, _HEADER | _OPTIONAL)
    if not all(isinstance(nemesis, str) for nemesis in known["nemeses"]):
        raise RecordError(number, "'nemeses' holds something that is no text")
    return Header(**{**known, "nemeses": tuple(known["nemeses"])})


def _event(number: int, fields: dict[str, Any]) -> Event:
    for name in _ALWAYS:
        if name not in fields:
            raise RecordError(number, f"the event has no {name!r}")
    known = {name: value for name, value in fields.items() if name in _FIELDS and value is not None}
    _check_types(number, known, _FIELDS)
    if known["type"] not in _TYPES:
        raise RecordError(number, f"an event of unknown type {known['type']!r}")
    if known.get("level", "ANY") not in _LEVELS:
        raise RecordError(number, f"no level: {known['level']!r}")
    if isinstance(known.get("expect"), str) and known["expect"] not in ("absent", "present"):
        raise RecordError(number, f"no condition: {known['expect']!r}")
    return Event(**{**known, "type": Type(known["type"]), "line": number})


def _check_types(number: int, known: Mapping[str, Any], wanted: Mapping[str, tuple[type, ...]]) -> None:
    for name, value in known.items():
        kinds = wanted[name]
        # A bool is an int to Python, not to a reader of the file.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds in (_NUMBER, (int, str))):
            raise RecordError(number, f"{name!r} is {value!r}, not {' or '.join(k.__name__ for k in kinds)}")
