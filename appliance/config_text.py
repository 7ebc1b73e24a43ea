"""Write the configuration as text: the example file, a file of given values, the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from appliance.config import FILE_NAME, Config, Section, section_types, settings

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def to_toml(value: Any) -> str:
    """Return a setting's value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return str(value)


def example() -> str:
    """Return the example file: every setting with its default, as a comment to uncomment."""
    lines = [
        "# Strongroom's settings. Each line shows the default; uncomment a line to change it.",
        "# The environment variable STRONGROOM_SECTION_KEY and the command's flags go first.",
    ]
    last = ""
    for setting in settings():
        if setting.section != last:
            last = setting.section
            lines += ["", f"# {_sentence(section_types()[last])}", f"[{last}]"]
        lines += [f"# {setting.description} ({setting.bounds})"]
        lines += [f"# {setting.key} = {to_toml(setting.default)}"]
    return "\n".join(lines) + "\n"


def render(values: Mapping[str, Any]) -> str:
    """Return a file that sets exactly these full setting names; the rest stays at its default."""
    lines = ["# Made by `strongroom init`; `strongroom config example` shows every setting."]
    last = ""
    for setting in settings():
        if setting.name not in values:
            continue
        if setting.section != last:
            last = setting.section
            lines += ["", f"[{last}]"]
        lines.append(f"{setting.key} = {to_toml(values[setting.name])}")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return the reference page ``docs/configuration.md``."""
    lines = [
        "# Configuration",
        "",
        "Made from the code by `make docs`; do not edit.",
        "",
        f"The file is `{FILE_NAME}` in the data directory (TOML); `strongroom init` writes it, and",
        "`strongroom config example` prints one with every setting. A value comes from the first",
        "of: a flag of the command, the environment, the file, the default. Nothing unknown is",
        "ignored: `strongroom config check` tells all mistakes at once and ends with status 78.",
        "No setting holds a secret. A setting that names a file takes a path relative to the data",
        "directory, or the name of a systemd credential.",
        "",
        "What is marked with ↻ takes effect with `strongroom reload`, the rest at the next start.",
    ]
    last = ""
    for setting in settings():
        if setting.section != last:
            last = setting.section
            lines += ["", f"## `[{last}]`", "", _sentence(section_types()[last]), ""]
            lines += ["| key | default | allowed | meaning |", "|---|---|---|---|"]
        lines.append(
            f"| `{setting.key}` | `{to_toml(setting.default)}` | {setting.bounds} |"
            f" {setting.description}{' ↻' if setting.reloads else ''}"
            f" Variable: `{setting.variable}`. |"
        )
    return "\n".join(lines) + "\n"


def _sentence(kind: type[Section]) -> str:
    return " ".join((kind.__doc__ or "").split())


def json_schema() -> dict[str, Any]:
    """Return the configuration's JSON Schema, for editors and deployment tools."""
    schema = msgspec.json.schema(Config)
    return {"$schema": SCHEMA_DIALECT, "title": FILE_NAME, **schema}


def effective(config: Config) -> dict[str, Any]:
    """Return the settings in force as plain values by section."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    return plain
