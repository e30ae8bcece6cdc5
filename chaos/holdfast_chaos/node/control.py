"""Commands to a running node, over a socket of this machine: one JSON object a line, one answer a line.

    {"do": "slow", "seconds": 0.2}                 each sync takes so much longer; 0: no more
    {"do": "error", "operation": "sync", "errno": 5}   the next one fails
    {"do": "full", "is": true}                     nothing can be created
    {"do": "point", "at": "after write wal", "stall_s": 0}   ends there, or stands still so long
    {"do": "power_off", "torn": true}              unsynced bytes are gone, and so is the process
    {"do": "lie"}                                  syncs say yes and keep nothing
    {"do": "clock", "jump_ms": 60000, "drift": 0.1}    the wall clock; {"do": "clock"} alone: right again
    {"do": "facts"}                                what was obeyed so far

The socket is an abstract one, named by the port the node serves at, so that no path is too long and nothing
is left behind. It is served by a thread of its own: a node whose loop stands still can still be told.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Callable
from typing import Any

from holdfast_chaos.cluster.control import name_of
from holdfast_chaos.node.faulty_disk import STRUCK, FaultyDisk, Orders, Point, SkewedTime
from holdfast_chaos.node.unsynced_disk import UnsyncedDisk


class Control:
    """Obeys commands."""

    def __init__(
        self, disk: FaultyDisk, clock: SkewedTime, end: Callable[[], None] = lambda: os._exit(STRUCK)
    ) -> None:
        """end: ends the process when the power fails."""
        self._disk = disk
        self._clock = clock
        self._end = end

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises KeyError, ValueError for what is no command."""
        orders = self._disk.orders
        match command["do"]:
            case "slow":
                orders.slow_s = float(command["seconds"])
            case "error":
                orders.errors[command["operation"]] = int(command["errno"])
            case "full":
                orders.is_full = bool(command["is"])
            case "point":
                orders.stall_s = float(command.get("stall_s", 0.0))
                orders.point = Point.named(command["at"])
            case "power_off":
                self._power_off(torn=bool(command.get("torn")))
            case "lie":
                self._forgetful().lies = True
            case "clock":
                self._set_clock(command)
            case "healed":
                self._disk.orders = Orders(struck=orders.struck)
                self._clock.right()
            case "facts":
                pass
            case other:
                raise ValueError(f"no command {other!r}")
        return {"struck": dict(orders.struck), "clock_offset_ms": self._clock.offset_ms}

    def _set_clock(self, command: dict[str, Any]) -> None:
        if "jump_ms" in command or "drift" in command:
            self._clock.change(
                jump_ms=float(command.get("jump_ms", 0.0)), drift=float(command.get("drift", 0.0))
            )
        else:
            self._clock.right()

    def _forgetful(self) -> UnsyncedDisk:
        under = self._disk.under
        if not isinstance(under, UnsyncedDisk):
            raise ValueError("this node's disk forgets nothing")  # noqa: TRY004 - of a command, not a type
        return under

    def _power_off(self, *, torn: bool) -> None:
        disk = self._forgetful()
        try:
            disk.power_off(torn=torn and not disk.lies)
        finally:
            self._end()


class _Handler(socketserver.StreamRequestHandler):
    """One caller: a line, its answer, and so on."""

    server: _Server

    def handle(self) -> None:
        for line in self.rfile:
            try:
                answer = self.server.control.obey(json.loads(line))
            except (KeyError, ValueError, TypeError) as problem:
                answer = {"error": f"{type(problem).__name__}: {problem}"}
            self.wfile.write(json.dumps(answer).encode() + b"\n")
            self.wfile.flush()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, name: str, control: Control) -> None:
        self.control = control
        super().__init__(name, _Handler)


def serve(port: int, control: Control) -> Callable[[], None]:
    """Begins to serve in a thread of its own; what is returned ends it."""
    server = _Server(name_of(port), control)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
