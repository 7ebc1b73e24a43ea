"""Notice at start that the store went back in time, before it numbers anything twice.

The fence is a small synced file beside the engine. It says how far sequence numbers may have
been used; a store that is behind it was restored, rolled back or cloned and must take a new
incarnation before it writes.

Two records of one sector each, at offsets 0 and 512; writing alternates between them, and the
valid one with the larger serial counts, so a torn write leaves the one before:

    offset  size  type   meaning
    0       4     bytes  magic "SRfn"
    4       1     u8     version: 1
    5       1     u8     state: 1 running (numbers reserved), 2 stopped (exact number)
    6       8     u64    serial of this record
    14      16    bytes  NodeId
    30      8     u64    Inc
    38      8     u64    running: largest number reserved; stopped: last number used
    46      16    bytes  generation id of the virtual machine, zero when unreadable
    62      16    bytes  SHA-256 of the bytes before, cut to 16
"""

from __future__ import annotations

import struct
from enum import IntEnum, StrEnum
from hashlib import sha256
from typing import NamedTuple

from store.ids import Origin
from store.limits import FENCE_BLOCK
from store.ports import Disk

FILE_NAME = "fence"
SECTOR_BYTES = 512
UNREADABLE = bytes(16)
"""The generation id of a machine that shows none."""

_MAGIC = b"SRfn"
_VERSION = 1
_RECORD = struct.Struct(">4sBBQ16sQQ16s")
_SUM_BYTES = 16


class State(IntEnum):
    """What a fence's number means; stored."""

    RUNNING = 1
    STOPPED = 2


class Breach(StrEnum):
    """Why the store cannot go on under its incarnation."""

    MISSING = "fence missing or unreadable"
    OTHER_ORIGIN = "fence of another incarnation"
    BEHIND = "store behind the fence"
    AHEAD = "store beyond the fence"
    CHANGED = "store changed after a clean stop"
    MACHINE = "virtual machine generation changed"


class Record(NamedTuple):
    """One state of the fence."""

    state: State
    serial: int
    origin: Origin
    number: int
    machine: bytes

    def pack(self) -> bytes:
        """Return the record's bytes, checksum included."""
        data = _RECORD.pack(
            _MAGIC, _VERSION, self.state, self.serial, *self.origin, self.number, self.machine
        )
        return data + sha256(data).digest()[:_SUM_BYTES]

    @classmethod
    def unpack(cls, data: bytes) -> Record | None:
        """Read a record at the start of ``data``; None for torn, foreign or absent ones."""
        body = data[: _RECORD.size]
        if data[_RECORD.size : _RECORD.size + _SUM_BYTES] != sha256(body).digest()[:_SUM_BYTES]:
            return None
        magic, version, state, serial, node, inc, number, machine = _RECORD.unpack(body)
        if magic != _MAGIC or version != _VERSION or state not in (1, 2):
            return None
        return cls(State(state), serial, Origin(node, inc), number, machine)


class Fence:
    """The boot fence of one data directory, read when it is made.

    ``machine`` is the virtual machine's 16-byte generation id, or ``UNREADABLE``. Used by one
    thread. Methods that write raise what the disk raises.
    """

    def __init__(self, disk: Disk, machine: bytes = UNREADABLE) -> None:
        if len(machine) != len(UNREADABLE):
            raise ValueError("a generation id has 16 bytes")
        self._disk = disk
        self._machine = machine
        self._record = _newest(disk.read(FILE_NAME))

    @property
    def limit(self) -> int:
        """Largest number that may be used without ``reserve``."""
        return self._record.number if self._record else 0

    @property
    def origin(self) -> Origin | None:
        """The incarnation that the fence stands for."""
        return self._record.origin if self._record else None

    def breach(self, origin: Origin, seq: int) -> Breach | None:
        """Tell why the store, whose last number is ``seq``, needs a new incarnation, if so.

        To be asked at start, before anything is written.
        """
        record = self._record
        if record is None:
            return Breach.MISSING
        if record.origin != origin:
            return Breach.OTHER_ORIGIN
        if UNREADABLE not in (record.machine, self._machine) and record.machine != self._machine:
            return Breach.MACHINE
        if record.state is State.STOPPED:
            return None if seq == record.number else Breach.CHANGED
        if seq > record.number:
            return Breach.AHEAD
        return Breach.BEHIND if seq < record.number - FENCE_BLOCK else None

    def start(self, origin: Origin) -> None:
        """Begin a new incarnation with its first block reserved; durable on return.

        To be called before the incarnation's rows are committed: a crash between the two then
        shows as ``OTHER_ORIGIN``.
        """
        self._write(State.RUNNING, origin, FENCE_BLOCK)

    def reserve(self, seq: int, durable_seq: int) -> None:
        """Allow numbers up to a block beyond ``durable_seq``, and at least ``seq``.

        ``durable_seq`` is the last number surely committed: a crash before the next commit
        must not look like a store that went back. Durable on return.
        """
        assert self._record is not None
        self._write(State.RUNNING, self._record.origin, max(seq, durable_seq + FENCE_BLOCK))

    def stop(self, seq: int) -> None:
        """Record a clean stop with the exact last number; durable on return. Idempotent.

        To be called when everything is committed; nothing may be numbered after it.
        """
        record = self._record
        assert record is not None
        if record.state is not State.STOPPED or record.number != seq:
            self._write(State.STOPPED, record.origin, seq)

    def _write(self, state: State, origin: Origin, number: int) -> None:
        serial = self._record.serial + 1 if self._record else 1
        record = Record(state, serial, origin, number, self._machine)
        self._disk.write(FILE_NAME, record.pack(), serial % 2 * SECTOR_BYTES)
        self._disk.sync(FILE_NAME)
        self._record = record


def _newest(data: bytes | None) -> Record | None:
    records = [Record.unpack((data or b"")[at : at + SECTOR_BYTES]) for at in (0, SECTOR_BYTES)]
    return max((r for r in records if r), key=lambda record: record.serial, default=None)
