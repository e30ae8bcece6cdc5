"""The processes of a bench: started, told when to begin and when to end, and heard.

In sessions of their own, so the terminal's Ctrl-C reaches the bench alone; they end with their stdin, also
when the bench was killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from holdfast.cli.bench_course import Course
from holdfast.cli.bench_plan import Plan
from holdfast.cli.bench_tally import Tally
from holdfast.cli.verbs import FailedError

# A second's tally: a few thousand buckets at most.
LINE_BYTES_MAX: Final = 1 << 22
END_S: Final = 5.0
COMMAND: Final = (sys.executable, "-m", "holdfast.cli.bench_worker")


class Crew:
    """A process for each plan. `prepare`, then `measure`, and `close` in any case.

    Attributes:
        loop: the kind of event loop they run on; known in the end.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.loop = ""
        self.is_stopped = False
        self._plans = plans
        self._processes: list[asyncio.subprocess.Process] = []

    async def prepare(self, filled: Callable[[int], None]) -> None:
        """Returns when all have written their keys. filled: told how many there are. Raises FailedError."""
        for plan in self._plans:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX, start_new_session=True,
            )  # fmt: skip
            self._processes.append(process)
            self._order(process, plan.to_json())
        if self.is_stopped:
            self.stop()
        written = [0] * len(self._processes)

        async def hear(at: int) -> None:
            while (message := await self._message(at)) and "ready" not in message:
                written[at] = message["filled"]
                filled(sum(written))

        await self._each(hear)

    async def measure(self, second: Callable[[Tally, Tally], None]) -> Course:
        """Makes the load; tells each second and the whole up to it. Raises FailedError."""
        course = Course(len(self._processes))

        def tell(complete: list[Tally]) -> None:
            for tally in complete:
                second(tally, course.whole)

        async def hear(at: int) -> None:
            while "done" not in (message := await self._message(at)):
                tell(course.tell(at, Tally.from_wire(message["second"])))
            self.loop = message["done"]["loop"]
            tell(course.end(at))

        if not self.is_stopped:
            for process in self._processes:
                self._order(process, "go")
        await self._each(hear)
        return course

    def stop(self) -> None:
        """Ends the load early; what was measured is told all the same."""
        self.is_stopped = True
        for process in self._processes:
            self._order(process, "stop")

    async def close(self) -> None:
        """Waits for the processes to end; kills those that do not."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*map(_ended, self._processes))

    async def _each(self, hear: Callable[[int], Any]) -> None:
        """Hears all processes; the first failure ends it."""
        failed: FailedError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for at in range(len(self._processes)):
                    tasks.create_task(hear(at))
        except* FailedError as failures:
            failed = next(each for each in failures.exceptions if isinstance(each, FailedError))
        if failed is not None:
            raise failed

    async def _message(self, at: int) -> Any:
        process = self._processes[at]
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise FailedError(f"a process of the bench ended with status {await process.wait()}")
        message = json.loads(line)
        if "failed" in message:
            raise FailedError(message["failed"]["sentence"], message["failed"]["exit_code"])
        return message

    def _order(self, process: asyncio.subprocess.Process, line: str) -> None:
        assert process.stdin is not None
        if not process.stdin.is_closing():
            process.stdin.write(line.encode() + b"\n")

    def __repr__(self) -> str:
        return f"<Crew of {len(self._processes)} processes>"


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        process.kill()
        await process.wait()
