"""What people can type, set, measure or catch is written down; the pages do not fall behind the code."""

from __future__ import annotations

import re

import click
import pytest
from holdfast.cli.app import root
from holdfast.errors import Reason

from tests.repo import reference
from tests.repo.sources import ROOT, shown, text_files

MARKDOWN = [path for path in text_files() if path.suffix == ".md"]
COMMANDS = dict(reference.commands(root))
LINK = re.compile(r"\[[^\]]+\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_page_has_an_example_and_says_what_it_does(name):
    """A help page opens with a sentence and ends with examples of that very command."""
    command = COMMANDS[name]
    page = command.get_help(click.Context(command, info_name=name))

    assert command.help
    assert "Examples:" in page
    assert f"holdfast {name}" in page
    assert "\n  # " in page


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_reference_is_made_from_the_code_as_it_is(name):
    """Every setting, metric, reason and command is on its page, as the code has it (`make docs`)."""
    page = (reference.REFERENCE / name).read_text()

    assert reference.with_made_part(page, reference.PAGES[name]()) == page


def test_every_reason_is_explained_in_the_proto():
    """The page of errors is made from the proto's comments, so each reason needs one."""
    assert {name for name, _ in reference.reasons()} == {reason.name for reason in Reason}


def test_every_way_out_of_an_error_is_written_down():
    """errors.md tells for every reason what to do next."""
    text = (reference.REFERENCE / "errors.md").read_text().partition(reference.BEGIN)[0]

    assert [reason.name for reason in Reason if f"`{reason.name}`" not in text] == []


@pytest.mark.parametrize("path", MARKDOWN, ids=shown)
def test_links_between_pages_lead_somewhere(path):
    """A link to a file of the repository names one that exists."""
    dead = [target for target in LINK.findall(path.read_text()) if not (path.parent / target).exists()]

    assert dead == []


def test_the_readme_names_only_commands_that_exist():
    """Every `holdfast ...` and `make ...` shown in the README can be typed."""
    text = (ROOT / "README.md").read_text()
    verbs = {name.split()[0] for name in COMMANDS}
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))

    assert [
        word
        for word in re.findall(r"(?m)^\$? ?(?:\.venv/bin/)?holdfast ([a-z-]+)", text)
        if word not in verbs
    ] == []
    assert [word for word in re.findall(r"\bmake ([a-z]+)`", text) if word not in targets] == []
