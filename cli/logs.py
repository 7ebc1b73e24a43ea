"""Write the server's log: stable event names and fields, never content.

A record's message is the event's name; what ``extra`` holds are its fields. Of an exception the
type and the places in our code are told, never its text: other people's libraries put what they
were given into theirs.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from cli import journal

LOGGER: Final = "strongroom"

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else is a field."""

_PLACES: Final = 8
"""Places of an exception's traceback that are told, innermost last."""


def configure(style: str, level: str) -> None:
    """Send our records where ``style`` says; other libraries' go nowhere.

    ``text`` and ``json`` are lines on stderr; ``auto`` is the journal when stderr leads there,
    else ``text``. May be called again.
    """
    ours = logging.getLogger(LOGGER)
    for old in ours.handlers:
        old.close()
    ours.handlers[:] = [_handler(style)]
    ours.setLevel(level.upper())
    ours.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    logging.raiseExceptions = False


def _handler(style: str) -> logging.Handler:
    if style == "auto" and journal.is_stderr():
        return journal.JournalHandler(fields, TextFormatter())
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    return handler


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's own fields, with its exception's type and places if it has one."""
    found = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[0] is not None:
        found["exception"] = record.exc_info[0].__name__
        found["places"] = _places(record.exc_info[2])
    return found


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_PLACES:]
    return [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames]


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, logger, event, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields(record),
        }
        return json.dumps(document, ensure_ascii=False, default=journal.unknown)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, event, ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        level = record.levelname.lower().ljust(8)
        return f"{_time(record)} {level} {journal.line(record.getMessage(), fields(record))}"
