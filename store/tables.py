"""Lay out every key of the product in one place.

Every key is ``table u8 || tenant u16 || columns``, big-endian, so that one ordered map holds
all tables, and a tenant's rows of a table are one range. Keys cannot be sealed: they hold
local pseudonyms, positions and times only, never an id that is known outside this site.

    table         columns after table and tenant                 value
    META          name bytes                                     per name, see its writer
    LOG           origin u32, seq u64                            record header, skeleton, seal
    ORIGIN        origin u32                                     NodeId, Inc, public key
    SEGMENT       origin u32, first seq u64                      statement, signature
    LEDGER        origin u32, level u8, index u64                tree node; see ``store.ledger``
    CHECKPOINT    origin u32, size u64                           key of the day, signed note
    SCOPE         run u64, piece u32                             32 bytes for each part destroyed
    CURSOR        origin u32 (0: the peer), lane u8              newest number applied u64
    ORDER         pos u64                                        where it is, lane, feed
    HISTORY       stream u64                                     what is to be asked for u64
    ESCROW        origin u32, seq u64                            see ``disposal.escrow``
    STREAM        stream u64                                     sealed stream identity
    TREE          class u16                                      tree u32, next slot u64
    FOREST        tree u32, level u8, index u48                  126 child keys, sealed
    EPOCH         stream u64, epoch u32                          class, slot, cover (sealed)
    COPY          side u8, then a whole key                      its value; in key replicas only
    FILL          is closed u8, stream u64, epoch u32            parts sealed u16 (not yet cut)
    REGISTER      stream u64, field u16, item u64                origin u32, seq u64 (newest)
    MEMBER        conversation u64, person u64                   intervals of keys, role
    MEMBER_OF     person u64, conversation u64                   empty
    TIMELINE      conversation u64, key u64, NodeId, Inc, seq    origin u32, pos u64
    FEED          stream u64, pos u64                            origin u32, seq u64, key u64
    HEAD          stream u64                                     newest pos u64, newest key u64
    RECEIPT       conversation u64, person u64                   delivered and read keys
    IDEMPOTENCY   device u64, counter u64                        origin u32, seq u64, state u8
    TARGET        origin u32, seq u64 (root), origin u32, seq    ops that die with the root
    URGENT        due ms u64, origin u32, seq u64                open urgent message
    CALENDAR      class u16, day u32, stream u64                 surviving messages u32
    ANCHOR        pos u64                                        proven time at that position
    RECALLED      conversation u64, origin u32, seq u64          empty: a recalled message survives
"""

from __future__ import annotations

import struct
from enum import IntEnum

TENANT = 1
"""The one tenant of this release; every key carries it."""


class Table(IntEnum):
    """First byte of every key."""

    META = 0x01
    LOG = 0x10
    ORIGIN = 0x11
    SEGMENT = 0x12
    LEDGER = 0x13
    CHECKPOINT = 0x14
    SCOPE = 0x15
    CURSOR = 0x16
    ORDER = 0x17
    HISTORY = 0x18
    ESCROW = 0x19
    STREAM = 0x20
    TREE = 0x21
    FOREST = 0x22
    EPOCH = 0x23
    COPY = 0x24
    FILL = 0x25
    REGISTER = 0x30
    MEMBER = 0x31
    MEMBER_OF = 0x32
    TIMELINE = 0x33
    FEED = 0x34
    HEAD = 0x35
    RECEIPT = 0x36
    IDEMPOTENCY = 0x37
    TARGET = 0x38
    URGENT = 0x39
    CALENDAR = 0x3A
    ANCHOR = 0x3B
    RECALLED = 0x3C


VIEWS = frozenset(table for table in Table if table >= Table.REGISTER)
"""Tables that can be rebuilt from the log."""


class Layout:
    """The key layout of one table: fixed columns behind the table and tenant.

    ``key`` packs all columns, ``prefix`` the first few, ``span`` is the half-open range of
    the keys that begin with the columns given, and ``columns`` unpacks a key.
    """

    def __init__(self, table: Table, *formats: str) -> None:
        self.table = table
        self._number = int(table)
        self._structs = [
            struct.Struct(">BH" + "".join(formats[:n])) for n in range(len(formats) + 1)
        ]
        self._full = self._structs[-1]
        self._count = len(formats)

    @property
    def key_bytes(self) -> int:
        """Length of a whole key."""
        return self._full.size

    def key(self, *columns: int | bytes) -> bytes:
        """Pack a whole key."""
        return self._full.pack(self._number, TENANT, *columns)

    def prefix(self, *columns: int | bytes) -> bytes:
        """Pack the leading columns only."""
        return self._structs[len(columns)].pack(self._number, TENANT, *columns)

    def span(self, *columns: int | bytes) -> tuple[bytes, bytes]:
        """Return ``(start, end)`` of the keys that begin with ``columns``."""
        start = self.prefix(*columns)
        return start, successor(start)

    def columns(self, key: bytes) -> tuple[int, ...]:
        """Unpack a key; byte columns come back as bytes."""
        return self._full.unpack(key)[2:]


def successor(prefix: bytes) -> bytes:
    """Return the smallest key larger than every key that begins with ``prefix``."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,))


def meta_key(name: str) -> bytes:
    """Return the key of a META row; ``name`` is ASCII."""
    return struct.pack(">BH", Table.META, TENANT) + name.encode("ascii")


def index48(value: int) -> bytes:
    """Pack a u48 column."""
    return value.to_bytes(6, "big")


LOG = Layout(Table.LOG, "I", "Q")
ORIGIN = Layout(Table.ORIGIN, "I")
SEGMENT = Layout(Table.SEGMENT, "I", "Q")
LEDGER = Layout(Table.LEDGER, "I", "B", "Q")
CHECKPOINT = Layout(Table.CHECKPOINT, "I", "Q")
SCOPE = Layout(Table.SCOPE, "Q", "I")
CURSOR = Layout(Table.CURSOR, "I", "B")
ORDER = Layout(Table.ORDER, "Q")
HISTORY = Layout(Table.HISTORY, "Q")
ESCROW = Layout(Table.ESCROW, "I", "Q")
STREAM = Layout(Table.STREAM, "Q")
TREE = Layout(Table.TREE, "H")
FOREST = Layout(Table.FOREST, "I", "B", "6s")
EPOCH = Layout(Table.EPOCH, "Q", "I")
COPY = Layout(Table.COPY, "B")
FILL = Layout(Table.FILL, "B", "Q", "I")
REGISTER = Layout(Table.REGISTER, "Q", "H", "Q")
MEMBER = Layout(Table.MEMBER, "Q", "Q")
MEMBER_OF = Layout(Table.MEMBER_OF, "Q", "Q")
TIMELINE = Layout(Table.TIMELINE, "Q", "Q", "16s", "Q", "Q")
FEED = Layout(Table.FEED, "Q", "Q")
HEAD = Layout(Table.HEAD, "Q")
RECEIPT = Layout(Table.RECEIPT, "Q", "Q")
IDEMPOTENCY = Layout(Table.IDEMPOTENCY, "Q", "Q")
TARGET = Layout(Table.TARGET, "I", "Q", "I", "Q")
URGENT = Layout(Table.URGENT, "Q", "I", "Q")
CALENDAR = Layout(Table.CALENDAR, "H", "I", "Q")
ANCHOR = Layout(Table.ANCHOR, "Q")
RECALLED = Layout(Table.RECALLED, "Q", "I", "Q")
