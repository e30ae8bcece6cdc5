"""The contract between the driver and whatever carries its messages.

A transport promises, per pair of nodes and lane:
- messages arrive in the order sent, none twice;
- nothing of an older connection is delivered after anything of a newer one;
- when a message is lost (overflow, broken stream) the connection is over: both sides are told
  `disconnected`, and everything queued for it is gone. A message in the middle is never dropped;
- identity comes from the connection's handshake (cluster, node, incarnation), never from a payload;
- an exception in the receiver does not tear the stream.

The two lanes are not ordered against each other.
"""

from __future__ import annotations

from typing import Protocol

from holdfast_raft.messages import NodeMessage


class Receiver(Protocol):
    """The driver, as the transport sees it. Called on the loop thread only."""

    def connected(self, peer: int) -> None:
        """Both lanes to `peer` stand. Nothing was delivered from it before this call."""
        ...

    def disconnected(self, peer: int, closed_by_peer: bool) -> None:
        """The connection is over. closed_by_peer: its process closed it (it died, or shut down)."""
        ...

    def received(self, peer: int, message: NodeMessage) -> None:
        """Queues a message for the next turn; must not act on it at once."""
        ...


class Transport(Protocol):
    """Carries messages to the other nodes."""

    def attach(self, receiver: Receiver) -> None:
        """Names who receives; once, before anything starts."""
        ...

    def is_connected(self, peer: int) -> bool: ...

    def send(self, peer: int, message: NodeMessage, *, bulk: bool = False) -> bool:
        """Queues a message; it leaves at `flush`. False: not connected, nothing was queued."""
        ...

    def flush(self) -> None:
        """Hands over what was queued since the last flush, one envelope for each peer and lane."""
        ...

    def queued_bytes(self, peer: int) -> int:
        """Bytes on the bulk lane to `peer` not yet taken by the network: what flow control asks."""
        ...
