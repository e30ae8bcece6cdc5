"""Which of our processes is at the other end of a loopback connection: the kernel's word, read from /proc.

A proxy must know who speaks, to cut one direction between two nodes. The nodes' bytes do not say it in a way
that survives TLS, so the socket's owner does: its number stands in the kernel's tables, and among the owner's
open files. A program may connect to an IPv4 address by an IPv6 socket (gRPC does), so there are two tables.
Works on Linux and for processes of the same user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TABLES: Final = (Path("/proc/net/tcp6"), Path("/proc/net/tcp"))


def inode_of(port: int, other_port: int, table: str) -> int | None:
    """The socket that is bound to `port` and connected to `other_port`, by the kernel's table."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        local, remote, inode = fields[1], fields[2], int(fields[9])
        ports = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
        if ports == (port, other_port) and inode:
            return inode
    return None


def holds(pid: int, inode: int) -> bool:
    """Whether a process has the socket open."""
    wanted = f"socket:[{inode}]"
    folder = f"/proc/{pid}/fd"
    try:
        return any(_target(f"{folder}/{name}") == wanted for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False  # it has ended


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - thousands a second; a Path for each is the greater part
    except OSError:
        return ""


def origin(port: int, other_port: int, pids: Mapping[int, int], otherwise: int) -> int | None:
    """The party that connected from `port` to `other_port`. None: it has hung up already.

    Args:
        port: of who connected.
        other_port: where to.
        pids: process ids by party.
        otherwise: the party of every other process.
    """
    inodes = (inode_of(port, other_port, table.read_text(encoding="ascii")) for table in TABLES)
    inode = next((inode for inode in inodes if inode is not None), None)
    if inode is None:
        return None
    return next((party for party, pid in pids.items() if holds(pid, inode)), otherwise)
