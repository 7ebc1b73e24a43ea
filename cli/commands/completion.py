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
    from click.shell_completion import get_completion_class

    from cli.main import root

    del data
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(root, {}, "strongroom", "_STRONGROOM_COMPLETE").source()
    if as_json:
        emit_json("completion", {"shell": shell, "script": script})
    else:
        say(script)
