"""peer_wire: messages between replicas <-> bytes."""

from __future__ import annotations

import contextlib
from typing import get_args, get_type_hints

import pytest
from holdfast_raft import messages as m
from holdfast_raft.peer_greeting import (
    Goodbye,
    Hello,
    WireError,
    decode_greeting,
    encode_goodbye,
    encode_hello,
    goodbye_in,
)
from holdfast_raft.peer_wire import decode, encode
from holdfast_raft.v1 import peer_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
FLAG = st.booleans()
DATA = st.binary(max_size=40)
PAIRS = st.lists(st.tuples(U64, U64), max_size=3).map(tuple)
NUMBERS = st.lists(U64, max_size=3).map(tuple)
NONCE = st.builds(m.Nonce, U64, U64)

BODIES = {
    m.Append: st.builds(m.Append, U64, U64, U64, st.lists(st.tuples(U64, DATA), max_size=3).map(tuple)),
    m.AppendReply: st.builds(m.AppendReply, FLAG, U64),
    m.Vote: st.builds(m.Vote, U64, U64, FLAG),
    m.VoteReply: st.builds(m.VoteReply, FLAG),
    m.PreVote: st.builds(m.PreVote, U64, U64, U64),
    m.PreVoteReply: st.builds(m.PreVoteReply, U64, FLAG),
    m.TermNotice: st.builds(m.TermNotice),
    m.MatchNotice: st.builds(m.MatchNotice, U64),
    m.TimeoutNow: st.builds(m.TimeoutNow),
    m.SnapshotChunk: st.builds(m.SnapshotChunk, U64, U64, U64, U32, DATA, FLAG),
    m.SnapshotReply: st.builds(m.SnapshotReply, U64, U32, FLAG, FLAG),
    m.IndexRequest: st.builds(m.IndexRequest, U64),
    m.IndexReply: st.builds(m.IndexReply, U64, FLAG, U64),
    m.Payload: st.builds(m.Payload, DATA),
    m.Gone: st.builds(m.Gone),
    m.Here: st.builds(m.Here),
    m.CopyPull: st.builds(m.CopyPull, U64, U64, U64, U32, U32, U32),
    m.CopyChunk: st.builds(m.CopyChunk, U64, U64, U64, U32, U32, DATA, FLAG, U64, U64),
    m.CopyEntries: st.builds(
        m.CopyEntries, U64, U64, U64, st.lists(st.tuples(U64, DATA), max_size=3).map(tuple), U64, U64, FLAG
    ),
    m.CopyRefused: st.builds(m.CopyRefused, U64, st.text(max_size=20)),
}
BEAT = st.builds(m.Heartbeat, U64, U64, U64, U32)
NODE_MESSAGES = {
    m.Addressed: st.builds(m.Addressed, U64, U64, st.one_of(*BODIES.values())),
    m.Heartbeats: st.builds(m.Heartbeats, U64, U64, U64, st.lists(BEAT, max_size=3).map(tuple)),
    m.HeartbeatReplies: st.builds(m.HeartbeatReplies, U64, U64, U64, NUMBERS, PAIRS),
    m.Confirm: st.builds(m.Confirm, NONCE, PAIRS),
    m.ConfirmReply: st.builds(m.ConfirmReply, NONCE, NUMBERS, PAIRS),
    m.Told: st.builds(m.Told, DATA),
}
HELLO = Hello("blue", 2, 2**63 + 7, 99, "127.0.0.1:8101", "0.1.0", 4711, "a")


def zero(kind: type) -> object:
    """The kind's value with every field empty."""
    empty = {int: 0, bool: False, bytes: b"", str: "", m.Nonce: m.Nonce(0, 0)}
    return kind(*(empty.get(note, ()) for note in get_type_hints(kind).values()))


def test_every_kind_of_message_is_covered_here():
    """A kind added to messages.py must be added to these tests (and so to the wire)."""
    assert set(BODIES) == set(get_args(m.GroupMessage))
    assert set(NODE_MESSAGES) == set(get_args(m.NodeMessage))


@given(st.lists(st.one_of(*NODE_MESSAGES.values()), max_size=5))
def test_envelopes_set_side_by_side_hold_the_same_messages_in_the_same_order(said):
    """decode(join(encode(m))) is the identity on any sequence of messages of any kinds."""
    assert decode(b"".join(encode(one) for one in said)) == said


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_a_body_whose_fields_are_all_empty_keeps_its_kind(kind):
    """A message with only zeros in it arrives as what it is, not as nothing."""
    message = m.Addressed(0, 0, zero(kind))
    assert decode(encode(message)) == [message]


@pytest.mark.parametrize(
    "kind", [kind for kind in NODE_MESSAGES if kind is not m.Addressed], ids=lambda kind: kind.__name__
)
def test_a_node_message_whose_fields_are_all_empty_keeps_its_kind(kind):
    """A message of the node with only zeros in it arrives as what it is, not as nothing."""
    message = zero(kind)
    assert decode(encode(message)) == [message]


@given(st.binary(max_size=60))
def test_any_bytes_decode_to_messages_or_to_a_wire_error(data):
    """Nothing but WireError escapes for bytes of anyone's making."""
    for read in (decode, decode_greeting):
        with contextlib.suppress(WireError):
            read(data)


def test_a_message_of_a_kind_from_the_future_is_an_error():
    """A message we cannot read is never skipped: what follows it would have a hole before it."""
    future = pb.Envelope(messages=[pb.Message(group=1, term=1)]).SerializeToString()
    with pytest.raises(WireError, match="does not know"):
        decode(encode(m.Addressed(1, 1, m.Gone())) + future)


def test_heartbeats_whose_columns_differ_in_length_are_an_error():
    """A missing value would give each group behind it another one's term."""
    beats = pb.Heartbeats(groups=[1, 2], terms=[1, 1], commit_indexes=[5, 5], quorum_ages_ms=[3])
    with pytest.raises(WireError, match="columns"):
        decode(pb.Envelope(messages=[pb.Message(heartbeats=beats)]).SerializeToString())


def test_a_hello_in_the_middle_is_an_error():
    """Identity is said once, at the beginning."""
    with pytest.raises(WireError, match="second hello"):
        decode(encode(m.Addressed(1, 1, m.Gone())) + encode_hello(HELLO))


def test_a_hello_comes_back_as_it_was_said():
    """decode_greeting(encode_hello(h)) is h."""
    assert decode_greeting(encode_hello(HELLO)) == HELLO


def test_a_goodbye_comes_back_as_it_was_said_and_is_known_by_its_first_byte():
    """Among the envelopes of an open connection too, where messages are none."""
    said = Goodbye("why", closing=True, lasting=True, newest_epoch=7)
    assert decode_greeting(encode_goodbye(said)) == goodbye_in(encode_goodbye(said)) == said
    assert goodbye_in(encode(m.Addressed(1, 1, m.Gone()))) is None


def test_a_hello_with_messages_is_an_error():
    """Nothing rides along with a hello: it is looked at before the sender is admitted."""
    with pytest.raises(WireError, match="not a hello"):
        decode_greeting(encode_hello(HELLO) + encode(m.Addressed(1, 1, m.Gone())))
