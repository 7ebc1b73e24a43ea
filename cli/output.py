"""Write what a command answers: one JSON document with a schema, or text for people."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_SAFE_FORMAT = frozenset("\u200c\u200d")
"""Invisible joiners that some scripts need."""

_BREAKS = frozenset("\n\t")


def emit_json(schema: str, answer: Mapping[str, Any], *, version: int = 1) -> None:
    """Print one document on one line: ``schema`` first, then the answer; flushed at once."""
    document = {"schema": f"strongroom.{schema}/{version}", **answer}
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """Print one line or more for people, with nothing in it that steers a terminal."""
    sys.stdout.write(printable(text, breaks=True) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a remark on stderr, where it does not disturb a pipe."""
    print(printable(text, breaks=True), file=sys.stderr, flush=True)


def printable(text: str, *, breaks: bool = False) -> str:
    """Return the text without characters that steer a terminal or hide or reorder text.

    Other people's words must not move the cursor, recolour the screen or imitate a prompt:
    controls and invisible format characters become U+FFFD. Line ends and tabs stay if
    ``breaks``, and become spaces otherwise.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, breaks) for character in text)


def _shown(character: str, breaks: bool) -> str:
    if character in _BREAKS:
        return character if breaks else " "
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return "\ufffd"
    if category == "Cf" and character not in _SAFE_FORMAT:
        return "\ufffd"
    return character


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Lay rows out in columns under their names; lists are joined, times are Unix ms in ``*at``."""
    shown = [[_cell(row.get(column), column) for column in columns] for row in rows]
    lines = [[column.replace("_", " ").upper() for column in columns], *shown]
    widths = [max(width(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell + " " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def pairs(answer: Mapping[str, Any]) -> str:
    """Lay an answer out as one ``key: value`` line each."""
    size = max((len(key) for key in answer), default=0)
    return "\n".join(
        f"{key.replace('_', ' ')}:".ljust(size + 2) + _cell(value, key)
        for key, value in answer.items()
    )


def _cell(value: Any, column: str) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and column.endswith("at"):
        return local_time(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(each, column) for each in value) or "-"
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(each, key)}" for key, each in value.items())
    return printable(str(value))


def local_time(milliseconds: int) -> str:
    """Return a Unix time in ms as local time with seconds, or a dash for 0."""
    if not milliseconds:
        return "-"
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def width(text: str) -> int:
    """Return how many terminal cells a text takes: wide East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )
