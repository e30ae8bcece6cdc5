"""What a session may count on, and how old a read may be: judged by the versions that answers name.

Rules, for each session (the operations of one session that do not overlap, in their order):
- *read your writes*: a SESSION or stronger read sees the session's writes on the key, or later ones;
- *monotonic reads*: nor does it go back behind what the session has read, at whatever level;
- *monotonic writes*: a later write of the session takes a greater revision, in its shard;
- *writes follow reads*: and a greater one than whatever the session has read there;
- *token*: a replica that answers it has applied what the session has seen of that group.
A session that was given another's token (note `token`, `{"from": a, "to": b}`) has seen what that had seen.

And for all: a BOUNDED read sees what was acknowledged longer ago than its bound (*bounded*), the age in its
answer is within the bound (*age*), and a LINEARIZABLE one sees all that was acknowledged before it began
(*real time*). The last is far less than linearizability, but linear in time, so it covers runs of any length.

An absent key has no revision: that it is absent is accepted when the key may have expired, or when a delete
that had begun may lie behind what was seen. ANY promises nothing here; see `values.py`.

Source: Terry et al. 1994 (session guarantees); contract, read levels; protocols 4 (Token).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from holdfast_chaos.operation import FOREVER, Operation, text_of
from holdfast_chaos.record import Event
from holdfast_chaos.sightings import done_by, seen_by
from holdfast_chaos.verdict import Finding, Judgement, judge

_INVOKED, _NOTED, _REPLIED = 0, 1, 2  # what meets in one ns overlaps, so invokes come first
_STRONG: Final = frozenset({"SESSION", "LINEARIZABLE"})


class _Floor(NamedTuple):
    """The least that must be seen, and who saw it. A half: more than a revision, by a delete not known."""

    at: float
    by: Operation


class _Seen:
    """What one session has seen."""

    __slots__ = ("indexes", "keys", "revisions")

    def __init__(self) -> None:
        self.keys: dict[str, _Floor] = {}  # key -> revision
        self.indexes: dict[int, _Floor] = {}  # group -> applied index
        self.revisions: dict[int, _Floor] = {}  # group -> revision

    def add(self, other: _Seen) -> None:
        for mine, theirs in (
            (self.keys, other.keys), (self.indexes, other.indexes), (self.revisions, other.revisions),
        ):  # fmt: skip
            for name, floor in theirs.items():
                _raise(mine, name, floor)


def _raise(floors: dict[str, _Floor] | dict[int, _Floor], name: str | int, floor: _Floor) -> None:
    known = floors.get(name)  # type: ignore[arg-type]
    if known is None or floor.at > known.at:
        floors[name] = floor  # type: ignore[index]


class _Needs(NamedTuple):
    """What an operation's session had seen when it began."""

    keys: dict[str, _Floor]
    indexes: dict[int, _Floor]
    revisions: dict[int, _Floor]


class _Removals:
    """When a key may have gone."""

    def __init__(self, operations: Iterable[Operation], *, evicting: bool) -> None:
        self._deletes: dict[str, list[tuple[int, int | None]]] = {}
        self._perishable: set[str] = set()
        self._all = evicting
        for operation in operations:
            if operation.f == "delete_range":
                self._all = True
            for change in done_by(operation):
                if operation.invoke.ttl_ms:
                    self._perishable.add(change.key)
                if change.removes:
                    self._deletes.setdefault(change.key, []).append((operation.start_ns, change.revision))

    def explain(self, key: str, floor: float, end_ns: int) -> float | None:
        """The least revision that an absence seen by `end_ns` has behind it. None: it cannot be.

        The floor may be a delete's own.
        """
        if self._all or key in self._perishable:
            return floor
        after = [
            int(floor) + 0.5 if revision is None else revision
            for start_ns, revision in self._deletes.get(key, ())
            if start_ns <= end_ns and (revision is None or revision >= floor)
        ]
        return min(after, default=None)


class _Acknowledged:
    """The greatest revision of each key that was acknowledged by a time."""

    def __init__(self) -> None:
        self._times: dict[str, list[int]] = {}
        self._floors: dict[str, list[_Floor]] = {}

    def add(self, key: str, end_ns: int, floor: _Floor) -> None:
        """In order of time."""
        floors = self._floors.setdefault(key, [])
        if not floors or floor.at > floors[-1].at:
            floors.append(floor)
            self._times.setdefault(key, []).append(end_ns)

    def before(self, key: str, at_ns: int) -> _Floor | None:
        """Of what ended before `at_ns`."""
        at = bisect_left(self._times.get(key, ()), at_ns)
        return self._floors[key][at - 1] if at else None


class _Sweep:
    """Goes through a record once, in the order of time."""

    def __init__(self, operations: tuple[Operation, ...], slack_ms: float, *, evicting: bool) -> None:
        self._removals = _Removals(operations, evicting=evicting)
        self._sessions: dict[str, _Seen] = {}
        self._acknowledged = _Acknowledged()
        self._slack_ms = slack_ms
        self.needs: dict[int, _Needs] = {}
        self.judged = 0

    def seen(self, session: str) -> _Seen:
        return self._sessions.setdefault(session, _Seen())

    def invoked(self, at: int, operation: Operation) -> None:
        seen = self.seen(operation.session)
        # Of a scan it is not known yet which keys it will tell of.
        named = {change.key for change in done_by(operation)} | {s.key for s in seen_by(operation)}
        keys = {key: seen.keys[key] for key in named if key in seen.keys}
        self.needs[at] = _Needs(keys, dict(seen.indexes), dict(seen.revisions))

    def handed(self, note: Event) -> None:
        self.seen(note.value["to"]).add(self.seen(note.value["from"]))

    def replied(self, at: int, operation: Operation) -> Iterator[Finding]:
        needs = self.needs.pop(at)
        if not operation.is_ok:
            return
        self.judged += 1
        yield from self._reads(operation, needs)
        yield from self._writes(operation, needs)
        yield from self._index(operation, needs)

    def _reads(self, operation: Operation, needs: _Needs) -> Iterator[Finding]:
        seen = self.seen(operation.session)
        is_strong = operation.is_write or operation.level in _STRONG
        for key, value, revision in seen_by(operation):
            if revision is None and value is not None:
                continue
            at: float = revision or 0
            asked = [(needs.keys.get(key), "")] if is_strong else []
            asked.append(self._acknowledged_before(operation, key))
            for floor, rule in asked:
                if floor is None:
                    continue
                explained = revision if value is not None else self._explained(key, floor, operation)
                if explained is None or explained < floor.at:
                    yield _stale(operation, key, floor, rule)
                elif value is None:
                    at = max(at, explained)
            if at:
                floor = _Floor(at, operation)
                _raise(seen.keys, key, floor)
                if value is not None and operation.reply is not None and operation.reply.group is not None:
                    _raise(seen.revisions, operation.reply.group, floor)
        age_ms = None if operation.reply is None else operation.reply.age_ms
        bound_ms = operation.invoke.bound_ms
        if operation.level == "BOUNDED" and age_ms is not None and bound_ms is not None and age_ms > bound_ms:
            message = f"the answer says {age_ms} ms, at most {bound_ms} ms were asked for"
            yield Finding("age", message, operation.key or "", (text_of(operation),))

    def _explained(self, key: str, floor: _Floor, operation: Operation) -> float | None:
        return self._removals.explain(key, floor.at, operation.end_ns)

    def _acknowledged_before(self, operation: Operation, key: str) -> tuple[_Floor | None, str]:
        if operation.is_write or operation.level == "LINEARIZABLE":
            return self._acknowledged.before(key, operation.start_ns), "real time"
        bound_ms = operation.invoke.bound_ms
        if operation.level != "BOUNDED" or bound_ms is None:
            return None, ""
        since = operation.start_ns - int((bound_ms + self._slack_ms) * 1e6)
        return self._acknowledged.before(key, since), "bounded"

    def _writes(self, operation: Operation, needs: _Needs) -> Iterator[Finding]:
        seen = self.seen(operation.session)
        group = None if operation.reply is None else operation.reply.group
        for key, _, revision, _ in done_by(operation):
            if not revision:
                continue
            own = needs.keys.get(key)
            shard = None if group is None else needs.revisions.get(group)
            floor = max((f for f in (own, shard) if f is not None), key=lambda f: f.at, default=None)
            if floor is not None and revision <= floor.at:
                rule = "monotonic writes" if floor.by.is_write else "writes follow reads"
                message = f"it took revision {revision}, the session had seen {floor.at:g}"
                yield Finding(rule, message, key, (text_of(floor.by), text_of(operation)))
            made = _Floor(revision, operation)
            if group is not None:
                _raise(seen.revisions, group, made)
            if operation.f != "touch":  # the key keeps the revision that wrote its value
                _raise(seen.keys, key, made)
                self._acknowledged.add(key, operation.end_ns, made)

    def _index(self, operation: Operation, needs: _Needs) -> Iterator[Finding]:
        reply = operation.reply
        if reply is None or reply.group is None or reply.applied_index is None:
            return
        floor = needs.indexes.get(reply.group)
        if floor is not None and reply.applied_index < floor.at and operation.level in _STRONG:
            message = (
                f"answered from index {reply.applied_index} of group {reply.group},"
                f" the session had seen {floor.at:g}"
            )
            yield Finding("token", message, operation.key or "", (text_of(floor.by), text_of(operation)))
        _raise(self.seen(operation.session).indexes, reply.group, _Floor(reply.applied_index, operation))


def _stale(operation: Operation, key: str, floor: _Floor, rule: str) -> Finding:
    rule = rule or ("read your writes" if floor.by.is_write else "monotonic reads")
    told = operation.revision or "absent"
    message = f"read {told}, revision {floor.at:g} had been seen"
    return Finding(rule, message, key, (text_of(floor.by), text_of(operation)))


def check(
    operations: Iterable[Operation],
    notes: Iterable[Event] = (),
    *,
    slack_ms: float = 0.0,
    evicting: bool = False,
) -> Judgement:
    """Judges every session, and the age of every read.

    Args:
        operations: of a record.
        notes: of it; those named `token` count.
        slack_ms: how far clocks may be off in a bound.
        evicting: keys may go at any time.
    """
    every = tuple(operations)
    sweep = _Sweep(every, slack_ms, evicting=evicting)
    acts: list[tuple[int, int, int, Operation | Event]] = []
    for at, operation in enumerate(every):
        acts.append((operation.start_ns, _INVOKED, at, operation))
        if operation.end_ns != FOREVER:
            acts.append((operation.end_ns, _REPLIED, at, operation))
    acts += [(note.time_ns, _NOTED, i, note) for i, note in enumerate(notes) if note.f == "token"]
    broken: list[Finding] = []
    for _, kind, at, what in sorted(acts, key=lambda act: act[:3]):
        if isinstance(what, Event):
            sweep.handed(what)
        elif kind == _INVOKED:
            sweep.invoked(at, what)
        else:
            broken += sweep.replied(at, what)
    sessions = len({operation.session for operation in every})
    return judge("guarantees", broken=broken, figures={"sessions": sessions, "operations": sweep.judged})
