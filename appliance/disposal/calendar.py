"""Keep the calendar of retention: which conversations hold surviving records of which day.

An expiry run walks the calendar from its oldest day, so that it looks only where something may
be due, and the first row of a class is the class's oldest surviving record. Days are those of
the newest trusted time when a record was appended, so they can be rebuilt from the log.

    CALENDAR value   u32, surviving records: messages of a conversation, entries of the audit

    ANCHOR value: everything up to this position was there at that time
    offset  size  type  meaning
    0       8     u64   proven time of the anchor, Unix ms: what days are counted by
    8       8     u64   the same as corrected since: what ages are counted by
    16      1     u8    1 when an authority confirmed it

    META row "clock.seen"   wall clock u64 (Unix ms), uptime u64 (ms), name of the boot
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from appliance.policy.clock import Reading
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.tables import ANCHOR, CALENDAR, meta_key

DAY_MS: Final = 86_400_000

_COUNT = struct.Struct(">I")
_READING = struct.Struct(">QQ")
_SEEN: Final = meta_key("clock.seen")
_AT = struct.Struct(">QQB")


class Page(NamedTuple):
    """One row: records of one class, born on one day, in one feed."""

    retention_class: int
    day: int
    feed: int
    records: int


def day_of(at_ms: int) -> int:
    """Return the day of a time, counted from 1970-01-01 UTC."""
    return at_ms // DAY_MS


def note(txn: Txn, retention_class: int, day: int, feed: int, change: int) -> None:
    """Count records of a day in or out; a row without records goes."""
    key = CALENDAR.key(retention_class, day, feed)
    value = txn.get(key)
    records = change + (0 if value is None else _COUNT.unpack(value)[0])
    if records > 0:
        txn.put(key, _COUNT.pack(records))
    elif value is not None:
        txn.delete(key)


def pages(reader: Reader, retention_class: int, until_day: int) -> Iterator[Page]:
    """Yield a class's rows, oldest day first, up to ``until_day`` (not included)."""
    start = CALENDAR.prefix(retention_class)
    for key, value in reader.range(start, CALENDAR.prefix(retention_class, max(0, until_day))):
        number, day, feed = CALENDAR.columns(key)
        yield Page(number, day, feed, _COUNT.unpack(value)[0])


def oldest_day(reader: Reader, retention_class: int) -> int | None:
    """Return the day of a class's oldest surviving record; one seek. None when there is none."""
    for key, _ in reader.range(*CALENDAR.span(retention_class), limit=1):
        return CALENDAR.columns(key)[1]
    return None


def move(txn: Txn, feed: int, old: int, new: int, days: Iterator[int]) -> None:
    """Let a conversation's rows follow it into another class; one read for each of ``days``."""
    if old == new:
        return
    for day in days:
        value = txn.get(CALENDAR.key(old, day, feed))
        if value is not None:
            txn.delete(CALENDAR.key(old, day, feed))
            note(txn, new, day, feed, _COUNT.unpack(value)[0])


class Anchor(NamedTuple):
    """One anchor; times in Unix ms."""

    pos: int
    raw_ms: int
    at_ms: int
    is_confirmed: bool


def put_anchor(txn: Txn, anchor: Anchor) -> None:
    """Write the row of an anchor."""
    txn.put(ANCHOR.key(anchor.pos), _AT.pack(anchor.raw_ms, anchor.at_ms, anchor.is_confirmed))


def correct_anchor(txn: Txn, pos: int, at_ms: int) -> None:
    """Change the corrected time of an anchor."""
    raw_ms, _, is_confirmed = _AT.unpack(txn.get(ANCHOR.key(pos)) or b"")
    txn.put(ANCHOR.key(pos), _AT.pack(raw_ms, at_ms, is_confirmed))


def anchors(reader: Reader) -> Iterator[Anchor]:
    """Yield every anchor, oldest first."""
    for key, value in reader.range(*ANCHOR.span()):
        raw_ms, at_ms, is_confirmed = _AT.unpack(value)
        yield Anchor(ANCHOR.columns(key)[0], raw_ms, at_ms, bool(is_confirmed))


def put_seen(txn: Txn, reading: Reading) -> None:
    """Keep what the machine's clocks said last."""
    boot = reading.boot.encode()
    txn.put(_SEEN, _READING.pack(reading.wall_ms, reading.uptime_ms) + boot)


def seen(reader: Reader) -> Reading | None:
    """Return what the machine's clocks said last, as far as the row can be read."""
    value = reader.get(_SEEN)
    if value is None or len(value) < _READING.size:
        return None
    wall_ms, uptime_ms = _READING.unpack_from(value)
    return Reading(wall_ms, value[_READING.size :].decode("utf-8", "replace"), uptime_ms)
