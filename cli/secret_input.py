"""Take secrets from a file, stdin or a hidden prompt: never from an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from cli.errors import CliError

SECRET_BYTES: Final = 4_096
"""Longest secret taken, in bytes."""

STDIN: Final = "-"


def read_secret(source: str | None, what: str, *, confirm: bool = False) -> str:
    """Return a secret.

    Args:
        source: a file whose first line it is, ``-`` for stdin's first line, None for a prompt.
        what: what the prompt asks for, as "Password".
        confirm: ask twice at the prompt.

    Raises:
        CliError: there is no terminal to ask on, or the secret is empty, too long or no UTF-8.
        OSError: the file cannot be read.
    """
    if source is None:
        return _ask(what, confirm=confirm)
    if source == STDIN:
        return _first_line(sys.stdin.buffer.readline(SECRET_BYTES + 2), what)
    with Path(source).open("rb") as file:
        return _first_line(file.readline(SECRET_BYTES + 2), what)


def _first_line(line: bytes, what: str) -> str:
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if not line or len(line) > SECRET_BYTES:
        raise CliError("cli.usage", f"{what}: the first line is empty or too long")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise CliError("cli.usage", f"{what}: the first line is not UTF-8") from None


def _ask(what: str, *, confirm: bool) -> str:
    if not sys.stdin.isatty():
        hint = "Name a file with the option for it, or - for stdin."
        raise CliError("cli.usage", f"{what}: there is no terminal to ask on", hint)
    import click

    answer: str = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer
