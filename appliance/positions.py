"""Write and read the opaque positions and the timeline keys of the session protocol."""

from __future__ import annotations

from transports.wire.errors import Refusal

KEY_DIGITS = 16
_MAX = 1 << 63


def format_pos(pos: int) -> str:
    """Return a feed position as clients keep it: opaque to them."""
    return f"{pos:x}"


def parse_pos(text: str) -> int:
    """Read a position; raises ``Refusal`` ("send.position") for anything else."""
    return _parse(text)


def format_key(key: int) -> str:
    """Return a timeline key as 16 hex digits, which sort like the key."""
    return f"{key:016x}"


def parse_key(text: str) -> int:
    """Read a timeline key; raises ``Refusal`` ("send.position") for anything else."""
    return _parse(text)


def _parse(text: str) -> int:
    if not 1 <= len(text) <= KEY_DIGITS or text.strip("0123456789abcdef"):
        raise Refusal("send.position")
    value = int(text, 16)
    if value >= _MAX:
        raise Refusal("send.position")
    return value
