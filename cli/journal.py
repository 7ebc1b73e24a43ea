"""Send log records to systemd's journal in its native protocol, each field as a field.

A record is one datagram to the journal's socket: fields, each ``NAME=value`` and a line feed;
a value with a line feed in it is ``NAME``, a line feed, its length as a little-endian u64, the
value, and a line feed (systemd, "Native Journal Protocol"). Records that the journal does not
take go to stderr, which the journal reads too.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

STREAM_VARIABLE: Final = "JOURNAL_STREAM"
"""Device and inode of the stream to the journal that systemd gave us; see systemd.exec(5)."""

SOCKET: Final = Path("/run/systemd/journal/socket")

IDENTIFIER: Final = "strongroom"

FIELD_PREFIX: Final = "STRONGROOM_"
"""Before every field of ours, so that none looks like one of the journal's own."""

PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""The priority (syslog(3)) of each level."""

_LENGTH = struct.Struct("<Q")
_NO_NAME = re.compile(r"[^A-Z0-9_]")


def is_stderr() -> bool:
    """Tell whether stderr still leads to the journal, as systemd set it up."""
    device, _, inode = os.environ.get(STREAM_VARIABLE, "").partition(":")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def encode(fields: dict[str, str]) -> bytes:
    """Return a record's datagram."""
    return b"".join(
        _field(name, value.encode("utf-8", "backslashreplace")) for name, value in fields.items()
    )


def line(event: str, fields: dict[str, Any]) -> str:
    """Return an event and its fields as one line for people."""
    told = (
        f"{key}={json.dumps(value, ensure_ascii=True, default=unknown)}"
        for key, value in fields.items()
    )
    return " ".join((event, *told))


def unknown(value: object) -> str:
    """Stand for a value that is no JSON: its type, not its content."""
    return f"<{type(value).__name__}>"


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + _LENGTH.pack(len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


class JournalHandler(logging.Handler):
    """Writes to the journal, and to stderr what it does not take.

    Args:
        fields_of: returns a record's own fields.
        text: formats a record for people.
        place: the journal's socket.
    """

    def __init__(
        self,
        fields_of: Callable[[logging.LogRecord], dict[str, Any]],
        text: logging.Formatter,
        place: Path = SOCKET,
    ) -> None:
        super().__init__()
        self._fields_of = fields_of
        self._fallback = logging.StreamHandler()
        self._fallback.setFormatter(text)
        self._place = os.fspath(place)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; never waits and never raises."""
        try:
            self._socket.sendto(encode(dict(self._described(record))), self._place)
        except OSError:
            self._fallback.emit(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _described(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        found = self._fields_of(record)
        yield "MESSAGE", line(record.getMessage(), found)
        yield "PRIORITY", str(PRIORITIES.get(record.levelno, 6))
        yield "SYSLOG_IDENTIFIER", IDENTIFIER
        yield FIELD_PREFIX + "EVENT", record.getMessage()
        yield FIELD_PREFIX + "LOGGER", record.name
        for key, value in found.items():
            name = FIELD_PREFIX + _NO_NAME.sub("_", key.upper())
            yield name, value if isinstance(value, str) else json.dumps(value, default=unknown)
