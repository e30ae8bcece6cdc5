"""A process that is started, stopped for a while, killed, and waited for; and that ends with the harness."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from holdfast_chaos.cluster.layout import Place, free_ports
from holdfast_chaos.cluster.node_process import NodeEndedError, NodeProcess, eventually

# Answers every GET with the status that stands in a file beside its configuration.
SERVE = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int((pathlib.Path(sys.argv[2]).parent / "status").read_text()))
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(pathlib.Path(sys.argv[2]).read_text())), Handler).serve_forever()
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    (port,) = free_ports(1)
    place = Place(1, tmp_path, 0, 0, port)
    place.config.write_text(str(port))
    (tmp_path / "status").write_text("200")
    made = NodeProcess(place, ("-c", SERVE), {})
    yield made
    made.kill()


def test_it_is_ready_when_it_says_so(node: NodeProcess) -> None:
    """Not before."""

    async def act() -> None:
        (node.place.folder / "status").write_text("503")
        node.start()
        with pytest.raises(TimeoutError, match="node 1 is ready"):
            await node.ready(within_s=1.0)
        (node.place.folder / "status").write_text("200")
        await node.ready(within_s=10.0)

    asyncio.run(act())
    assert node.pid
    assert node.starts == 1


def test_it_stands_still_and_goes_on(node: NodeProcess) -> None:
    """The kernel says so."""
    node.start()
    node.pause()
    asyncio.run(eventually(lambda: node.state() == "T", "it stands still", 5.0))
    assert node.is_paused
    node.resume()
    asyncio.run(eventually(lambda: node.state() != "T", "it goes on", 5.0))


def test_a_kill_is_known_by_its_status(node: NodeProcess) -> None:
    """And happens once."""
    node.start()
    assert node.kill()
    assert node.status == -signal.SIGKILL
    assert not node.kill()
    assert node.pid == 0


def test_waiting_for_one_that_ended_says_what_it_said(node: NodeProcess) -> None:
    """A node that cannot start is not waited for."""
    node.place.config.write_text("no port")
    node.start()
    with pytest.raises(NodeEndedError, match="ValueError"):
        asyncio.run(node.ready(within_s=10.0))


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_it_ends_with_the_harness(node: NodeProcess, tmp_path: Path) -> None:
    """Also when the harness is killed: nothing is left running on somebody's machine."""
    script = (
        "import sys, time; from pathlib import Path; from holdfast_chaos.cluster.layout import Place\n"
        "from holdfast_chaos.cluster.node_process import NodeProcess\n"
        f"place = Place(1, Path({str(tmp_path)!r}), 0, 0, {node.place.http})\n"
        f"node = NodeProcess(place, ('-c', {SERVE!r}), {{}})\n"
        "node.start(); print(node.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as harness:
        assert harness.stdout is not None
        pid = int(harness.stdout.readline())
        # Bound to its parent from the moment on that it is Python, not setpriv any more.
        cmdline = Path(f"/proc/{pid}/cmdline")
        asyncio.run(eventually(lambda: b"setpriv" not in cmdline.read_bytes(), "the node begins"))
        harness.kill()
        harness.wait()

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    asyncio.run(eventually(gone, "the node ends", 10.0))
