"""Make the manual page strongroom(1) from the commands themselves.

``python -m cli.manpage`` prints it; the package installs it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import click

from appliance.config import ENVIRONMENT_PREFIX, FILE_NAME
from appliance.version import origin
from cli.exits import MEANINGS
from cli.main import root
from cli.options import Command
from cli.places import DATA_VARIABLE, SYSTEM_DATA
from cli.reference import EVERYWHERE, walk

_ABOUT: Final = """\
Strongroom carries an organisation's instant messages and keeps them as records: as long as the \
law says, then provably gone. One program is server, administration and client.

Every command takes --json, which prints one document with a field "schema" (streams print one \
document a line). Secrets are never arguments: they come from files, stdin (-) or a prompt. \
The data directory is --data, else $STRONGROOM_DATA, else ./demo-data if it is there, else \
/var/lib/strongroom."""

_FILES: Final = (
    (f"{SYSTEM_DATA}", "The data directory; without the keys it can be opened by nobody."),
    (f"{SYSTEM_DATA}/{FILE_NAME}", "Settings; `strongroom config example` shows every one."),
    (f"{SYSTEM_DATA}-keys", "The key directory, unless keys.directory names another."),
    (
        "/etc/credstore.encrypted/strongroom.wrap",
        "What opens the keys, as a systemd credential; absent if nothing does.",
    ),
)
_VARIABLES: Final = (
    (DATA_VARIABLE, "The data directory."),
    (f"{ENVIRONMENT_PREFIX}SECTION_KEY", "Any setting, before the file's value."),
)


def page(version: str, made_at: int) -> str:
    """Return the page in roff; ``made_at`` (Unix seconds) dates it."""
    day = datetime.fromtimestamp(made_at, UTC).date().isoformat()
    lines = [
        f'.TH STRONGROOM 1 "{day}" "Strongroom {version}" "Strongroom"',
        *_section("NAME", [f"strongroom \\- {_text(root.get_short_help_str(100))}"]),
        *_section("SYNOPSIS", [".B strongroom", r"\fICOMMAND\fR [\fIOPTIONS\fR] ..."]),
        *_section("DESCRIPTION", _paragraphs(_ABOUT)),
        ".SH COMMANDS",
    ]
    for path, found in walk():
        lines += _command(path, found)
    lines += [".SH EXIT STATUS", *_terms((str(int(code)), text) for code, text in MEANINGS.items())]
    lines += [".SH ENVIRONMENT", *_terms(_VARIABLES), ".SH FILES", *_terms(_FILES)]
    lines += _section("SEE ALSO", [r"\fBsystemctl\fR(1), \fBsystemd\-creds\fR(1)"])
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _command(path: str, found: click.Command) -> Iterator[str]:
    """Yield what a command does, how it is called, its own options and its example."""
    yield f".SS {_text(path)}"
    yield from _paragraphs(inspect.cleandoc(found.help or ""))
    if isinstance(found, click.Group):
        return
    context = click.Context(found, info_name=path)
    usage = " ".join(found.collect_usage_pieces(context))
    yield from (".PP", f"\\fB{_text(path)}\\fR {_text(usage)}")
    own = (each for each in found.params if each.name not in EVERYWHERE)
    records = (each.get_help_record(context) for each in own)
    yield from _terms(record for record in records if record)
    if isinstance(found, Command) and found.example:
        yield from (".PP", "Example:", ".PP", ".nf", ".RS")
        yield from map(_text, found.example.splitlines())
        yield from (".RE", ".fi")


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of names with their meanings."""
    for name, meaning in rows:
        yield from (".TP", f"\\fB{_text(name)}\\fR", _text(" ".join(meaning.split())) or r"\&")


def _text(text: str) -> str:
    """Return plain text as roff shows it: no character is an escape or begins a request."""
    safe = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{safe}" if safe.startswith(".") else safe


if __name__ == "__main__":
    found = origin()
    sys.stdout.write(page(found.version, found.made_at))
