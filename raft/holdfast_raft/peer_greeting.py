"""The first and the last thing that one node says to another <-> bytes (proto/holdfast_raft/v1/peer.proto).

A hello opens each lane, each way; a goodbye ends a connection, or is the answer to a hello that is not
welcome. Both travel alone in their envelope.

Does not look at what they say (`peer_door` does); messages in between are `peer_wire`'s.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from holdfast_raft.v1 import peer_pb2 as pb

_GOODBYE_TAG: Final = bytes([pb.Envelope.GOODBYE_FIELD_NUMBER << 3 | 2])


class WireError(ValueError):
    """Bytes that no peer of this version sends."""


class Hello(NamedTuple):
    """Who is speaking; epoch: which connection of this pair this is."""

    cluster_id: str
    node: int
    incarnation: int
    epoch: int
    http: str
    version: str
    pid: int
    zone: str


class Goodbye(NamedTuple):
    """Why the sender ends the connection, or will have none.

    Attributes:
        why: for people.
        closing: its process is going away.
        lasting: another attempt will fare no better until somebody changes something.
        newest_epoch: that it has seen of us, if ours was not newer; else 0.
    """

    why: str
    closing: bool = False
    lasting: bool = False
    newest_epoch: int = 0


def encode_hello(hello: Hello) -> bytes:
    """An envelope with only a hello."""
    return pb.Envelope(hello=pb.Hello(**hello._asdict())).SerializeToString()


def encode_goodbye(goodbye: Goodbye) -> bytes:
    """An envelope with only a goodbye."""
    return pb.Envelope(goodbye=pb.Goodbye(**goodbye._asdict())).SerializeToString()


def decode_greeting(data: bytes) -> Hello | Goodbye:
    """What an envelope holds that must hold nothing else; raises WireError."""
    try:
        envelope = pb.Envelope.FromString(data)
    except DecodeError as error:
        raise WireError(f"not an envelope: {error}") from None
    if envelope.HasField("goodbye"):
        wire = envelope.goodbye
        return Goodbye(wire.why, wire.closing, wire.lasting, wire.newest_epoch)
    if not envelope.HasField("hello") or envelope.messages:
        raise WireError("the first message is not a hello")
    said = envelope.hello
    return Hello(
        said.cluster_id,
        said.node,
        said.incarnation,
        said.epoch,
        said.http,
        said.version,
        said.pid,
        said.zone,
    )


def goodbye_in(data: bytes) -> Goodbye | None:
    """The goodbye that an envelope of an open connection holds; by its first byte, since there are many."""
    if not data.startswith(_GOODBYE_TAG):
        return None
    said = decode_greeting(data)
    return said if isinstance(said, Goodbye) else None
