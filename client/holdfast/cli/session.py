"""A client for one command: where it connects, in which namespace, how fresh its reads are.

`--session FILE` carries what was seen from one command to the next: the token is read from the file
before and written back after, so a SESSION read in a later command never goes back behind it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from holdfast.cli.verbs import MILLISECONDS, Call, FailedError, talks
from holdfast.client import Client
from holdfast.keys import DEFAULT_NAMESPACE
from holdfast.types import Level

Function = TypeVar("Function", bound=Callable[..., Any])

LEVELS = [level.name.lower() for level in Level]


class Freshness(NamedTuple):
    """How fresh a read must be; all absent: LINEARIZABLE, or SESSION with --session."""

    level: Level | None
    bound_ms: int | None
    or_linearizable: bool

    def arguments(self) -> dict[str, Any]:
        """As the client's methods take it."""
        return {"level": self.level, "bound_ms": self.bound_ms, "or_linearizable": self.or_linearizable}


def in_namespace(function: Function) -> Function:
    """-n, --session, and the options of every command that asks a cluster."""
    function = click.option(
        "--session", "session_file", type=click.Path(path_type=Path, dir_okay=False),
        help="File that carries what was seen to later commands; reads are then of level session.",
    )(function)  # fmt: skip
    function = click.option(
        "-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="The keys' namespace."
    )(function)
    return talks(function)


def how_fresh(function: Function) -> Function:
    """--level, --bound, --or-linearizable."""
    function = click.option(
        "--or-linearizable", is_flag=True,
        help="With --bound: read linearizable when no replica can prove the bound, instead of being refused.",
    )(function)  # fmt: skip
    function = click.option(
        "--bound", "bound_ms", type=MILLISECONDS,
        help="The most the answer may be old, such as 500ms. Implies --level bounded.",
    )(function)  # fmt: skip
    return click.option(
        "--level", type=click.Choice(LEVELS), help="How fresh the answer must be. Default: linearizable."
    )(function)


def freshness(level: str | None, bound_ms: int | None, or_linearizable: bool) -> Freshness:
    """The three options as one value. Raises click.UsageError."""
    chosen = Level[level.upper()] if level is not None else None
    if chosen is Level.BOUNDED and bound_ms is None:
        raise click.UsageError("--level bounded needs --bound, such as --bound 500ms")
    if bound_ms is not None and chosen not in (None, Level.BOUNDED):
        raise click.UsageError(f"--bound goes with --level bounded, not with {level}")
    if or_linearizable and bound_ms is None:
        raise click.UsageError("--or-linearizable needs --bound")
    return Freshness(chosen, bound_ms, or_linearizable)


@asynccontextmanager
async def open_client(call: Call, namespace: str, session_file: Path | None) -> AsyncIterator[Client]:
    """A connected client; keeps the session's file."""
    token = _read(session_file) if session_file is not None else None
    level = Level.LINEARIZABLE if session_file is None else Level.SESSION
    async with call.connect(
        call.endpoints,
        namespace=namespace,
        level=level,
        timeout_s=call.timeout_s,
        session=token,
        name="holdfast cli",
    ) as client:
        try:
            yield client
        finally:
            # Also after a failure: what was seen before it has been seen.
            if session_file is not None:
                _write(session_file, client.token)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise FailedError(f"cannot read {file}: {problem.strerror}") from None


def _write(file: Path, token: bytes) -> None:
    new = file.with_name(file.name + ".new")
    try:
        new.write_bytes(token)
        new.replace(file)
    except OSError as problem:
        raise FailedError(f"cannot write {file}: {problem.strerror}") from None
