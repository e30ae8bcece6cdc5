"""How a command is made here: examples in every help page, and where, how and how long on every command.

Invariant: a command without examples cannot be made. Exit codes: 0 ok, 1 error, 2 usage, 3 refused (no
effect), 4 outcome unknown; data goes to stdout, everything else to stderr.

Knows no command. Teachers: kubectl (examples open with what they do), click's own `examples/repo`.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.connecting import Connecting, connect
from holdfast.errors import HoldfastError, PreviousNotKeptError
from holdfast.types import Outcome

DEFAULT_ENDPOINT = "127.0.0.1:7400"
DEFAULT_TIMEOUT_S = 5.0

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNKNOWN = 4

if TYPE_CHECKING:  # generic for type checkers only in newer clicks
    FloatParameter = click.ParamType[float]
else:
    FloatParameter = click.ParamType

Returned = TypeVar("Returned")
Function = TypeVar("Function", bound=Callable[..., Any])


class FailedError(click.ClickException):
    """The command did not do what was asked: a sentence and an exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = exit_code  # click declares it for the class, and reads it from the instance


class InterruptedCommandError(FailedError):
    """Ctrl-C: a sentence on what that leaves behind."""


class Call:
    """Where to ask, how to print, how long to wait: options that may stand before or after the verb."""

    def __init__(self, connect: Callable[..., Connecting] = connect) -> None:
        self.connect = connect
        self.endpoints = DEFAULT_ENDPOINT
        self.output = "table"
        self.timeout_s = DEFAULT_TIMEOUT_S

    @property
    def is_json(self) -> bool:
        """Whether a program reads the output."""
        return self.output == "json"

    def __repr__(self) -> str:
        return f"<Call to {self.endpoints}, {self.output}, {self.timeout_s} s>"


class ExamplesMixin:
    """Prints the examples at the end of the help page, as written."""

    examples = ""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What click calls to end a help page."""
        if self.examples:
            formatter.write("\nExamples:\n" + textwrap.indent(self.examples, "  ") + "\n")
        formatter.write("\nExit codes: 0 ok, 1 error, 2 usage, 3 refused (no effect), 4 outcome unknown\n")


class Verb(ExamplesMixin, click.Command):
    """A command that does something."""


class Noun(ExamplesMixin, click.Group):
    """A group of commands about one thing."""

    command_class = Verb


def verb(group: click.Group, name: str, examples: str) -> Callable[[Callable[..., Any]], Verb]:
    """Registers a function as a command of `group`; the docstring is the help."""

    def register(function: Callable[..., Any]) -> Verb:
        command = click.command(name, cls=Verb)(function)
        command.examples = _as_written(name, examples)
        group.add_command(command)
        return command

    return register


def noun(parent: click.Group, name: str, text: str, examples: str) -> Noun:
    """Registers a group of commands under `parent`."""
    group = Noun(name, help=text)
    group.examples = _as_written(name, examples)
    parent.add_command(group)
    return group


def _as_written(name: str, examples: str) -> str:
    written = textwrap.dedent(examples).strip()
    if "$ " not in written:
        raise ValueError(f"command {name!r} has no example")
    return written


# ---- options every command that talks to a cluster has ----------------------------


def _remember(field: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        call = ctx.ensure_object(Call)
        if value is not None:
            setattr(call, field, value)
        return value

    return callback


def output_option(function: Function) -> Function:
    """-o table|json."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), expose_value=False,
        callback=_remember("output"), help="How to print. Default: table.",
    )(function)  # fmt: skip


def endpoints_option(function: Function) -> Function:
    """--endpoints and --timeout."""
    function = click.option(
        "--timeout", type=SECONDS, expose_value=False, callback=_remember("timeout_s"),
        help="How long an operation may take, such as 500ms or 5s. Default: 5s.",
    )(function)  # fmt: skip
    return click.option(
        "--endpoints", metavar="HOST:PORT[,...]", envvar="HOLDFAST_ENDPOINTS", expose_value=False,
        callback=_remember("endpoints"),
        help=f"Any nodes of the cluster. Also HOLDFAST_ENDPOINTS. Default: {DEFAULT_ENDPOINT}.",
    )(function)  # fmt: skip


def talks(function: Function) -> Function:
    """The options of a command that asks a cluster and prints an answer."""
    return endpoints_option(output_option(function))


def dry_run_option(function: Function) -> Function:
    """--dry-run."""
    return click.option(
        "--dry-run", is_flag=True, help="Say what it would do, and change nothing."
    )(function)  # fmt: skip


class Duration(FloatParameter):
    """500ms, 30s, 5m, 2h, 7d; a bare number is seconds. Converted to `per_second` units."""

    name = "duration"
    _UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0))

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What click calls."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)

    def parse(self, text: str) -> float:
        """The duration in units. Raises ValueError."""
        digits, scale = text.strip(), 1.0
        for unit, seconds in self._UNITS:
            if digits.endswith(unit):
                digits, scale = digits[: -len(unit)], seconds
                break
        try:
            number = float(digits)
        except ValueError:
            raise ValueError(f"{text!r} is not a duration such as 500ms, 30s, 5m, 2h, 7d") from None
        if not 0 <= number < float("inf"):
            raise ValueError(f"{text!r} is not a duration: it must be 0 or more and finite")
        return round(number * scale * self._per_second, 6)


SECONDS = Duration(1.0)


class Milliseconds(Duration):
    """A duration in whole milliseconds."""

    def __init__(self) -> None:
        super().__init__(1000.0)

    def parse(self, text: str) -> int:
        """The duration in ms. Raises ValueError."""
        return round(super().parse(text))


MILLISECONDS = Milliseconds()


# ---- running ----------------------------------------------------------------------


def exit_code_of(problem: HoldfastError) -> int:
    """3 when nothing happened, 4 when it may have, 1 when it did but cannot be told."""
    if problem.outcome is Outcome.REFUSED:
        return EXIT_REFUSED
    return EXIT_ERROR if isinstance(problem, PreviousNotKeptError) else EXIT_UNKNOWN


def explain(problem: HoldfastError) -> str:
    """One sentence for a person: what is wrong, whether anything happened, what to do."""
    parts = [str(problem)]
    if problem.field and problem.field not in problem.message:
        parts.append(f"field {problem.field}")
    if problem.retry_after_ms:
        parts.append(f"try again after {problem.retry_after_ms} ms")
    if problem.outcome is Outcome.UNKNOWN:
        parts.append("it may have happened: read before you repeat it")
    elif problem.outcome is Outcome.REFUSED:
        parts.append("nothing happened")
    return "; ".join(parts)


def run(
    work: Coroutine[Any, Any, Returned], *, writes: bool = False, next_step: str = "", goes_on: str = ""
) -> Returned:
    """Runs a command's coroutine to its end; turns failures into a sentence and an exit code.

    Args:
        work: what to do.
        writes: whether an interrupted command may have changed something.
        next_step: what to type after a refusal; the server's sentence says why, this says how to go on.
        goes_on: what goes on in the cluster when the command is interrupted, and how to follow it.
    """
    try:
        return asyncio.run(work)
    except HoldfastError as problem:
        told = explain(problem)
        if next_step and problem.outcome is Outcome.REFUSED:
            told += f"\nNext: {next_step}"
        raise FailedError(told, exit_code_of(problem)) from None
    except KeyboardInterrupt:
        if goes_on:
            raise InterruptedCommandError(f"interrupted: {goes_on}", EXIT_UNKNOWN) from None
        if writes:
            raise InterruptedCommandError("interrupted: the write may have happened", EXIT_UNKNOWN) from None
        raise InterruptedCommandError("interrupted") from None


def note(text: str) -> None:
    """Says something that is not data."""
    click.echo(text, err=True)
