"""A frozen state on its way into a snapshot, and a state being built from one.

An image holds the buckets' dicts as they stood; a bucket or session that is written meanwhile copies its
dict first, so freezing costs a pass over the buckets, not over the keys.

Invariants: the chunks of an image say one moment; a builder that finishes holds exactly that moment,
checked by counts and a digest over all chunks; a builder that raises is thrown away, nothing is installed.
Not here: files, transfer (holdfast_raft).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from google.protobuf.message import DecodeError as WireError

from holdfast_node.cache.bucket import FROZEN, HEADER_BYTES, OWN
from holdfast_node.cache.commands import policy_message, policy_of, seal_message, seal_of
from holdfast_node.cache.history import ClosedLine, change_of
from holdfast_node.cache.inherited import Piece
from holdfast_node.cache.keyspace import Keyspace
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.results import OpResult, TxnOutcome
from holdfast_node.cache.seal import Judge, Sealed
from holdfast_node.cache.sessions import Applied, Session, Sessions, not_kept, value_bytes
from holdfast_node.limits import CHUNK_BYTES_MAX
from holdfast_node.v1 import snapshot_pb2 as pb

FORMAT = 2
SIFTING_FORMAT = 3
"""Of a state that still sifts what it took over: a program that does not know it would trim too early."""
# Bounds of one step's work when what it holds is small.
_APPLIED_PER_CHUNK = 1000
_EVENTS_PER_CHUNK = 1000
_SIZE = struct.Struct("<I")


class CorruptImageError(ValueError):
    """Chunks do not add up to a state."""


class Image:
    """One moment of a state, to be read once, by chunks or by digest_steps. At its end: release.

    What has been read is let go at once, bucket by bucket: what was written meanwhile has copied its dict,
    and a million keys of old dicts freed by `release` in one go stopped the loop for 30 ms.
    """

    def __init__(self, space: Keyspace, sessions: Sessions, judge: Judge, alive: list[Image]) -> None:
        self._alive = alive
        alive.append(self)
        self.revision = space.revision
        self.stamp_ms = space.stamp_ms
        self.policy = space.policy
        self.hand = space.hand
        self.sealed, self.floor = judge.sealed, judge.floor
        self.oldest_revision = space.history.oldest_revision
        self.ancestors = space.history.groups
        self._closed = [line.facts() for line in space.history.closed]
        self.key_count = space.buckets.key_count
        self.byte_count = space.buckets.byte_count
        self._buckets = list(space.buckets.run())
        self._records = [bucket.records for bucket in self._buckets]
        for bucket in self._buckets:
            bucket.shared = bucket.shared or FROZEN
        self._sessions = [sessions.table[name] for name in sorted(sessions.table)]
        self._applied = [
            (session.session_id, session.mark, session.until, session.applied) for session in self._sessions
        ]
        for session in self._sessions:
            session.shared = session.shared or FROZEN
        self.sift_entries = space.history.sift_entries
        # By line: 0 the own one.
        self._events = space.history.pieces()
        self._event_count = 0

    def release(self) -> None:
        """Ends the freeze. Idempotent."""
        if self not in self._alive:
            return
        self._alive.remove(self)
        if not self._alive:
            # What was handed to another state stays marked: that state may read it for ever.
            for bucket in self._buckets:
                bucket.shared = OWN if bucket.shared == FROZEN else bucket.shared
            for session in self._sessions:
                session.shared = OWN if session.shared == FROZEN else session.shared
        self._buckets, self._records, self._sessions, self._applied, self._events = [], [], [], [], []

    def _buckets_read(self) -> Iterator[dict[bytes, bytes]]:
        """Each bucket's records. It is let go when the next one is asked for, and needs no copy any more."""
        records = self._records
        for at, bucket in enumerate(self._buckets):
            yield records[at]
            records[at] = {}
            if bucket.shared == FROZEN and self._alive == [self]:
                bucket.shared = OWN

    def chunks(self) -> Iterator[bytes]:
        """The state in pieces of at most about 256 KiB, one oversized value apart."""
        seal = hashlib.sha256()
        for chunk in self._parts():
            data = chunk.SerializeToString()
            seal.update(_SIZE.pack(len(data)))
            seal.update(data)
            yield data
        tail = pb.Tail(
            keys=self.key_count,
            bytes=self.byte_count,
            sessions=len(self._applied),
            applied=sum(len(applied) for *_, applied in self._applied),
            events=self._event_count,
            sha256=seal.digest(),
        )
        yield pb.Chunk(tail=tail).SerializeToString()

    def _parts(self) -> Iterator[pb.Chunk]:
        yield pb.Chunk(head=self._head())
        for records in self._buckets_read():
            yield from _record_chunks(records)
        yield from self._session_chunks()
        yield from self._event_chunks()

    def _head(self) -> pb.Head:
        head = pb.Head(
            format=SIFTING_FORMAT if self.sift_entries else FORMAT,
            revision=self.revision,
            stamp_ms=self.stamp_ms,
            policy=policy_message(self.policy),
            hand=self.hand,
            oldest_revision=self.oldest_revision,
            sift_entries=self.sift_entries,
            floor=self.floor,
            ancestors=self.ancestors,
        )
        if self.sealed is not None:
            seal, index, term = seal_message(self.sealed.seal()), self.sealed.index, self.sealed.term
            head.sealed.CopyFrom(pb.Sealed(seal=seal, index=index, term=term))
        for groups, oldest, revision, following, at in self._closed:
            head.closed.add(groups=groups, oldest_revision=oldest, revision=revision, next=following, at=at)
        return head

    def _session_chunks(self) -> Iterator[pb.Chunk]:
        part, size, count = pb.Sessions(), 0, 0
        for session_id, mark, until, applied in self._applied:
            message = part.sessions.add(id=session_id, answered_below=mark, until_ms=until)
            size += 64
            for sequence, what in applied.items():
                if size >= CHUNK_BYTES_MAX or count >= _APPLIED_PER_CHUNK:
                    yield pb.Chunk(sessions=part)
                    part, size, count = pb.Sessions(), 0, 0
                    message = part.sessions.add(id=session_id, answered_below=mark, until_ms=until)
                message.applied.append(_applied_message(sequence, what))
                size += 64 + value_bytes(what[3])
                count += 1
            count += 1
        if part.sessions:
            yield pb.Chunk(sessions=part)

    def _event_chunks(self) -> Iterator[pb.Chunk]:
        self._event_count = 0
        own, *closed = self._events or [[]]
        for number, pieces in (*enumerate(closed, 1), (0, own)):
            for chunk in _event_chunks(number, pieces):
                self._event_count += len(chunk.events.events)
                yield chunk

    def digest_steps(self) -> Iterator[str]:
        """Works out the digest a bucket at a time; the last item is the digest, those before are ''.

        Logical fields in a total order: clock, policy and hand, seal and floor, keys, sessions. History is
        a consequence of the log and its bounds and stands in its lines' oldest revisions.
        """
        facts = (
            self.revision, self.stamp_ms, tuple(map(int, self.policy)), self.hand, self.oldest_revision,
            self.sealed, self.floor, self.ancestors, self._closed, self.sift_entries,
        )  # fmt: skip
        digest = hashlib.sha256(repr(facts).encode())
        for records in self._buckets_read():
            digest.update(
                b"".join(
                    b"%b%b%b" % (_SIZE.pack(len(key)), key, _SIZE.pack(len(records[key])) + records[key])
                    for key in sorted(records)
                )
            )
            yield ""
        for session_id, mark, until, applied in self._applied:
            digest.update(repr((session_id, mark, until)).encode())
            for sequence in sorted(applied):
                digest.update(
                    _applied_message(sequence, applied[sequence]).SerializeToString(deterministic=True)
                )
            yield ""
        yield digest.hexdigest()


def _record_chunks(records: dict[bytes, bytes]) -> Iterator[pb.Chunk]:
    """One bucket's keys; more than one chunk when its values are large."""
    part, size = pb.Records(), 0
    for key in sorted(records):
        record = records[key]
        if part.keys and size + len(key) + len(record) > CHUNK_BYTES_MAX:
            yield pb.Chunk(records=part)
            part, size = pb.Records(), 0
        part.keys.append(key)
        part.records.append(record)
        size += len(key) + len(record)
    if part.keys:
        yield pb.Chunk(records=part)


def _event_chunks(line: int, pieces: list[Piece]) -> Iterator[pb.Chunk]:
    """One line's events, taken out of `pieces`. A chunk may be empty, when many were looked at in vain."""
    part, size, looked = pb.Events(line=line), 0, 0
    for piece in pieces:
        events = piece.events
        events.reverse()
        while events:  # each is let go when it has been read
            event = events.pop()
            kind, key, revision, record, previous, count = event
            if looked >= _EVENTS_PER_CHUNK or (part.events and size + count > CHUNK_BYTES_MAX):
                yield pb.Chunk(events=part)
                part, size, looked = pb.Events(line=line), 0, 0
            looked += 1
            if key in piece.keys:
                part.events.add(kind=kind, key=key, revision=revision, record=record, previous=previous)
                size += count
    if part.events:
        yield pb.Chunk(events=part)


def _applied_message(sequence: int, applied: Applied) -> pb.Applied:
    check, not_after, revision, outcome = applied
    message = pb.Applied(sequence=sequence, check=check, not_after_ms=not_after, revision=revision)
    if outcome is not None:
        message.outcome.CopyFrom(_outcome_message(outcome))
    return message


def _outcome_message(result: OpResult) -> pb.Outcome:
    message = pb.Outcome(
        revision=result.revision,
        value=result.value,
        number=result.number,
        ttl_ms=result.ttl_ms,
        deleted=result.deleted,
        more=result.more,
        not_kept=bool(result.error),
    )
    if result.txn is not None:
        message.succeeded = result.txn.succeeded
        message.steps.extend(_outcome_message(step) for step in result.txn.results)
    return message


def _outcome_of(message: pb.Outcome) -> OpResult:
    if message.not_kept:
        return not_kept(message.revision)
    txn = None
    if message.HasField("succeeded"):
        txn = TxnOutcome(message.succeeded, tuple(_outcome_of(step) for step in message.steps))
    value = message.value if message.HasField("value") else None
    return OpResult(
        0, message.revision, value, message.number, message.ttl_ms, message.deleted, message.more, None, txn
    )


def _shared(record: bytes, held: bytes | None) -> bytes:
    """The record, as the object that is held already when they are equal."""
    if len(record) < HEADER_BYTES:
        raise ValueError("a record has no header")
    return held if held is not None and held == record else record


class Builder:
    """A state being restored. After `finish`: `space`, `sessions` and `judge` are it."""

    def __init__(self) -> None:
        self.space = Keyspace(Policy())
        self.sessions = Sessions()
        self.judge = Judge()
        # How far events have come in the order of lines: the closed ones, then the own.
        self._line = 0
        self._seal = hashlib.sha256()
        self._has_head = False
        self._is_done = False
        # The record that the last event read left, by key.
        self._latest: dict[bytes, bytes] = {}

    def feed(self, chunk: bytes) -> None:
        """Takes the next chunk. Raises CorruptImageError."""
        try:
            self._take(pb.Chunk.FromString(chunk))
        except (WireError, ValueError, struct.error) as problem:
            raise CorruptImageError(f"snapshot chunk refused: {problem}") from problem
        self._seal.update(_SIZE.pack(len(chunk)))
        self._seal.update(chunk)

    def finish(self) -> None:
        """Says that there are no more chunks. Raises CorruptImageError."""
        if not self._is_done:
            raise CorruptImageError("the snapshot ends before its tail")

    def _take(self, message: pb.Chunk) -> None:
        part = message.WhichOneof("part")
        if self._is_done:
            raise ValueError("a chunk follows the tail")
        if self._has_head == (part == "head"):
            raise ValueError("the head is not the first chunk, or stands twice")
        if part == "head":
            self._take_head(message.head)
        elif part == "records":
            self._take_records(message.records)
        elif part == "sessions":
            self._take_sessions(message.sessions)
        elif part == "events":
            self._take_events(message.events)
        elif part == "tail":
            self._take_tail(message.tail)
        else:
            raise ValueError("an unknown part: a newer program made it")

    def _take_head(self, head: pb.Head) -> None:
        if head.format not in (FORMAT, SIFTING_FORMAT):
            raise ValueError(
                f"format {head.format} is not known, this program reads {FORMAT}, {SIFTING_FORMAT}"
            )
        space = self.space
        space.policy = policy_of(head.policy)
        space.revision = head.revision
        space.stamp_ms = head.stamp_ms
        space.hand = head.hand
        space.history.oldest_revision = head.oldest_revision
        space.history.sift_entries = head.sift_entries
        space.history.groups = tuple(head.ancestors)
        for line in head.closed:
            if not line.groups or 0 < line.next <= len(space.history.closed) + 1:
                raise ValueError("a closed line has no group, or leads to none that is later")
            if line.next > len(head.closed):
                raise ValueError("a closed line leads nowhere")
            space.history.add_closed(
                ClosedLine(tuple(line.groups), line.oldest_revision, line.revision, line.next, line.at)
            )
        self.judge.floor = head.floor
        if head.HasField("sealed"):
            plan, decides, targets, others = seal_of(head.sealed.seal)
            self.judge.sealed = Sealed(plan, decides, head.sealed.index, head.sealed.term, targets, others)
        self._has_head = True

    def _take_records(self, part: pb.Records) -> None:
        keys, records = list(part.keys), list(part.records)
        if any(len(record) < HEADER_BYTES for record in records):
            raise ValueError("a record has no header")
        self.space.buckets.append(keys, records)

    def _take_sessions(self, part: pb.Sessions) -> None:
        for message in part.sessions:
            session: Session = self.sessions.restore(message.id, message.answered_below, message.until_ms)
            for applied in message.applied:
                outcome = _outcome_of(applied.outcome) if applied.HasField("outcome") else None
                self.sessions.restore_record(
                    session,
                    applied.sequence,
                    (applied.check, applied.not_after_ms, applied.revision, outcome),
                )

    def _take_events(self, part: pb.Events) -> None:
        # A live state's events share record objects with the buckets and with each other; a restored one
        # would take twice the memory if it did not.
        present, latest = self.space.buckets.get, self._latest.get
        history = self.space.history
        position = part.line or len(history.closed) + 1
        if not self._line <= position <= len(history.closed) + 1:
            raise ValueError("lines of events are not in order")
        self._line = position
        closed = history.closed[part.line - 1] if part.line else None
        line = closed if closed is not None else history
        for event in part.events:
            key = event.key
            record = _shared(event.record, present(key)) if event.HasField("record") else None
            previous = _shared(event.previous, latest(key)) if event.HasField("previous") else None
            if record is not None:
                self._latest[key] = record
            if event.revision < (line.events[-1][2] if line.events else line.oldest_revision + 1):
                raise ValueError("events are not in order")
            change = change_of(event.kind, key, event.revision, record, previous)
            if closed is None:
                history.add(change)
            else:
                history.add_to_closed(closed, change)

    def _take_tail(self, tail: pb.Tail) -> None:
        buckets, sessions = self.space.buckets, self.sessions
        events = self.space.history.event_count
        seen = (buckets.key_count, buckets.byte_count, len(sessions.table), sessions.record_count, events)
        if seen != (tail.keys, tail.bytes, tail.sessions, tail.applied, tail.events):
            raise ValueError(f"counts differ: the chunks hold {seen}")
        if tail.sha256 != self._seal.digest():
            raise ValueError("the digest over the chunks differs")
        self._latest.clear()
        self._is_done = True
