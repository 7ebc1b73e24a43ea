"""Declare what many commands share: their options, and help that ends in an example."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from cli.signing import Person

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class Command(click.Command):
    """A command with an example, given as ``example``, at the end of its help."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        self.example = example
        super().__init__(*args, **kwargs)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        del ctx
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"  {line}\n")


class Group(click.Group):
    """A group of such commands, in the order in which they were declared."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of declaration."""
        del ctx
        return list(self.commands)


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of its own, with ``--data``, ``--json`` and an example."""

    def decorate(function: Callable[..., Any]) -> Command:
        return click.command(name, cls=Command, example=example)(common(function))

    return decorate


def subcommand(
    group: click.Group, name: str, *, example: str
) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a group, with ``--data``, ``--json`` and an example."""

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command, example=example)(common(function))
        group.add_command(made)
        return made

    return decorate


def common(function: F) -> F:
    """Add ``--data`` and ``--json``."""
    data = click.option(
        "--data",
        type=PATH,
        metavar="DIR",
        help="Data directory; else $STRONGROOM_DATA, ./demo-data or /var/lib/strongroom.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    return data(as_json(function))


def acting(function: F) -> F:
    """Add who signs a request, as ``who``: from ``--as``, ``--profile``, ``--passphrase-file``."""

    @functools.wraps(function)
    def with_person(
        *args: Any,
        acting_login: str,
        profile: Path | None,
        passphrase_file: str | None,
        **kwargs: Any,
    ) -> Any:
        return function(*args, who=Person(acting_login, profile, passphrase_file), **kwargs)

    who = click.option(
        "--as", "acting_login", metavar="PERSON", required=True, help="Who asks; their key signs."
    )
    profile = click.option(
        "--profile", type=PATH, metavar="DIR", help="Their profile, if not in the usual place."
    )
    passphrase = click.option(
        "--passphrase-file",
        metavar="FILE",
        help="Passphrase of their key, if it has one; - for stdin. Asked on a terminal otherwise.",
    )
    return cast("F", who(profile(passphrase(with_person))))


def command_timeout(function: F) -> F:
    """Add ``--timeout`` of what talks to the server as a client."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="How long the server may take; then status 7.",
    )(function)
