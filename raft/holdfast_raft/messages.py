"""What replicas say to each other, as plain values.

The wire form is proto/holdfast_raft/v1/peer.proto; `peer_wire` converts, nothing else does. The
simulator carries these values as they are. Units: indexes and terms as in Raft, times in the unit
their name ends with.
"""

from __future__ import annotations

from typing import NamedTuple


class Append(NamedTuple):
    """Entries that follow (prev_index, prev_term): (term, data), at prev_index + 1, + 2, ..."""

    prev_index: int
    prev_term: int
    commit_index: int
    entries: tuple[tuple[int, bytes], ...]


class AppendReply(NamedTuple):
    """matched: all up to `index` is durable at the sender; else: send again from index + 1."""

    matched: bool
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs


class Vote(NamedTuple):
    """Asks for a vote in the message's term. transfer: at the present leader's own wish."""

    last_index: int
    last_term: int
    transfer: bool


class VoteReply(NamedTuple):
    """Answers a Vote of the message's term."""

    granted: bool


class PreVote(NamedTuple):
    """Would you vote for me in next_term? Changes nothing at the receiver."""

    next_term: int
    last_index: int
    last_term: int


class PreVoteReply(NamedTuple):
    """Answers a PreVote; the message's term is the voter's."""

    next_term: int
    granted: bool


class TermNotice(NamedTuple):
    """Your term is behind: the message's term is the news."""


class TimeoutNow(NamedTuple):
    """The leader asks the receiver to campaign at once."""


class SnapshotChunk(NamedTuple):
    """Piece `number` (from 0) of the snapshot that stands at (index, snapshot_term)."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    snapshot_term: int
    commit_index: int
    number: int
    data: bytes
    last: bool


class SnapshotReply(NamedTuple):
    """Chunks up to and with `number` are taken; installed: the whole is durable; refused: begin again."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    number: int
    installed: bool
    refused: bool


class IndexRequest(NamedTuple):
    """A follower asks for a barrier index."""

    request: int


class IndexReply(NamedTuple):
    """Answers an IndexRequest; index counts only if ok."""

    request: int
    ok: bool
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs


class Payload(NamedTuple):
    """Bytes for the receiver's state machine owner; Raft carries them unread."""

    data: bytes


class Gone(NamedTuple):
    """The group is retired at the sender."""


class MatchNotice(NamedTuple):
    """A leader: the receiver has confirmed, in this term, that all up to `index` is durable there."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs


class Here(NamedTuple):
    """The sender's replica exists now: whoever waits for a majority of them need wait no longer."""


class CopyPull(NamedTuple):
    """A node that copies the group asks for more; it need not be a member. Answered by one of the next three.

    copy: the group that the copy is to become: names the copy.
    number, crc: 0: what follows (index, term), entries or, if the log no longer holds them, a snapshot's
        first chunk; else: chunk `number` of the snapshot that stands at (index, term) with this CRC.
    bytes_max: of entries.
    """

    copy: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    term: int
    number: int
    crc: int
    bytes_max: int


class CopyChunk(NamedTuple):
    """Piece `number` (from 0) of the snapshot that stands at (index, snapshot_term); crc: names its bytes.

    commit_index: the sender's; behind_bytes: about what is still missing up to there.
    """

    copy: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    snapshot_term: int
    crc: int
    number: int
    data: bytes
    last: bool
    commit_index: int
    behind_bytes: int


class CopyEntries(NamedTuple):
    """Committed entries that follow (prev_index, prev_term), as in Append; none: there is nothing new.

    has_leader: the sender follows a leader, or leads: its commit index is news.
    """

    copy: int
    prev_index: int
    prev_term: int
    entries: tuple[tuple[int, bytes], ...]
    commit_index: int
    behind_bytes: int
    has_leader: bool


class CopyRefused(NamedTuple):
    """Ask another node."""

    copy: int
    why: str


GroupMessage = (
    Append
    | AppendReply
    | Vote
    | VoteReply
    | PreVote
    | PreVoteReply
    | TermNotice
    | MatchNotice
    | TimeoutNow
    | SnapshotChunk
    | SnapshotReply
    | IndexRequest
    | IndexReply
    | Payload
    | Gone
    | Here
    | CopyPull
    | CopyChunk
    | CopyEntries
    | CopyRefused
)


class Addressed(NamedTuple):
    """A group message with the sender's term at the moment it was said."""

    group: int
    term: int
    body: GroupMessage


class Heartbeat(NamedTuple):
    """One group's part of a Heartbeats message; see peer.proto."""

    group: int
    term: int
    commit_index: int
    quorum_age_ms: int


class Heartbeats(NamedTuple):
    """All groups the sender leads, towards one peer."""

    sent_at_ns: int
    echo_ns: int
    wall_ms: int
    groups: tuple[Heartbeat, ...]


class HeartbeatReplies(NamedTuple):
    """accepted: groups that follow the sender; others: (group, higher term; 0 = no such replica)."""

    echo_ns: int
    sent_at_ns: int
    wall_ms: int
    accepted: tuple[int, ...]
    others: tuple[tuple[int, int], ...]


class Nonce(NamedTuple):
    """Names one question of a barrier round for ever: a random boot id and a counter."""

    boot: int
    counter: int


class Confirm(NamedTuple):
    """Am I still the leader of these (group, term)?"""

    nonce: Nonce
    groups: tuple[tuple[int, int], ...]


class ConfirmReply(NamedTuple):
    """Yes for `confirmed`; `others`: (group, higher term; 0 = no such replica); not named = no."""

    nonce: Nonce
    confirmed: tuple[int, ...]
    others: tuple[tuple[int, int], ...]


class Told(NamedTuple):
    """Bytes for the owner of the receiving node; Raft carries them unread."""

    data: bytes


NodeMessage = Addressed | Heartbeats | HeartbeatReplies | Confirm | ConfirmReply | Told
