"""holdfast.cli.verbs: durations, exit codes, and that no command goes without an example."""

from __future__ import annotations

import click
import pytest
from holdfast.cli.verbs import (
    MILLISECONDS,
    SECONDS,
    FailedError,
    Noun,
    exit_code_of,
    explain,
    run,
    verb,
)
from holdfast.errors import Reason, error
from holdfast.types import Outcome


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1.5", 1500)]
)
def test_a_duration_has_a_unit_or_is_seconds(text, ms):
    """500ms, 30s, 5m, 2h, 7d; a bare number is seconds."""
    assert MILLISECONDS.parse(text) == ms
    assert SECONDS.parse(text) == ms / 1000


@pytest.mark.parametrize("text", ["", "s", "-1s", "nan", "inf", "1 hour", "ten"])
def test_what_is_no_duration_is_refused(text):
    """A typo does not become a lifetime."""
    with pytest.raises(ValueError, match="not a duration"):
        MILLISECONDS.parse(text)


@pytest.mark.parametrize(
    ("reason", "outcome", "code"),
    [
        (Reason.BUSY, Outcome.REFUSED, 3),
        (Reason.LEADERSHIP_LOST, Outcome.UNKNOWN, 4),
        (Reason.PREVIOUS_NOT_KEPT, None, 1),
    ],
)
def test_the_outcome_decides_the_exit_code(reason, outcome, code):
    """3: nothing happened; 4: it may have; 1: it did, and something else is wrong."""
    assert exit_code_of(error(reason, "x", outcome=outcome)) == code


def test_an_explanation_says_whether_anything_happened_and_what_to_do():
    """One sentence with field, hint and outcome."""
    text = explain(error(Reason.BUSY, "window full", field="put.value", retry_after_ms=40))

    assert text == "BUSY: window full; field put.value; try again after 40 ms; nothing happened"


def test_an_interrupted_write_may_have_happened():
    """Ctrl-C during a write is exit code 4, during anything else 1."""

    async def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(FailedError) as write:
        run(interrupted(), writes=True)
    with pytest.raises(FailedError) as read:
        run(interrupted())

    assert (write.value.exit_code, read.value.exit_code) == (4, 1)


def test_a_command_without_an_example_cannot_be_made():
    """Every help page has examples, because registering one without fails."""
    with pytest.raises(ValueError, match="no example"):
        verb(Noun("group"), "thing", "no dollar sign")(lambda: None)


def test_the_help_page_shows_examples_as_written():
    """Examples are not re-wrapped."""
    group = Noun("group")
    command = verb(group, "thing", "# Does it\n$ holdfast thing")(lambda: None)

    assert "  # Does it\n  $ holdfast thing\n" in command.get_help(click.Context(command))
