"""`holdfast completion bash|zsh|fish`: prints the script that completes verbs and options on Tab.

The script is click's own: on Tab the shell runs `holdfast` with the words so far, and it answers.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from holdfast.cli.verbs import FailedError, verb

EXAMPLES = """
# bash: for this terminal, and for every one to come
$ eval "$(holdfast completion bash)"
$ holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast

# zsh: a file in a folder of $fpath, before compinit runs
$ holdfast completion zsh > ~/.zfunc/_holdfast

# fish
$ holdfast completion fish > ~/.config/fish/completions/holdfast.fish
"""

# What click looks at to know that a shell is asking; named after the program.
VARIABLE = "_HOLDFAST_COMPLETE"

INSTALL = {
    "bash": (
        'now: eval "$(holdfast completion bash)"',
        "for good: holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast",
        "(needs bash 4.4 or newer and the package bash-completion; or put the eval into ~/.bashrc)",
    ),
    "zsh": (
        'now: eval "$(holdfast completion zsh)"',
        "for good: holdfast completion zsh > ~/.zfunc/_holdfast",
        "(with `fpath+=~/.zfunc` before `autoload -Uz compinit && compinit` in ~/.zshrc)",
    ),
    "fish": (
        "now: holdfast completion fish | source",
        "for good: holdfast completion fish > ~/.config/fish/completions/holdfast.fish",
    ),
}


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "completion", EXAMPLES)(completion)


@click.argument("shell", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Prints the script that completes verbs and options on Tab; its first lines say how to install it."""
    kind = get_completion_class(shell)
    if kind is None:
        raise FailedError(f"this version of click completes nothing for {shell}; upgrade click")
    script = kind(ctx.find_root().command, {}, "holdfast", VARIABLE).source()
    lines = [f"# holdfast: completion for {shell}", *(f"# {line}" for line in INSTALL[shell])]
    if shell == "zsh":  # zsh reads the tag from the first line
        lines.insert(0, "#compdef holdfast")
        script = script.removeprefix("#compdef holdfast\n")
    click.echo("\n".join([*lines, script.strip()]))
