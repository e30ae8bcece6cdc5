"""holdfast.cli.completion: a script that says how it is installed, and a program that answers it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.unit.holdfast.cli.console import Console


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_how_to_install_it_and_asks_holdfast(shell):
    """Comments first, then click's script under our variable."""
    result = Console().run("completion", shell)

    assert result.exit_code == 0
    assert f"for good: holdfast completion {shell} > " in result.stdout
    assert "_HOLDFAST_COMPLETE" in result.stdout


def test_the_zsh_script_begins_with_its_tag():
    """compinit looks at the first line only."""
    assert Console().run("completion", "zsh").stdout.splitlines()[0] == "#compdef holdfast"


def test_a_shell_that_is_not_known_is_wrong_usage():
    """The ones there are, are named."""
    result = Console().run("completion", "powershell")

    assert (result.exit_code, "'bash', 'zsh', 'fish'" in result.stderr) == (2, True)


def test_verbs_are_completed():
    """What the script asks is answered by the same program: nouns, verbs, options."""
    words = [sys.executable, "-c", "from holdfast.cli import main; main()"]
    asked = {"_HOLDFAST_COMPLETE": "bash_complete", "COMP_WORDS": "holdfast shard s", "COMP_CWORD": "2"}

    answer = subprocess.run(words, env=asked, capture_output=True, text=True, check=True)

    assert answer.stdout.split() == ["plain,show", "plain,split"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_takes_the_script():
    """It is bash, with its comments."""
    script = Console().run("completion", "bash").stdout

    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
