"""Runs the nodes of a dev cluster as processes: starts them, says when they serve, restarts what dies.

Like a service manager: a node that dies is reported and started again after a growing pause, unless it
dies before the cluster ever served, which ends the start with the last lines it printed. Nothing happens
silently. Stopping sends SIGTERM to all and SIGKILL to those that are left after `STOP_S`; a second Ctrl-C
does not wait.

Nodes run in sessions of their own, so the terminal's Ctrl-C reaches the supervisor alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio

from holdfast.cli import dev_layout
from holdfast.cli.dev_layout import Shape
from holdfast.cli.placement import Placement
from holdfast.cli.verbs import FailedError
from holdfast.errors import HoldfastError

READY_S = 60.0
STOP_S = 10.0
PROBE_EVERY_S = 0.05
PROBE_TIMEOUT_S = 1.0
PAUSE_FIRST_S = 0.5
PAUSE_LAST_S = 10.0
# A node that ran this long has recovered: its next death starts with the first pause again.
STEADY_S = 30.0
LOG_LINES_SHOWN = 15


class Supervisor:
    """The processes of one cluster. `run` ends when `stop` was called and all are gone."""

    def __init__(self, folder: Path, shape: Shape, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._shape = shape
        self._say = say
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_ready = False

    def __repr__(self) -> str:
        return f"<Supervisor of {len(self._processes)} processes, ready={self._is_ready}>"

    def stop(self) -> None:
        """Ends everything; called again: at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Starts the nodes, calls `ready` once all of them serve, keeps them running until `stop`.

        Raises FailedError when a node dies before that, or when they do not get ready.
        """
        loop = asyncio.get_running_loop()
        failed: BaseException | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                for node in self._shape.node_ids():
                    tasks.create_task(self._keep(node))
                tasks.create_task(self._announce(ready))
        except* FailedError as failures:
            failed = failures.exceptions[0]
        finally:
            await self._end_all()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        if failed is not None:
            raise failed

    # ---- one node -----------------------------------------------------------------

    async def _keep(self, node: int) -> None:
        pause = PAUSE_FIRST_S
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            process = await self._spawn(node)
            began = loop.time()
            if await self._ended(process):
                return
            fate = _fate(process.returncode)
            if not self._is_ready:
                raise FailedError(f"node {node} {fate} before the cluster served:\n{self._last_lines(node)}")
            if loop.time() - began > STEADY_S:
                pause = PAUSE_FIRST_S
            self._say(f"node {node} (pid {process.pid}) {fate}; starting it again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, PAUSE_LAST_S)

    async def _spawn(self, node: int) -> asyncio.subprocess.Process:
        home = dev_layout.node_home(self._folder, node)
        arguments = ["-m", "holdfast_node", "--config", str(home / "config.toml")]
        if not self._shape.made:
            arguments.append("--init")
        with (home / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        self._processes[node] = process
        if self._is_ready:
            self._say(f"node {node} runs again (pid {process.pid})")
        return process

    async def _ended(self, process: asyncio.subprocess.Process) -> bool:
        """Waits for the process or for `stop`; whether it was `stop`."""
        death: asyncio.Task[object] = asyncio.ensure_future(process.wait())
        stop: asyncio.Task[object] = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({death, stop}, return_when=asyncio.FIRST_COMPLETED)
            return self._stopping.is_set()
        finally:
            death.cancel()
            stop.cancel()

    def _last_lines(self, node: int) -> str:
        log = dev_layout.node_home(self._folder, node) / "log"
        with contextlib.suppress(OSError):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            return "\n".join(f"  {line}" for line in lines)
        return f"  (nothing in {log})"

    # ---- getting ready ------------------------------------------------------------

    async def _announce(self, ready: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(READY_S):
                while not self._stopping.is_set() and not await self._serves():  # noqa: ASYNC110 see below
                    # Other processes get ready: there is nothing here to wait on but time.
                    await asyncio.sleep(PROBE_EVERY_S)
        except TimeoutError:
            raise FailedError(
                f"the cluster does not serve after {READY_S:.0f} s; see {self._folder}/node-*/log"
            ) from None
        if not self._stopping.is_set():
            self._is_ready = True
            self._shape = self._shape._replace(made=True)
            dev_layout.write(self._folder, self._shape)
            ready()

    async def _serves(self) -> bool:
        """Whether every node says it is ready and every shard has a leader."""
        answers = await asyncio.gather(*(_is_ready(self._shape.http(n)) for n in self._shape.node_ids()))
        if not all(answers):
            return False
        try:
            async with Placement(self._shape.address(1), PROBE_TIMEOUT_S) as placement:
                shards = (await placement.map()).map
        except (FailedError, HoldfastError, grpc.aio.AioRpcError):
            return False
        return all(shard.leader for shard in shards.shards)

    # ---- stopping -----------------------------------------------------------------

    async def _end_all(self) -> None:
        running = [process for process in self._processes.values() if process.returncode is None]
        _signal_all(running, signal.SIGTERM)
        all_gone = asyncio.gather(*(process.wait() for process in running))
        hurry = asyncio.ensure_future(self._hurry.wait())
        waiting: set[asyncio.Future[Any]] = {all_gone, hurry}
        await asyncio.wait(waiting, timeout=STOP_S, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        left = [process for process in running if process.returncode is None]
        if left:
            self._say(f"killing {len(left)} that did not stop: pid {', '.join(str(p.pid) for p in left)}")
            _signal_all(left, signal.SIGKILL)
        await all_gone


def _signal_all(processes: list[asyncio.subprocess.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _fate(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


async def _is_ready(http: str) -> bool:
    host, _, port = http.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]
