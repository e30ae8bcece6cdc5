"""Who is at the other end of a loopback connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from holdfast_chaos.cluster.origins import Origins, inode_of

NODE, OTHERS = 3, 0
CALL = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
CALL_BY_6 = (
    "import socket, sys; s = socket.socket(socket.AF_INET6);"
    " s.connect(('::ffff:127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


@pytest.mark.parametrize("call", [CALL, CALL_BY_6])
def test_a_process_is_told_by_its_socket(server, call):
    """The party whose process holds the connecting socket; not another's."""
    port = server.getsockname()[1]
    child = subprocess.Popen([sys.executable, "-c", call, str(port)], stdin=subprocess.PIPE)
    with child:
        accepted, (_, source) = server.accept()
        with accepted:
            assert Origins()(source, port, {1: os.getpid(), NODE: child.pid}, OTHERS) == NODE
            assert Origins()(source, port, {1: os.getpid()}, OTHERS) == OTHERS
        assert child.stdin is not None
        child.stdin.close()


def test_one_look_answers_for_all_that_are_open(server):
    """A cluster that comes back connects at one moment; a socket that is new since is looked for."""
    port = server.getsockname()[1]
    origins = Origins()
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    told = [origins(c.getsockname()[1], port, {NODE: os.getpid()}, OTHERS) for c in callers]
    late = socket.create_connection(("127.0.0.1", port))
    told.append(origins(late.getsockname()[1], port, {NODE: os.getpid()}, OTHERS))
    for caller in (*callers, late):
        caller.close()

    assert told == [NODE] * 4
    assert origins.looks == 2


def test_who_has_hung_up_is_nobody(server):
    """A socket that is closed already has no owner, whether the kernel still knows it or not."""
    port = server.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as caller:
        source = caller.getsockname()[1]
        accepted = server.accept()[0]
        assert inode_of(source, port) == os.fstat(caller.fileno()).st_ino
    assert Origins()(source, port, {1: os.getpid()}, OTHERS) is None
    accepted.close()
    assert Origins()(source, port, {1: os.getpid()}, OTHERS) is None
    assert inode_of(source, 1) is None
