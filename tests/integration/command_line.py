"""The `holdfast` command as a person runs it: a process, its exit status, stdout and stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = (sys.executable, "-m", "holdfast.cli")
WITHIN_S = 60


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """JSON, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Holdfast:
    """The command with its endpoints set."""

    def __init__(self, endpoints: str) -> None:
        self.environment = {**os.environ, "HOLDFAST_ENDPOINTS": endpoints, "NO_COLOR": "1"}

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            env=self.environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """The JSON of a command that must succeed."""
        done = self(*arguments, "-o", "json", stdin=stdin)
        assert done.status == 0, done
        return done.json()

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on until it is told to stop; see `end`."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )


def end(running: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> Done:
    """Signals a command begun with `begin`, and waits for its end."""
    if running.poll() is None:
        running.send_signal(number)
    out, err = running.communicate(timeout=WITHIN_S)
    return Done(running.returncode, out, err)


def end_by_force(running: subprocess.Popen[str]) -> None:
    """What a test leaves behind must be nothing."""
    if running.poll() is None:
        running.kill()
    running.communicate()


def config_of(home: Path, node: int) -> Path:
    """Where `holdfast dev` and the tests' clusters keep a node's configuration."""
    return home / f"node-{node}" / "config.toml"
