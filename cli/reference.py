"""Write the reference files from the code: commands, configuration, its example, alarms."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from appliance.alerts import rules
from appliance.config_text import example
from appliance.config_text import reference as configuration_page
from cli.exits import MEANINGS
from cli.main import COMMANDS, root
from cli.options import Command

EVERYWHERE: Final = frozenset(("data", "as_json"))
"""Options of every command, which the introduction explains."""

_INTRODUCTION = """\
# Command line

Made from the code by `make docs`; do not edit.

Every command takes `--json`, which prints one document with a `schema` field (streams print one
document per line); the schemas are stable. Errors go to stderr as `error: ... (code)` and a hint,
or with `--json` as one document of schema `strongroom.error/1`. Secrets are never arguments: they
come from files, stdin (`-`) or a hidden prompt.

The data directory is `--data`, else `$STRONGROOM_DATA`, else `./demo-data` if it is there, else
`/var/lib/strongroom`. Commands that ask a running server use its socket `run/admin.sock` there,
which lets in root and the service's own user. What changes people, roles, invitations, devices or
duties is signed: `--as PERSON` names who asks, and the Ed25519 key in that person's profile signs.
"""


def cli_page() -> str:
    """Return the command line's reference page."""
    lines = [_INTRODUCTION, "## Exit statuses", "", "| status | meaning |", "|---|---|"]
    lines += [f"| {int(status)} | {meaning} |" for status, meaning in MEANINGS.items()]
    for path, found in walk():
        lines += ["", *_section(path, found)]
    return "\n".join(lines) + "\n"


def walk() -> Iterator[tuple[str, click.Command]]:
    """Yield every command and group with its path, in the order of the help."""
    context = click.Context(root, info_name="strongroom")
    for name in COMMANDS:
        found = root.get_command(context, name)
        assert found is not None
        yield f"strongroom {name}", found
        if isinstance(found, click.Group):
            for inner in found.list_commands(context):
                command = found.get_command(context, inner)
                assert command is not None
                yield f"strongroom {name} {inner}", command


def _section(path: str, found: click.Command) -> list[str]:
    text = inspect.cleandoc(found.help or "")
    if isinstance(found, click.Group):
        return [f"## `{path}`", "", text]
    context = click.Context(found, info_name=path)
    usage = " ".join(found.collect_usage_pieces(context))
    lines = ["##" + "#" * (path.count(" ") - 1) + f" `{path}`", "", text, ""]
    lines += ["```", f"{path} {usage}", "```", ""]
    own = (each for each in found.params if each.name not in EVERYWHERE)
    options = [row for row in (each.get_help_record(context) for each in own) if row]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in options]
    if isinstance(found, Command) and found.example:
        lines += ["", "Example:", "", "```", *found.example.splitlines(), "```"]
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: Final = {
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "strongroom.toml.example": example,
    "strongroom.rules.yml": rules,
}
"""What is generated into ``docs/``."""


def write(folder: Path) -> None:
    """Write every page into a folder."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
