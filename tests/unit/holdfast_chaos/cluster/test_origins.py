"""Who is at the other end of a loopback connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from holdfast_chaos.cluster.origins import origin

NODE, OTHERS = 3, 0
CALL = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def test_a_process_is_told_by_its_socket(server):
    """The party whose process holds the connecting socket; not another's."""
    port = server.getsockname()[1]
    child = subprocess.Popen([sys.executable, "-c", CALL, str(port)], stdin=subprocess.PIPE)
    with child:
        accepted, (_, source) = server.accept()
        with accepted:
            assert origin(source, port, {1: os.getpid(), NODE: child.pid}, OTHERS) == NODE
            assert origin(source, port, {1: os.getpid()}, OTHERS) == OTHERS
        assert child.stdin is not None
        child.stdin.close()


def test_who_has_hung_up_is_nobody(server):
    """A socket that is closed already has no owner."""
    port = server.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as caller:
        source = caller.getsockname()[1]
        server.accept()[0].close()

    assert origin(source, port, {1: os.getpid()}, OTHERS) is None
