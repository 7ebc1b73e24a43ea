"""What people's programs write down while they talk: one line of JSON for each thing, in order.

Texts are unique, so a message is known by its text also before the server has named it. Times are
of the machine's monotonic clock, in seconds: the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec


class Sent(msgspec.Struct, frozen=True, tag=True):
    """Somebody is about to send; ``after`` is the newest text they have seen there."""

    who: str
    group: str
    text: str
    at: float
    priority: str = "normal"
    after: str = ""


class Acknowledged(msgspec.Struct, frozen=True, tag=True):
    """The server said that it has it."""

    who: str
    group: str
    text: str
    msg: str
    key: str
    at: float


class Told(msgspec.Struct, frozen=True, tag=True):
    """The server told somebody of a message; ``name`` is its device and number."""

    who: str
    group: str
    text: str
    msg: str
    key: str
    name: tuple[str, int]
    at: float
    priority: str = "normal"


class Silent(msgspec.Struct, frozen=True, tag=True):
    """Somebody has said their last word; everything before is acknowledged."""

    who: str


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """Something came that should never come: a refusal, a gap."""

    who: str
    what: str


class Timeline(msgspec.Struct, frozen=True, tag=True):
    """A group's whole history as somebody's site shows it: (msg, key, text), oldest first."""

    who: str
    group: str
    shown: list[tuple[str, str, str]]


Record = Sent | Acknowledged | Told | Silent | Trouble | Timeline

_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """Return a record as a line."""
    return msgspec.json.encode(record) + b"\n"


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file that may still be written: a line in the making is left out."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield _DECODER.decode(line)
