"""Take a reason, which is content: as an option, or from stdin where it is in nobody's list."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., Any])

REASON_BYTES: Final = 4_096
"""Longest reason read from stdin, in bytes."""

STDIN: Final = "-"


def giving_reason(function: F) -> F:
    """Add ``--reason``, which must say something, as ``reason``."""

    @functools.wraps(function)
    def with_reason(*args: Any, reason: str, **kwargs: Any) -> Any:
        return function(*args, reason=read_reason(reason), **kwargs)

    option = click.option(
        "--reason",
        metavar="TEXT",
        required=True,
        help="Why; it stands in the log, sealed. - takes it from stdin.",
    )
    return cast("F", option(with_reason))


def read_reason(given: str) -> str:
    """Return the reason, or stdin's first line for ``-``; raises ``UsageError`` if empty."""
    if given == STDIN:
        given = sys.stdin.readline(REASON_BYTES)
    text = given.strip()
    if not text:
        raise click.UsageError("--reason must say why")
    return text
