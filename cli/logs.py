"""Write the server's log to stderr: stable event names and fields, never content.

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

LOGGER: Final = "strongroom"

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else is a field."""

_PLACES: Final = 8
"""Places of an exception's traceback that are told, innermost last."""


def configure(style: str, level: str) -> None:
    """Send our records to stderr as ``text`` or ``json``; other libraries' go nowhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    ours = logging.getLogger(LOGGER)
    ours.handlers[:] = [handler]
    ours.setLevel(level.upper())
    ours.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    logging.raiseExceptions = False


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
        return json.dumps(document, ensure_ascii=False, default=_unknown)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, event, ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = (
            f"{key}={json.dumps(value, ensure_ascii=True, default=_unknown)}"
            for key, value in fields(record).items()
        )
        parts = (_time(record), record.levelname.lower().ljust(8), record.getMessage(), *told)
        return " ".join(parts)


def _unknown(value: object) -> str:
    """Stand for a value that is no JSON: its type, not its content."""
    return f"<{type(value).__name__}>"
