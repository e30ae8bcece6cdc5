"""`python -m holdfast.cli.bench_worker`: a process that makes a share of the load of `holdfast bench`.

Reads from stdin, a line each: the plan, then `go`; anything after, also the end of stdin, ends the load
early, so that no process outlives the bench that started it. Writes a JSON object a line: `filled`, `ready`,
`second` (a tally), `done`; or `failed` with a sentence and an exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from holdfast.cli.bench_generator import Generator
from holdfast.cli.bench_plan import Plan
from holdfast.cli.bench_tally import Tally
from holdfast.cli.verbs import exit_code_of, explain
from holdfast.connecting import connect
from holdfast.errors import HoldfastError

LINE_BYTES_MAX = 1 << 20


def say(what: str, content: Any = None) -> None:
    """Tells the bench something."""
    sys.stdout.write(json.dumps({what: content}) + "\n")
    sys.stdout.flush()


def _say_second(tally: Tally) -> None:
    say("second", tally.wire())


async def work() -> None:
    """The life of this process."""
    orders = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin.buffer
    )
    plan = Plan.from_json((await orders.readline()).decode())
    try:
        async with connect(
            plan.endpoints, namespace=plan.namespace, timeout_s=plan.timeout_s, name="holdfast bench"
        ) as client:
            await _carry_out(Generator(client, plan, _say_second), plan, orders)
    except HoldfastError as problem:
        say("failed", {"sentence": explain(problem), "exit_code": exit_code_of(problem)})


async def _carry_out(generator: Generator, plan: Plan, orders: asyncio.StreamReader) -> None:
    told = asyncio.Event()

    async def obey() -> None:
        if await orders.readline() == b"go\n":
            told.set()
            await orders.readline()
        generator.stop()
        told.set()

    obeying = asyncio.ensure_future(obey())
    try:
        if plan.fills:
            await generator.fill(lambda written: say("filled", written))
        say("ready")
        await told.wait()
        await generator.run()
        say("done", {"loop": type(asyncio.get_running_loop()).__module__.partition(".")[0]})
    finally:
        obeying.cancel()


def _loop_runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Takes uvloop where it is installed: the machine may be shared with nodes."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run
    return uvloop.run


if __name__ == "__main__":
    # The terminal's Ctrl-C is the bench's, which then tells its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):  # the bench was killed: nobody is left to be told
        _loop_runner()(work())
