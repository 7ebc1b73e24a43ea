"""Check, show and explain the configuration; works with the server up or down."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.config import FILE_NAME, ConfigError, Loaded, load_file
from cli.options import PATH, Group, subcommand
from cli.output import emit_json, say
from cli.places import data_directory

if TYPE_CHECKING:
    from appliance.config import Config


@click.group(cls=Group)
def config() -> None:
    """Check, show and explain the configuration."""


_file = click.option(
    "--file", type=PATH, metavar="FILE", help=f"Configuration file; else {FILE_NAME} in --data."
)


def configuration(
    data: Path, file: Path | None = None, flags: dict[str, Any] | None = None
) -> Loaded:
    """Read the configuration of a data directory; raises ``ConfigError``."""
    path = file or data / FILE_NAME
    if file is not None and not path.exists():
        raise click.UsageError(f"{path} does not exist")
    return load_file(path, environ=os.environ, flags=flags)


@subcommand(config, "check", example="strongroom config check --data /var/lib/strongroom")
@_file
def check(data: Path | None, file: Path | None, as_json: bool) -> None:
    """Tell every mistake of the configuration; status 78 when there is one."""
    where = data_directory(data)
    try:
        expect_certificate(configuration(where, file).config, where)
    except ConfigError as error:
        if as_json:
            found = [vars_of(problem) for problem in error.problems]
            emit_json("config.check", {"ok": False, "problems": found})
        else:
            say("\n".join(map(str, error.problems)))
        raise
    if as_json:
        emit_json("config.check", {"ok": True, "problems": []})
    else:
        say("The configuration is right.")


def expect_certificate(config: Config, data: Path) -> None:
    """Raise ``ConfigError`` when the files of an own certificate cannot be used together, now.

    Names without a slash may be systemd credentials, which only the service has: those are
    judged only when they are there.
    """
    from appliance.problems import Problem
    from appliance.reload import own_identity
    from cli.offline import in_force
    from transports.certificates import CertificateError

    tls = in_force(config, data).tls
    named = (config.tls.certificate, config.tls.key)
    files = (Path(tls.certificate), Path(tls.key))
    if not all("/" in name or path.exists() for name, path in zip(named, files, strict=True)):
        return
    if tls.certificate:
        try:
            own_identity(in_force(config, data), int(time.time() * 1000))
        except CertificateError as error:
            raise ConfigError([Problem("tls.certificate", str(error), error.hint)]) from None


def vars_of(problem: Any) -> dict[str, str]:
    """Return a problem's fields as JSON values."""
    return {"where": problem.where, "what": problem.what, "hint": problem.hint}


@subcommand(config, "show", example="strongroom config show --effective")
@_file
@click.option("--effective", is_flag=True, help="Also what is at its default.")
@click.option("--running", is_flag=True, help="What the running server uses, from the server.")
def show(
    data: Path | None, file: Path | None, effective: bool, running: bool, as_json: bool
) -> None:
    """Show settings, and where each comes from: flag, environment, file or default."""
    where = data_directory(data)
    if running:
        _show_running(where, as_json=as_json)
        return
    loaded = configuration(where, file)
    rows = [row for row in loaded.rows() if effective or row[2] != "default"]
    if as_json:
        settings = [
            {"name": setting.name, "value": value, "source": source}
            for setting, value, source in rows
        ]
        emit_json("config.show", {"settings": settings})
        return
    from appliance.config_text import to_toml

    for setting, value, source in rows:
        say(f"{setting.name} = {to_toml(value)}    # {source}")


def _show_running(data: Path, *, as_json: bool) -> None:
    from appliance.config import SETTINGS
    from appliance.config_text import effective, to_toml

    config = running_configuration(data)
    if as_json:
        emit_json("config.running", {"config": effective(config)})
        return
    for name, setting in SETTINGS.items():
        say(f"{name} = {to_toml(setting.of(config))}")


@subcommand(config, "diff", example="strongroom config diff --json")
@click.argument("other", type=PATH, required=False)
def diff(data: Path | None, other: Path | None, as_json: bool) -> None:
    """Show what in the configuration the running server has not taken yet.

    With OTHER: what would change with that file in place of the one in --data. Each difference
    tells whether `strongroom reload` takes it, or a restart. Status 1 when there is one, 78 when
    a file has a mistake.
    """
    from cli.exits import Exit

    where = data_directory(data)
    changes = _not_taken(where) if other is None else _between_files(where, other)
    if as_json:
        emit_json("config.diff", {"changes": changes})
    else:
        _say_changes(changes)
    if changes:
        click.get_current_context().exit(int(Exit.FAILED))


def _not_taken(data: Path) -> list[dict[str, Any]]:
    """Ask the server, which knows its flags and environment."""
    from cli.admin import AdminSocket

    with AdminSocket(data) as server:
        changes: list[dict[str, Any]] = server.ask("config.diff")["changes"]
    return changes


def _between_files(data: Path, other: Path) -> list[dict[str, Any]]:
    from appliance.reload import plan
    from cli.offline import in_force

    old = in_force(configuration(data).config, data)
    new = in_force(configuration(data, other).config, data)
    return [each.as_json() for each in plan(old, new).changes]


def running_configuration(data: Path) -> Config:
    """Return what the running server uses; raises ``CliError``."""
    import msgspec

    from appliance.config import Config
    from cli.admin import AdminSocket

    with AdminSocket(data) as server:
        return msgspec.convert(server.ask("config.show")["config"], Config)


def _say_changes(changes: Sequence[dict[str, Any]]) -> None:
    from appliance.config_text import to_toml

    for each in changes:
        old, new = to_toml(each["old"]), to_toml(each["new"])
        say(f"{each['name']}: {old} -> {new}    # {each['takes']}")
    if not changes:
        say("No difference.")


@subcommand(config, "example", example="strongroom config example > strongroom.toml")
def example(data: Path | None, as_json: bool) -> None:
    """Print a configuration file with every setting, its default and its meaning."""
    from appliance.config_text import example as text

    del data
    if as_json:
        emit_json("config.example", {"toml": text()})
    else:
        say(text().rstrip("\n"))


@subcommand(config, "schema", example="strongroom config schema --json")
def schema(data: Path | None, as_json: bool) -> None:
    """Print the configuration's JSON Schema."""
    import json

    from appliance.config_text import json_schema

    del data
    if as_json:
        emit_json("config.schema", {"json_schema": json_schema()})
    else:
        say(json.dumps(json_schema(), indent=2))
