"""Change one setting in a configuration file and leave the rest of it as people wrote it."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from appliance.config import ConfigError
from appliance.config_text import to_toml
from appliance.problems import Problem

_HEADER = re.compile(r"\s*\[")
_TEMPORARY: Final = ".new"


def with_setting(text: str, name: str, value: Any) -> str:
    """Return a TOML file's text with the setting ``section.key`` at ``value``.

    Raises ``ConfigError`` when the text is no TOML, or is written in a way in which it cannot
    be changed by machine.
    """
    section, _, key = name.partition(".")
    expected = _parsed(text, name)
    expected.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    start, end = _section(lines, section)
    line = f"{key} = {to_toml(value)}\n"
    if start is None:
        lines += ["\n" if lines else "", f"[{section}]\n", line]
    else:
        first, last = _statement(lines, start + 1, end, key)
        lines[first:last] = [line]
    changed = "".join(lines)
    if _parsed(changed, name) != expected:
        raise ConfigError([Problem(name, "cannot be changed by machine", line.strip())])
    return changed


def write_settings(path: Path, text: str) -> None:
    """Replace a configuration file durably; owner and mode stay (0600 for a new file)."""
    temporary = path.with_name(path.name + _TEMPORARY)
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if path.exists():
            status = path.stat()
            os.fchmod(descriptor, status.st_mode & 0o777)
            if os.geteuid() == 0:
                os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fsync(descriptor)
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(name, f"not TOML: {error}")]) from None


def _section(lines: list[str], section: str) -> tuple[int | None, int]:
    """Return where a section's header is (None: nowhere) and where the section ends."""
    header = re.compile(rf"\s*\[\s*{re.escape(section)}\s*\]\s*(#.*)?$")
    for start, line in enumerate(lines):
        if header.match(line):
            following = range(start + 1, len(lines))
            end = next((n for n in following if _HEADER.match(lines[n])), len(lines))
            return start, end
    return None, len(lines)


def _statement(lines: list[str], start: int, end: int, key: str) -> tuple[int, int]:
    """Return the lines that set a key; an empty place behind the header when none does."""
    assignment = re.compile(rf"\s*{re.escape(key)}\s*=")
    for first in range(start, end):
        if assignment.match(lines[first]):
            for last in range(first + 1, end + 1):
                if _is_whole("".join(lines[first:last])):
                    return first, last
    return start, start


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
