"""Print the script that teaches a shell to complete our commands."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import command
from cli.output import emit_json, say


@command("completion", example='eval "$(strongroom completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(data: Path | None, shell: str, as_json: bool) -> None:
    """Print a shell's completion script."""
    del data
    text = script(shell)
    if as_json:
        emit_json("completion", {"shell": shell, "script": text})
    else:
        say(text)


def script(shell: str) -> str:
    """Return the completion script of a shell; it asks the program itself for the words."""
    from click.shell_completion import get_completion_class

    from cli.main import root

    kind = get_completion_class(shell)
    assert kind is not None
    return kind(root, {}, "strongroom", "_STRONGROOM_COMPLETE").source()
