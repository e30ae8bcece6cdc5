"""Which of our processes is at the other end of a loopback connection: the kernel's word.

A proxy must know who speaks, to cut one direction between two nodes. The nodes' bytes do not say it in a way
that survives TLS, so the socket's owner does. Two questions: which socket is it (asked by `sock_diag`, which
looks up one connection and does not walk the kernel's table: after a cluster was killed that holds thousands
that wait for their end), and whose open file is that (`/proc`). Many connect at one moment, so one look into
`/proc` answers for all sockets that are open then; a socket's number is not used again.

A program may connect to an IPv4 address by an IPv6 socket (gRPC does); the kernel finds both by the IPv4 one.
Works on Linux and for processes of the same user.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ANY: Final = 0xFFFFFFFF
"""In a cookie or a set of states: whichever."""
_HEADER: Final = struct.Struct("=IHHII")
_QUESTION: Final = struct.Struct("=BBBBI")
_ENDS: Final = struct.Struct("!HH16s16s")
_REST: Final = struct.Struct("=III")
_INODE: Final = struct.Struct("=I")
_INODE_AT: Final = _HEADER.size + 68
"""In an answer: behind the header, in `struct inet_diag_msg`, whose last field it is."""
_LOOPBACK: Final = socket.inet_aton("127.0.0.1").ljust(16, b"\0")


def inode_of(port: int, other_port: int) -> int | None:
    """The loopback socket that is bound to `port` and connected to `other_port`; None: there is none."""
    body = b"".join(
        (
            _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY),
            _ENDS.pack(port, other_port, _LOOPBACK, _LOOPBACK),
            _REST.pack(0, _ANY, _ANY),
        )
    )
    header = _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(header + body)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None  # an error: no such connection
    inode: int = _INODE.unpack_from(answer, _INODE_AT)[0]
    return inode or None  # 0: it waits for its end, and is nobody's


def sockets_of(pid: int) -> Iterator[int]:
    """The sockets that a process has open; none: it has ended."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - hundreds at a time; a Path for each is the greater part
    except OSError:
        return
    for name in names:
        target = _target(f"{folder}/{name}")
        if target.startswith("socket:["):
            yield int(target[8:-1])


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - see above
    except OSError:
        return ""


class Origins:
    """Who connected; remembers whose the sockets were that it has seen."""

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}
        self.looks = 0

    def __call__(self, port: int, other_port: int, pids: Mapping[int, int], otherwise: int) -> int | None:
        """The party that connected from `port` to `other_port`. None: it has hung up already.

        Args:
            port: of who connected.
            other_port: where to.
            pids: process ids by party.
            otherwise: the party of every other process, this one among them.
        """
        inode = inode_of(port, other_port)
        if inode is None:
            return None
        if inode not in self._owners:
            self.looks += 1
            own = dict.fromkeys(sockets_of(os.getpid()), otherwise)
            self._owners = own | {found: party for party, pid in pids.items() for found in sockets_of(pid)}
        return self._owners.get(inode, otherwise)

    def __repr__(self) -> str:
        return f"<Origins of {len(self._owners)} sockets, {self.looks} looks>"
