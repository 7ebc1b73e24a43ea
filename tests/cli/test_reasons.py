"""A reason must say something, and has a way in that no list of processes shows."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from cli.reasons import giving_reason


@click.command("act")
@giving_reason
def act(reason: str) -> None:
    click.echo(repr(reason))


@pytest.mark.parametrize(
    ("given", "stdin", "reason"),
    [
        ("court order 17", "", "court order 17"),
        ("  court order ", "", "court order"),
        ("-", "from stdin\nnot this\n", "from stdin"),
    ],
)
def test_a_reason_is_given_or_read(given: str, stdin: str, reason: str) -> None:
    done = CliRunner().invoke(act, ["--reason", given], input=stdin)
    assert done.output == f"{reason!r}\n"


@pytest.mark.parametrize(("given", "stdin"), [("", ""), ("  ", ""), ("-", ""), ("-", " \n")])
def test_an_empty_reason_is_none(given: str, stdin: str) -> None:
    done = CliRunner().invoke(act, ["--reason", given], input=stdin)
    assert done.exit_code == 2
    assert "--reason must say why" in done.output


def test_a_reason_is_required() -> None:
    assert CliRunner().invoke(act).exit_code == 2
