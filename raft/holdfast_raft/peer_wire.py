"""Messages between replicas <-> bytes (proto/holdfast_raft/v1/peer.proto).

A message is encoded as an envelope of its own; envelopes set side by side are, by the rules of
protobuf, one envelope with the messages of all. So a message is encoded once whoever it goes to, its
size is known exactly when it is queued, and coalescing is a join of bytes.

Invariant: decode(join(encode(m) for m in messages)) gives the same messages in the same order.

Does not bound sizes (the transport does, before it calls `decode`) and does not look at identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from holdfast_raft import messages as m
from holdfast_raft.messages import NodeMessage
from holdfast_raft.peer_greeting import WireError
from holdfast_raft.v1 import peer_pb2 as pb

# --- messages to bytes ------------------------------------------------------------------------------


def encode(message: NodeMessage) -> bytes:
    """An envelope with this one message."""
    envelope = pb.Envelope()
    wire = envelope.messages.add()
    if isinstance(message, m.Addressed):
        wire.group, wire.term = message.group, message.term
        body = message.body
        _WRITERS[type(body)](wire, body)
    else:
        _WRITERS[type(message)](wire, message)
    return envelope.SerializeToString()


def _write_append(wire: pb.Message, body: m.Append) -> None:
    append = wire.append
    # Assigning any field, zero too, makes the submessage present; an empty one needs SetInParent.
    append.prev_index, append.prev_term, append.commit_index = body[:3]
    add = append.entries.add
    for term, data in body.entries:
        add(term=term, data=data)


def _write_append_reply(wire: pb.Message, body: m.AppendReply) -> None:
    wire.append_reply.matched, wire.append_reply.index = body


def _write_vote(wire: pb.Message, body: m.Vote) -> None:
    wire.vote.last_index, wire.vote.last_term, wire.vote.transfer = body


def _write_vote_reply(wire: pb.Message, body: m.VoteReply) -> None:
    wire.vote_reply.granted = body.granted


def _write_pre_vote(wire: pb.Message, body: m.PreVote) -> None:
    wire.pre_vote.next_term, wire.pre_vote.last_index, wire.pre_vote.last_term = body


def _write_pre_vote_reply(wire: pb.Message, body: m.PreVoteReply) -> None:
    wire.pre_vote_reply.next_term, wire.pre_vote_reply.granted = body


def _write_snapshot_chunk(wire: pb.Message, body: m.SnapshotChunk) -> None:
    chunk = wire.snapshot_chunk
    chunk.index, chunk.snapshot_term, chunk.commit_index, chunk.number, chunk.data, chunk.last = body


def _write_snapshot_reply(wire: pb.Message, body: m.SnapshotReply) -> None:
    reply = wire.snapshot_reply
    reply.index, reply.number, reply.installed, reply.refused = body


def _write_match_notice(wire: Any, notice: m.MatchNotice) -> None:
    wire.match_notice.index = notice.index


def _write_index_request(wire: pb.Message, body: m.IndexRequest) -> None:
    wire.index_request.request = body.request


def _write_index_reply(wire: pb.Message, body: m.IndexReply) -> None:
    wire.index_reply.request, wire.index_reply.ok, wire.index_reply.index = body


def _write_payload(wire: pb.Message, body: m.Payload) -> None:
    wire.payload.data = body.data


def _write_heartbeats(wire: pb.Message, message: m.Heartbeats) -> None:
    beats = wire.heartbeats
    beats.sent_at_ns, beats.echo_ns, beats.wall_ms = message[:3]
    if message.groups:
        groups, terms, commit_indexes, quorum_ages_ms = zip(*message.groups, strict=True)
        beats.groups.extend(groups)
        beats.terms.extend(terms)
        beats.commit_indexes.extend(commit_indexes)
        beats.quorum_ages_ms.extend(quorum_ages_ms)


def _write_heartbeat_replies(wire: pb.Message, message: m.HeartbeatReplies) -> None:
    replies = wire.heartbeat_replies
    replies.echo_ns, replies.sent_at_ns, replies.wall_ms = message[:3]
    replies.groups.extend(message.accepted)
    for group, term in message.others:
        replies.others.add(group=group, term=term)


def _write_confirm(wire: pb.Message, message: m.Confirm) -> None:
    confirm = wire.confirm
    confirm.boot, confirm.counter = message.nonce
    for group, term in message.groups:
        confirm.groups.add(group=group, term=term)


def _write_confirm_reply(wire: pb.Message, message: m.ConfirmReply) -> None:
    reply = wire.confirm_reply
    reply.boot, reply.counter = message.nonce
    reply.groups.extend(message.confirmed)
    for group, term in message.others:
        reply.others.add(group=group, term=term)


def _write_copy_pull(wire: pb.Message, body: m.CopyPull) -> None:
    pull = wire.copy_pull
    pull.copy, pull.index, pull.term, pull.number, pull.crc, pull.bytes_max = body


def _write_copy_chunk(wire: pb.Message, body: m.CopyChunk) -> None:
    chunk = wire.copy_chunk
    chunk.copy, chunk.index, chunk.snapshot_term, chunk.crc, chunk.number = body[:5]
    chunk.data, chunk.last, chunk.commit_index, chunk.behind_bytes = body[5:]


def _write_copy_entries(wire: pb.Message, body: m.CopyEntries) -> None:
    copy = wire.copy_entries
    copy.copy, copy.prev_index, copy.prev_term = body[:3]
    copy.commit_index, copy.behind_bytes, copy.has_leader = body[4:]
    add = copy.entries.add
    for term, data in body.entries:
        add(term=term, data=data)


def _write_copy_refused(wire: pb.Message, body: m.CopyRefused) -> None:
    wire.copy_refused.copy, wire.copy_refused.why = body


def _write_told(wire: pb.Message, message: m.Told) -> None:
    wire.told.data = message.data


_WRITERS: dict[type, Callable[[pb.Message, Any], None]] = {
    m.Append: _write_append,
    m.AppendReply: _write_append_reply,
    m.Vote: _write_vote,
    m.VoteReply: _write_vote_reply,
    m.PreVote: _write_pre_vote,
    m.PreVoteReply: _write_pre_vote_reply,
    m.TermNotice: lambda wire, _: wire.term_notice.SetInParent(),
    m.MatchNotice: _write_match_notice,
    m.TimeoutNow: lambda wire, _: wire.timeout_now.SetInParent(),
    m.SnapshotChunk: _write_snapshot_chunk,
    m.SnapshotReply: _write_snapshot_reply,
    m.IndexRequest: _write_index_request,
    m.IndexReply: _write_index_reply,
    m.Payload: _write_payload,
    m.Gone: lambda wire, _: wire.gone.SetInParent(),
    m.Here: lambda wire, _: wire.here.SetInParent(),
    m.CopyPull: _write_copy_pull,
    m.CopyChunk: _write_copy_chunk,
    m.CopyEntries: _write_copy_entries,
    m.CopyRefused: _write_copy_refused,
    m.Heartbeats: _write_heartbeats,
    m.HeartbeatReplies: _write_heartbeat_replies,
    m.Confirm: _write_confirm,
    m.ConfirmReply: _write_confirm_reply,
    m.Told: _write_told,
}


# --- bytes to messages ------------------------------------------------------------------------------


def decode(data: bytes) -> list[NodeMessage]:
    """The messages of an envelope in order.

    Raises:
        WireError: not an envelope, or one with a hello or with a message of an unknown kind in it.
    """
    try:
        envelope = pb.Envelope.FromString(data)
    except DecodeError as error:
        raise WireError(f"not an envelope: {error}") from None
    if envelope.HasField("hello"):
        raise WireError("a second hello")
    decoded: list[NodeMessage] = []
    for wire in envelope.messages:
        kind = wire.WhichOneof("kind")
        if kind is None:
            raise WireError("a message of a kind this version does not know")
        read = _GROUP_READERS.get(kind)
        if read is not None:
            decoded.append(m.Addressed(wire.group, wire.term, read(getattr(wire, kind))))
        else:
            decoded.append(_NODE_READERS[kind](getattr(wire, kind)))
    return decoded


def _read_append(wire: pb.Append) -> m.Append:
    entries = tuple([(entry.term, entry.data) for entry in wire.entries])
    return m.Append(wire.prev_index, wire.prev_term, wire.commit_index, entries)


def _read_snapshot_chunk(wire: pb.SnapshotChunk) -> m.SnapshotChunk:
    return m.SnapshotChunk(
        wire.index, wire.snapshot_term, wire.commit_index, wire.number, wire.data, wire.last
    )


def _read_copy_chunk(wire: pb.CopyChunk) -> m.CopyChunk:
    return m.CopyChunk(
        wire.copy, wire.index, wire.snapshot_term, wire.crc, wire.number, wire.data, wire.last,
        wire.commit_index, wire.behind_bytes,
    )  # fmt: skip


def _read_copy_entries(wire: pb.CopyEntries) -> m.CopyEntries:
    entries = tuple([(entry.term, entry.data) for entry in wire.entries])
    return m.CopyEntries(
        wire.copy, wire.prev_index, wire.prev_term, entries, wire.commit_index, wire.behind_bytes,
        wire.has_leader,
    )  # fmt: skip


def _read_heartbeats(wire: pb.Heartbeats) -> m.Heartbeats:
    columns = wire.groups, wire.terms, wire.commit_indexes, wire.quorum_ages_ms
    if len(set(map(len, columns))) != 1:
        raise WireError("heartbeats whose columns differ in length")
    groups = tuple(map(m.Heartbeat, *columns))
    return m.Heartbeats(wire.sent_at_ns, wire.echo_ns, wire.wall_ms, groups)


def _read_heartbeat_replies(wire: pb.HeartbeatReplies) -> m.HeartbeatReplies:
    others = tuple([(other.group, other.term) for other in wire.others])
    return m.HeartbeatReplies(wire.echo_ns, wire.sent_at_ns, wire.wall_ms, tuple(wire.groups), others)


def _read_confirm(wire: pb.Confirm) -> m.Confirm:
    return m.Confirm(m.Nonce(wire.boot, wire.counter), tuple([(g.group, g.term) for g in wire.groups]))


def _read_confirm_reply(wire: pb.ConfirmReply) -> m.ConfirmReply:
    others = tuple([(other.group, other.term) for other in wire.others])
    return m.ConfirmReply(m.Nonce(wire.boot, wire.counter), tuple(wire.groups), others)


_GROUP_READERS: dict[str, Callable[[Any], m.GroupMessage]] = {
    "append": _read_append,
    "append_reply": lambda w: m.AppendReply(w.matched, w.index),
    "vote": lambda w: m.Vote(w.last_index, w.last_term, w.transfer),
    "vote_reply": lambda w: m.VoteReply(w.granted),
    "pre_vote": lambda w: m.PreVote(w.next_term, w.last_index, w.last_term),
    "pre_vote_reply": lambda w: m.PreVoteReply(w.next_term, w.granted),
    "term_notice": lambda _: m.TermNotice(),
    "match_notice": lambda w: m.MatchNotice(w.index),
    "timeout_now": lambda _: m.TimeoutNow(),
    "snapshot_chunk": _read_snapshot_chunk,
    "snapshot_reply": lambda w: m.SnapshotReply(w.index, w.number, w.installed, w.refused),
    "index_request": lambda w: m.IndexRequest(w.request),
    "index_reply": lambda w: m.IndexReply(w.request, w.ok, w.index),
    "payload": lambda w: m.Payload(w.data),
    "gone": lambda _: m.Gone(),
    "here": lambda _: m.Here(),
    "copy_pull": lambda w: m.CopyPull(w.copy, w.index, w.term, w.number, w.crc, w.bytes_max),
    "copy_chunk": _read_copy_chunk,
    "copy_entries": _read_copy_entries,
    "copy_refused": lambda w: m.CopyRefused(w.copy, w.why),
}

_NODE_READERS: dict[str, Callable[[Any], NodeMessage]] = {
    "heartbeats": _read_heartbeats,
    "heartbeat_replies": _read_heartbeat_replies,
    "confirm": _read_confirm,
    "confirm_reply": _read_confirm_reply,
    "told": lambda w: m.Told(w.data),
}
