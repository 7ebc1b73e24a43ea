"""Work as whoever owns the data: in this process, or in another strongroom program's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError
from cli.exits import Exit

RUN_SECONDS: Final = 86_400.0
"""How long a snapshot or a revert may take, in seconds."""


def this_program() -> list[str]:
    """Return how to start the program that runs now: the built one, or a checkout's."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-m", "cli.main"]


def ask(program: Sequence[str | Path], arguments: Sequence[str], data: Path) -> dict[str, Any]:
    """Run a command with ``--json`` on a data directory and return its document.

    Root works as the owner of the data, so that no file in it comes to belong to root. A hidden
    prompt for a passphrase reaches the terminal.

    Raises ``CliError`` with the code of the other program, "cli.failed" when it gave none.
    """
    command = [*program, *arguments, "--data", str(data), "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        timeout=RUN_SECONDS,
        **owner_of(data),
    )
    if done.returncode == Exit.OK:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    raise _told(done.stderr, arguments)


def owner_of(data: Path) -> dict[str, Any]:
    """Return the arguments that let root's child be the owner of ``data``; none for others."""
    found = data.stat()
    if os.geteuid() != 0 or found.st_uid == 0:
        return {}
    return {"user": found.st_uid, "group": found.st_gid, "extra_groups": []}


def become_owner(data: Path) -> None:
    """Let root be the owner of ``data`` from here on, for good; others stay who they are."""
    owner = owner_of(data)
    if owner:
        os.setgroups(owner["extra_groups"])
        os.setgid(owner["group"])
        os.setuid(owner["user"])


def _told(stderr: bytes, arguments: Sequence[str]) -> CliError:
    """Return the error that a program has written in its last line."""
    lines = stderr.decode("utf-8", "replace").splitlines() or [""]
    try:
        told = json.loads(lines[-1])
        return CliError(told["code"], told["message"], told["hint"], retryable=told["retryable"])
    except (ValueError, TypeError, KeyError):
        return CliError("cli.failed", f"`strongroom {' '.join(arguments[:2])}` failed")
