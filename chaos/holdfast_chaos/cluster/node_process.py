"""One node as a process: started, signalled, waited for.

Signals go to pids that this module started and has not reaped, so they can reach nobody else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Final

from holdfast_chaos.cluster.layout import Place

POLL_S: Final = 0.1
"""Asking a node whether it is ready costs both ends a ms or two, while all have much to do."""
START_WITHIN_S: Final = 60.0
_BOUND: Final = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
"""Before a command: it ends with us, also when we are killed. (Start it from the main thread: the kernel
means the thread that started it.)"""


class NodeEndedError(Exception):
    """A node ended, or did not start, without being told to. The message ends with what it said."""


async def eventually(reached: Callable[[], bool], what: str, within_s: float = START_WITHIN_S) -> None:
    """Waits for a condition of another process. Raises TimeoutError that names it."""
    end = asyncio.get_running_loop().time() + within_s
    while not await asyncio.to_thread(reached):
        if asyncio.get_running_loop().time() > end:
            raise TimeoutError(f"within {within_s:g} s did not happen: {what}")
        await asyncio.sleep(POLL_S)


class NodeProcess:
    """See the module docstring.

    Attributes:
        id: of the node in the cluster; 0: not known yet.
        is_paused: it was sent SIGSTOP.
        starts: how often it was started.
    """

    def __init__(self, place: Place, program: tuple[str, ...], environment: Mapping[str, str]) -> None:
        """program: what to run of Python, like ("-m", "holdfast_node")."""
        self.place = place
        self.number = place.number
        self.id = place.number
        self.is_paused = False
        self.starts = 0
        self._program = program
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, init: bool = False, environment: Mapping[str, str] | None = None) -> None:
        """Starts it; does not wait."""
        assert not self.is_running, f"node {self.number} runs"
        command = [*_BOUND, sys.executable, *self._program, "--config", str(self.place.config)]
        with self.place.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(["--init"] if init else [])],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**self._environment, **(environment or {})},
                start_new_session=True,  # Ctrl-C is the harness's, which then ends its nodes itself
            )
        self.is_paused = False
        self.starts += 1

    @property
    def pid(self) -> int:
        """Of the process; 0: none runs."""
        return self._process.pid if self._process is not None and self.is_running else 0

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of the last process; -N: by signal N; None: it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> bool:
        """Kill -9, and reaps it. False: it did not run."""
        if self._process is None or not self.is_running:
            return False
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.is_paused = False
        return True

    def stop(self, within_s: float = 10.0) -> int:
        """SIGTERM, and waits; the exit status. Raises TimeoutError."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"node {self.number} does not end within {within_s:g} s") from None

    def pause(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def state(self) -> str:
        """The kernel's letter for it (T: stopped); empty: no such process."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:  # noqa: PTH123
                return file.read().rpartition(")")[2].split()[0]
        except OSError:
            return ""

    def is_ready(self) -> bool:
        """What /readyz says; blocks. Raises NodeEndedError."""
        if not self.is_running:
            raise NodeEndedError(f"node {self.number} ended with status {self.status}:\n{self.last_words()}")
        try:
            with urllib.request.urlopen(f"http://{self.place.http_address}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    async def ready(self, within_s: float = START_WITHIN_S) -> None:
        """Waits until it is ready."""
        await eventually(self.is_ready, f"node {self.number} is ready", within_s)

    def last_words(self) -> str:
        """The end of what it printed."""
        return self.place.log.read_text(errors="replace")[-4000:]

    def __repr__(self) -> str:
        state = "paused" if self.is_paused else f"pid {self.pid}" if self.is_running else "down"
        return f"<NodeProcess {self.number} {state}, {self.starts} starts>"
